"""Intake: requests in, facts into the logs of their runs, dead letters for what is no request.

    consumer (read_committed) -> batches -> a Faust agent -> admission -> one append -> await the brokers -> commit

What is committed is acknowledged, every fact of it. Redelivered, it makes the same runs and the same ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, NoOffsetForPartitionError

from ...errors import BrokerError
from ..core.events import Event, FlowRequested, PlanningFailed
from ..metrics import Metrics
from ..requests import RequestInvalid, read_request
from .admission import Admission, Coordinates
from .broker_clock import BrokerClock
from .dead_letter import DeadLetters
from .reader import FetchedRecord
from .records import MOST_BYTES, HeaderMaker, Record, encode_small, header, partition_of, trace_of
from .settings import Settings
from .values import ValueStore
from .writer import Writer

log = logging.getLogger(__name__)

MOST: Final = 500
"""Requests of one batch."""
SLICE_S: Final = 0.01
"""How long admitting keeps the loop from everything else."""
GATHER_S: Final = 0.004
"""Between two batches: requests that come meanwhile share the cost of one."""
DRAIN_S: Final = 10.0
"""How long a batch may take to get through when the worker leaves; who comes next admits it to the same runs."""


class Intake:
    """Reads requests for its group and hands them on in batches."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: Writer,
        values: ValueStore,
        clock: BrokerClock,
        admission: Admission,
        dead_letters: DeadLetters,
        metrics: Metrics,
    ) -> None:
        self._settings, self._writer, self._values, self._clock = settings, writer, values, clock
        self._admission, self._dead_letters, self._metrics = admission, dead_letters, metrics
        self._topics = settings.topics
        self._headers = HeaderMaker(settings.topics)
        self._consumer: Any = None
        self._stopping = self._looked = False
        self._through: dict[TopicPartition, int] = {}
        """Partition -> the offset to commit."""
        self._committed = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Join the group."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.consumer_options("intake") | {"auto_offset_reset": "earliest"},
            isolation_level="read_committed",
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )
        self._consumer.subscribe([self._topics.requests], listener=_Listener(self))
        await self._consumer.start()

    def reading(self) -> list[tuple[Any, set[TopicPartition]]]:
        """The consumers, each with the partitions it takes records from."""
        return [(self._consumer, self._consumer.assignment())]

    async def feed(self, hand_on: Callable[[list[FetchedRecord]], Awaitable[None]]) -> None:
        """Hand batches to the agent, one after the other, until cancelled; what is through is committed."""
        self._idle.clear()
        try:
            while not self._stopping:
                await self._turn(hand_on)
        finally:
            self._idle.set()

    async def _turn(self, hand_on: Callable[[list[FetchedRecord]], Awaitable[None]]) -> None:
        try:
            fetched = await self._consumer.getmany(timeout_ms=200, max_records=MOST)
        except NoOffsetForPartitionError:
            return
        if fetched:
            self._clock.heard(max(records[-1].timestamp for records in fetched.values()))
            await hand_on([record for records in fetched.values() for record in records])
            self._through |= {place: records[-1].offset + 1 for place, records in fetched.items()}
            await asyncio.sleep(GATHER_S)
        if self._through and time.monotonic() - self._committed >= self._settings.commit_s:
            await self.commit()

    async def commit(self) -> None:
        """Commit what is through. Not after every batch: what is admitted again becomes the same runs."""
        through, self._through = self._through, {}
        self._committed = time.monotonic()
        if not through:
            return
        try:
            await self._consumer.commit(through)
        except (CommitFailedError, IllegalStateError):
            log.info("requests went to another worker meanwhile; it admits the same ones to the same runs")
        except KafkaError as error:
            self._through = through | self._through
            log.warning("committing requests: %r; trying again", error)

    async def drain(self) -> None:
        """Take nothing more; the batch that was taken gets through, unless no broker takes it."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), min(DRAIN_S, self._settings.drain_s))
        await self.commit()

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
        await self._values.close()

    # --- one batch ----------------------------------------------------------------------------------------------------

    async def admit(self, batch: list[FetchedRecord]) -> None:
        """Every request of the batch is a fact in the log of its run, or a dead letter, on return."""
        count = await self._writer.partitions(self._topics.events)
        accepted = 0
        records: list[Record] = []
        letters: list[tuple[FetchedRecord, RequestInvalid]] = []
        self._looked = False
        began = time.monotonic()
        for record in batch:
            try:
                facts = await self._facts(record)
            except RequestInvalid as error:
                letters.append((record, error))
                continue
            except (KafkaError, BrokerError):
                raise  # no broker answers: the batch is taken once more
            except Exception as error:  # a fault of ours must not stop those behind it
                log.exception("%s-%d, offset %d", record.topic, record.partition, record.offset)
                letters.append((record, RequestInvalid("INTERNAL", f"the request could not be read: {error!r}")))
                continue
            trace = trace_of(facts[0].run_id, header(record.headers, "traceparent"))
            made = [await self._record(fact, trace, count) for fact in facts]
            if any(len(one.value or b"") > MOST_BYTES for one in made):
                message = f"labels, options and parameters have more than {MOST_BYTES} bytes; send less of them"
                letters.append((record, RequestInvalid("REQUEST_TOO_LARGE", message)))
                continue
            records += made
            accepted += isinstance(facts[0], FlowRequested)
            if time.monotonic() - began > SLICE_S:
                await asyncio.sleep(0)
                began = time.monotonic()
        for record, refused in letters:
            problems = [problem.to_json() for problem in refused.problems]
            await self._dead_letters.put(record, refused.code, refused.message, problems)
        await self._writer.put(records)
        for _ in range(accepted):
            self._metrics.run_accepted()

    async def _facts(self, record: FetchedRecord) -> list[Event]:
        request = read_request(record.value, record.key)
        place = Coordinates(record.topic, record.partition, record.offset, record.timestamp)
        facts = self._admission.facts(request, place)
        if isinstance(facts[-1], PlanningFailed) and not self._looked:
            self._looked = True  # once a batch: what it lacks may have been told of before it was sent
            await self._admission.catalog.refresh()
            facts = self._admission.facts(request, place)
        while self._lacks_tools(facts) and await self._admission.catalog.more_may_come():
            facts = self._admission.facts(request, place)
        return facts

    def _lacks_tools(self, facts: list[Event]) -> bool:
        """It is refused for want of tools that no worker has offered."""
        failed, known = facts[-1], self._admission.catalog.specs
        return isinstance(failed, PlanningFailed) and any(
            problem["code"] == "UNKNOWN_TOOL" and problem["context"]["actual"] not in known
            for problem in failed.problems
        )

    async def _record(self, fact: Event, trace: str, count: int) -> Record:
        encoded = encode_small(fact)
        headers = self._headers.of(fact, trace)
        if encoded.values:
            headers.extend(await self._values.store(encoded.values))
        key = fact.run_id.encode()
        return Record(self._topics.events, partition_of(key, count), key, encoded.record, headers)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._intake.commit()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """They are read from where the group has committed."""
