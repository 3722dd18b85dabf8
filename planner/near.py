"""The right name that is nearest to a wrong one. A plan may have thousands of both, so there is a budget."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

_BUDGET: Final = 5_000_000
"""Pairs of characters compared for one plan: about a second at worst."""
_LONGEST: Final = 100
"""Characters of a wrong name that are looked at."""
_MOST_NAMES: Final = 2_000


@dataclass(slots=True)
class NearNames:
    """Looks for near names on behalf of one plan, until its budget is used up."""

    _left: int = _BUDGET

    def find(self, wrong: str, names: Collection[str]) -> str | None:
        """The name that is the same but for case, ``_`` and ``-``, else the one written most alike; None: none is."""
        size = sum(map(len, names))
        self._left -= size
        if self._left <= 0:
            return None
        if (same := _same(wrong, names)) is not None:
            return same
        if len(wrong) > _LONGEST or self._left < len(wrong) * size:
            return None
        self._left -= len(wrong) * size
        return next(iter(difflib.get_close_matches(wrong, names, 1)), None)


def nearest(wrong: str, names: Sequence[str]) -> list[str]:
    """Up to three of the names that are written much like ``wrong``, nearest first."""
    same = _same(wrong, names)
    near = difflib.get_close_matches(wrong[:_LONGEST], names, 3) if len(names) <= _MOST_NAMES else []
    return [same, *(name for name in near if name != same)][:3] if same is not None else near


def _same(wrong: str, names: Collection[str]) -> str | None:
    folded = _fold(wrong)
    return next((name for name in names if _fold(name) == folded), None)


def _fold(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()
