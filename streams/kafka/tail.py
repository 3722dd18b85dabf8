"""The end of the log as it grows: one consumer without a group, records handed to whoever watches their run."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ..signal import Signal
from .connection import Connection
from .reader import FetchedRecord
from .records import Headers, header

log = logging.getLogger(__name__)


class Logged(NamedTuple):
    """One record of a run's log."""

    offset: int
    kind: bytes
    """Its type, as its header says."""
    value: bytes
    headers: Headers


@dataclass(slots=True, eq=False, weakref_slot=True)
class Watched:
    """The log of one run as far as it has been read. ``complete`` once its beginning is there too."""

    run_id: str
    partition: int
    records: list[Logged] = field(default_factory=list)
    changed: Signal = field(default_factory=Signal)
    complete: bool = False
    tailed_from: int = 0
    """Offset from which the tail hands records in; what is older is read from the log."""

    def add(self, record: FetchedRecord) -> None:
        """Put a record at the end; one that is there already is left out."""
        if not self.records or record.offset > self.records[-1].offset:
            self.records.append(logged(record))
            self.changed.notify()

    def put_before(self, older: list[Logged]) -> None:
        """The beginning has been read."""
        first = self.records[0].offset if self.records else None
        self.records[:0] = [one for one in older if first is None or one.offset < first]
        self.complete = True
        self.changed.notify()

    @property
    def ended(self) -> bool:
        return any(one.kind == b"flow-complete" for one in reversed(self.records[-3:]))


def logged(record: FetchedRecord) -> Logged:
    return Logged(record.offset, header(record.headers, "ce_type") or b"", record.value, record.headers)


class Tail:
    """Follows all partitions of the log from where it was started."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self._connection, self._topic = connection, topic
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._watched: WeakValueDictionary[str, Watched] = WeakValueDictionary()
        self.positions: dict[int, int] = {}
        """Partition -> every record before it has been handed out."""
        self.starts: dict[int, int] = {}
        self._requested: dict[int, dict[str, int]] = {}
        """Partition -> run id -> offset of the first request for it that was seen here."""

    async def start(self, partitions: int) -> None:
        """Stand at the end of the log on return. Raises what aiokafka raises."""
        consumer = AIOKafkaConsumer(
            **self._connection.client_options(),
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=250,
            retry_backoff_ms=20,  # a topic that it has not heard of is asked for twice, 100 ms apart by default
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._consumer = consumer
        await consumer.start()
        places = [TopicPartition(self._topic, number) for number in range(partitions)]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        for place, end in ends.items():
            consumer.seek(place, end)
            self.positions[place.partition] = self.starts[place.partition] = end
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()

    def watch(self, run_id: str, partition: int) -> Watched:
        """What is known of a run, and from now on everything that comes."""
        found = self._watched.get(run_id)
        if found is None:
            found = Watched(run_id, partition, tailed_from=self.positions.get(partition, 0))
            self._watched[run_id] = found
        return found

    def requested_in(self, partition: int) -> dict[str, int]:
        """Runs that were requested since the tail began: id -> offset of their first record."""
        return self._requested.get(partition, {})

    def has_ended(self, run_id: str, partition: int) -> None:
        """Its mark has been read, which says where it lies: it need not be remembered here."""
        self._requested.get(partition, {}).pop(run_id, None)

    async def _follow(self) -> None:
        while True:
            try:
                for place, records in (await self._consumer.getmany(timeout_ms=1000)).items():
                    self._hand_out(records)
                    self.positions[place.partition] = records[-1].offset + 1
            except KafkaError as error:
                log.warning("following %s: %r; trying again", self._topic, error)
                await asyncio.sleep(0.5)

    def _hand_out(self, records: list[FetchedRecord]) -> None:
        for record in records:
            run_id = (record.key or b"").decode("utf-8", "replace")
            if header(record.headers, "ce_type") == b"flow-requested":
                self._requested.setdefault(record.partition, {}).setdefault(run_id, record.offset)
            watched = self._watched.get(run_id)
            if watched is not None:
                watched.add(record)
