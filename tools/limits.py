"""How many calls of one tool may run, and begin in a window. First come, first served; nobody blocks while waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .spec import RateLimit, ToolSpec

T = TypeVar("T")


class Gate(Generic[T]):
    """The queue before a tool that has limits. ``release`` receives admitted entries in their order, under the lock."""

    def __init__(self, spec: ToolSpec, release: Callable[[list[T]], None], wanted: Callable[[T], bool]) -> None:
        self._concurrency = spec.concurrency_limit
        self._rate = Rate(spec.rate_limit) if spec.rate_limit is not None else None
        self._release = release
        self._wanted = wanted
        self._lock = threading.Lock()
        self._queue: deque[T] = deque()
        self._running: set[T] = set()

    def enter(self, entries: Iterable[T], now: float) -> None:
        """Queues the entries and admits what may begin at once."""
        with self._lock:
            self._queue.extend(entries)
            self._admit(now)

    def leave(self, entry: T, now: float) -> None:
        """The entry has an outcome: its place is free for the next."""
        with self._lock:
            self._running.discard(entry)
            self._admit(now)

    def admit(self, now: float) -> None:
        """Admits what the passing of time allows."""
        if self._queue:
            with self._lock:
                self._admit(now)

    def _admit(self, now: float) -> None:
        ready: list[T] = []
        while self._queue:
            if not self._wanted(self._queue[0]):  # cancelled while it waited
                self._queue.popleft()
                continue
            if self._concurrency is not None and len(self._running) >= self._concurrency:
                break
            if self._rate is not None and not self._rate.take(now):
                break
            entry = self._queue.popleft()
            self._running.add(entry)
            ready.append(entry)
        if ready:
            self._release(ready)


class Rate:
    """Counts beginnings against a RateLimit; ``now`` is in seconds and never goes back."""

    def __init__(self, limit: RateLimit) -> None:
        self._most = limit.max_calls
        self._window = limit.window_ms / 1000
        self._fixed = limit.strategy == "fixed"
        self._begun: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Counts one beginning, if the limit allows it at this moment."""
        oldest = now // self._window * self._window if self._fixed else now - self._window
        while self._begun and (self._begun[0] < oldest or (not self._fixed and self._begun[0] == oldest)):
            self._begun.popleft()
        if len(self._begun) >= self._most:
            return False
        self._begun.append(now)
        return True
