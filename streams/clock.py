"""Where time comes from. The core owns none: a clock stamps facts and says when a timer is due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps and timers."""

    virtual: bool
    """Moments pass only when ``advance_to`` is called, which the engine does when nothing else is left to do."""

    def now_ms(self) -> float:
        """Milliseconds since 1970, UTC."""

    def advance_to(self, ms: float) -> None:
        """Jump forward. Nothing happens on a clock that runs by itself."""


class SystemClock:
    """The machine's clock, never going backwards within this process."""

    virtual = False

    def __init__(self) -> None:
        self._last = 0.0

    def now_ms(self) -> float:
        self._last = max(self._last, time.time() * 1000)
        return self._last

    def advance_to(self, ms: float) -> None:
        """The machine's clock goes by itself."""


class VirtualClock:
    """A clock for tests: a wait of a day takes no time. Starts at ``start`` (2024-01-01 by default)."""

    virtual = True

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> None:
        self._ms = start.timestamp() * 1000

    def now_ms(self) -> float:
        return self._ms

    @property
    def now(self) -> datetime:
        """The moment it shows."""
        return datetime.fromtimestamp(self._ms / 1000, UTC)

    def advance(self, by: timedelta) -> None:
        """Jump forward by ``by``."""
        self.advance_to(self._ms + by.total_seconds() * 1000)

    def advance_to(self, ms: float) -> None:
        self._ms = max(self._ms, ms)
