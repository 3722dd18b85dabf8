"""When timers are due. A heap beside one wake-up of the event loop; under a virtual clock the engine jumps instead."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from .clock import Clock

LONGEST_SLEEP_S = 30.0
"""Wake at least this often: the machine's clock may be set, or the machine may have slept."""
MOST_LEFT = 1000
"""Cancelled timers that may stay in the heap, beside as many as count."""


class Timers:
    """Timers of all runs, by run and name. Cancelled ones stay in the heap until they come up or are most of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, due: Callable[[str, str, str], None]) -> None:
        self._loop, self._clock, self._due = loop, clock, due
        self._heap: list[tuple[float, int, str, str, str]] = []
        self._current: dict[str, dict[str, int]] = {}
        """Run -> name -> serial of the entry in the heap that counts."""
        self._count = 0
        self._serial = 0
        self._handle: asyncio.TimerHandle | None = None

    def start(self, run_id: str, name: str, kind: str, due_ms: float) -> None:
        self._serial += 1
        timers = self._current.setdefault(run_id, {})
        self._count += name not in timers
        timers[name] = self._serial
        heapq.heappush(self._heap, (due_ms, self._serial, run_id, name, kind))
        if not self._clock.virtual and self._heap[0][1] == self._serial:
            self._arm()

    def cancel(self, run_id: str, name: str) -> None:
        timers = self._current.get(run_id)
        if timers is not None and timers.pop(name, None) is not None:
            self._count -= 1
            if not timers:
                del self._current[run_id]
            self._tidy()

    def drop(self, run_id: str) -> None:
        """Forget every timer of a run."""
        self._count -= len(self._current.pop(run_id, ()))
        self._tidy()

    def _counts(self, entry: tuple[float, int, str, str, str]) -> bool:
        _, serial, run_id, name, _ = entry
        return self._current.get(run_id, {}).get(name) == serial

    def _tidy(self) -> None:
        """Runs with a limit of days end within seconds: what they leave must not stay for days."""
        if len(self._heap) > 2 * self._count + MOST_LEFT:
            self._heap = [entry for entry in self._heap if self._counts(entry)]
            heapq.heapify(self._heap)

    def next_due_ms(self) -> float | None:
        """When the next timer is due; None when there is none."""
        while self._heap and not self._counts(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def fire(self) -> None:
        """Call ``due`` for every timer whose moment has come."""
        now = self._clock.now_ms()
        while (due := self.next_due_ms()) is not None and due <= now:
            _, _, run_id, name, kind = heapq.heappop(self._heap)
            self.cancel(run_id, name)
            self._due(run_id, name, kind)

    def jump(self) -> None:
        """Virtual time only: go to the next timer and fire it."""
        due = self.next_due_ms()
        if due is not None:
            self._clock.advance_to(due)
            self.fire()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._heap.clear()
        self._current.clear()
        self._count = 0

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        due = self.next_due_ms()
        if due is not None:
            wait = min(max(0.0, (due - self._clock.now_ms()) / 1000), LONGEST_SLEEP_S)
            self._handle = self._loop.call_later(wait, self._wake)

    def _wake(self) -> None:
        self._handle = None
        self.fire()
        self._arm()
