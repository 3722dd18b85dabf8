"""What a clause says beside its instruction: how often to try, whose approval, which outputs, all of what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ...tools.spec import ToolSpec
from ...values import Json
from .shapes import Shape
from .sources import Source, nearest
from .words import stems

MOST_NAMED: Final = 20
"""Tools or fields that one question lists."""
_RETRY: Final = re.compile(
    r"[\s,(]*\b(?:and\s+)?(?:retry|retrying|retried|try again)\b[^.;]*?\b(\d{1,2})\s+times?\b[\s)]*", re.IGNORECASE
)
_TRIES: Final = re.compile(
    r"[\s,(]*\b(?:with\s+)?(?:up to\s+|at most\s+)?(\d{1,2})\s+(retries|attempts)\b[\s)]*", re.IGNORECASE
)
_APPROVAL: Final = re.compile(
    r"[\s,(]*\b(?:(?:only\s+)?(?:after|with|upon|subject to|pending)|(?:this\s+)?(?:needs?|requires?))"
    r"\s+(?:\w+\s+){0,2}approval\b[\s)]*",
    re.IGNORECASE,
)
_ALL: Final = re.compile(r"\ball (\w+s)\b", re.IGNORECASE)


def one_of_all(text: str, tool: ToolSpec) -> str | None:
    """``leads``, where "score all leads" means a tool that takes one lead."""
    found = _ALL.search(text)
    if found is None:
        return None
    target = Shape.of(tool.input_schema)
    named = [
        target.fields[name] for name in target.required if name in target.fields and stems(name) == stems(found[1])
    ]
    return found[1] if named and all("array" not in field.kinds for field in named) else None


def extras_of(text: str) -> tuple[str, dict[str, Json]]:
    """An instruction without its "retry 3 times" and "after approval", and the fields they stand for."""
    extras: dict[str, Json] = {}
    if (found := _RETRY.search(text) or _TRIES.search(text)) is not None:
        retries = found.lastindex == 1 or found[2].lower() == "retries"
        extras["retry"] = {"maxAttempts": max(1, int(found[1]) + (1 if retries else 0))}
        text = f"{text[: found.start()]} {text[found.end() :]}".strip()
    if (found := _APPROVAL.search(text)) is not None:
        extras["approval"] = True
        text = f"{text[: found.start()]} {text[found.end() :]}".strip()
    return text, extras


def referred(text: str, sources: Sequence[Source], taken: set[str]) -> dict[str, Json]:
    """Output fields that a text names: ``the order id and the tracking number``."""
    said = stems(text)
    made: dict[str, Json] = {}
    for source in nearest(sources):
        for name in source.shape.fields:
            roots = stems(name)
            if roots and name not in taken and name not in made and _runs_in(roots, said):
                made[name] = source.at([name])
    return made


def _runs_in(few: Sequence[str], many: Sequence[str]) -> bool:
    return any(many[start : start + len(few)] == few for start in range(len(many) - len(few) + 1))


def in_sight(sources: Sequence[Source]) -> str:
    named = [source.at([name]) for source in nearest(sources) for name in source.shape.fields]
    return ", ".join(named[:MOST_NAMED]) or "nothing with known fields"


def plural(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else noun + "s"
