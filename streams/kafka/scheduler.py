"""The scheduler: owns partitions of the log, for as long as its group says so.

    consumer (group) -> batches of a partition -> folding.py: ledger.receive, ledger.advance -> effects.py -> records
                                                  upkeep.py: marks, snapshots, the committed low-water mark

A partition is gated until it is taken over (takeover.py); the work is done outside of the rebalance. No rules here:
they are in ``core/fold.py`` and ``ledger.py``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from ...errors import DynamicFlowError
from ..metrics import Metrics
from ..timers import Timers
from .broker_clock import BrokerClock
from .dead_letter import DeadLetters
from .effects import Effects, Owned
from .folding import Folding
from .ledger import Ledger
from .reader import Reader
from .settings import Settings
from .takeover import Replay, TakeOver
from .upkeep import Upkeep
from .values import ValueStore
from .writer import Writer

log = logging.getLogger(__name__)

AGAIN_MS: Final = 50.0
"""How soon a timer that cannot be fired yet is looked at again."""
UNKNOWN: Final = 1 << 62
"""An offset behind every other."""


class Scheduler:
    """Owns partitions of ``flow-events``. Lives on one event loop: ``start``, ``run`` until cancelled, ``stop``."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: Writer,
        clock: BrokerClock,
        dead_letters: DeadLetters,
        metrics: Metrics,
    ) -> None:
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._topic = settings.topics.events
        self._reader = Reader(settings.connection)
        self._values = ValueStore(writer, Reader(settings.connection), settings.topics)
        self._upkeep = Upkeep(settings, writer, self._values, clock, metrics)
        effects = Effects(writer, self._values, settings.topics, clock, self._upkeep.maybe_mark, metrics)
        self._folding = Folding(
            writer=writer,
            values=self._values,
            effects=effects,
            upkeep=self._upkeep,
            clock=clock,
            dead_letters=dead_letters,
            metrics=metrics,
            lease_s=settings.lease_s,
            end_of=self._end_of,
        )
        self.owned: dict[int, Owned] = {}
        self._consumer: Any = None
        self._looked = time.monotonic()
        self._joined = asyncio.Event()
        """Not set: the group is being formed anew. A commit would be answered after the join, its generation over:
        aiokafka then joins again, the others have to as well, and the next commit meets that, for ever."""
        self.replays: list[Replay] = []
        """What the take-overs of this process read, newest last."""

    async def start(self) -> None:
        """Join the group."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.consumer_options("scheduler"),
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )
        self._consumer.subscribe([self._topic], listener=_Listener(self))
        await self._consumer.start()

    def reading(self) -> list[tuple[Any, set[TopicPartition]]]:
        """The consumers, each with the partitions it takes records from."""
        return [(self._consumer, {TopicPartition(self._topic, n) for n, owned in self.owned.items() if owned.ready})]

    async def run(self) -> None:
        """Fold what comes until cancelled."""
        ticking = asyncio.ensure_future(self._tick_for_ever())
        try:
            while True:
                fetched = await self._consumer.getmany(timeout_ms=200, max_records=4000)
                await self._still_mine()
                for place, records in fetched.items():
                    owned = self.owned.get(place.partition)
                    if owned is not None and owned.ready:
                        await self._folding.fold(owned, records, self._still_mine)
        finally:
            ticking.cancel()

    async def drain(self) -> None:
        """Commit the marks; after that others may have the partitions."""
        self._folding.draining = True
        self._upkeep.mark()
        await self._upkeep.commit(self._consumer, self.owned.values())

    async def stop(self) -> None:
        await self._folding.stop()
        for owned in self.owned.values():
            owned.timers.stop()
        if self._consumer is not None:
            await self._consumer.stop()
        await self._reader.close()
        await self._values.close()

    # --- partitions come and go ---------------------------------------------------------------------------------------

    def joining(self) -> None:
        """Until the next assignment nothing is committed."""
        self._joined.clear()

    def assigned(self, partitions: Iterable[int]) -> None:
        """Inside the rebalance: gate what is new, go on with what was kept. Nothing is awaited here."""
        self._joined.set()
        given = set(partitions)
        self._looked = time.monotonic()  # until now it waited for the group
        for partition in self.owned.keys() - given:
            self._drop(partition)
        for partition in given:
            place = TopicPartition(self._topic, partition)
            owned = self.owned.get(partition)
            if owned is not None and owned.ready:
                self._consumer.seek(place, owned.ledger.position)
                owned.sure_from = UNKNOWN
                self._folding.spawn(self._look_up_end(owned))
                continue
            self._consumer.seek(place, 0)  # never read: paused until it is taken over
            self._consumer.pause(place)
            if owned is None:
                self._begin(partition)
            else:  # still being taken over; in between another may have owned it
                owned.sure_from = UNKNOWN
        self._metrics.partitions_owned("scheduler", len(self.owned))

    def _begin(self, partition: int) -> None:
        def due(run_id: str, name: str, kind: str) -> None:
            if self.owned.get(partition) is not owned:
                return
            if owned.ready:
                self._folding.due(owned, run_id, name, kind)
            else:  # its moment came while the partition was being taken over
                owned.timers.start(run_id, name, kind, self._clock.now_ms() + AGAIN_MS)

        ledger = Ledger(partition, window_s=self._settings.window_s)
        owned = Owned(ledger, Timers(asyncio.get_running_loop(), self._clock, due))
        self.owned[partition] = owned
        self._folding.spawn(self._take_over(partition, owned))

    def _drop(self, partition: int) -> None:
        owned = self.owned.pop(partition)
        owned.ready, owned.dropped = False, True
        owned.timers.stop()

    async def _take_over(self, partition: int, owned: Owned) -> None:
        place = TopicPartition(self._topic, partition)
        while self.owned.get(partition) is owned:
            try:
                mark = await self._consumer.committed(place)
                taking = TakeOver(partition, self._reader, self._values, self._settings.topics, self._settings.window_s)
                await taking.run(mark)
                if self.owned.get(partition) is not owned:
                    return
                await self._take_on(owned, taking, mark)
                return
            except DynamicFlowError as error:
                owned.failed = str(error)
                log.error("partition %d of %s cannot be taken over: %s", partition, self._topic, error)
                await asyncio.sleep(5)
            except KafkaError as error:
                log.warning("taking over partition %d of %s: %r; trying again", partition, self._topic, error)
                await asyncio.sleep(0.5)
            except Exception as error:  # a fault of ours: told, and the partition is not left alone in silence
                owned.failed = repr(error)
                log.exception("partition %d of %s cannot be taken over; trying again", partition, self._topic)
                await asyncio.sleep(5)

    async def _take_on(self, owned: Owned, taking: TakeOver, mark: int | None) -> None:
        """Go on with what a take-over has read."""
        ledger, replay = taking.ledger, taking.replay
        place = TopicPartition(self._topic, ledger.partition)
        owned.ledger, owned.committed = ledger, -1 if mark is None else mark
        for run_id, snapshot in taking.left_over:
            self._upkeep.forget(ledger.partition, run_id, snapshot)
        await self._folding.go_on(owned)
        if self.owned.get(ledger.partition) is not owned:
            return
        self._consumer.seek(place, ledger.position)
        self._consumer.resume(place)
        owned.ready, owned.failed, owned.swept = True, None, time.monotonic()
        if owned.sure_from == UNKNOWN:
            self._folding.spawn(self._look_up_end(owned))
        self.replays.append(replay)
        self._metrics.replayed(replay.records, replay.seconds)
        self._metrics.took_over()
        log.info("owns partition %d of %s, after reading %s", ledger.partition, self._topic, replay)

    async def _look_up_end(self, owned: Owned) -> None:
        """A partition came back. In between another may have owned it, and folded what this one has not read yet."""
        while owned.ready:
            try:
                owned.sure_from = await self._end_of(owned.ledger.partition)
                return
            except KafkaError as error:
                log.warning("the end of partition %d of %s: %r", owned.ledger.partition, self._topic, error)
                await asyncio.sleep(0.5)

    async def _end_of(self, partition: int) -> int:
        return (await self._reader.bounds(self._topic, partition))[1]

    async def _still_mine(self) -> bool:
        """False when this process stood still for so long that others own what it held.

        After half a session it asks the brokers, by committing, before it says anything more.
        """
        now = time.monotonic()
        gap, self._looked = now - self._looked, now
        if gap < self._settings.session_s / 2 or not self.owned:
            return True
        if not self._joined.is_set():
            await self._joined.wait()  # the assignment tells what is mine
            return True
        log.warning("stood still for %.1f s; asking whether the partitions are still mine", gap)
        mine = await self._upkeep.commit(self._consumer, self.owned.values(), force=True)
        if not mine:
            for partition in list(self.owned):
                self._drop(partition)
        self._looked = time.monotonic()
        return mine

    # --- every now and then -------------------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_s)
            try:
                await self._tick()
            except Exception:
                log.exception("a tick of the scheduler failed; the next one comes")

    async def _tick(self) -> None:
        for owned in list(self.owned.values()):
            if owned.ready:
                owned.timers.fire()
                await self._upkeep.snapshot(owned)
                if time.monotonic() - owned.swept > self._settings.refresh_s:
                    owned.swept = time.monotonic()
                    self._folding.spawn(self._sweep(owned))
        if self._joined.is_set():
            await self._upkeep.commit(self._consumer, list(self.owned.values()))
        self._metrics.live_runs(sum(len(owned.ledger.runs) for owned in self.owned.values()))

    async def _sweep(self, owned: Owned) -> None:
        try:
            await self._upkeep.sweep(owned, self._reader)
        except (KafkaError, DynamicFlowError) as error:
            log.warning("left-over snapshots of partition %d: %s; looked for later", owned.ledger.partition, error)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears of rebalances. Partitions that come back are kept as they are: the log says the same to every owner."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """What is lost is known when the new assignment comes."""
        self._scheduler.joining()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._scheduler.assigned(place.partition for place in assigned)
