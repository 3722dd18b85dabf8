"""How large a value is that the fold has composed itself: what tools give is measured where they run.

A template may hold a value twice, and a loop may do so a hundred times: twenty nodes of a plan describe more than any
memory holds, at no cost until somebody writes it down. So a composed value is measured before it counts.
"""

from __future__ import annotations

from typing import Final

from ...values import MAX_NESTING, MAX_VALUE_BYTES, Json
from .turn import Turn

KEPT_BYTES: Final = 64 * 1024
"""Containers from this size on are measured once per turn."""


class _TooMuch(Exception):
    """code and message of the failure."""


def fault_of(turn: Turn, value: Json) -> tuple[str, str] | None:
    """(code, message) of a value over 32 MiB (TOOL_OUTPUT_TOO_LARGE) or nested over 250 (TOOL_OUTPUT_INVALID).

    Bytes are counted from below: escapes and long numbers are not.
    """
    if not isinstance(value, list | dict) or _is_small(value):
        return None
    try:
        _weigh(turn, value, 1)
    except _TooMuch as found:
        code, message = found.args
        return code, message
    return None


def _is_small(value: list[Json] | dict[str, Json]) -> bool:
    """A handful of scalars, as most inputs are."""
    if len(value) > 16:
        return False
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, list | dict) or (isinstance(part, str) and len(part) > KEPT_BYTES):
            return False
    return True


def _weigh(turn: Turn, value: list[Json] | dict[str, Json], level: int) -> tuple[int, int]:
    """(bytes, levels) of a container that stands ``level`` deep. One call per level: a plan may nest 250 of them."""
    known = turn.weights.get(id(value))
    if known is not None:
        size, levels = known[0], known[1]
    else:
        if level > MAX_NESTING:
            raise _too_deep()
        size, levels = 2 + len(value), 1
        if isinstance(value, dict):
            size += sum(map(len, value)) + 3 * len(value)
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, list | dict):
                inner, below = _weigh(turn, part, level + 1)
                size, levels = size + inner, max(levels, below + 1)
            else:
                size += len(part) + 2 if isinstance(part, str) else 1
        if size >= KEPT_BYTES:
            turn.weights[id(value)] = (size, levels, value)
    if level + levels - 1 > MAX_NESTING:
        raise _too_deep()
    if size > MAX_VALUE_BYTES:
        raise _TooMuch("TOOL_OUTPUT_TOO_LARGE", f"the value has more than {MAX_VALUE_BYTES >> 20} MiB")
    return size, levels


def _too_deep() -> _TooMuch:
    return _TooMuch("TOOL_OUTPUT_INVALID", f"the value is nested more than {MAX_NESTING} levels deep")
