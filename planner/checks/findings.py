"""Where rules put what they find, and the nearest right name for a wrong one."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from ...errors import Problem
from ...values import Json, pointer

Path = tuple[str | int, ...]
"""Keys and indexes into the canonical plan; a JSON Pointer when reported."""

_MOST_OPTIONS: Final = 50
"""Names listed in one problem; a plan may have 5 000."""
_MOST_COMPARED: Final = 5_000_000
"""Pairs of characters compared per check in search of a near name: about a second at worst."""


@dataclass(slots=True)
class Findings:
    """Errors and warnings in the order they were found."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _compared: int = 0
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

    def nearest(self, wrong: str, options: Iterable[str], show: Callable[[str], str] = repr) -> str:
        """``Did you mean 'right'?`` where one of the options is near, else ``""``."""
        names = list(options)
        folded = {_fold(name): name for name in reversed(names)}
        near = folded.get(_fold(wrong))
        if near is None and len(wrong) <= 200:
            self._compared += len(wrong) * sum(map(len, names))
            if self._compared <= _MOST_COMPARED:
                near = next(iter(difflib.get_close_matches(wrong, names, 1)), None)
        return f"Did you mean {show(near)}?" if near is not None else ""


def _fold(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()


def listed(names: Iterable[str], most: int = 8) -> str:
    """``'a', 'b' and 3 more``; ``none`` for nothing."""
    every = list(names)
    text = ", ".join(repr(name) for name in every[:most])
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return (text + more) or "none"
