"""One run under way in this process: its state, who waits for it, what it has out."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ...values import LARGE_VALUE_BYTES, Json
from ..core.events import Event
from ..core.fold import ends_all
from ..core.state import RunState
from ..core.turn import Turn
from ..signal import Signal

if TYPE_CHECKING:
    from .journal import RunRow

INLINE_BUDGET: Final = 16 * 1024 * 1024
"""Bytes of records a run may write before its values over 16 KiB lie beside the log as well."""


@dataclass(slots=True, eq=False)
class Driven:
    """A run that this engine drives, or has driven to its end."""

    state: RunState
    row: RunRow
    changed: Signal = field(default_factory=Signal)
    """Something of it became durable."""
    settled: Signal = field(default_factory=Signal)
    """It ended, or came to stand still or to move again: what waits for a result has to look."""
    result: dict[str, Json] | None = None
    parked: str | None = None
    """Why it cannot go on here; it is taken up again when the journal is opened with what it lacks."""
    broken: bool = False
    """The fold could not go on: the state is that of the last good position, further facts are only kept."""
    turn: Turn | None = None
    """A fact whose consequences are still being worked off, a slice at a time."""
    later: deque[Event] = field(default_factory=deque)
    """Facts that became durable meanwhile."""
    told: frozenset[str] = frozenset()
    """Ids of announcements the log held when the run was taken up: they are not appended again."""
    inline_bytes: int = 0
    """Of the records written so far."""
    created: asyncio.Future[bool] | None = None
    """While its start is on the way to the disk: True when it is there, False when the id was taken."""

    def take(self, event: Event) -> None:
        """A fact became durable. One that ends the run does so even if facts before it could not be folded."""
        if self.broken and ends_all(event):
            self.later.clear()
            self.parked, self.broken, self.turn = None, False, None
        self.later.append(event)

    @property
    def run_id(self) -> str:
        return self.state.run_id

    @property
    def inline_limit(self) -> int:
        """Bytes above which a value lies beside the log: less once the run has filled its budget."""
        return LARGE_VALUE_BYTES if self.inline_bytes < INLINE_BUDGET else LARGE_VALUE_BYTES // 16

    @property
    def status(self) -> str:
        if self.parked is not None and self.state.end is None:
            return "parked"
        return self.state.public_status

    def moved(self, **fields: object) -> RunRow:
        """The index row, changed."""
        self.row = replace(self.row, **fields)  # type: ignore[arg-type]
        return self.row
