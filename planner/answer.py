"""A model's text -> the JSON object in it. Text around the JSON is tolerated here and nowhere else.

Tried in order: the whole text, fenced blocks, balanced objects; each as it is, then without comments. A text is never
cut inside a string: ``{"url": "https://a.b // c"}`` keeps its two slashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ..errors import Problem
from ..values import Json, NotJson, decode

MAX_ANSWER_BYTES: Final = 5 * 1024 * 1024
"""A plan's own limit (canonical.md §2)."""
_MAX_TRIES: Final = 20
"""Objects looked at in one text."""
_OF_A_PLAN: Final = frozenset({"nodes", "steps", "flow", "graph"})

_THINKING: Final = re.compile(r"\A\s*+<think>.*?</think>", re.DOTALL)
"""What models that reason aloud put before their answer."""
_FENCE: Final = re.compile(r"^[ \t]*```[ \t]*[A-Za-z0-9]*[ \t]*\r?\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_STRING: Final = r'"(?:[^"\\]|\\.)*+"?'
_BRACE: Final = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?(?:\*/|\Z)|[{{}}]", re.DOTALL)
_COMMENT: Final = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_HOW: Final = "Answer with one JSON object and nothing else: no prose, no comments, no code fence."


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said: a plan, or questions, or why it could not be read."""

    plan: dict[str, Any] | None = None
    questions: tuple[str, ...] = ()
    problem: Problem | None = None


def read_answer(text: str) -> Answer:
    """The plan in a model's text, or the questions it asks instead (``{"questions": ["…"]}``). Raises nothing."""
    if len(text) > MAX_ANSWER_BYTES:
        return Answer(
            problem=Problem("PLAN_TOO_LARGE", "", f"the answer has {len(text)} characters", "Plan fewer steps.")
        )
    fault: NotJson | None = None
    other: dict[str, Any] | None = None
    for candidate in _candidates(_THINKING.sub("", text, count=1)):
        try:
            value = _read(candidate)
        except NotJson as error:
            fault = fault or error
            continue
        if isinstance(value, dict) and value.keys() & (_OF_A_PLAN | {"plan", "questions"}):
            return _understood(value)
        other = value if other is None and isinstance(value, dict) else other
    if fault is None and other is not None:
        return Answer(plan=other)  # an object, if not a plan: the check says what it lacks
    if fault is None:
        return Answer(problem=Problem("INVALID_JSON", "", "there is no JSON object in the answer", _HOW))
    return Answer(problem=Problem("INVALID_JSON", "", f"the JSON in the answer cannot be read: {fault}", _HOW))


def strip_comments(text: str) -> str:
    """The text without ``// …`` and ``/* … */``, which are kept inside strings."""
    return _COMMENT.sub(lambda found: found[1] or " ", text)


def _candidates(text: str) -> Iterator[str]:
    whole = text.strip()
    if whole.startswith("{") and whole.endswith("}"):
        yield whole
    for found in _FENCE.finditer(text):
        if "{" in found[1]:
            yield found[1].strip()
    start = text.find("{")
    for _ in range(_MAX_TRIES):
        end = _end_of_object(text, start) if start >= 0 else None
        if end is None:
            return  # cut off: a part of a plan is no plan, so what lies inside is not looked at
        yield text[start:end]
        start = text.find("{", end)


def _end_of_object(text: str, start: int) -> int | None:
    """Where the object that begins at ``start`` ends; None when it never does."""
    depth = 0
    for token in _BRACE.finditer(text, start):
        match text[token.start()]:
            case "{":
                depth += 1
            case "}":
                depth -= 1
                if depth == 0:
                    return token.end()
            case _:
                pass  # a string or a comment: braces in it are text
    return None


def _read(text: str) -> Json:
    try:
        return decode(text)
    except NotJson as error:
        bare = strip_comments(text)
        if bare == text:
            raise
        try:
            return decode(bare)
        except NotJson:
            raise error from None


def _understood(value: dict[str, Any]) -> Answer:
    """``{"plan": {…}}`` is unwrapped; an object that holds questions and no steps asks."""
    inner = value.get("plan")
    if len(value) == 1 and isinstance(inner, dict):
        return Answer(plan=inner)
    asked = value.get("questions")
    if isinstance(asked, list) and not value.keys() & _OF_A_PLAN:
        questions = tuple(text for text in asked if isinstance(text, str) and text.strip())
        if questions:
            return Answer(questions=questions)
    return Answer(plan=value)
