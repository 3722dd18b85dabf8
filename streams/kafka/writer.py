"""Appends records: in batches by partition, acknowledged by all in-sync replicas, retried until the broker has them.

One append takes about a microsecond (a ``send`` of its own takes a hundred). Order is kept within a partition. A record
may stand in the log twice after an outage; everything that reads the log expects that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.protocol.metadata import MetadataRequest

from .broker_clock import BrokerClock
from .connection import Connection
from .records import Record

log = logging.getLogger(__name__)

Acknowledged: TypeAlias = "Callable[[int, Exception | None], None]"
"""(offset, None) once the record is in the log; (-1, why) when the brokers will never take it."""

BATCH_BYTES: Final = 960_000
"""Of one batch; the brokers' bound for a batch is 1 048 588."""

ROUND_S: Final = 0.002
"""Between two rounds of batches under load: a request costs a broker and its client a tenth of a millisecond each, a
record in it a hundredth of that."""
FEW: Final = 4
"""Records on their way below which there is no load to speak of, and nothing waits."""
PAUSE_S: Final = 0.2
"""Between two tries while no broker answers."""
NEVER: Final = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidTopicError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.InvalidTimestampError,
)
"""Refusals that asking again does not mend."""


class Lane:
    """What waits for one partition, and the task that sends it: one batch on the way, the next gathers meanwhile."""

    __slots__ = ("partition", "task", "topic", "waiting")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.waiting: deque[tuple[Record, Acknowledged | None]] = deque()
        self.task: asyncio.Task[None] | None = None


class Writer:
    """The producer of one process. Lives on one event loop."""

    def __init__(
        self,
        connection: Connection,
        clock: BrokerClock,
        client_id: str = "dynamicflow",
        told: Callable[[int, float], None] | None = None,
        request_s: float = 40.0,
    ) -> None:
        """``told`` hears of every batch that is acknowledged: (records, seconds)."""
        self._connection, self._clock, self._client_id, self._told = connection, clock, client_id, told
        self._request_s = request_s
        self._producer: Any = None
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._rebuilding = asyncio.Lock()
        self._stopped = False
        self._flushing = False
        self._flushed = 0.0
        self.unacknowledged = 0
        self._less = asyncio.Event()

    async def start(self) -> None:
        """Connect. Raises what aiokafka raises when no broker answers."""
        self._producer = await self._connect()

    async def stop(self, seconds: float = 5.0) -> None:
        """Wait for what is on its way, at most ``seconds``, and let go."""
        if self._producer is not None:
            await self.flush(seconds)
        self._stopped = True
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._producer is not None:
            await _close(self._producer)

    async def flush(self, seconds: float) -> bool:
        """Wait until all that was appended is acknowledged; False when that took longer."""
        try:
            await asyncio.wait_for(self.below(1), seconds)
        except TimeoutError:
            return False
        return True

    async def below(self, count: int) -> None:
        """Wait until fewer than so many records are on their way."""
        while self.unacknowledged >= count:
            self._less.clear()
            await self._less.wait()

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; asked until a broker answers. Raises UnknownTopicOrPartitionError.

        aiokafka's own ``partitions_for`` asks 40 s for a topic that is not there, and complains of it ever after.
        """
        known = self._producer.client.cluster.partitions_for_topic(topic)
        while not known:
            client, found = self._producer.client, None
            with contextlib.suppress(kafka_errors.KafkaError):
                wanted = MetadataRequest([topic], allow_auto_topic_creation=False)
                found = (await client.send(client.get_random_node(), wanted)).to_object()["topics"][0]
            if found is not None and not found["error_code"]:
                return len(found["partitions"])
            if found is not None and found["error_code"] == kafka_errors.UnknownTopicOrPartitionError.errno:
                raise kafka_errors.UnknownTopicOrPartitionError(topic)
            await asyncio.sleep(PAUSE_S)
        return len(known)

    def append(self, record: Record, acknowledged: Acknowledged | None = None) -> None:
        """Queue a record and return at once; ``acknowledged`` is called on the loop."""
        key = (record.topic, record.partition)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(*key)
        lane.waiting.append((record, acknowledged))
        self.unacknowledged += 1
        if lane.task is None and not self._flushing:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """At once when there is little on its way, or nothing was sent lately; else what comes soon goes together."""
        self._flushing = True
        loop = asyncio.get_running_loop()
        wait = self._flushed + ROUND_S - loop.time()
        if wait <= 0 or self.unacknowledged < FEW:
            loop.call_soon(self._flush)
        else:
            loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        loop = asyncio.get_running_loop()
        self._flushed = loop.time()
        for lane in self._lanes.values():
            if lane.waiting and lane.task is None and not self._stopped:
                lane.task = loop.create_task(self._send(lane))

    async def put(self, records: Iterable[Record]) -> list[int]:
        """Append all of them; their offsets once every one is acknowledged. Raises the first permanent refusal."""
        todo = list(records)
        offsets, left = [-1] * len(todo), len(todo)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def acknowledged(index: int, offset: int, error: Exception | None) -> None:
            nonlocal left
            offsets[index], left = offset, left - 1
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            elif not left:
                done.set_result(None)

        for index, record in enumerate(todo):
            self.append(record, partial(acknowledged, index))
        if todo:
            await done
        return offsets

    # --- one lane -------------------------------------------------------------------------------------------------

    async def _send(self, lane: Lane) -> None:
        try:
            await self._send_batch(lane)
        finally:
            lane.task = None
            if lane.waiting and not self._flushing and not self._stopped:
                self._flush_soon()

    async def _send_batch(self, lane: Lane) -> None:
        producer, began = self._producer, time.perf_counter()
        batch = producer.create_batch()
        count = 0
        for record, _ in lane.waiting:
            if batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers) is None:
                break
            count += 1
        try:
            if count == 0:
                raise kafka_errors.MessageSizeTooLargeError(f"a record of {len(lane.waiting[0][0].value or b'')} bytes")
            batch.close()
            sent = await (await producer.send_batch(batch, lane.topic, partition=lane.partition))
        except NEVER as error:
            await self._refused(lane, count, error)
            return
        except Exception as error:
            await self._again(producer, error, lane)
            return
        if self._told is not None:
            self._told(count, time.perf_counter() - began)
        if sent.timestamp_type == 1:
            self._clock.heard(sent.timestamp)
        self._acknowledge(lane, count, sent.offset)

    def _acknowledge(self, lane: Lane, count: int, first: int, error: Exception | None = None) -> None:
        self.unacknowledged -= count
        self._less.set()
        for index in range(count):
            _, acknowledged = lane.waiting.popleft()
            if acknowledged is not None:
                try:
                    acknowledged(-1 if first < 0 else first + index, error)
                except Exception:  # a fault of ours: it must not stop the lane
                    log.exception("what follows an append to %s failed", lane.topic)

    async def _refused(self, lane: Lane, count: int, error: Exception) -> None:
        """One of the batch is at fault: send them one by one, and tell the one that it will never be taken."""
        for _ in range(max(count, 1)):
            record = lane.waiting[0][0]
            batch = self._producer.create_batch()
            try:
                if count > 1:
                    batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers)
                    batch.close()
                    sent = await (await self._producer.send_batch(batch, lane.topic, partition=lane.partition))
                    self._acknowledge(lane, 1, sent.offset)
                    continue
            except NEVER as found:
                error = found
            except Exception:
                return  # the lane goes on with what is left
            log.warning("%s refuses a record for good: %s", lane.topic, error)
            self._acknowledge(lane, 1, -1, error)

    async def _again(self, producer: Any, error: Exception, lane: Lane) -> None:
        """Nobody answered, or the producer is broken: what is not acknowledged is sent again, for ever."""
        log.warning("appending to %s-%d: %r; trying again", lane.topic, lane.partition, error)
        if not isinstance(error, kafka_errors.KafkaError) or not getattr(error, "retriable", False):
            await self._rebuild(producer)
        await asyncio.sleep(PAUSE_S)

    async def _rebuild(self, broken: Any) -> None:
        async with self._rebuilding:
            if self._producer is not broken or self._stopped:
                return
            while not self._stopped:
                try:
                    self._producer = await self._connect()
                except Exception as error:
                    log.warning("no broker answers: %r", error)
                    await asyncio.sleep(PAUSE_S * 5)
                else:
                    break
        await _close(broken)

    async def _connect(self) -> Any:
        producer = AIOKafkaProducer(
            **self._connection.client_options(),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES + 80_000,
            linger_ms=0,
            request_timeout_ms=round(self._request_s * 1000),
        )
        try:
            await producer.start()
        except BaseException:
            await _close(producer)
            raise
        return producer


async def _close(producer: Any) -> None:
    with contextlib.suppress(Exception, asyncio.TimeoutError):
        await asyncio.wait_for(producer.stop(), 5)
