"""The bare loop that the Kafka shell is measured against: two processes that play ping-pong over two topics.

``getmany`` in batches, one JSON record a step each way, ``create_batch``/``send_batch`` with acks=all and an idempotent
producer, and nothing else: no headers, no fold, no tools, no offsets.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from .bare import record


class Side:
    """One of the two: reads a topic, writes the other."""

    def __init__(self, bootstrap: str, read: str, write: str, partitions: int) -> None:
        self.bootstrap, self.read, self.write, self.partitions = bootstrap, read, write, partitions
        self.consumer: Any = None
        self.producer: Any = None
        self._waiting: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        self._sending: dict[int, asyncio.Task[None]] = {}

    async def start(self) -> None:
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True, max_batch_size=900_000
        )
        await self.producer.start()
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=250,
        )
        await self.consumer.start()
        places = [TopicPartition(self.read, number) for number in range(self.partitions)]
        self.consumer.assign(places)
        await self.consumer.seek_to_end(*places)
        for place in places:
            await self.consumer.position(place)

    async def stop(self) -> None:
        await asyncio.gather(*self._sending.values())
        await self.consumer.stop()
        await self.producer.stop()

    def send(self, partition: int, key: bytes, value: bytes) -> None:
        self._waiting[partition].append((key, value))
        if partition not in self._sending:
            self._sending[partition] = asyncio.ensure_future(self._send(partition))

    async def _send(self, partition: int) -> None:
        while self._waiting[partition]:
            rows, self._waiting[partition] = self._waiting[partition], []
            batch = self.producer.create_batch()
            for key, value in rows:
                batch.append(key=key, value=value, timestamp=None)
            await (await self.producer.send_batch(batch, self.write, partition=partition))
        del self._sending[partition]


async def pong(bootstrap: str, partitions: int, read: str, write: str) -> None:
    """Answer each record, until told to stop."""
    side = Side(bootstrap, read, write, partitions)
    await side.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for records in (await side.consumer.getmany(timeout_ms=1000)).values():
            for one in records:
                if one.value == b"stop":
                    await side.stop()
                    return
                step = json.loads(one.value)["output"]["n"]
                side.send(one.partition, one.key, record(0, step + 1))


async def ping_pong(
    bootstrap: str, read: str, write: str, *, partitions: int, runs: int, steps: int, in_flight: int, width: int = 1
) -> float:
    """Steps per second of ``runs`` × ``steps``, ``in_flight`` runs at a time, ``width`` steps of a run side by side."""
    command = [sys.executable, "-m", "benchmarks.kafka_bare", bootstrap, str(partitions), write, read]
    other = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    if other.stdout is None or await other.stdout.readline() != b"ready\n":
        raise SystemExit("the other side of the ping-pong did not start")
    side = Side(bootstrap, read, write, partitions)
    await side.start()
    game = Game(side, runs, steps // width, width)
    began = time.perf_counter()
    game.begin(in_flight)
    while game.open:
        for records in (await side.consumer.getmany(timeout_ms=1000)).values():
            for one in records:
                json.loads(one.value)
                game.back(int(one.key))
    took = time.perf_counter() - began
    side.send(0, b"stop", b"stop")
    await side.stop()
    await other.wait()
    return runs * (steps // width) * width / took


class Game:
    """Which runs are under way, and how many rounds each has left."""

    def __init__(self, side: Side, runs: int, rounds: int, width: int) -> None:
        self._side, self._width = side, width
        self._left = dict.fromkeys(range(runs), rounds)
        self._awaited: dict[int, int] = {}
        self._todo = iter(range(runs))
        self.open = runs

    def begin(self, in_flight: int) -> None:
        for run in list(islice(self._todo, in_flight)):
            self._play(run)

    def _play(self, run: int) -> None:
        self._awaited[run] = self._width
        for _ in range(self._width):
            self._side.send(run % self._side.partitions, str(run).encode(), record(run, 0))

    def back(self, run: int) -> None:
        """One step of a run has come back."""
        self._awaited[run] -= 1
        if self._awaited[run]:
            return
        self._left[run] -= 1
        if self._left[run]:
            self._play(run)
            return
        self.open -= 1
        following = next(self._todo, None)
        if following is not None:
            self._play(following)


if __name__ == "__main__":
    asyncio.run(pong(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
