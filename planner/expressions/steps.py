"""The steps of a path: from a value to the value below it (canonical.md §3). What is not there is null."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ...values import Json
from . import operators
from . import syntax as s
from .elements import Closure, ExpressionFailed, charge
from .operators import Failure

Step: TypeAlias = Callable[[Json, Any, Any], Json]
"""(value, context, element) -> the value it leads to."""


def run_steps(first: Closure, steps: Sequence[Step]) -> Closure:
    """A chain, evaluated in a loop however long it is."""
    if len(steps) == 1:
        (only,) = steps
        return lambda c, e: only(first(c, e), c, e)

    def work(c: Any, e: Any) -> Json:
        value = first(c, e)
        for step in steps:
            value = step(value, c, e)
        return value

    return work


def fields_step(names: tuple[str, ...]) -> Step:
    """``.a.b.c``."""
    if len(names) == 1:
        (name,) = names
        return lambda value, c, e: value.get(name) if type(value) is dict else step_into(value, name)

    def step(value: Json, c: Any, e: Any) -> Json:
        for name in names:
            value = value.get(name) if type(value) is dict else step_into(value, name)
        return value

    return step


def step_into(value: Json, name: str) -> Json:
    """``.name``: a key of an object, of a list an index (digits) or ``length``; null where there is nothing."""
    if isinstance(value, dict):
        return value.get(name)
    if name == "length" and isinstance(value, list | str):
        return len(value)
    if isinstance(value, list) and name.isdigit():
        return value[int(name)] if len(name) < 10 and int(name) < len(value) else None
    return None


def output_step(value: Json, c: Any, e: Any) -> Json:
    """``.output`` of a node: the whole output, unless it has a field of that name."""
    return value["output"] if isinstance(value, dict) and "output" in value else value


def at_key_step(key: Closure) -> Step:
    """``[key]``."""
    return lambda value, c, e: at_key(value, key(c, e))


def at_key(value: Json, key: Json) -> Json:
    """An integral number is an index (of a list), a string a key (of an object); anything else is null."""
    if isinstance(value, dict):
        return value.get(key) if isinstance(key, str) else None
    if isinstance(value, list) and operators.is_number(key) and key == key // 1:
        return value[int(key)] if -len(value) <= key < len(value) else None
    return None


def star_step(rest: Sequence[Step], cost: int, at: s.At) -> Step:
    """``[*]``: the rest of the path, applied to every element. ``cost``: the steps its keys take each time."""

    def step(value: Json, c: Any, e: Any) -> Json:
        if not isinstance(value, list):
            return None
        try:
            operators.list_of_size(len(value))
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None
        made = []
        for part in value:
            if cost:
                charge(e, cost, at)
            for then in rest:
                part = then(part, c, e)
            made.append(part)
        return made

    return step
