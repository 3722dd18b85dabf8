"""What keeps a take-over short: marks of runs that have ended, snapshots of those that take long, the low-water mark.

The order, each acknowledged before the next: result in ``flow-complete`` -> mark in ``flow-done`` -> snapshots ->
commit -> older snapshots deleted (design §6).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from ...errors import DynamicFlowError
from ..metrics import Metrics
from .broker_clock import BrokerClock
from .effects import Owned
from .ledger import Tracked
from .reader import Reader
from .records import Record, snapshot_key, snapshot_place
from .settings import Settings
from .snapshots import write_snapshot
from .values import ValueStore, has_values
from .writer import Writer

log = logging.getLogger(__name__)

MARKS_S: Final = 0.05
"""How long marks are gathered: nobody waits for one, and a batch costs as much as ten records in it."""


class Upkeep:
    """Marks, snapshots and commits of the partitions that a scheduler owns."""

    def __init__(
        self, settings: Settings, writer: Writer, values: ValueStore, clock: BrokerClock, metrics: Metrics
    ) -> None:
        self._settings, self._writer, self._values, self._metrics = settings, writer, values, metrics
        self._clock = clock
        self._topics = settings.topics
        self._to_mark: list[tuple[Owned, Tracked]] = []

    def maybe_mark(self, owned: Owned, tracked: Tracked) -> None:
        """Mark a run whose result is in ``flow-complete`` and whose end is in the log."""
        if not tracked.published or tracked.completed_at < 0 or tracked.marking:
            return
        tracked.marking = True
        if not self._to_mark:
            asyncio.get_running_loop().call_later(MARKS_S, self.mark)
        self._to_mark.append((owned, tracked))

    def mark(self) -> None:
        """Append the marks that were gathered."""
        gathered, self._to_mark = self._to_mark, []
        for owned, tracked in gathered:
            self._mark(owned, tracked)

    def _mark(self, owned: Owned, tracked: Tracked) -> None:
        mark = owned.ledger.mark_of(tracked, self._clock.now_ms())

        def marked(offset: int, error: Exception | None) -> None:
            if error is not None:  # it stays a live run, and is marked by whoever takes it over
                log.error("the mark of run %s is refused: %s", tracked.run_id, error)
                return
            owned.ledger.put_aside(mark)
            owned.timers.drop(tracked.run_id)
            self._metrics.run_ended(mark.status)
            for snapshot in tracked.snapshots:
                self.forget(owned.ledger.partition, tracked.run_id, snapshot)

        key = mark.run_id.encode()
        self._writer.append(Record(self._topics.done, owned.ledger.partition, key, mark.encode()), marked)

    async def snapshot(self, owned: Owned) -> None:
        """Snapshot the runs that hold the low-water mark back too far, by records or by time; forget old marks.

        A run that waits for long is snapshotted again before a part of its snapshot goes with its retention.
        """
        ledger, now = owned.ledger, self._clock.now_ms()
        ledger.forget(now - self._settings.window_s * 1000)
        for tracked in list(ledger.runs.values()):
            wanted = self._holds_back(tracked, ledger.position, now) or self._fades(tracked, now)
            if not wanted or not tracked.quiet:
                continue
            offset = ledger.position - 1
            try:
                record = await write_snapshot(tracked, offset, ledger.partition, self._topics, self._values)
            except (KafkaError, DynamicFlowError):
                raise  # no broker takes it: all of this is tried again
            except Exception:  # a fault of ours: the others are snapshotted, and the marks committed
                log.exception("run %s cannot be snapshotted", tracked.run_id)
                continue
            if tracked.last > offset or not tracked.quiet:
                continue  # it moved while a large state was stored

            beside_ms = now if has_values(record.headers) else 0.0
            self._writer.append(record, partial(self._snapshotted, owned, tracked, offset, beside_ms))
            await asyncio.sleep(0)

    def _snapshotted(
        self, owned: Owned, tracked: Tracked, offset: int, beside_ms: float, at: int, error: Exception | None
    ) -> None:
        if error is None:
            tracked.snapshotted(offset)
            tracked.beside_ms = beside_ms
            self._metrics.snapshot_written()
            if owned.ledger.runs.get(tracked.run_id) is not tracked:  # it was marked meanwhile
                self.forget(owned.ledger.partition, tracked.run_id, offset)

    async def sweep(self, owned: Owned, reader: Reader) -> None:
        """Delete snapshots of runs that have ended: somebody who stood still may have written them after their marks.

        One that is left would bring its run back to life when the mark is forgotten. Of what lies before this owner's
        position it knows every run that lives, even if others own the partition by now.
        """
        ledger, topic = owned.ledger, self._topics.snapshots
        there: dict[tuple[str, int], bool] = {}
        before = ledger.position
        first, end = await reader.bounds(topic, ledger.partition)
        async for batch in reader.read(topic, ledger.partition, first, end):
            for record in batch:
                place = snapshot_place(record.key or b"")
                if place is not None:
                    there[place] = record.value is not None
            await asyncio.sleep(0)
        for (run_id, offset), is_there in there.items():
            if is_there and offset < before and run_id not in ledger.runs:
                self.forget(ledger.partition, run_id, offset)

    def _fades(self, tracked: Tracked, now_ms: float) -> bool:
        return bool(tracked.beside_ms) and now_ms - tracked.beside_ms > self._settings.refresh_s * 1000

    def _holds_back(self, tracked: Tracked, position: int, now_ms: float) -> bool:
        behind = position - tracked.needed(position)
        if behind <= 0 or tracked.state.end is not None:
            return False
        age_ms = now_ms - tracked.needed_ms if tracked.needed_ms else 0.0
        return behind > self._settings.snapshot_records or age_ms > self._settings.snapshot_age_s * 1000

    async def commit(self, consumer: Any, partitions: Iterable[Owned], *, force: bool = False) -> bool:
        """Commit the low-water marks; False when the brokers refuse: the partitions belong to others."""
        marks = {owned: owned.ledger.low_water for owned in partitions if owned.ready}
        changed = {owned: mark for owned, mark in marks.items() if force or mark != owned.committed}
        if not changed:
            return True
        topic = self._topics.events
        offsets = {TopicPartition(topic, owned.ledger.partition): mark for owned, mark in changed.items()}
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("the marks were refused: %r", error)
            return False
        except KafkaError as error:
            log.warning("committing the marks: %r; trying again", error)
            return True
        for owned, mark in changed.items():
            owned.committed = mark
            for tracked in owned.ledger.runs.values():
                for offset in [offset for offset in tracked.snapshots if offset < tracked.covered]:
                    tracked.snapshots.remove(offset)
                    self.forget(owned.ledger.partition, tracked.run_id, offset)
        return True

    def forget(self, partition: int, run_id: str, snapshot: int) -> None:
        """Delete a snapshot."""
        self._writer.append(Record(self._topics.snapshots, partition, snapshot_key(run_id, snapshot), None))
