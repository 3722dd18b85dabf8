"""Where the readers put what is wrong. Paths are pointers as given."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ...errors import Problem
from ...values import Json
from ..near import NearNames

MOST_PROBLEMS: Final = 10_000
"""Of one plan; a document of 5 MiB can hold a million, and nobody reads on from here."""
_MOST_OPTIONS: Final = 50
"""Names listed in one problem; a plan may have 5 000."""
_LONGEST: Final = 80


class Absent:
    """The type of ``ABSENT``: no value, where None is one."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(slots=True)
class Report:
    """Problems and warnings in the order they were found."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _stopped: bool = False
    _names: NearNames = field(default_factory=NearNames)

    def add(
        self,
        code: str,
        path: str,
        message: str,
        suggestion: str = "",
        *,
        expected: Json = None,
        actual: Json = None,
        available: Iterable[str] = (),
    ) -> None:
        """Add one problem."""
        if len(self.problems) < MOST_PROBLEMS:
            options = tuple(islice(available, _MOST_OPTIONS))
            self.problems.append(Problem(code, path, message, suggestion, expected, actual, options))

    def stop(self, code: str, path: str, message: str, suggestion: str = "") -> None:
        """Add a problem after which there is no plan to look at."""
        self._stopped = True
        self.add(code, path, message, suggestion)

    def stopped(self) -> bool:
        """Whether a limit was passed: what was read so far is no plan."""
        return self._stopped

    def warn(self, code: str, path: str, message: str, suggestion: str = "") -> None:
        """Add what is accepted and probably not meant."""
        if len(self.warnings) < MOST_PROBLEMS:
            self.warnings.append(Problem(code, path, message, suggestion))

    def shape(self, path: str, value: Json, expected: str, suggestion: str = "") -> None:
        """INVALID_SHAPE: ``value`` is not the ``expected`` kind of JSON."""
        message = f"expected {expected}, found {kind_of(value)}"
        self.add("INVALID_SHAPE", path, message, suggestion, expected=expected, actual=kind_of(value))

    def nearest(self, wrong: str, options: Collection[str], otherwise: str = "") -> str:
        """``Did you mean 'right'?`` where one of the options is near, else ``otherwise``."""
        near = self._names.find(wrong, options)
        return f"Did you mean {near!r}?" if near is not None else otherwise


def kind_of(value: Json) -> str:
    """What a JSON value is, for people; short strings and numbers are shown."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {short(str(value))}"
        case str():
            return f"the string {short(value)!r}"
        case list():
            return "a list"
        case _:
            return "an object"


def short(text: str, most: int = _LONGEST) -> str:
    """The text, cut where it is too long for a message."""
    return text if len(text) <= most else text[:most] + "…"
