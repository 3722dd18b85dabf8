"""The scheduler: owns partitions of the log, folds what comes, issues commands, keeps timers, marks what is finished.

    consumer (group) -> batches of a partition -> ledger.receive, ledger.advance -> effects -> records

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
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from ...errors import DynamicFlowError
from ...values import NotJson
from ..core import commands as c
from ..core.codec import decode_event
from ..core.events import Event, FlowComplete
from ..core.fold import CannotFold, needs, outstanding
from ..metrics import Metrics
from ..timers import Timers
from . import ledger as rules
from .broker_clock import BrokerClock
from .dead_letter import DeadLetters
from .effects import Effects, Owned
from .ledger import Ledger, Tracked
from .reader import FetchedRecord, Reader
from .records import ANNOUNCEMENTS, Record, header, snapshot_key, trace_in, trace_of
from .settings import Settings
from .snapshots import write_snapshot
from .takeover import TakeOver
from .values import ValueStore
from .writer import Writer

log = logging.getLogger(__name__)

SLICE_S: Final = 0.05
"""How long folding keeps the loop from its heartbeats."""
LEASE: Final = "lease/"
MOST_UNACKNOWLEDGED: Final = 20_000
"""Records on their way above which folding waits."""


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
        self._settings, self._writer, self._clock = settings, writer, clock
        self._dead_letters, self._metrics = dead_letters, metrics
        self._topic = settings.topics.events
        self._reader = Reader(settings.connection)
        self._values = ValueStore(writer, Reader(settings.connection), settings.topics)
        self._effects = Effects(writer, self._values, settings.topics, clock, self._maybe_mark)
        self.owned: dict[int, Owned] = {}
        self._consumer: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked = time.monotonic()
        self._draining = False
        self.replays: list[Any] = []
        """What the take-overs of this process read, newest last."""

    async def start(self) -> None:
        """Join the group."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.consumer_options("scheduler"),
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )
        self._consumer.subscribe([self._topic], listener=_Listener(self))
        await self._consumer.start()

    async def run(self) -> None:
        """Fold what comes until cancelled."""
        ticking = asyncio.ensure_future(self._tick_for_ever())
        try:
            while True:
                fetched = await self._consumer.getmany(timeout_ms=200, max_records=4000)
                await self._after_a_gap()
                for place, records in fetched.items():
                    owned = self.owned.get(place.partition)
                    if owned is not None and owned.ready:
                        await self._fold(owned, records)
        finally:
            ticking.cancel()

    async def drain(self) -> None:
        """Commit the marks; after that others may have the partitions."""
        self._draining = True
        await self._commit()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for owned in self.owned.values():
            owned.timers.stop()
        if self._consumer is not None:
            await self._consumer.stop()
        await self._reader.close()
        await self._values.close()

    # --- partitions come and go ---------------------------------------------------------------------------------------

    def assigned(self, partitions: Iterable[int]) -> None:
        """Inside the rebalance: gate what is new, go on with what was kept. Nothing is awaited here."""
        given = set(partitions)
        for partition in self.owned.keys() - given:
            self._drop(partition)
        for partition in given:
            place = TopicPartition(self._topic, partition)
            owned = self.owned.get(partition)
            if owned is not None and owned.ready:
                self._consumer.seek(place, owned.ledger.position)
                continue
            self._consumer.seek(place, 0)  # never read: paused until it is taken over
            self._consumer.pause(place)
            if owned is None:
                self._begin(partition)
        self._metrics.partitions_owned("scheduler", len(self.owned))

    def _begin(self, partition: int) -> None:
        timers = Timers(
            asyncio.get_running_loop(), self._clock, lambda run_id, name, kind: self._due(partition, run_id, name, kind)
        )
        owned = self.owned[partition] = Owned(Ledger(partition), timers)
        self._spawn(self._take_over(partition, owned))

    def _drop(self, partition: int) -> None:
        owned = self.owned.pop(partition)
        owned.ready = False
        owned.timers.stop()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_over(self, partition: int, owned: Owned) -> None:
        place = TopicPartition(self._topic, partition)
        while self.owned.get(partition) is owned:
            try:
                mark = await self._consumer.committed(place)
                taking = TakeOver(partition, self._reader, self._values, self._settings.topics)
                ledger = await taking.run(mark)
                break
            except DynamicFlowError as error:
                owned.failed = str(error)
                log.error("partition %d of %s cannot be taken over: %s", partition, self._topic, error)
                await asyncio.sleep(5)
            except KafkaError as error:
                log.warning("taking over partition %d of %s: %r; trying again", partition, self._topic, error)
                await asyncio.sleep(0.5)
        else:
            return
        if self.owned.get(partition) is not owned:
            return
        owned.ledger, owned.failed, owned.committed = ledger, None, -1 if mark is None else mark
        self.replays.append(taking.replay)
        self._metrics.replayed(taking.replay.records, taking.replay.seconds)
        self._metrics.took_over()
        await self._go_on(owned)
        if self.owned.get(partition) is owned:
            self._consumer.seek(place, ledger.position)
            owned.ready = True
            self._consumer.resume(place)
            log.info("owns partition %d of %s: %s", partition, self._topic, taking.replay)

    async def _go_on(self, owned: Owned) -> None:
        """Tell what was not told, publish what is finished and not done, ask again for what is outstanding."""
        for ident, (_, refusal) in list(owned.ledger.refusals.items()):
            await self._refuse(owned, ident, refusal, trace_of(refusal.run_id))
        for tracked in list(owned.ledger.runs.values()):
            untold, tracked.untold = list(tracked.untold.values()), {}
            for event in untold:
                await self._effects.announce(owned, tracked, event)
            if tracked.broken:
                await self._effects.announce(owned, tracked, rules.parked(tracked, self._clock.now_ms()))
                continue
            if tracked.state.end is not None:
                await self._effects.publish(owned, tracked, rules.end_of(tracked))
                continue
            for key, lease in tracked.leases.items():
                self._lease(owned, tracked, key, lease)
            claimed = {key for key, live in tracked.state.in_flight.items() if live.claim is not None}
            again = [
                command
                for command in outstanding(tracked.state)
                if not isinstance(command, c.Dispatch) or (command.node_id, command.item) not in claimed
            ]
            await self._effects.carry_out(owned, tracked, again, tracked.last, again=True)
            for key in claimed - tracked.leases.keys():  # of a snapshot that knew of none
                live = tracked.state.in_flight[key]
                until = self._clock.now_ms() + self._settings.lease_s * 1000
                tracked.leases[key] = rules.Lease(live.claim or "", until, live.attempt, live.delivery)
                self._lease(owned, tracked, key, tracked.leases[key])

    async def _after_a_gap(self) -> None:
        """This process stood still: others may own what it holds. It says nothing before the brokers say it may."""
        now = time.monotonic()
        gap, self._looked = now - self._looked, now
        if gap < self._settings.session_s / 2 or not self.owned:
            return
        log.warning("stood still for %.1f s; asking whether the partitions are still mine", gap)
        if not await self._commit(force=True):
            for partition in list(self.owned):
                self._drop(partition)
        self._looked = time.monotonic()

    # --- folding ------------------------------------------------------------------------------------------------------

    async def _fold(self, owned: Owned, records: list[FetchedRecord]) -> None:
        began = time.monotonic()
        for record in records:
            if not owned.ready:
                return
            if record.offset < owned.ledger.position:
                continue
            await self._take(owned, record)
            owned.ledger.position = record.offset + 1
            if time.monotonic() - began > SLICE_S:
                self._looked = time.monotonic()
                await asyncio.sleep(0)
                await self._writer.below(MOST_UNACKNOWLEDGED)
                began = self._looked = time.monotonic()
        self._clock.heard(records[-1].timestamp)

    async def _take(self, owned: Owned, record: FetchedRecord) -> None:
        if header(record.headers, "ce_type") in ANNOUNCEMENTS:
            return
        try:
            event = decode_event(record.value)
        except (NotJson, TypeError) as error:
            await self._dead_letters.put(record, "UNREADABLE_EVENT", str(error))
            return
        if isinstance(event, FlowComplete):
            tracked = owned.ledger.runs.get(event.run_id)
            if tracked is not None and tracked.completed_at < 0:
                tracked.completed_at = record.offset
                self._maybe_mark(owned, tracked)
        elif event.folded:
            await self._take_fact(owned, record, event)

    async def _take_fact(self, owned: Owned, record: FetchedRecord, event: Event) -> None:
        trace = trace_in(record.headers) or trace_of(event.run_id)
        met = owned.ledger.receive(event, record.offset, trace)
        if met is None:
            return
        if not isinstance(met, Tracked):
            await self._refuse(owned, met.id, met, trace)
            return
        if event.large:
            self._values.heard(record.headers)
        if met.advancing or met.broken:
            return  # whoever folds it comes to this one
        met.advancing = True
        await self._advance(owned, met, one_slice=True)

    async def _advance(self, owned: Owned, tracked: Tracked, *, one_slice: bool) -> None:
        """Fold what waits of a run. One that needs more than a slice goes on in a task of its own."""
        try:
            while tracked.later and not tracked.broken:
                wanted = needs(tracked.state, tracked.later[0][0])
                values = await self._values.load(wanted) if wanted else {}
                for asked, event, offset in owned.ledger.advance(tracked, values):
                    await self._effects.carry_out(owned, tracked, asked, offset)
                    self._observe(owned, tracked, event)
                    if tracked.turn is not None or (tracked.later and needs(tracked.state, tracked.later[0][0])):
                        break
                if tracked.later and one_slice:
                    self._spawn(self._advance(owned, tracked, one_slice=False))
                    return
                if tracked.later:
                    await asyncio.sleep(0)
            tracked.advancing = False
        except CannotFold as error:
            await self._park(owned, tracked, error)
        except Exception as error:  # a fault of ours parks this run, the others go on
            log.exception("run %s: the fold failed", tracked.run_id)
            await self._park(owned, tracked, error)

    async def _park(self, owned: Owned, tracked: Tracked, error: Exception) -> None:
        owned.ledger.park(tracked, error)
        owned.timers.drop(tracked.run_id)
        await self._effects.announce(owned, tracked, rules.parked(tracked, self._clock.now_ms()))

    async def _refuse(self, owned: Owned, ident: str, refusal: Event, trace: str) -> None:
        def told(offset: int, error: Exception | None) -> None:
            owned.ledger.refusals.pop(ident, None)

        await self._effects.append(owned, refusal, trace, told)

    def _observe(self, owned: Owned, tracked: Tracked, event: Event) -> None:
        """What the shell does because of a fact, beside the fold's commands."""
        if event.type == "tool-start":
            key = (event.node_id or "", event.item or ())
            lease = tracked.leases.get(key)
            if lease is not None:
                self._lease(owned, tracked, key, lease)

    # --- timers -------------------------------------------------------------------------------------------------------

    def _lease(self, owned: Owned, tracked: Tracked, key: rules.StepKey, lease: rules.Lease) -> None:
        name = LEASE + f"{key[0]}/{'.'.join(map(str, key[1]))}"
        owned.timers.start(tracked.run_id, name, "lease", lease.until_ms)

    def _due(self, partition: int, run_id: str, name: str, kind: str) -> None:
        owned = self.owned.get(partition)
        tracked = owned.ledger.runs.get(run_id) if owned is not None else None
        if owned is None or tracked is None or tracked.broken or self._draining:
            return
        now = self._clock.now_ms()
        if kind != "lease":
            self._spawn(self._effects.append(owned, rules.timer_fired(tracked, name, kind, now), tracked.trace))
            return
        node, _, item = name.removeprefix(LEASE).rpartition("/")
        key = (node, tuple(int(part) for part in item.split(".") if part))
        lease = tracked.leases.get(key)
        if lease is not None and lease.until_ms <= now:
            self._metrics.step_lost()
            self._spawn(self._effects.append(owned, rules.tool_lost(tracked, key, lease, now), tracked.trace))

    # --- what is finished ---------------------------------------------------------------------------------------------

    def _maybe_mark(self, owned: Owned, tracked: Tracked) -> None:
        """Mark a run whose result is in ``flow-complete`` and whose end is in the log."""
        if not tracked.published or tracked.completed_at < 0 or tracked.marking:
            return
        tracked.marking = True
        mark = owned.ledger.mark_of(tracked)

        def marked(offset: int, error: Exception | None) -> None:
            owned.ledger.put_aside(mark)
            owned.timers.drop(tracked.run_id)
            self._metrics.run_ended(mark.status)
            for snapshot in tracked.snapshots:
                self._forget(owned, tracked, snapshot)

        key = mark.run_id.encode()
        self._writer.append(Record(self._settings.topics.done, owned.ledger.partition, key, mark.encode()), marked)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_s)
            try:
                await self._tick()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("a tick of the scheduler failed; the next one comes")

    async def _tick(self) -> None:
        for owned in list(self.owned.values()):
            if owned.ready:
                owned.timers.fire()
                await self._snapshot(owned)
        await self._commit()
        self._metrics.live_runs(sum(len(owned.ledger.runs) for owned in self.owned.values()))

    async def _snapshot(self, owned: Owned) -> None:
        """Snapshot the runs that hold the low-water mark back too far."""
        ledger = owned.ledger
        for tracked in list(ledger.runs.values()):
            behind = ledger.position - tracked.needed(ledger.position)
            if behind <= self._settings.snapshot_records or not tracked.quiet or tracked.state.end is not None:
                continue
            offset = ledger.position - 1
            record = await write_snapshot(tracked, offset, ledger.partition, self._settings.topics, self._values)
            if tracked.last > offset or not tracked.quiet:
                continue  # it moved while a large state was stored

            def written(at: int, error: Exception | None, tracked: Tracked = tracked, offset: int = offset) -> None:
                if error is None:
                    tracked.covered = max(tracked.covered, offset)
                    tracked.snapshots.append(offset)

            self._writer.append(record, written)
            self._metrics.snapshot_written()
            await asyncio.sleep(0)

    async def _commit(self, *, force: bool = False) -> bool:
        """Commit the low-water marks; False when the brokers refuse: the partitions belong to others."""
        marks = {owned: owned.ledger.low_water for owned in self.owned.values() if owned.ready}
        changed = {owned: mark for owned, mark in marks.items() if force or mark != owned.committed}
        if not changed:
            return True
        offsets = {TopicPartition(self._topic, owned.ledger.partition): mark for owned, mark in changed.items()}
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("the marks were refused: %r", error)
            return False
        except KafkaError as error:
            log.warning("committing the marks: %r; trying again", error)
            return True
        for owned, mark in changed.items():
            owned.committed = mark
            self._forget_old_snapshots(owned)
        return True

    def _forget_old_snapshots(self, owned: Owned) -> None:
        for tracked in owned.ledger.runs.values():
            for offset in [offset for offset in tracked.snapshots if offset < tracked.covered]:
                tracked.snapshots.remove(offset)
                self._forget(owned, tracked, offset)

    def _forget(self, owned: Owned, tracked: Tracked, snapshot: int) -> None:
        key = snapshot_key(tracked.run_id, snapshot)
        self._writer.append(Record(self._settings.topics.snapshots, owned.ledger.partition, key, None))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears of rebalances. Partitions that come back are kept as they are: the log says the same to every owner."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """What is lost is known when the new assignment comes."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._scheduler.assigned(place.partition for place in assigned)
