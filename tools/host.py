"""Runs users' code on threads of its own and blocks nobody: not its caller, and not other tools.

Async tools share an event loop (lanes.py), sync tools a pool (workers.py). One more thread, the watch, runs no users'
code: it ends calls at their deadline whatever they do, replaces a blocked loop, and lets queued calls begin in time.
Every submitted call has exactly one outcome; what it still does afterwards is ignored.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import UsageError
from .context import NotBegun, ToolCancelled, ToolTimeout
from .entry import Call, Delivered, Entry
from .lanes import Lane
from .limits import Gate
from .spec import Tool
from .workers import Workers

log = logging.getLogger(__name__)

_TICK_S: Final = 0.02
"""How often the watch looks while calls are under way; how late a timeout may be."""
_REST_S: Final = 0.5
"""How long it goes on looking when nothing is under way: to be woken for every call costs more than to look."""
_SCAN_S: Final = 1.0
"""How often it reads all deadlines, when none is nearer."""

__all__ = ["Call", "Delivered", "ToolHost"]


class ToolHost:
    """``deliver`` receives outcomes in batches, on the host's threads; it must be quick and safe to call from any.

    Limits (``concurrency_limit``, ``rate_limit``) hold for all calls of a tool id on this host. Time in a queue does
    not count against the timeout.
    """

    def __init__(
        self,
        deliver: Callable[[list[Delivered]], object],
        *,
        threads: int = 32,
        may_begin: Callable[[Any], bool] | None = None,
    ) -> None:
        """``may_begin`` is asked with a call's token right before the function is called, on the host's threads; one
        that may not ends with NotBegun.
        """
        self._deliver, self._may_begin = deliver, may_begin
        self._open: dict[Entry, Entry] = {}
        self._tokens: dict[Any, Entry] = {}
        self._outbox: deque[Delivered] = deque()
        self._gates: dict[str, Gate[Entry]] = {}
        self._blocking: set[str] = set()
        """Ids of async tools that have blocked an event loop."""
        self._workers = Workers(self, threads)
        self._lane: Lane | None = None
        self._old_lanes: list[Lane] = []
        self._lanes_lock = threading.Lock()
        self._next_scan = math.inf
        self._bell = threading.Event()
        self._resting = False
        self._closing = False
        self._drained = threading.Event()
        self._watch = threading.Thread(target=self._keep_watch, name="dynamicflow-tools-watch", daemon=True)

    def start(self) -> None:
        """After this calls can be submitted."""
        self._lane = Lane(self)
        self._watch.start()

    def submit(self, calls: Sequence[Call]) -> None:
        """Queues the calls in their order; their inputs are copied. Raises UsageError when the host is not running."""
        if self._closing or self._lane is None:
            raise UsageError("USAGE", "this tool host is not running; calls go between start() and close()")
        plain: list[Entry] = []
        gated: dict[str, list[Entry]] = {}
        for call in calls:
            entry = Entry(call)
            self._open[entry] = entry
            self._tokens[call.token] = entry
            spec = call.tool.spec
            if spec.concurrency_limit is None and spec.rate_limit is None:
                plain.append(entry)
            else:
                gated.setdefault(spec.id, []).append(entry)
        self._dispatch(plain)
        for entries in gated.values():
            self._gate(entries[0].call.tool).enter(entries, time.monotonic())
        if self._resting:
            self._bell.set()

    def cancel(self, token: Any) -> None:
        """The call of that token ends with ToolCancelled; a call that has ended, or is unknown, is left alone.

        An async tool is cancelled; a sync tool sees ``context.cancelled``.
        """
        entry = self._tokens.get(token)
        if entry is not None and self.settle(entry, ToolCancelled("the call was cancelled")):
            self._stop(entry)
            self._bell.set()

    def close(self, timeout: float = 5.0) -> None:
        """Waits up to ``timeout`` seconds for what runs, cancels the rest, ends the threads. Stuck ones stay.

        Blocks; not for an event loop's thread. A second time does nothing.
        """
        if self._closing or self._lane is None:
            self._closing = True
            return
        self._closing = True
        self._bell.set()
        if self._open:
            self._drained.wait(timeout)
        for entry in list(self._open):
            if self.settle(entry, ToolCancelled("the tool host was closed")):
                self._stop(entry)
        self._drained.set()
        self._bell.set()
        with self._lanes_lock:
            lanes = [self._lane, *self._old_lanes]
        for lane in lanes:
            lane.stop()
        self._workers.stop()
        self.flush()
        ends = time.monotonic() + 1.0
        for thread in [self._watch, *(lane.thread for lane in lanes), *list(self._workers.threads)]:
            if thread is not threading.current_thread():
                thread.join(max(0.0, ends - time.monotonic()))

    # -- what lanes and workers tell (entry.Supervisor)

    def begin(self, entry: Entry) -> bool:
        call = entry.call
        now = time.monotonic()
        seconds = call.timeout_s if call.timeout_s is not None else call.tool.spec.timeout_ms / 1000
        entry.deadline = call.context.deadline = min(call.context.deadline, now + seconds)
        entry.began_wall = time.time()
        entry.began = now
        if entry.deadline < self._next_scan:
            self._next_scan = entry.deadline
        if self._may_begin is not None and not self._may_begin(call.token):
            self.settle(entry, NotBegun())
            return False
        return entry in self._open  # asked after `began` is set: whoever settles meanwhile sees that it runs

    def settle(self, entry: Entry, outcome: Any) -> bool:
        call = entry.call
        now = time.monotonic()
        if self._open.pop(entry, None) is None:
            return False
        if self._tokens.get(call.token) is entry:
            self._tokens.pop(call.token, None)
        began = entry.began or now
        self._outbox.append(Delivered(call, outcome, entry.began_wall or time.time(), (now - began) * 1000))
        gate = self._gates.get(call.tool.spec.id)
        if gate is not None:
            gate.leave(entry, now)
        return True

    def is_open(self, entry: Entry) -> bool:
        return entry in self._open

    def flush(self) -> None:
        batch: list[Delivered] = []
        with contextlib.suppress(IndexError):
            while True:
                batch.append(self._outbox.popleft())
        if batch:
            try:
                self._deliver(batch)
            except Exception:  # the threads of the host outlive a fault of its owner
                log.exception("outcomes of %d calls could not be delivered", len(batch))
        if self._closing and not self._open:
            self._drained.set()

    # -- inside

    def _gate(self, tool: Tool) -> Gate[Entry]:
        gate = self._gates.get(tool.spec.id)
        if gate is None:
            made: Gate[Entry] = Gate(tool.spec, self._dispatch, self.is_open)
            gate = self._gates.setdefault(tool.spec.id, made)
        return gate

    def _dispatch(self, entries: Sequence[Entry]) -> None:
        asynchronous: list[Entry] = []
        threaded: list[Entry] = []
        for entry in entries:
            tool = entry.call.tool
            (asynchronous if tool.is_async and tool.spec.id not in self._blocking else threaded).append(entry)
        if asynchronous:
            with self._lanes_lock:
                if self._lane is not None:
                    self._lane.add(asynchronous)
        if threaded:
            self._workers.add(threaded)

    def _stop(self, entry: Entry) -> None:
        """Tells a call whose outcome is settled that nobody waits for it any more."""
        entry.call.context.cancel()
        if not entry.began:
            return
        loop, task = entry.loop, entry.task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                loop.call_soon_threadsafe(task.cancel)
        self._workers.abandon(entry)

    # -- the watch

    def _keep_watch(self) -> None:
        rests_from = 0.0
        while not (self._closing and self._drained.is_set()):
            if self._open:
                rests_from = time.monotonic() + _REST_S
            if self._open or (time.monotonic() < rests_from and not self._closing):
                self._bell.wait(_TICK_S)
            else:
                self._resting = True
                if not self._open and not self._closing:
                    self._bell.wait()
                self._resting = False
            self._bell.clear()
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._next_scan:
            self._end_overdue(now)
        self._look_at_lanes()
        self._workers.look()
        for gate in list(self._gates.values()):
            gate.admit(now)
        self.flush()

    def _end_overdue(self, now: float) -> None:
        self._next_scan = math.inf
        soonest = now + _SCAN_S
        for entry in list(self._open):
            if entry.deadline <= now:
                self._end(entry)
            else:
                soonest = min(soonest, entry.deadline)
        self._next_scan = min(soonest, self._next_scan)

    def _end(self, entry: Entry) -> None:
        seconds = entry.deadline - entry.began
        said = f"{entry.call.tool.spec.id} did not end within its limit of {seconds:.6g} s"
        if self.settle(entry, ToolTimeout(said, code="TIMEOUT")):
            self._stop(entry)

    def _look_at_lanes(self) -> None:
        lane = self._lane
        if lane is not None and not self._closing and lane.look():
            self._replace(lane)
        for old in [old for old in self._old_lanes if old.idle]:
            old.stop()
            self._old_lanes.remove(old)

    def _replace(self, lane: Lane) -> None:
        culprit = lane.culprit
        if culprit is not None:
            self._blocking.add(culprit.call.tool.spec.id)
        said = f"the async tool {culprit.call.tool.spec.id}" if culprit is not None else "an async tool"
        log.warning("%s blocks its event loop; other tools go on in a new one (make it sync, or await)", said)
        with self._lanes_lock:
            self._old_lanes.append(lane)
            self._lane = Lane(self)
            moved = lane.steal()
        self._dispatch(moved)
