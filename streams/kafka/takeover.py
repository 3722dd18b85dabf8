"""Taking a partition of the log over: marks, snapshots, then the log from the low-water mark to its end (design §6).

The same fold as a rebuild; no state store, no changelog. What it costs is bounded by the runs that live and one small
mark for each that has ended within the window.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError

from ...errors import BrokerError, JournalError
from ...values import NotJson
from ..core.commands import Announce
from ..core.events import ControlRefused, Event, FlowComplete
from ..core.fold import CannotFold, needs
from .ledger import Ledger, Tracked
from .reader import FetchedRecord, Reader
from .records import ANNOUNCEMENTS, Mark, event_of, header, snapshot_place, trace_in, trace_of
from .snapshots import read_snapshot, unreadable
from .topics import WINDOW_MS, Topics
from .values import ValueStore

log = logging.getLogger(__name__)

SLICE_S: Final = 0.03
"""How long the loop is kept from its heartbeats."""
_OUTCOMES: Final = frozenset(
    {
        b"plan-published",
        b"planning-failed",
        b"tool-start",
        b"tool-output",
        b"tool-error",
        b"timer-fired",
        b"flow-complete",
    }
)


@dataclass(slots=True)
class Replay:
    """What a take-over read."""

    marks: int = 0
    snapshots: int = 0
    records: int = 0
    """Of the log, from the low-water mark on."""
    folded: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        read = f"{self.marks} marks, {self.snapshots} snapshots, {self.records} records"
        return f"{read} ({self.folded} folded) in {self.seconds:.2f} s"


class TakeOver:
    """Reads what is known of a partition into a ledger."""

    def __init__(
        self, partition: int, reader: Reader, values: ValueStore, topics: Topics, window_s: float = WINDOW_MS / 1000
    ) -> None:
        self._partition, self._reader, self._values, self._topics = partition, reader, values, topics
        self.ledger = Ledger(partition, window_s=window_s)
        self.replay = Replay()
        self.left_over: list[tuple[str, int]] = []
        """Snapshots of runs that are done: whoever marked them could not delete them any more."""
        self._pause = time.monotonic()

    async def run(self, start: int | None, end: int | None = None) -> Ledger:
        """Read everything from ``start`` (the committed mark; None: the log's beginning) to ``end`` (None: as of now).

        Raises BrokerError LOG_EXPIRED when the log no longer reaches back that far.
        """
        began = time.monotonic()
        first, last = await self._reader.bounds(self._topics.events, self._partition)
        end = last if end is None else end
        start = first if start is None else start
        snapshots = await self._read_snapshots()
        await self._read_marks()  # after the snapshots: of a run that is being marked meanwhile one of the two is there
        await self._restore_all(snapshots)
        self.ledger.position = start
        async for batch in self._reader.read(self._topics.events, self._partition, start, end):
            for record in batch:
                await self.take(record)
                await self._breathe()
        self.ledger.position = max(end, start)
        self.replay.seconds = time.monotonic() - began
        return self.ledger

    async def _breathe(self) -> None:
        if time.monotonic() - self._pause > SLICE_S:
            await asyncio.sleep(0)
            self._pause = time.monotonic()

    async def _read_marks(self) -> None:
        first, end = await self._reader.bounds(self._topics.done, self._partition)
        async for batch in self._reader.read(self._topics.done, self._partition, first, end):
            for record in batch:
                try:
                    mark = Mark.decode(record.value, record.timestamp)
                except (NotJson, KeyError, TypeError) as error:
                    log.warning("%s-%d, offset %d is no mark: %r", record.topic, record.partition, record.offset, error)
                    continue
                self.ledger.done[mark.run_id] = mark
                self.replay.marks += 1
            await self._breathe()

    async def _read_snapshots(self) -> dict[str, dict[int, FetchedRecord]]:
        """Run -> offset that its snapshot covers -> the record."""
        known: dict[str, dict[int, FetchedRecord]] = {}
        first, end = await self._reader.bounds(self._topics.snapshots, self._partition)
        async for batch in self._reader.read(self._topics.snapshots, self._partition, first, end):
            for record in batch:
                self._values.heard(record.headers)
                place = snapshot_place(record.key or b"")
                if place is None:
                    continue
                run_id, offset = place
                if record.value is None:
                    known.get(run_id, {}).pop(offset, None)
                else:
                    known.setdefault(run_id, {})[offset] = record
        return known

    async def _restore_all(self, known: dict[str, dict[int, FetchedRecord]]) -> None:
        for run_id, snapshots in known.items():
            mark = self.ledger.done.get(run_id)
            if mark is not None:
                self.left_over += [(run_id, offset) for offset in snapshots if offset <= mark.last]
                snapshots = {offset: record for offset, record in snapshots.items() if offset > mark.last}
            if snapshots:  # beside a mark they are of a later run under the same id
                await self._restore(run_id, snapshots)
                await self._breathe()

    async def _restore(self, run_id: str, snapshots: dict[int, FetchedRecord]) -> None:
        """The newest snapshot that can be read. Of one that a newer release wrote the run waits for it, parked."""
        for offset in sorted(snapshots, reverse=True):
            try:
                tracked = await self._snapshot(run_id, offset, snapshots[offset])
            except (KafkaError, BrokerError):
                raise
            except Exception as error:  # whatever somebody put there
                log.warning("%s of run %s at %d is none: %r", self._topics.snapshots, run_id, offset, error)
                continue
            tracked.snapshots = sorted(snapshots)
            self.ledger.runs[run_id] = tracked
            self.ledger.done.pop(run_id, None)
            self.replay.snapshots += 1
            return

    async def _snapshot(self, run_id: str, offset: int, record: FetchedRecord) -> Tracked:
        try:
            return await read_snapshot(record.value, self._values, record.timestamp)
        except (CannotFold, JournalError) as error:
            return unreadable(run_id, offset, record.value, error)

    # --- the log --------------------------------------------------------------------------------------------------

    async def take(self, record: FetchedRecord) -> None:
        """Fold one record of the log."""
        self.replay.records += 1
        run_id = (record.key or b"").decode("utf-8", "replace")
        kind = header(record.headers, "ce_type")
        tracked = self.ledger.runs.get(run_id)
        if kind in ANNOUNCEMENTS:
            ident = (header(record.headers, "ce_id") or b"").decode("utf-8", "replace")
            self.ledger.refusals.pop(ident, None)
            if tracked is not None:
                tracked.untold.pop(ident, None)
            return
        if (tracked is not None and record.offset <= tracked.covered) or self._is_past(run_id, kind):
            return
        try:
            event = event_of(record.value, record.key, kind)
        except NotJson:
            return  # its dead letter was written by whoever saw it live
        self._values.heard(record.headers)
        if isinstance(event, FlowComplete):
            self._seen_complete(event, record.offset)
        elif event.folded:
            await self._fold(event, record)

    def _is_past(self, run_id: str, kind: bytes | None) -> bool:
        """The run has ended, and nobody asks anything of it."""
        return run_id in self.ledger.done and kind is not None and kind in _OUTCOMES

    def _seen_complete(self, event: FlowComplete, offset: int) -> None:
        tracked = self.ledger.runs.get(event.run_id)
        if tracked is not None:
            tracked.untold.pop(event.id, None)
            if tracked.completed_at < 0:
                tracked.completed_at = offset

    async def _fold(self, event: Event, record: FetchedRecord) -> None:
        trace = trace_in(record.headers) or trace_of(event.run_id)
        met = self.ledger.receive(event, record.offset, trace, record.timestamp)
        if isinstance(met, ControlRefused):
            met = self.ledger.runs.get(event.run_id)
        if met is None:
            return
        self.replay.folded += 1
        try:
            wanted = needs(met.state, event)
            values = await self._values.load(wanted) if wanted else {}
            for asked, _, _ in self.ledger.advance(met, values):
                for command in asked:
                    if isinstance(command, Announce):
                        met.untold[command.event.id] = command.event
                await self._breathe()
        except CannotFold as error:
            self.ledger.park(met, error)
        except (KafkaError, BrokerError):
            raise  # no broker gives its values: the whole take-over is tried again
        except Exception as error:  # a fault of ours parks this run, the others go on
            log.exception("run %s: the fold failed at offset %d", event.run_id, record.offset)
            self.ledger.park(met, error)
