"""A scheduler that is given a partition with much in it: how long until every step is under way again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiokafka import AIOKafkaConsumer

from dynamicflow.planner.ir import Plan
from dynamicflow.streams.kafka.broker_clock import BrokerClock
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.event_loop import settle
from dynamicflow.streams.kafka.settings import Settings
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.streams.kafka.worker import build_app
from dynamicflow.streams.kafka.writer import Writer

from .kafka_synthetic import log_of, marks_of
from .kafka_workloads import topics_of, whole_of
from .workloads import Measured, chain_plan


async def take_over(bootstrap: str, name: str, live: int, steps: int, done: int) -> Measured:
    """From the start of a scheduler, before it joins its group, until the next step of every live run is in its topic.

    ``live`` runs with ``steps`` steps done and ``done`` marks lie in one partition. A step of the line is an event or a
    mark; its p50 is the moment when the first step was in the topic.
    """
    topics, connection = await topics_of(bootstrap), Connection(bootstrap)
    await _fill(connection, topics, live, steps, done)
    work = AIOKafkaConsumer(topics.node_ready(), bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await work.start()
    app = build_app(Settings(connection, topics, roles=("scheduler",)))
    settle()  # as a worker does
    began = time.perf_counter()
    starting = asyncio.ensure_future(app.start())
    first, dispatched = 0.0, 0
    while dispatched < live:
        taken = await asyncio.wait_for(work.getmany(timeout_ms=1000), 120)
        dispatched += sum(map(len, taken.values()))
        first = first or (time.perf_counter() if dispatched else 0.0)
    seconds = time.perf_counter() - began
    await starting
    scheduler: Any = app.parts.roles["scheduler"]
    read = sum(replay.records + replay.marks for replay in scheduler.replays)
    runs = sum(len(owned.ledger.runs) for owned in scheduler.owned.values())
    if runs != live or dispatched != live:
        raise SystemExit(f"took over {runs} runs and dispatched {dispatched} steps")
    await work.stop()
    await app.stop()
    return whole_of(name, read, seconds, until_first=first - began)


async def _fill(connection: Connection, topics: Topics, live: int, steps: int, done: int) -> None:
    writer = Writer(connection, BrokerClock())
    await writer.start()
    plan = Plan.model_validate(chain_plan(steps + 1))
    for record in log_of(live, plan, steps, topics, 0):
        writer.append(record)
        if writer.unacknowledged > 20_000:
            await writer.below(1000)
    for record in marks_of(done, topics, 0):
        writer.append(record)
    await writer.below(1)
    await writer.stop()
