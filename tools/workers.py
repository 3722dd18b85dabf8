"""Threads for sync tools, and for async tools that have blocked an event loop.

Trivial calls share one wake-up of one thread; a call that is slow, or of which nothing is known yet, gets a thread of
its own. The pool grows beyond its size while threads are stuck in calls whose outcome has been delivered, or while
nothing moves.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final

from .entry import Entry, Supervisor, returned

_QUICK_S: Final = 0.0005
"""A tool whose last call took less is called many times on one wake-up."""
_IDLE_S: Final = 10.0
"""A thread without work ends after this time."""
_STALLED_TICKS: Final = 10
"""Looks in a row with work waiting and nothing finished, until the pool grows."""
_GROWTH: Final = 8
_MOST_THREADS: Final = 512
_BATCH: Final = 64
"""Outcomes delivered together at most, while quick calls follow one another."""


class Workers:
    """A pool of daemon threads. Every method may be called from any thread."""

    def __init__(self, supervisor: Supervisor, size: int) -> None:
        self._supervisor = supervisor
        self._size = size
        self._queue: deque[Entry] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._stuck = 0
        self._closing = False
        self._finished = 0
        self._seen = 0
        self._stalled = 0
        self._quick: dict[str, bool] = {}
        self._unsent = 0
        self.threads: set[threading.Thread] = set()

    def add(self, entries: Sequence[Entry]) -> None:
        """Queues the entries in their order, and wakes or starts as many threads as it takes."""
        self._queue.extend(entries)
        slow = sum(1 for entry in entries if not self._quick.get(entry.call.tool.spec.id))
        self._hire(min(len(entries), slow + 1))

    def look(self) -> None:
        """One look of the watch, at every tick: is there work that nobody does?"""
        if not self._queue:
            self._stalled = 0
            return
        self._stalled = self._stalled + 1 if self._finished == self._seen else 0
        self._seen = self._finished
        if self._stalled >= _STALLED_TICKS:
            self._stalled = 0
            self._size = min(self._size + _GROWTH, _MOST_THREADS)
        self._hire(len(self._queue))

    def abandon(self, entry: Entry) -> None:
        """The entry has its outcome; if a thread is still in the call, another may take that one's place."""
        with self._lock:
            if entry.pooled:
                entry.abandoned = True
                self._stuck += 1

    def stop(self) -> None:
        """Threads end as soon as they are free."""
        with self._lock:
            self._closing = True
            for _ in self.threads:
                self._bell.put(None)

    def _hire(self, wanted: int) -> None:
        with self._lock:
            free = max(0, self._idle - self._bell.qsize())
            room = self._size + self._stuck - len(self.threads)
            new = max(0, min(wanted - free, room))
            for _ in range(min(wanted, free)):
                self._bell.put(None)
            for _ in range(new):
                thread = threading.Thread(target=self._work, name="dynamicflow-tools-pool", daemon=True)
                self.threads.add(thread)
                thread.start()

    def _work(self) -> None:
        while (entry := self._next()) is not None:
            self._call(entry)

    def _next(self) -> Entry | None:
        while True:
            try:
                return self._queue.popleft()
            except IndexError:
                self._flush()
            with self._lock:
                if self._queue:
                    continue
                if self._closing:
                    self._leave()
                    return None
                self._idle += 1
            rung = self._rung()
            with self._lock:
                self._idle -= 1
                if not rung and not self._queue:
                    self._leave()
                    return None

    def _leave(self) -> None:
        self.threads.discard(threading.current_thread())

    def _rung(self) -> bool:
        try:
            self._bell.get(timeout=_IDLE_S)
        except Empty:
            return False
        return True

    def _call(self, entry: Entry) -> None:
        call = entry.call
        tool = call.tool
        if self._unsent >= _BATCH or not self._quick.get(tool.spec.id):
            self._flush()
        if not self._supervisor.begin(entry):
            return
        entry.pooled = True
        try:
            outcome = tool.invoke(entry.inputs, call.context, call.mode)
            if hasattr(outcome, "__await__"):
                outcome = self._alone(entry, outcome)
            outcome = returned(outcome)
        except BaseException as error:  # SystemExit too: whatever a tool raises ends its call and nothing else
            outcome = error
        self._unsent += 1
        self._finished += 1
        self._quick[tool.spec.id] = time.monotonic() - entry.began < _QUICK_S
        if not self._supervisor.settle(entry, outcome):
            with self._lock:
                entry.pooled = False
                self._stuck -= entry.abandoned

    def _alone(self, entry: Entry, awaitable: Awaitable[Any]) -> Any:
        """The result of an awaitable, on an event loop of this thread."""

        async def main() -> Any:
            entry.loop, entry.task = asyncio.get_running_loop(), asyncio.current_task()
            if not self._supervisor.is_open(entry):
                raise asyncio.CancelledError
            return await awaitable

        with asyncio.Runner() as runner:
            return runner.run(main())

    def _flush(self) -> None:
        self._unsent = 0
        self._supervisor.flush()
