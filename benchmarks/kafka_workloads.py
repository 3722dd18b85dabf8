"""The workloads on the Kafka shell: one process for intake, planner and scheduler, some for executors, one client."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.kafka.admin import create_topics
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.engine import KafkaEngine
from dynamicflow.streams.kafka.topics import DEFAULT_PARTITIONS, Topics, TopicSpec
from dynamicflow.streams.replay import rebuild
from dynamicflow.values import Json

from .kafka_bare import ping_pong
from .workloads import FAN, STEPS, Measured, ReadBefore, chain_plan, fan_plan, wide_plan

PARTITIONS = int(os.environ.get("BENCH_PARTITIONS") or DEFAULT_PARTITIONS)
"""As ``dynamicflow topics create`` makes them, unless asked otherwise."""
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Load:
    """A workload: so many runs of a plan, so many at a time."""

    name: str
    plan: dict[str, Json]
    inputs: Json
    runs: int
    steps: int
    in_flight: int
    width: int = 1
    times: int = 1
    """Rounds: it is played, then the ping-pong. The middle of each counts, and the middle of their ratios."""


class Round(NamedTuple):
    """A workload and the ping-pong right after it: this machine's speed changes by a half within a minute."""

    rate: float
    """Steps per second."""
    base: float
    """The same of the ping-pong."""
    took: list[float]
    """Milliseconds of each run."""


LOADS = {
    "chain": Load("chain", chain_plan(), {"n": 0}, 200, STEPS, 50, times=9),
    "chain-500": Load("chain-500", chain_plan(), {"n": 0}, 2000, STEPS, 500, times=5),
    "one": Load("one", chain_plan(), {"n": 0}, 50, STEPS, 1, times=9),
    "fan": Load("fan", fan_plan(), {"n": 0}, 20, FAN + 2, 10, FAN, times=3),
    "wide-10000": Load("wide-10000", wide_plan(10_000), {"items": list(range(10_000))}, 1, 10_000, 1, FAN),
    "wide-100000": Load("wide-100000", wide_plan(100_000), {"items": list(range(100_000))}, 1, 100_000, 1, FAN),
}


@asynccontextmanager
async def worker(bootstrap: str, prefix: str, roles: str) -> AsyncIterator[int]:
    """A worker process, up; its id."""
    command = [sys.executable, "-m", "benchmarks.kafka_worker", bootstrap, prefix, roles]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        if process.stdout is None or await process.stdout.readline() != b"ready\n":
            raise SystemExit(f"the worker of {roles} did not start")
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def play(bootstrap: str, topics: Topics, load: Load, tag: str) -> tuple[float, list[float]]:
    """(seconds, milliseconds of each run from its request to its result), published and read by a plain client."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=1_000_000)
    consumer = AIOKafkaConsumer(
        topics.complete, bootstrap_servers=bootstrap, auto_offset_reset="latest", enable_auto_commit=False
    )
    await producer.start()
    await consumer.start()
    await consumer.seek_to_end()
    for place in consumer.assignment():
        await consumer.position(place)
    request = {"plan": load.plan, "input": load.inputs, "options": {"maxConcurrency": FAN}}
    body = json.dumps(request).encode()
    began: dict[bytes, float] = {}
    took: list[float] = []
    todo = iter(range(load.runs))

    async def ask(number: int) -> None:
        key = f"{tag}-{number}".encode()
        began[key] = time.perf_counter()
        await producer.send(topics.requests, body, key=key)

    start = time.perf_counter()
    for _ in range(min(load.in_flight, load.runs)):
        await ask(next(todo))
    while len(took) < load.runs:
        for records in (await asyncio.wait_for(consumer.getmany(timeout_ms=1000), 120)).values():
            for record in records:
                first = began.pop(record.key, None)
                if first is None:
                    continue
                if (status := json.loads(record.value)["status"]) != "completed":
                    raise SystemExit(f"a run ended as {status}: {record.value[:500]!r}")
                took.append((time.perf_counter() - first) * 1000)
                following = next(todo, None)
                if following is not None:
                    await ask(following)
    seconds = time.perf_counter() - start
    await consumer.stop()
    await producer.stop()
    return seconds, took


@contextmanager
def still(pids: Sequence[int]) -> Iterator[None]:
    """These processes stand still meanwhile: the ping-pong has the machine for itself."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def peak_mb(pid: int) -> float:
    """Largest resident memory of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def topics_of(bootstrap: str, *bare: str) -> Topics:
    """Fresh topics under a prefix of their own."""
    topics = Topics(f"bench-{secrets.token_hex(4)}-")
    more = [TopicSpec(f"{topics.prefix}{name}", PARTITIONS, 1, {}) for name in bare]
    await create_topics(Connection(bootstrap), [*topics.specs(PARTITIONS), *more])
    return topics


async def measure(bootstrap: str, name: str, executors: int) -> Measured:
    """One workload on ``executors`` executor processes, in turns with the ping-pong at the same concurrency."""
    load = LOADS[name]
    topics = await topics_of(bootstrap, "ping", "pong")
    async with asyncio.TaskGroup() as group:
        ends = asyncio.Event()
        up: list[asyncio.Future[int]] = []

        async def keep(roles: str, ready: asyncio.Future[int]) -> None:
            async with worker(bootstrap, topics.prefix, roles) as pid:
                ready.set_result(pid)
                await ends.wait()

        for roles in ["intake,planner,scheduler", *["executor"] * executors]:
            up.append(asyncio.get_running_loop().create_future())
            group.create_task(keep(roles, up[-1]))
        pids = [await ready for ready in up]
        await asyncio.sleep(2)  # groups settle, partitions are taken over
        if load.runs > 1:  # the broker's code is compiled as it is used, for both
            await play(bootstrap, topics, load, "warm")
            with still(pids):
                await bare(bootstrap, topics, load)
        rounds = []
        for number in range(load.times):
            seconds, took = await play(bootstrap, topics, load, f"run{number}")
            with still(pids):
                rounds.append(Round(load.runs * load.steps / seconds, await bare(bootstrap, topics, load), took))
        peak = max(peak_mb(pid) for pid in pids)
        ends.set()
    took = [each for one in rounds for each in one.took]
    rate = statistics.median(one.rate for one in rounds)
    return Measured(
        engine="kafka",
        workload=name if executors == 1 else f"{name} × {executors} executors",
        runs=load.runs * load.times,
        steps=load.runs * load.steps * load.times,
        steps_per_s=rate,
        ms_per_step=1000 / rate,
        p50_ms=statistics.median(took),
        p95_ms=sorted(took)[int(len(took) * 0.95)] if len(took) > 1 else took[0],
        peak_mb=peak,
        bare_steps_per_s=statistics.median(one.base for one in rounds),
        ratio=statistics.median(one.rate / one.base for one in rounds),
        in_flight=load.in_flight * load.width,
    )


async def bare(bootstrap: str, topics: Topics, load: Load) -> float:
    """Steps per second of the ping-pong at the concurrency of a workload."""
    return await ping_pong(
        bootstrap,
        f"{topics.prefix}ping",
        f"{topics.prefix}pong",
        partitions=PARTITIONS,
        runs=load.runs,
        steps=load.steps - load.steps % load.width,
        in_flight=load.in_flight,
        width=load.width,
    )


async def rebuild_topic(bootstrap: str) -> Measured:
    """One run of 10 000 steps, looked up, read from its partition and folded. A step is an event of its log."""
    topics = await topics_of(bootstrap)
    load = LOADS["wide-10000"]
    async with worker(bootstrap, topics.prefix, "intake,planner,scheduler,executor"):
        await asyncio.sleep(1)
        await play(bootstrap, topics, load, "run")
    async with KafkaEngine.connect(bootstrap, prefix=topics.prefix) as engine:
        began = time.perf_counter()
        run = await engine.find("run-0")
        records = await run.records()
        values = await run.load()
        read = time.perf_counter() - began
        log: Any = _Read([(one.offset, one.value) for one in records], dict(values))
        made = rebuild(log, "run-0")
        seconds = time.perf_counter() - began
    began = time.perf_counter()
    for one in records:
        decode_event(one.value)
    decoding = time.perf_counter() - began
    return whole_of("rebuild", made.records, seconds, base=made.records / (read + decoding))


class _Read(ReadBefore):
    """A log that has been read already."""

    def __init__(self, records: list[tuple[int, bytes]], values: dict[str, bytes]) -> None:
        self._records = {"run-0": records}
        self._values = values

    def load(self, digests: Any) -> dict[str, bytes]:
        return {sha: self._values[sha] for sha in digests}


def whole_of(name: str, events: int, seconds: float, base: float = 0.0, until_first: float = 0.0) -> Measured:
    """A line whose steps are events; its milliseconds are of the whole. ``base`` 0: there is no bare loop beside it.

    ``until_first``: seconds until the first thing came of it, told as p50; 0: as long as the whole.
    """
    whole = seconds * 1000
    rate = events / seconds
    return Measured(
        engine="kafka",
        workload=name,
        runs=1,
        steps=events,
        steps_per_s=rate,
        ms_per_step=whole / events,
        p50_ms=until_first * 1000 or whole,
        p95_ms=whole,
        peak_mb=0.0,
        bare_steps_per_s=base,
        ratio=rate / base if base else 0.0,
        in_flight=1,
    )
