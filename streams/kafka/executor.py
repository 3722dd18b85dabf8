"""The executor: takes work records, runs their steps, appends outcomes, commits what is acknowledged.

    consumer (group of the queue) -> Feed -> fresh? -> Calls -> outcome -> the run's log -> commit
                                          -> not sure -> Gate: log check, durable start, first claim -> Calls

User code runs on the tool host's threads, never on this loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import pydantic_core
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from ...errors import BrokerError, JournalError
from ...tools.call import CallError
from ...tools.registry import ToolRegistry
from ...values import NotJson
from ..core.events import Event
from ..executor import Ready
from ..metrics import Metrics
from .broker_clock import BrokerClock
from .calls import Calls, Running
from .cancels import Cancels
from .dead_letter import DeadLetters
from .feed import Feed
from .gate import Gate
from .reader import FetchedRecord, Reader
from .records import HeaderMaker, Record, Work, decode_record, encode_small, trace_in, trace_of
from .settings import Settings
from .values import ValueStore
from .writer import Writer

log = logging.getLogger(__name__)

_UNREADABLE: Final = (NotJson, LookupError, TypeError, ValueError, AttributeError)
"""What reading a record that is no work may raise."""
MOST_BEGUN: Final = 50_000
"""Steps that are remembered as taken; a copy of the work of an older one is run only if its ``seen`` is the newest."""


class Executor:
    """Runs the steps of some queues: ``start``, ``run`` until cancelled, ``drain``, ``stop``."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: Writer,
        clock: BrokerClock,
        registry: ToolRegistry,
        dead_letters: DeadLetters,
        metrics: Metrics,
    ) -> None:
        self._settings, self._writer, self._registry = settings, writer, registry
        self._dead_letters, self._metrics = dead_letters, metrics
        self._topics = settings.topics
        self._headers = HeaderMaker(settings.topics)
        self._reader = Reader(settings.connection)
        self._values = ValueStore(writer, Reader(settings.connection), settings.topics)
        self.calls = Calls(settings, joins=registry.joins, clock=clock, append=self._append, metrics=metrics)
        self._gate = Gate(self._reader, self._topics.events, self.calls, self._put_starts)
        self._feeds = [
            Feed(settings, self._topics.node_ready(queue), f"executor.{queue}", clock, self._revoked, "earliest")
            for queue in settings.queues
        ]
        self._seen: dict[tuple[str, int, int], int] = {}
        """(topic, partition, log partition) -> newest ``seen``: what is older comes from a scheduler of the past."""
        self._partitions = 0
        self._begun: set[int] = set()
        self._begun_before: set[int] = set()
        """Hashes of (step, attempt, delivery) that were taken here: the newest, and as many before them."""
        self._loading = 0
        """Work records whose inputs are being fetched from beside them, or made by users' joins."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancels = Cancels(settings, self.calls.cancel_before)

    async def start(self) -> None:
        """Join the groups of the queues."""
        self._partitions = await self._writer.partitions(self._topics.events)
        self.calls.start()
        await self._cancels.start()
        for feed in self._feeds:
            await feed.start()

    def reading(self) -> list[tuple[Any, set[TopicPartition]]]:
        """The consumers, each with the partitions it takes records from."""
        return [feed.reading() for feed in self._feeds]

    async def run(self) -> None:
        """Take work until cancelled."""
        tasks = [asyncio.ensure_future(self._take_for_ever(feed)) for feed in self._feeds]
        tasks += [asyncio.ensure_future(work) for work in (self._tick(), self._gate.run(), self._cancels.run())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _take_for_ever(self, feed: Feed) -> None:
        while True:
            room = self._settings.concurrency - len(self.calls.running) - self._loading
            if room <= 0:
                self.calls.room.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.calls.room.wait(), 1.0)
                continue
            for record in await feed.take(room):
                self._take(feed, record)
            self._metrics.steps_in_flight(len(self.calls.running))

    async def _tick(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(min(self._settings.commit_s, self._settings.hold_after_s / 2))
            self.calls.hold_long()
            if time.monotonic() - last >= self._settings.commit_s:
                last = time.monotonic()
                for feed in self._feeds:
                    await feed.commit()

    # --- one record -----------------------------------------------------------------------------------------------

    def _take(self, feed: Feed, record: FetchedRecord) -> None:
        finished = partial(feed.finished, record)
        try:
            made = decode_record(record.value)
            if made.get("large"):
                self._load_beside(self._take_large(feed, record, made, finished))
                return
            work = self._work(made)
        except _UNREADABLE as error:
            self._spawn(self._dead(record, error, finished))
            return
        self._begin(feed, record, work, finished)

    async def _take_large(
        self, feed: Feed, record: FetchedRecord, made: dict[str, Any], finished: Callable[[], None]
    ) -> None:
        self._values.heard(record.headers)
        try:
            for pointer, place in made["large"].items():
                made[pointer.removeprefix("/")] = _from_json(await self._load(str(place["sha256"])))
            work = self._work(made)
        except JournalError as error:
            self._send_missing(record, made, error, finished)
            return
        except _UNREADABLE as error:
            await self._dead(record, error, finished)
            return
        if feed.has(record):  # it took its time
            self._begin(feed, record, work, finished)

    def _send_missing(
        self, record: FetchedRecord, made: dict[str, Any], error: JournalError, finished: Callable[[], None]
    ) -> None:
        """A value of the step is gone for good: that is its outcome, or its run would wait for ever."""
        try:
            work = self._work({**made, "inputs": {}, "joins": (), "variables": {}})
        except _UNREADABLE as wrong:
            self._spawn(self._dead(record, wrong, finished))
            return
        fact = self.calls.failure(work, error.code, error.message)
        self._send(work.log_partition, fact, trace_in(record.headers) or trace_of(work.step.run_id), finished)

    async def _load(self, sha: str) -> bytes:
        """A large value, asked for until a broker gives it. Raises JournalError when there is none."""
        while True:
            try:
                return (await self._values.load([sha]))[sha]
            except (KafkaError, BrokerError) as error:
                log.warning("a value of a step cannot be had: %r; trying again", error)
                await asyncio.sleep(0.5)

    def _work(self, made: dict[str, Any]) -> Work:
        work = Work.of(made)
        if work.log_partition >= self._partitions:
            raise ValueError(f"logPartition is {work.log_partition} of {self._partitions}")
        return work

    async def _dead(self, record: FetchedRecord, error: Exception, finished: Callable[[], None]) -> None:
        await self._dead_letters.put(record, "UNREADABLE_WORK", repr(error))
        finished()

    def _begin(self, feed: Feed, record: FetchedRecord, work: Work, finished: Callable[[], None]) -> None:
        tool = self._registry.get(work.step.tool_id)
        if tool is None:
            self._refuse(record, work, "is not loaded in", finished)
            return
        trace = trace_in(record.headers) or trace_of(work.step.run_id)
        running = Running(work, tool, trace, finished, feed.looked)
        running.again = partial(self._again, feed, record)
        if self.calls.joins_in_python(work):
            self._load_beside(self._join_first(feed, record, running))
        else:
            self._take_on(feed, record, running, self.calls.ready(work, tool))

    async def _join_first(self, feed: Feed, record: FetchedRecord, running: Running) -> None:
        """Users' joins run on a thread, as tools do: one that blocks keeps nobody else waiting."""
        ready = await self.calls.joined(running.work, running.tool)
        if feed.has(record):  # it took its time
            self._take_on(feed, record, running, ready)

    def _refuse(self, record: FetchedRecord, work: Work, lacks: str, finished: Callable[[], None]) -> None:
        step, queue = work.step, self._topics.queue_of(record.topic)
        why = (
            f"tool {step.tool_id} {lacks} a worker of queue {queue}: all workers of a queue need the same tools; "
            "start it again with them, then resume (or give the tool a queue of its own)"
        )
        log.warning("step %s of run %s is refused: %s", step.node_id, step.run_id, why)
        trace = trace_in(record.headers) or trace_of(step.run_id)
        self._send(work.log_partition, self.calls.refusal(work, why), trace, finished)

    def _take_on(self, feed: Feed, record: FetchedRecord, running: Running, ready: Ready | CallError) -> None:
        work, step, finished = running.work, running.work.step, running.finished
        if not self.calls.fits(running, ready):
            self._refuse(record, work, "does not take these inputs any more in", finished)
            return
        if self._cancels.covers(work):
            finished()
            return
        present = self.calls.running.get(running.place)
        if present is not None:
            anew = step.delivery > present.work.step.delivery and not present.called  # the log says that it was lost
            if present.work.step.attempt == step.attempt and not anew:
                present.finished = _both(present.finished, finished)
                if present.claim is not None:
                    finished()
                return
            if step.attempt < present.work.step.attempt:  # a copy that came late, or was given out again
                finished()
                return
            self.calls.cancel(running.place)
        if not self.calls.prepare(running, ready):
            return
        self.calls.running[running.place] = running
        first, newest = self._is_first(running), self._is_newest(record, work)
        sure = feed.is_fresh(record) and not work.again and newest and first
        if sure and not step.held and step.delivery == 1:
            self.calls.call(running)
        else:
            self._gate.submit(running, check=not sure)

    def _again(self, feed: Feed, record: FetchedRecord, running: Running) -> None:
        """This process stood still between taking a step and calling it: the log tells whether it is to be done."""
        log.warning("stood still before step %s of run %s was called; looking into its log", *running.place[1::-1])
        if feed.has(record):
            self._gate.submit(running, check=True)
        else:
            self.calls.running.pop(running.place, None)

    def _is_first(self, running: Running) -> bool:
        """Its work was not taken here before: a record may stand in the topic twice, and its step may have ended."""
        step = running.work.step
        key = hash((running.place, step.attempt, step.delivery))  # of two that collide the second is looked up
        if key in self._begun or key in self._begun_before:
            return False
        self._begun.add(key)
        if len(self._begun) >= MOST_BEGUN:
            self._begun, self._begun_before = set(), self._begun
        return True

    def _is_newest(self, record: FetchedRecord, work: Work) -> bool:
        key = (record.topic, record.partition, work.log_partition)
        newest = self._seen.get(key, -1)
        if work.seen < newest:
            return False
        self._seen[key] = work.seen
        return True

    # --- into the log -------------------------------------------------------------------------------------------------

    def _append(self, running: Running, fact: Event, then: Callable[[], None] | None) -> None:
        self._send(running.work.log_partition, fact, running.trace, then)

    def _send(self, partition: int, fact: Event, trace: str, then: Callable[[], None] | None) -> None:
        encoded = encode_small(fact)
        headers = self._headers.of(fact, trace)
        record = Record(self._topics.events, partition, fact.run_id.encode(), encoded.record, headers)
        if encoded.values:
            self._spawn(self._send_large(record, encoded.values, then))
        else:
            self._writer.append(record, _then(then))

    async def _send_large(self, record: Record, values: dict[str, bytes], then: Callable[[], None] | None) -> None:
        headers = [*record.headers, *await self._values.store(values)]
        self._writer.append(record._replace(headers=headers), _then(then))

    async def _put_starts(self, starts: list[Running]) -> list[int]:
        """Append the starts of held steps; their offsets."""
        records = []
        for running in starts:
            fact = self.calls.start_fact(running)
            headers = self._headers.of(fact, running.trace)
            key = fact.run_id.encode()
            self._metrics.step_held()
            records.append(
                Record(self._topics.events, running.work.log_partition, key, encode_small(fact).record, headers)
            )
        made = [running.asked for running in starts]
        offsets = await self._writer.put(records)
        for running, asked in zip(starts, made, strict=True):
            self.calls.renewed(running, asked)
        return offsets

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _load_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """What a step needs is made ready beside the loop; it counts as one under way."""

        def loaded(_: object) -> None:
            self._loading -= 1
            self.calls.room.set()

        self._loading += 1
        self._spawn(work).add_done_callback(loaded)

    # --- giving up ----------------------------------------------------------------------------------------------------

    async def _revoked(self, feed: Feed) -> None:
        """Partitions are about to go: hold what runs, so that nobody starts it again, and commit past it.

        Holds and outcomes on their way are waited for: what the log does not say, another worker does again.
        """
        for running in list(self.calls.running.values()):
            if self.calls.can_be_held(running):
                self.calls.hold(running)
        ends = time.monotonic() + self._settings.session_s / 2
        while feed.pending > self.calls.waiting + self._loading and time.monotonic() < ends:  # noqa: ASYNC110 - a rebalance is rare
            await asyncio.sleep(0.01)
        await feed.commit()

    async def drain(self) -> None:
        """Hold what runs, leave the group, wait for what runs; what is left then goes to others."""
        for feed in self._feeds:
            await feed.leave()
        if self.calls.running:
            log.info("waits for %d steps, at most %g s", len(self.calls.running), self._settings.drain_s)
        await self.calls.idle(self._settings.drain_s)
        if left := [running.work.step for running in self.calls.running.values()]:
            named = ", ".join(f"{step.node_id} of run {step.run_id}" for step in left[:3])
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            log.warning(
                "%d steps did not end within %g s: %s%s. Others run them again; those that must not run twice wait as "
                "uncertain for `dynamicflow resolve`",
                *(len(left), self._settings.drain_s, named, more),
            )
        for running in list(self.calls.running.values()):
            self.calls.give_up(running)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
        await self._writer.flush(5)
        for feed in self._feeds:
            await feed.commit()

    async def stop(self) -> None:
        await self.calls.stop()
        for feed in self._feeds:
            await feed.stop()
        await self._cancels.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reader.close()
        await self._values.close()


def _from_json(body: bytes) -> Any:
    return pydantic_core.from_json(body)


def _then(then: Callable[[], None] | None) -> Any:
    if then is None:
        return None

    def acknowledged(offset: int, error: Exception | None) -> None:
        if error is None:
            then()

    return acknowledged


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        first()
        second()

    return both
