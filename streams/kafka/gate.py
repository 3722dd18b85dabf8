"""Before a step is called that somebody else may have started: log check, durable start, first claim. In batches.

One pass over a log partition serves every step that waits. The rules are in ``log_check.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from aiokafka.errors import KafkaError

from ...errors import DynamicFlowError
from .calls import Calls, Running
from .log_check import LogView, Wanted
from .reader import Reader

log = logging.getLogger(__name__)

SUSPECT_FROM: Final = 3
"""Delivery of an attempt from which a step is run with no other suspect beside it."""
LOOK_S: Final = 0.1
"""How often it is looked whether the suspect under way has ended."""
SLOW_S: Final = 0.5
"""A pass that takes longer met a log that was away: whoever called a step before may live, its outcome on its way."""
GRACE_S: Final = 1.0
"""How long such outcomes are waited for: twice what a writer pauses between two tries, and as much again."""

PutStarts: TypeAlias = "Callable[[list[Running]], Awaitable[list[int]]]"


class Gate:
    """Lets steps through to their calls, or says that there is nothing to be done."""

    def __init__(self, reader: Reader, topic: str, calls: Calls, put_starts: PutStarts) -> None:
        self._reader, self._topic, self._calls, self._put_starts = reader, topic, calls, put_starts
        self._waiting: list[tuple[Running, bool]] = []
        self._bell = asyncio.Event()
        self._suspect: Running | None = None
        """The one step under way whose earlier deliveries took their executors with them, perhaps."""
        self.checked = self.dropped = 0

    def submit(self, running: Running, *, check: bool) -> None:
        """``check``: it may have been started or have ended before. Without it only the claim is decided."""
        self._waiting.append((running, check))
        self._bell.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), LOOK_S if self._waiting else None)
            self._bell.clear()
            batch = self._next()
            if not batch:
                continue
            try:
                await self._serve(batch)
            except (KafkaError, DynamicFlowError) as error:
                log.warning("the log cannot be looked up: %s; trying again", error)
                self._waiting = [
                    (running, True) for running, _ in batch if self._calls.running.get(running.place) is running
                ] + self._waiting
                await asyncio.sleep(0.5)
                self._bell.set()

    def _next(self) -> list[tuple[Running, bool]]:
        """What is to be served now: everything but suspects, of which there is one at a time.

        A step that kills its process takes the claims of those beside it with it. Lost twice, it is a suspect; alone,
        it can be lost a third time without others being counted as lost with it.
        """
        waiting, self._waiting = self._waiting, []
        if self._suspect is not None and self._calls.running.get(self._suspect.place) is not self._suspect:
            self._suspect = None
        batch = []
        for running, check in waiting:
            if running.work.step.delivery < SUSPECT_FROM or running is self._suspect:
                batch.append((running, check))
            elif self._suspect is None:
                self._suspect = running
                batch.append((running, check))
            else:
                self._waiting.append((running, check))
        return batch

    async def _serve(self, batch: list[tuple[Running, bool]]) -> None:
        batch = [(running, check) for running, check in batch if self._calls.running.get(running.place) is running]
        began = time.monotonic()
        views: dict[int, tuple[LogView, int]] = {}
        """Log partition -> (what was read, up to where)."""
        for partition in {running.work.log_partition for running, _ in batch}:
            here = [(running, check) for running, check in batch if running.work.log_partition == partition]
            view = LogView(_wanted(running) for running, _ in here)
            start = min(running.work.since for running, _ in here)
            if any(check for _, check in here):
                first, end = await self._reader.bounds(self._topic, partition)
                start = await self._feed(view, partition, max(start, first), end)
            views[partition] = (view, start)
        going = [
            running
            for running, check in batch
            if not (check and self._is_taken(views[running.work.log_partition][0], running))
        ]
        going = [running for running in going if self._calls.running.get(running.place) is running]
        if not going:
            return
        offsets = await self._put_starts(going)
        for partition, (view, start) in views.items():
            ends = [
                offset
                for running, offset in zip(going, offsets, strict=True)
                if running.work.log_partition == partition
            ]
            if ends:
                end = max(ends) + 1
                if min(ends) < 0:  # the brokers had it already, and do not say where
                    end = (await self._reader.bounds(self._topic, partition))[1]
                start = await self._feed(view, partition, start, end)
                views[partition] = (view, start)
        if time.monotonic() - began > SLOW_S and any(check for _, check in batch):
            await asyncio.sleep(GRACE_S)
            for partition, (view, start) in views.items():
                await self._feed(view, partition, start, (await self._reader.bounds(self._topic, partition))[1])
        for running in going:
            self._decide(views[running.work.log_partition][0], running)

    async def _feed(self, view: LogView, partition: int, start: int, end: int) -> int:
        async for records in self._reader.read(self._topic, partition, start, end):
            view.feed(records)
        return max(start, end)

    def _is_taken(self, view: LogView, running: Running) -> bool:
        """The step has ended, or somebody holds it: there is nothing to be done here."""
        self.checked += 1
        wanted = _wanted(running)
        holder = view.holder(wanted)
        if view.settled(wanted) or (holder is not None and holder != running.claim):
            self._drop(running)
            return True
        return False

    def _decide(self, view: LogView, running: Running) -> None:
        if self._calls.running.get(running.place) is not running:
            return
        wanted = _wanted(running)
        if view.settled(wanted) or view.holder(wanted) != running.claim:
            self._drop(running)
        elif not self._calls.lease_holds(running):
            self.submit(running, check=False)  # the brokers took their time: the same claim, renewed, once more
        else:
            running.finished()  # it is held: the record needs nothing more
            self._calls.call(running)

    def _drop(self, running: Running) -> None:
        self.dropped += 1
        if self._calls.running.get(running.place) is running:  # a newer attempt may have taken its place
            del self._calls.running[running.place]
        running.finished()


def _wanted(running: Running) -> Wanted:
    step = running.work.step
    return Wanted(running.place, step.attempt, step.delivery, running.work.since)
