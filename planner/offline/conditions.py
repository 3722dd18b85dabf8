"""A condition in words as an expression over what is in sight: "it is valid" -> ``$validate_email.valid === true``.

Understood: a boolean by its name (with not, in-, un-, unless), a number compared ("over $100", "at least 0.7"), a text
or a listed value named; joined by and, or. None for everything else: it becomes a question, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from .lexicon import STOP
from .literals import Masked
from .shapes import Shape
from .sources import Source, nearest
from .words import split, stem

_I: Final = re.IGNORECASE
_OPERATORS: Final = (
    (">=", ">=", "at least|no less than|not less than|not below|not under"),
    ("<=", "<=", "at most|no more than|not more than|not over|not above|up to"),
    (">", ">", "over|above|more than|greater than|exceeds?|exceeding|higher than|bigger than|larger than|older than"),
    ("<", "<", "under|below|less than|lower than|smaller than|fewer than|younger than"),
    ("!=", "!==?", "is not|does not equal"),
    ("==", "===?|=", "equals?|equal to|exactly|is"),
)
"""(operator, its signs, its words)."""
_COMPARISON: Final = re.compile(
    r"^(?P<left>.*?)\s*(?:\b(?:is|are|was|be|of)\s+)?(?:"
    + "|".join(f"(?P<op{index}>{signs}|\\b(?:{words})\\b)" for index, (_, signs, words) in enumerate(_OPERATORS))
    + r")\s*(?:to\s+)?[$€£]?\s*(?P<number>-?\d[\d,]*(?:\.\d+)?)(?![\w.]*\w)",
    _I,
)
_OR_MORE: Final = re.compile(
    r"^(?P<left>.*?)\s*[$€£]?(?P<number>\d[\d,]*(?:\.\d+)?)\s+or\s+(?P<more>more|higher|above|over|less|lower|below|under)\b",
    _I,
)
_EQUALITY: Final = re.compile(
    r"^(?P<left>.*?)\s*(?:\bis\b|\bare\b|\bequals?\b|===?|=)\s*(?P<no>not\s+)?(?P<mask>\ue000\d+\ue001)\s*$", _I
)
_JOINT: Final = re.compile(r"\s+(and|or)\s+(?!(?:more|higher|above|over|less|lower|below|under)\b\s*$)", _I)
_NOT: Final = re.compile(r"\b(?:not|never|no longer|cannot|without|fails?|failed|out of)\b|n['’]t\b", _I)
_PREFIXES: Final = ("in", "un", "non", "dis", "im")
_OPPOSITES: Final = {stem(word): stem("approved") for word in ("rejected", "declined", "denied", "refused")}
_SUCCESS: Final = frozenset(
    stem(word) for word in "success succeeds succeeded successful ok okay passed passes pass works".split()
)
FAILURE: Final = re.compile(
    r"^(?:(?:it|this|that|the|a|an|any|something|step|\w+)\s+){0,4}(?:fails?|failed|errors?(?: occurs)?|goes wrong)$",
    _I,
)


@dataclass(frozen=True)
class Condition:
    """An expression, and what was taken for granted in it."""

    expression: str
    notes: tuple[str, ...] = ()
    name: str = ""
    """A word for it, for the id of the node."""


def understand(text: str, sources: Sequence[Source], masked: Masked) -> Condition | None:
    """The condition as an expression; None when a part of it names nothing that is in sight."""
    parts = _JOINT.split(text.strip(" ,.;"))
    made: list[str] = []
    notes: list[str] = []
    name, left = "", ""
    for index, part in enumerate(parts):
        if index % 2:
            made.append("&&" if part.lower() == "and" else "||")
            continue
        found, left = _atom(part, left, sources, masked)
        if found is None:
            return None
        made.append(found.expression)
        notes.extend(found.notes)
        name = name or found.name
    return Condition(" ".join(made), tuple(notes), name)


def negated(condition: Condition) -> Condition:
    """Its opposite."""
    plain = condition.expression
    for has, gets in ((" === true", " === false"), (" === false", " === true")):
        if plain.endswith(has) and "&&" not in plain and "||" not in plain:
            return Condition(plain[: -len(has)] + gets, condition.notes, condition.name)
    return Condition(f"!({plain})", condition.notes, condition.name)


def _atom(text: str, before: str, sources: Sequence[Source], masked: Masked) -> tuple[Condition | None, str]:
    """One comparison or boolean, and what it is about, for "above 1 and below 5"."""
    if (compared := _compared(text)) is not None:
        left, operator, number = compared
        left = left if _said(left) else before
        return _number(left, operator, number, sources), left
    if (found := _EQUALITY.match(text)) is not None:
        return _text(found["left"], bool(found["no"]), found["mask"], sources, masked), found["left"]
    return _boolean(text, sources) or _listed(text, sources), ""


def _compared(text: str) -> tuple[str, str, str] | None:
    if (found := _OR_MORE.match(text)) is not None:
        operator = ">=" if found["more"].lower() in ("more", "higher", "above", "over") else "<="
        return found["left"], operator, found["number"].replace(",", "")
    if (found := _COMPARISON.match(text)) is None:
        return None
    index = next(index for index in range(len(_OPERATORS)) if found[f"op{index}"])
    return found["left"], _OPERATORS[index][0], found["number"].replace(",", "")


def _said(text: str) -> set[str]:
    """Stems of the words that count; those for success as one."""
    roots = {stem(word) for word in split(text) if word not in STOP}
    return {_success(root) for root in roots}


def _success(root: str) -> str:
    return "success" if root in _SUCCESS else root


def _fields(sources: Sequence[Source], kind: str) -> Iterator[tuple[str, set[str], str, Shape, Source]]:
    """(reference, stems of its name, name, shape, source) of every value of a kind, nearest first."""
    for source in nearest(sources):
        if source.shape.kinds == {kind}:
            yield source.ref, set(source.nouns), "", source.shape, source
        for path, shape in source.shape.paths():
            if shape.kinds == {kind}:
                yield source.at(path), _said(path[-1]), path[-1], shape, source


def _number(left: str, operator: str, number: str, sources: Sequence[Source]) -> Condition | None:
    said = _said(left)
    value = number.lstrip("0") or "0" if number.isdigit() else number
    best = _best(_fields(sources, "number"), said)
    if best is not None:
        return Condition(f"{best[0]} {operator} {value}", name=best[1])
    words = [word for word in split(left) if word not in STOP]
    for source in nearest(sources):
        if source.guess and words:
            ref = source.at([words[-1]])
            return Condition(f"{ref} {operator} {value}", (f"{ref} is there, and a number",), words[-1])
    return None


def _best(fields: Iterator[tuple[str, set[str], str, Shape, Source]], said: set[str]) -> tuple[str, str] | None:
    """The value whose name shares most with what was said; of equals the nearest."""
    best: tuple[float, str, str] | None = None
    for ref, roots, name, _, _ in fields:
        shared = said & roots
        score = len(shared) + len(shared) / len(roots) if shared else 0.0
        if score and (best is None or score > best[0]):
            best = (score, ref, name)
    return (best[1], best[2]) if best else None


def _text(left: str, no: bool, mask: str, sources: Sequence[Source], masked: Masked) -> Condition | None:
    value = next(iter(masked.within(mask)))[1].value
    best = _best(_fields(sources, "string"), _said(left))
    if best is None or not isinstance(value, str):
        return None
    return Condition(f"{best[0]} {'!=' if no else '=='} {_literal(value)}", name=best[1])


def _literal(text: str) -> str:
    plain = text.replace("$$", "$").replace("\\", "\\\\").replace("'", "\\'")
    return "'" + plain.replace("\n", "\\n").replace("\t", "\\t") + "'"


def _boolean(text: str, sources: Sequence[Source]) -> Condition | None:
    said = _said(text)
    no = bool(_NOT.search(text))
    fields = list(_fields(sources, "boolean"))
    best = _best(iter(fields), said | {"success"} if _NOT.search(text) and "fail" in said else said)
    if best is None and (turned := _turned(said)):
        best = _best(iter(fields), turned)
        no = not no if best else no
    if best is None and "success" in said and fields:
        nearest_step = [field for field in fields if field[4] is fields[0][4]]
        best = (nearest_step[0][0], nearest_step[0][2]) if len(nearest_step) == 1 else None
    if best is None:
        return None
    return Condition(f"{best[0]} === {'false' if no else 'true'}", name=("not_" if no else "") + best[1])


def _turned(said: set[str]) -> set[str]:
    """What words say without their "not": invalid -> valid, rejected -> approved."""
    cut = {
        root[len(prefix) :]
        for root in said
        for prefix in _PREFIXES
        if root.startswith(prefix) and len(root) > len(prefix) + 2
    }
    return cut | {_OPPOSITES[root] for root in said if root in _OPPOSITES}


def _listed(text: str, sources: Sequence[Source]) -> Condition | None:
    """A text field whose schema lists a value that was said: "the tier is gold"."""
    words = {word for word in split(text) if word not in STOP}
    said = _said(text)
    for ref, roots, name, shape, _ in _fields(sources, "string"):
        named = [choice for choice in shape.choices if isinstance(choice, str) and choice.lower() in words]
        if len(named) == 1 and (roots & said or len(words) == 1):
            operator = "!=" if _NOT.search(text) else "=="
            return Condition(f"{ref} {operator} {_literal(named[0])}", name=name)
    return None
