"""Where rules put what they find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from ...errors import Problem
from ...values import Json, pointer
from ..near import NearNames

Path = tuple[str | int, ...]
"""Keys and indexes into the canonical plan; a JSON Pointer when reported."""

_MOST_OPTIONS: Final = 50
"""Names listed in one problem; a plan may have 5 000."""


@dataclass(slots=True)
class Findings:
    """Errors and warnings in the order they were found."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _names: NearNames = field(default_factory=NearNames)
    _seen: set[tuple[str, str, str]] = field(default_factory=set)

    def error(
        self,
        code: str,
        path: Path,
        message: str,
        suggestion: str = "",
        *,
        expected: Json = None,
        actual: Json = None,
        available: Iterable[str] = (),
        warn: bool = False,
    ) -> None:
        """Add a problem; as a warning where ``warn``. The same one twice is one."""
        options = tuple(available)[:_MOST_OPTIONS]
        problem = Problem(code, pointer(*path), message, suggestion, expected, actual, options)
        key = (code, problem.path, message)
        if key not in self._seen:
            self._seen.add(key)
            (self.warnings if warn else self.problems).append(problem)
            self._counts[code] += 0 if warn else 1

    def warning(self, code: str, path: Path, message: str, suggestion: str = "") -> None:
        """Add what is allowed and probably not meant."""
        self.error(code, path, message, suggestion, warn=True)

    def count(self, code: str) -> int:
        """Problems of that code so far."""
        return self._counts[code]

    def nearest(self, wrong: str, options: Collection[str], show: Callable[[str], str] = repr) -> str:
        """``Did you mean 'right'?`` where one of the options is near, else ``""``."""
        near = self._names.find(wrong, options)
        return f"Did you mean {show(near)}?" if near is not None else ""


def listed(names: Iterable[str], most: int = 8) -> str:
    """``'a', 'b' and 3 more``; ``none`` for nothing."""
    every = list(names)
    text = ", ".join(repr(name) for name in every[:most])
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return (text + more) or "none"
