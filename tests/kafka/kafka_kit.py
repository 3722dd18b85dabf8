"""Workers and clients on topics of a test's own, and Kafka as any user's own client sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from dynamicflow.streams.kafka.admin import create_topics
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.engine import KafkaEngine
from dynamicflow.streams.kafka.records import partition_of
from dynamicflow.streams.kafka.settings import Settings
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.streams.kafka.worker import build_app
from dynamicflow.values import Json

WAIT_S: Final = 20.0
"""How long a test waits for what must happen; nothing here takes that long."""
SHORT: Final[Mapping[str, float]] = {
    "session_s": 6.0,
    "commit_s": 0.2,
    "lease_s": 10.0,
    "drain_s": 5.0,
    "tools_wait_s": 0.0,
}
"""Times of a worker, in seconds; in production they are longer."""
T = TypeVar("T")
Appended: TypeAlias = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""(key, value, headers) of a record."""


async def until(look: Callable[[], Awaitable[T | None]], what: str, seconds: float = WAIT_S) -> T:
    """What ``look`` gives once it is true; asked ten times a second."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while not (found := await look()):
        assert loop.time() < ends, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.1)
    return found


@dataclass(eq=False)
class Site:
    """Topics under a prefix that nobody else has. They are made when first used."""

    bootstrap: str
    prefix: str
    partitions: int = 1
    queues: tuple[str, ...] = ()
    topics: Topics = field(init=False)
    connection: Connection = field(init=False)
    _made: bool = False

    def __post_init__(self) -> None:
        self.topics, self.connection = Topics(self.prefix), Connection(self.bootstrap)

    async def make_topics(self) -> None:
        if not self._made:
            await create_topics(self.connection, self.topics.specs(self.partitions, queues=self.queues))
            self._made = True

    async def delete_topics(self) -> None:
        """Nothing of it stays: a broker keeps files of every topic open and mapped, and others use it too."""
        if self._made:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await admin.start()
            try:
                await admin.delete_topics([spec.name for spec in self.topics.specs(queues=self.queues)])
            finally:
                await admin.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.delete_topics()

    def settings(self, **changes: Any) -> Settings:
        return Settings(self.connection, self.topics, **{**SHORT, **changes})

    @asynccontextmanager
    async def worker(
        self, *, tools: Sequence[Any] = (), joins: Sequence[Any] = (), **changes: Any
    ) -> AsyncIterator[Any]:
        """A worker of this process, all roles unless ``roles`` says otherwise; the Faust application."""
        await self.make_topics()
        app = build_app(self.settings(**changes), tools=tools, joins=joins)
        await app.start()
        try:
            yield app
        finally:
            await _taken_over(app)
            await app.stop()

    def client(self, *, tools: Sequence[Any] = (), joins: Sequence[Any] = ()) -> KafkaEngine:
        return KafkaEngine.connect(prefix=self.prefix, connection=self.connection, tools=tools, joins=joins)

    @asynccontextmanager
    async def engine(
        self, *, tools: Sequence[Any] = (), joins: Sequence[Any] = (), **changes: Any
    ) -> AsyncIterator[KafkaEngine]:
        """A worker, and a client that knows the same tools; both are up on entering."""
        await self.make_topics()
        app = build_app(self.settings(**changes), tools=tools, joins=joins)
        engine = self.client(tools=tools, joins=joins)
        try:
            await asyncio.gather(app.start(), engine.__aenter__())
            yield engine
        finally:
            await engine.__aexit__(None, None, None)
            await _taken_over(app)
            await app.stop()

    # --- any user's own Kafka client ------------------------------------------------------------------------------

    async def send(
        self,
        topic: str,
        value: Json | bytes,
        *,
        key: str | bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> tuple[int, int]:
        """Append a record as it is, JSON unless it is bytes or None; (partition, offset)."""
        body = value if isinstance(value, bytes) or value is None else json.dumps(value, ensure_ascii=False).encode()
        raw = key.encode() if isinstance(key, str) else key
        async with AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", max_request_size=4 << 20, max_batch_size=4 << 20
        ) as producer:
            if partition is None:
                partition = partition_of(raw or b"", len(await producer.partitions_for(topic)))
            batch = producer.create_batch()  # ``send`` takes no record that has neither key nor value
            batch.append(key=raw, value=body, timestamp=None, headers=list(headers))
            sent = await (await producer.send_batch(batch, topic, partition=partition))
        return partition, sent.offset

    async def send_all(self, topic: str, records: Iterable[Appended]) -> None:
        """Append records (key, value, headers) in their order to the first partition."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", max_batch_size=900_000) as producer:
            batch = producer.create_batch()
            for key, value, headers in records:
                assert batch.append(key=key, value=value, timestamp=None, headers=list(headers))
            await (await producer.send_batch(batch, topic, partition=0))

    async def request(self, value: Json | bytes, **fields: Any) -> tuple[int, int]:
        """Append a request; (partition, offset)."""
        return await self.send(self.topics.requests, value, **fields)

    async def records(self, *topics: str) -> list[Any]:
        """All records of the topics as of now, without a group, by topic, partition, offset."""
        async with self._reading(*topics) as (consumer, places):
            ends = {place: end for place, end in (await consumer.end_offsets(places)).items() if end}
            found: list[Any] = []
            while ends:
                for place, batch in (await consumer.getmany(*ends, timeout_ms=200)).items():
                    found += [record for record in batch if record.offset < ends[place]]
                for place in list(ends):
                    if await consumer.position(place) >= ends[place]:
                        del ends[place]
            return sorted(found, key=lambda one: (one.topic, one.partition, one.offset))

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """The offset after the last record of each partition, as of now."""
        async with self._reading(topic) as (consumer, places):
            found: dict[TopicPartition, int] = await consumer.end_offsets(places)
            return found

    async def delete_before(self, topic: str, offsets: Mapping[TopicPartition, int]) -> None:
        """What retention does: the records before these offsets are gone."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_records({place: RecordsToDelete(offset) for place, offset in offsets.items()})
        finally:
            await admin.close()

    async def first(self, topic: str, wanted: Callable[[Any], bool], what: str) -> Any:
        """The first record of a topic that is wanted; waited for."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + WAIT_S
        async with self._reading(topic) as (consumer, _):
            while loop.time() < ends:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    for record in batch:
                        if wanted(record):
                            return record
        raise AssertionError(f"not within {WAIT_S:g} s: {what}")

    @asynccontextmanager
    async def _reading(self, *topics: str) -> AsyncIterator[tuple[Any, list[TopicPartition]]]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50, retry_backoff_ms=20
        )
        await consumer.start()
        try:
            places = [
                TopicPartition(topic, number)
                for topic in topics
                for number in sorted(await consumer._client._wait_on_metadata(topic))
            ]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            yield consumer, places
        finally:
            await consumer.stop()

    async def result(self, run_id: str) -> Any:
        """A run's record of ``flow-complete``, decoded; waited for."""
        key = run_id.encode()
        found = await self.first(self.topics.complete, lambda one: bool(one.key == key), f"the result of {run_id}")
        return json.loads(found.value)

    async def log(self, run_id: str) -> list[Any]:
        """The run's records of ``flow-events``, decoded: what is there now."""
        return [json.loads(one.value) for one in await self.records(self.topics.events) if one.key == run_id.encode()]

    async def said(self, run_id: str, kind: str) -> Any:
        """The run's first event of that type, decoded; waited for."""
        key, name = run_id.encode(), kind.encode()
        found = await self.first(
            self.topics.events, lambda one: one.key == key and ("ce_type", name) in one.headers, f"{kind} of {run_id}"
        )
        return json.loads(found.value)

    async def letters(self, count: int = 1) -> list[Any]:
        """The dead letters, decoded, once there are so many."""

        async def look() -> list[Any]:
            found = [json.loads(one.value) for one in await self.records(self.topics.dead_letter)]
            return found if len(found) >= count else []

        return await until(look, f"{count} dead letters")


async def _taken_over(app: Any) -> None:
    """The scheduler has its partitions: aiokafka leaves a connection open when it is cancelled while it makes one."""
    scheduler = app.parts.roles.get("scheduler")
    for _ in range(30):
        if scheduler is None or all(owned.ready for owned in scheduler.owned.values()):
            return
        await asyncio.sleep(0.05)


def header(record: Any, name: str) -> str | None:
    """A header as text."""
    return next((value.decode() for key, value in record.headers if key == name), None)
