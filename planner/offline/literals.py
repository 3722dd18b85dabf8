"""Constants in a prompt: quoted texts, objects, addresses, numbers. They are masked before its words are read.

A masked text holds ``\\ue000N\\ue001`` where the prompt holds its N-th constant, so that no comma or "and" inside a
quotation is taken for one of the prompt's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from ...values import Json, NotJson, decode
from .lexicon import STOP
from .shapes import Shape
from .words import split, stem

_CONSTANT: Final = re.compile(
    r"""(?P<object>\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})"""
    r"""|"(?P<double>[^"\n]*)"|“(?P<curly>[^”\n]*)”|‘(?P<single_curly>[^’\n]*)’|«(?P<angle>[^»\n]*)»|`(?P<tick>[^`\n]*)`"""
    r"""|(?<!\w)'(?P<single>[^'\n]*(?:'\w[^'\n]*)*)'(?!\w)"""
    r"""|(?P<url>https?://[^\s,;)"'>\]]*[^\s,;)"'>\].!?])|(?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"""
)
_MASK: Final = re.compile("\ue000(\\d+)\ue001")
_LINKS: Final = frozenset(stem(word) for word in "url uri link website page endpoint".split())
_MAIL: Final = frozenset(stem(word) for word in "email to recipient from sender address".split())
_TOKEN: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[A-Za-z_][\w-]*|.", re.DOTALL)
_SCALAR: Final = r"\ue000\d+\ue001|-?\d+(?:\.\d+)?(?![\w.]*\w)|true|false|yes|no"
_LINK: Final = (
    r"(?:\s*[:=]\s*|\s+(?:is\s+|of\s+|as\s+|to\s+|set\s+to\s+|named\s+|called\s+|equal\s+to\s+|reading\s+)?)(?:the\s+)?"
)


@dataclass(frozen=True)
class Constant:
    """One constant of the prompt."""

    kind: Literal["text", "object", "url", "email"]
    value: Json
    raw: str


@dataclass(frozen=True)
class Masked:
    """A text whose constants are numbered."""

    text: str
    constants: tuple[Constant, ...]

    def within(self, text: str) -> Iterator[tuple[int, Constant]]:
        """The constants of a part of it."""
        for found in _MASK.finditer(text):
            yield int(found[1]), self.constants[int(found[1])]

    def shown(self, text: str) -> str:
        """A part of it as the prompt has it."""
        return _MASK.sub(lambda found: self.constants[int(found[1])].raw, text)

    def plain(self, text: str) -> str:
        """A part of it without the constants: its own words."""
        return _MASK.sub(" ", text)


def mask(prompt: str, names: frozenset[str] = frozenset()) -> Masked:
    """The prompt with its constants numbered. What is quoted but is one of ``names`` (tool ids) stays a word."""
    constants: list[Constant] = []

    def number(constant: Constant) -> str:
        constants.append(constant)
        return f"\ue000{len(constants) - 1}\ue001"

    def masked(found: re.Match[str]) -> str:
        kind, inner = found.lastgroup, found[found.lastgroup or 0]
        if kind == "object":
            value = relaxed(inner)
            return inner if value is None else number(Constant("object", value, inner))
        if kind == "tick" or inner in names:
            return inner
        if kind in ("url", "email"):
            return number(Constant("url" if kind == "url" else "email", as_text(inner), inner))
        return number(Constant("text", as_text(inner), found[0]))

    text = prompt.replace("\ue000", " ").replace("\ue001", " ")
    text = re.sub(r"(?<=\S)[^\S\n]+", " ", text)  # a run of blanks says no more than one, but takes time to read
    return Masked(_CONSTANT.sub(masked, text), tuple(constants))


def as_text(text: str) -> str:
    """A constant as a template means it: a dollar before a name is doubled, so that it stays a dollar."""
    return re.sub(r"\$(?=[A-Za-z_{])", "$$", text)


def relaxed(text: str) -> dict[str, Json] | None:
    """An object as people write it: ``{sent: false, reason: 'no'}``; None when it is none."""
    made = []
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token[0] == "'" and len(token) > 1:
            token = '"' + token[1:-1].replace('"', '\\"') + '"'
        elif (token[0].isalpha() or token[0] == "_") and token not in ("true", "false", "null"):
            token = f'"{token}"'
        made.append(token)
    try:
        value = decode("".join(made))
    except NotJson:
        return None
    return {key: _as_template(part) for key, part in value.items()} if isinstance(value, dict) else None


def _as_template(value: Json) -> Json:
    match value:
        case str():
            return as_text(value)
        case list():
            return [_as_template(part) for part in value]
        case dict():
            return {key: _as_template(part) for key, part in value.items()}
    return value


def scalar(token: str, masked: Masked) -> Json:
    """The value of a token that ``_SCALAR`` found."""
    if (found := _MASK.fullmatch(token)) is not None:
        return masked.constants[int(found[1])].value
    if token.lower() in ("true", "yes"):
        return True
    if token.lower() in ("false", "no"):
        return False
    return float(token) if "." in token else int(token[:18])


def beside(field: str, shape: Shape, clause: str, masked: Masked) -> tuple[Json, str] | None:
    """The constant that a clause gives a field by name, and its token: ``subject 'Hi'``, ``limit of 10``."""
    name = r"[\s_-]*".join(re.escape(word) for word in split(field))
    if not name:
        return None
    patterns = [rf"\b{name}s?{_LINK}({_SCALAR})", rf"({_SCALAR})\s+(?:as|for)\s+(?:the\s+|its\s+)?{name}\b"]
    if len(split(field)) > 1 and split(field)[-1] == "id":  # "user 42", "order #A-1"
        patterns.append(rf"\b{'[ _-]'.join(re.escape(word) for word in split(field)[:-1])}\s+#?({_SCALAR})")
    for pattern in patterns:
        for found in re.finditer(pattern, clause, re.IGNORECASE):
            value = scalar(found[1], masked)
            if _address_elsewhere(found[1], field, masked):
                continue
            value = found[1] if shape.kinds == {"string"} and isinstance(value, int | float) else value
            if shape.takes(value) and not (isinstance(value, bool) and "boolean" not in shape.kinds):
                return value, found[1]
    for choice in shape.choices:  # "priority high", "with high priority"
        if isinstance(choice, str) and re.search(
            rf"\b(?:{name}{_LINK}{re.escape(choice)}|{re.escape(choice)}[\s-]+{name})\b", clause, re.IGNORECASE
        ):
            return choice, choice
    return None


def is_for(constant: Constant, field: str, shape: Shape) -> bool:
    """Whether an address can be meant for a field, by its kind; of other constants nothing is known."""
    if constant.kind not in ("url", "email") or not shape.takes(constant.value):
        return False
    words = {stem(word) for word in split(field)}
    if constant.kind == "email":
        return bool(words & _MAIL or shape.schema.get("format") == "email")
    return bool(words & _LINKS or shape.schema.get("format") in ("uri", "url"))


def _address_elsewhere(token: str, field: str, masked: Masked) -> bool:
    """Whether a token is an address that a field of this name does not hold: "send the message to a@b.c"."""
    found = _MASK.fullmatch(token)
    constant = masked.constants[int(found[1])] if found else None
    return constant is not None and constant.kind != "text" and not is_for(constant, field, Shape.of({}))


def fields_said(text: str, masked: Masked) -> dict[str, Json]:
    """``sent false and reason 'no'`` as an object; empty when the text names no values."""
    made: dict[str, Json] = {}
    for found in re.finditer(rf"\b([A-Za-z_]\w*){_LINK}({_SCALAR})", text, re.IGNORECASE):
        if found[1].lower() not in STOP and stem(found[1]) not in _SAYING:
            made[found[1]] = scalar(found[2], masked)
    return made


_SAYING: Final = frozenset(
    stem(word) for word in ("return", "answer", "respond", "reply", "output", "give", "report", "result")
)
