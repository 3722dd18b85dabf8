"""Evaluating per element: what ``$item`` and ``$index`` are there, the steps left, and what is made of the values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final, NamedTuple, TypeAlias

from ...values import Json
from . import functions
from . import syntax as s
from .operators import truthy

Closure: TypeAlias = Callable[[Any, Any], Json]
"""(context, element) -> value."""


class ExpressionFailed(Exception):
    """An evaluation that has no value. ``line`` and ``column`` count from 1."""

    code = "EXPRESSION_FAILED"

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message, line, column)
        self.message, self.line, self.column = message, line, column

    def __str__(self) -> str:
        return f"{self.message} (line {self.line}, column {self.column})"


@dataclass(slots=True)
class Element:
    """What ``$item`` and ``$index`` are, and the steps left (one number for the whole evaluation)."""

    item: Json
    index: int
    left: list[int]


class Body(NamedTuple):
    """A part that may not be evaluated at all, or often: what it costs each time. 0 where nothing is counted."""

    run: Closure
    cost: int
    at: s.At


def charge(element: Any, cost: int, at: s.At) -> None:
    """Take steps. Raises ExpressionFailed when there are not as many left."""
    element.left[0] -= cost
    if element.left[0] < 0:
        raise ExpressionFailed("the expression takes more than 100 000 steps", at.line, at.column)


LAZY: Final = frozenset({"any", "all"})
"""They stop at the element that decides."""

GATHER: Final[dict[str, Callable[[list[Json], list[Json]], Json]]] = {
    "any": lambda given, values: bool(values) and truthy(values[-1]),
    "all": lambda given, values: not values or truthy(values[-1]),
    "count": lambda given, values: sum(map(truthy, values)),
    "filter": lambda given, values: list(compress(given, map(truthy, values))),
    "map": lambda given, values: values,
    "sum": lambda given, values: functions.total(values),
}
"""What is made of a list and the values of its elements."""
