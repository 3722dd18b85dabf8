"""Planner workers: take requests that need a plan, ask the planner, append its answer to the log of the run.

The first answer in the log wins, so a request that is planned twice costs a question to a model, nothing else; a record
that may have been answered before is looked up first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any, Final

import pydantic_core
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from ...errors import BrokerError, JournalError, PlanningFailed
from ...values import NotJson, stamp
from ..core.commands import Plan
from ..core.events import PlanningFailed as PlanningFailedFact
from ..core.events import PlanPublished
from ..metrics import Metrics
from ..planning import failed, plan_run, tenant_of
from .broker_clock import BrokerClock
from .catalog import Catalog
from .dead_letter import DeadLetters
from .feed import Feed
from .reader import FetchedRecord, Reader
from .records import (
    PLAN_WORK,
    HeaderMaker,
    Record,
    decode_record,
    encode_small,
    header,
    trace_in,
    trace_of,
)
from .settings import Settings
from .values import ValueStore
from .writer import Writer

log = logging.getLogger(__name__)

_UNREADABLE: Final = (NotJson, LookupError, TypeError, ValueError, AttributeError)
"""What reading a record that is no work may raise."""
LOOK_S: Final = 0.1
"""How often it is looked whether a run is still being planned here."""
AGAIN_S: Final = 0.5
"""Between two tries while no broker answers."""
_ANSWERS: Final = frozenset({b"plan-published", b"planning-failed", b"flow-complete", b"cancel-requested"})


class PlannerWorker:
    """``start``, ``run`` until cancelled, ``drain``, ``stop``."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: Writer,
        clock: BrokerClock,
        catalog: Catalog,
        dead_letters: DeadLetters,
        metrics: Metrics,
    ) -> None:
        self._settings, self._writer, self._clock, self._catalog = settings, writer, clock, catalog
        self._dead_letters, self._metrics = dead_letters, metrics
        self._topics = settings.topics
        self._headers = HeaderMaker(settings.topics)
        self._reader = Reader(settings.connection)
        self._values = ValueStore(writer, Reader(settings.connection), settings.topics)
        self._feed = Feed(settings, self._topics.plan_ready, "planner", clock, self._revoked)
        self._tasks: set[asyncio.Task[None]] = set()
        self._planning: set[str] = set()

    async def start(self) -> None:
        await self._feed.start()

    def reading(self) -> list[tuple[Any, set[TopicPartition]]]:
        """The consumers, each with the partitions it takes records from."""
        return [self._feed.reading()]

    async def run(self) -> None:
        """Plan until cancelled."""
        committing = asyncio.ensure_future(self._commit_for_ever())
        try:
            while True:
                room = self._settings.planning_concurrency - len(self._tasks)
                if room <= 0:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                    continue
                for record in await self._feed.take(room):
                    task = asyncio.ensure_future(self._serve(record))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            committing.cancel()

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_s)
            await self._feed.commit()

    async def _serve(self, record: FetchedRecord) -> None:
        """Answer a request for a plan, however long the brokers are away: nobody else would."""
        while True:
            try:
                await self._serve_once(record)
            except (KafkaError, BrokerError) as error:
                log.warning("planning is held up: %s; trying again", error)
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _serve_once(self, record: FetchedRecord) -> None:
        try:
            made = decode_record(record.value)
            PLAN_WORK.check({**made, "request": made["request"] or {}})
            run_id, partition = made["runId"], made["logPartition"]
            if partition >= await self._writer.partitions(self._topics.events):
                raise ValueError(f"logPartition is {partition}")
            sha = None if made["request"] is not None else str(made["large"]["/request"]["sha256"])
        except _UNREADABLE as error:
            await self._dead_letters.put(record, "UNREADABLE_WORK", repr(error))
            self._feed.finished(record)
            return
        request, lost = made["request"], None
        if sha is not None:
            self._values.heard(record.headers)
            try:
                request = pydantic_core.from_json((await self._values.load([sha]))[sha])
            except JournalError as error:  # gone for good: that is the answer, or its run would wait for ever
                request, lost = {}, PlanningFailed(error.code, error.message)
            except ValueError as error:
                request, lost = {}, PlanningFailed("VALUE_MISSING", f"the value {sha} is no JSON: {error}")
        sure = self._feed.is_fresh(record) and not made["again"]
        while run_id in self._planning:  # a copy, or the partition came back: it needs this answer to be in the log
            sure = False
            await asyncio.sleep(LOOK_S)
        if not self._feed.has(record):  # the answer was acknowledged meanwhile, or others have the partition
            return
        self._planning.add(run_id)
        try:
            if not sure and await self._is_answered(run_id, partition, made["since"]):
                self._feed.finished(record)
                return
            await self._answer(record, Plan(run_id, request), partition, lost)
        finally:
            self._planning.discard(run_id)

    async def _answer(self, record: FetchedRecord, command: Plan, partition: int, lost: PlanningFailed | None) -> None:
        """``lost``: why it cannot be planned at all."""
        began = time.monotonic()
        fact: PlanPublished | PlanningFailedFact
        try:
            if lost is not None:
                raise lost
            await self._catalog.refresh()  # a tool may have been told of a moment ago
            while not self._catalog.specs and await self._catalog.more_may_come():
                continue
            fact = await plan_run(command, self._catalog.specs, self._catalog.joins, self._clock)
        except PlanningFailed as error:
            fact = self._failure(command, error)
        except (KafkaError, BrokerError):
            raise
        except Exception as error:  # a fault of ours or of a planner: the run ends with it, and does not wait for ever
            log.exception("run %s could not be planned", command.run_id)
            fact = self._failure(command, PlanningFailed("INTERNAL", f"the planner failed: {error!r}"))
        published = isinstance(fact, PlanPublished)
        attempts = fact.attempts if isinstance(fact, PlanPublished) else len(fact.tried) or None
        self._metrics.plan_made("published" if published else "failed", time.monotonic() - began, attempts)
        trace = trace_in(record.headers) or trace_of(command.run_id)
        encoded = encode_small(fact)
        headers = [*self._headers.of(fact, trace), *await self._values.store(encoded.values)]
        self._writer.append(
            Record(self._topics.events, partition, command.run_id.encode(), encoded.record, headers),
            partial(self._appended, record),
        )

    def _failure(self, command: Plan, error: PlanningFailed) -> PlanningFailedFact:
        return failed(command.run_id, error, stamp(self._clock.now_ms()), tenant=tenant_of(command.request))

    def _appended(self, record: FetchedRecord, offset: int, error: Exception | None) -> None:
        if error is None:
            self._feed.finished(record)

    async def _is_answered(self, run_id: str, partition: int, since: int) -> bool:
        first, end = await self._reader.bounds(self._topics.events, partition)
        key = run_id.encode()
        async for batch in self._reader.read(self._topics.events, partition, max(since, first), end):
            if any(record.key == key and header(record.headers, "ce_type") in _ANSWERS for record in batch):
                return True
        return False

    async def _revoked(self, feed: Feed) -> None:
        await feed.commit()

    async def drain(self) -> None:
        """Take nothing more; what is being planned may end."""
        self._feed.stop_taking()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=self._settings.drain_s)
        await self._writer.flush(5)
        await self._feed.commit()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._feed.stop()
        await self._reader.close()
        await self._values.close()
