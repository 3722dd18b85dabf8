"""Reads stretches of a partition, outside of any consumer group: for take-overs, log checks and readers of one run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors

from ...errors import BrokerError
from .connection import Connection

FetchedRecord: TypeAlias = Any
"""aiokafka's ConsumerRecord (it ships no types): topic, partition, offset, key, value, headers, timestamp."""

PATIENCE_S: Final = 60.0
"""How long a stretch may give nothing before the brokers count as gone."""


class Reader:
    """One consumer without a group. A stretch at a time; others wait for their turn."""

    def __init__(
        self, connection: Connection, *, isolation: str = "read_uncommitted", fetch_bytes: int = 8 * 1024 * 1024
    ) -> None:
        """``fetch_bytes``: what the brokers give at a time; less where single records are wanted."""
        self._connection, self._isolation, self._fetch_bytes = connection, isolation, fetch_bytes
        self._consumer: Any = None
        self._turn = asyncio.Lock()

    async def _open(self) -> Any:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._connection.client_options(),
                auto_offset_reset="none",
                enable_auto_commit=False,
                isolation_level=self._isolation,
                fetch_max_wait_ms=10,  # questions wait behind a fetch that is under way
                retry_backoff_ms=20,  # a topic that it has not heard of is asked for twice, 100 ms apart by default
                max_partition_fetch_bytes=self._fetch_bytes,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                await consumer.stop()

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """(first offset, offset after the last) of a partition as of now."""
        return (await self.all_bounds(topic, [partition]))[partition]

    async def all_bounds(self, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """The bounds of several partitions of a topic."""
        places = [TopicPartition(topic, number) for number in partitions]
        async with self._turn:
            consumer = await self._open()
            begin, end = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        return {place.partition: (begin[place], end[place]) for place in places}

    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """The first offset whose record was appended at or after that moment; None when there is none."""
        place = TopicPartition(topic, partition)
        async with self._turn:
            consumer = await self._open()
            found = (await consumer.offsets_for_times({place: timestamp_ms})).get(place)
        return None if found is None else int(found.offset)

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[list[FetchedRecord], None]:
        """Records with ``start <= offset < end``, in batches. Raises BrokerError when the brokers stay silent.

        Offsets may be missing (compacted, transactions), so the end is where the position says, not a record.
        """
        if start >= end:
            return
        place = TopicPartition(topic, partition)
        async with self._turn:
            consumer = await self._open()
            consumer.assign([place])
            consumer.seek(place, start)
            silent = 0.0
            while True:
                try:
                    fetched = (await consumer.getmany(place, timeout_ms=200, max_records=2000)).get(place, [])
                    if fetched and fetched[-1].offset >= end - 1:
                        consumer.pause(place)  # else it fetches on, and what is asked next waits behind that request
                    position = await consumer.position(place)
                except kafka_errors.OffsetOutOfRangeError as error:
                    first = (await consumer.beginning_offsets([place]))[place]
                    message = f"{topic}-{partition} begins at {first}; offset {start}, which is needed, has expired"
                    raise BrokerError("LOG_EXPIRED", message) from error
                if fetched:
                    silent = 0.0
                    wanted = [record for record in fetched if record.offset < end]
                    if wanted:
                        yield wanted
                if position >= end:
                    consumer.pause(place)
                    return
                if not fetched:
                    silent += 0.2
                    if silent > PATIENCE_S:
                        message = f"no broker gave the records {position}–{end} of {topic}-{partition}"
                        raise BrokerError("BROKER_UNREACHABLE", f"{message} within {PATIENCE_S:.0f} s")

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[FetchedRecord, None]:
        """The same, one by one."""
        async with contextlib.aclosing(self.read(topic, partition, start, end)) as batches:
            async for batch in batches:
                for record in batch:
                    yield record
