"""Work records of one topic, for one group: taken as there is room, committed when they need nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError

from .broker_clock import BrokerClock
from .offsets import OffsetTracker
from .reader import FetchedRecord, Reader
from .settings import Settings

log = logging.getLogger(__name__)

MOST: Final = 500
"""Records of one take."""


class Feed:
    """A consumer with offsets of its own. Lives on one event loop."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        role: str,
        clock: BrokerClock,
        revoked: Callable[[Feed], Awaitable[None]],
        reset: str = "earliest",
    ) -> None:
        self._settings, self.topic, self._role, self._clock = settings, topic, role, clock
        self._on_revoked, self._reset = revoked, reset
        self._consumer: Any = None
        self._reader = Reader(settings.connection)
        self._trackers: dict[int, OffsetTracker] = {}
        self._fresh_from: dict[int, int] = {}
        """Partition -> its end when it was assigned: what lies from there on nobody had before."""
        self._committed: dict[int, int] = {}
        self._taking = True
        self._giving_up = False
        """The partitions are about to go; aiokafka gives records of them out all the same."""
        self.looked = time.monotonic()
        """When it was last seen that this process goes on."""
        self._stood_still = False
        self._assignment = 0
        """Counts assignments: what was asked for in an earlier one comes too late."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Join the group."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.consumer_options(self._role) | {"auto_offset_reset": self._reset},
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )
        self._consumer.subscribe([self.topic], listener=_Listener(self))
        await self._consumer.start()

    async def take(self, room: int) -> list[FetchedRecord]:
        """At most ``room`` records; none after 200 ms without any."""
        if not self._taking:
            await asyncio.sleep(0.05)
            return []
        try:
            fetched = await self._consumer.getmany(timeout_ms=200, max_records=min(room, MOST))
        except ConsumerStoppedError:  # left meanwhile
            return []
        self._goes_on()
        if fetched and self._stood_still and not await self._still_mine(fetched):
            return []
        if self._giving_up or not self._taking:
            return []  # what runs is being held: a record taken now would run unheld; others get it
        taken = []
        for place, records in fetched.items():
            tracker = self._trackers.get(place.partition)
            if tracker is None:
                tracker = self._trackers[place.partition] = OffsetTracker(records[0].offset)
            for record in records:
                tracker.take(record.offset)
            self._clock.heard(records[-1].timestamp)
            taken += records
        return taken

    def _goes_on(self) -> None:
        """Called again and again. After half a session without it, others may have what was fetched before."""
        now = time.monotonic()
        self._stood_still = self._stood_still or now - self.looked >= self._settings.session_s / 2
        self.looked = now

    async def _still_mine(self, fetched: Mapping[TopicPartition, list[FetchedRecord]]) -> bool:
        """This process stood still: only a commit tells whether what it fetched has gone to another worker meanwhile.

        Refused, the records are let go: the group gives them out again, from what was committed.
        """
        offsets = {}
        for place, records in fetched.items():
            tracker = self._trackers.get(place.partition)
            offsets[place] = records[0].offset if tracker is None else tracker.committable
        while True:
            try:
                await self._consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError) as error:
                log.warning("stood still; what was fetched of %s went to another worker: %r", self.topic, error)
                return False
            except KafkaError as error:
                log.warning("stood still; asking whether %s is still mine: %r; trying again", self.topic, error)
                await asyncio.sleep(0.2)
            else:
                self._stood_still, self.looked = False, time.monotonic()
                return True

    def is_fresh(self, record: FetchedRecord) -> bool:
        """Nobody can have had the record before: it was appended after its partition came here."""
        from_here = self._fresh_from.get(record.partition)
        return from_here is not None and record.offset >= from_here

    def has(self, record: FetchedRecord) -> bool:
        """Its partition has not gone to others since it was taken."""
        return not self._giving_up and record.partition in self._trackers

    def finished(self, record: FetchedRecord) -> None:
        """The record needs nothing more."""
        tracker = self._trackers.get(record.partition)
        if tracker is not None:
            tracker.done(record.offset)

    async def leave(self) -> None:
        """Take nothing more, and let others have the partitions at once: no work waits for what still runs here."""
        self._taking = False
        await self.revoked()
        if self._consumer is not None:
            with contextlib.suppress(KafkaError):
                await self._consumer.stop()

    def stop_taking(self) -> None:
        self._taking = False

    def reading(self) -> tuple[Any, set[TopicPartition]]:
        """The consumer, and the partitions it takes records from."""
        return self._consumer, self._consumer.assignment()

    @property
    def pending(self) -> int:
        """Records taken and not finished."""
        return sum(tracker.pending for tracker in self._trackers.values())

    async def commit(self) -> None:
        """Commit what is finished."""
        self._goes_on()
        wanted = {
            partition: tracker.committable
            for partition, tracker in self._trackers.items()
            if tracker.committable != self._committed.get(partition)
        }
        if not wanted:
            return
        try:
            await self._consumer.commit(
                {TopicPartition(self.topic, partition): offset for partition, offset in wanted.items()}
            )
        except (CommitFailedError, IllegalStateError) as error:
            log.info("%s went to another worker: %r", self.topic, error)
        except KafkaError as error:
            log.warning("committing %s: %r; the next commit covers it", self.topic, error)
        else:
            self._committed.update(wanted)

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            with contextlib.suppress(KafkaError):
                await self._consumer.stop()
        for task in self._tasks:
            task.cancel()
        await self._reader.close()

    # --- rebalances ---------------------------------------------------------------------------------------------------

    async def revoked(self) -> None:
        self._giving_up = True
        await self._on_revoked(self)
        self._assignment += 1
        self._trackers.clear()
        self._committed.clear()
        self._fresh_from.clear()

    def assigned(self, partitions: list[int]) -> None:
        """Nothing is awaited inside the rebalance: until the ends are known, every record is looked up in the log."""
        self._giving_up = False
        task = asyncio.ensure_future(self._look_up_ends(partitions, self._assignment))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up_ends(self, partitions: list[int], assignment: int) -> None:
        if partitions:
            try:
                bounds = await self._reader.all_bounds(self.topic, partitions)
            except KafkaError as error:
                log.warning("the ends of %s: %r; its records are looked up in the log", self.topic, error)
                return
            if assignment == self._assignment:
                self._fresh_from.update({partition: end for partition, (_, end) in bounds.items()})


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if revoked:
            await self._feed.revoked()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._feed.assigned(sorted(place.partition for place in assigned))
