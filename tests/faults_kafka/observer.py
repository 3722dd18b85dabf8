"""A foreign consumer: reads topics whole, knows nothing of the engine, and keeps what it read."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of a topic."""

    partition: int
    offset: int
    run_id: str
    kind: str
    """``ce_type``; empty where there is none."""
    ident: str
    """``ce_id``."""
    value: bytes | None
    at: float
    """When it was appended: seconds since 1970, by the brokers' clock."""


def _seen(record: Any) -> Seen:
    headers = dict(record.headers)
    return Seen(
        record.partition,
        record.offset,
        (record.key or b"").decode(),
        headers.get("ce_type", b"").decode(),
        headers.get("ce_id", b"").decode(),
        record.value,
        record.timestamp / 1000,
    )


class Observer:
    """Follows a topic from its beginning."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._bootstrap, self._places = bootstrap, [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None
        self.records: list[Seen] = []
        """In the order of the log within a partition."""
        self.moved = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await self._consumer.start()
        self._consumer.assign(self._places)
        await self._consumer.seek_to_beginning(*self._places)
        self._task = asyncio.ensure_future(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._consumer.stop()

    async def _follow(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                self.records += map(_seen, records)
            self.moved.set()

    async def whole(self, within: float = 30.0) -> list[Seen]:
        """Everything there is as of now."""
        ends = {place: end for place, end in (await self._consumer.end_offsets(self._places)).items() if end}
        async with asyncio.timeout(within):
            while [place for place, end in ends.items() if await self._consumer.position(place) < end]:
                await self._next()
            await self._next()  # what was fetched has been kept
        return self.records

    async def _next(self) -> None:
        self.moved.clear()
        await self.moved.wait()


def by_run(records: list[Seen]) -> dict[str, list[Seen]]:
    """Records of each run, in the order of the log."""
    found: dict[str, list[Seen]] = defaultdict(list)
    for record in records:
        found[record.run_id].append(record)
    return found
