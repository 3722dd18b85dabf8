"""A worker as a process of its own: ``python -m tests.faults_kafka.worker_process``, and an ``Order`` in JSON.

It ends by itself on SIGTERM, as `dynamicflow worker` does, or when it cannot start. Its tools keep the diary.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from dynamicflow.streams.kafka.broker_clock import BrokerClock
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.settings import Settings
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.streams.kafka.worker import build_app
from dynamicflow.tools import Tool, ToolContext, tool
from tests.faults_kafka.diary import Diary

SHORT: Final[dict[str, Any]] = {
    "session_s": 3.0,
    "commit_s": 0.25,
    "hold_after_s": 0.5,
    "lease_s": 4.0,
    "drain_s": 15.0,
    "concurrency": 50,
    "threads": 8,
}
"""Times of a worker under test: everything that is waited for in minutes elsewhere takes seconds."""


@dataclass(frozen=True)
class Order:
    """What a worker process is told."""

    bootstrap: str
    prefix: str
    folder: str
    roles: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    hours_ahead: float = 0.0
    """What its own clock shows beside the truth."""
    broker_hours_ahead: float = 0.0
    """What the brokers' clock seems to show to it: time is set forward, nothing is slept through."""

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Order:
        made = json.loads(text)
        return cls(**made | {"roles": tuple(made["roles"])})


class AheadClock(BrokerClock):
    """The brokers' time, and so many hours more."""

    def __init__(self, hours: float) -> None:
        super().__init__()
        self._ahead_ms = hours * 3_600_000

    def now_ms(self) -> float:
        return super().now_ms() + self._ahead_ms


def tools_of(diary: Diary) -> list[Tool]:
    """The tools of the load: what they give is worked out by hand in ``load.py``."""

    @tool(side_effect="idempotent")
    async def work(n: int, ms: int, context: ToolContext) -> dict[str, int]:
        """Counts one up, after some milliseconds."""
        call = diary.begins("work", context)
        await asyncio.sleep(ms / 1000)
        diary.ends(call)
        return {"n": n + 1}

    @tool(side_effect="idempotent")
    def work_on_a_thread(n: int, ms: int, context: ToolContext) -> dict[str, int]:
        """Counts one up, on a thread of the pool."""
        call = diary.begins("work_on_a_thread", context)
        context.wait(ms / 1000)
        diary.ends(call)
        return {"n": n + 1}

    @tool(side_effect="non_idempotent")
    async def charge(n: int, ms: int, context: ToolContext) -> dict[str, int]:
        """Counts one up, and must not do so twice."""
        call = diary.begins("charge", context)
        await asyncio.sleep(ms / 1000)
        diary.ends(call)
        return {"n": n + 1}

    @tool(side_effect="idempotent")
    async def double_number(number: int, context: ToolContext) -> dict[str, int]:
        """Doubles a number."""
        call = diary.begins("double_number", context)
        diary.ends(call)
        return {"doubled": number * 2}

    @tool(side_effect="idempotent")
    async def block(n: int, ms: int, context: ToolContext) -> dict[str, int]:
        """Keeps the loop of the tools to itself."""
        call = diary.begins("block", context)
        time.sleep(ms / 1000)  # noqa: ASYNC251 - that is what it is for
        diary.ends(call)
        return {"n": n + 1}

    @tool(side_effect="idempotent")
    def segfault(n: int, ms: int, context: ToolContext) -> dict[str, int]:
        """Takes its process with it."""
        diary.begins("segfault", context)
        ctypes.string_at(0)
        return {"n": n + 1}

    @tool(side_effect="idempotent")
    def hold_everything(n: int, ms: int, context: ToolContext) -> dict[str, int]:
        """Keeps the interpreter to itself, once: C code that does not let go of the lock."""
        call = diary.begins("hold_everything", context)
        if sum(one.place == (context.run_id, context.node_id, context.item) for one in diary.calls()) == 1:
            ctypes.PyDLL(None).usleep(ms * 1000)
        diary.ends(call)
        return {"n": n + 1}

    return [work, work_on_a_thread, charge, double_number, block, segfault, hold_everything]


def tell_stacks() -> None:
    """Where each task stands: asked for when something does not come."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=5)


async def serve(order: Order) -> None:
    """Run a worker until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, tell_stacks)
    diary = Diary(Path(order.folder) / "diary")
    topics = Topics(order.prefix)
    settings = Settings(Connection(order.bootstrap), topics, roles=order.roles, **{**SHORT, **order.settings})
    clock = AheadClock(order.broker_hours_ahead) if order.broker_hours_ahead else None
    app = build_app(settings, tools=tools_of(diary), clock=clock)
    await app.start()
    logging.info("up: %s", ", ".join(order.roles))
    await stop.wait()
    logging.info("leaving")
    await app.stop()
    logging.info("left")


def main(order: Order) -> None:
    if order.hours_ahead and "FAKETIME" not in os.environ:
        shift, true_time, true_ns = order.hours_ahead * 3600, time.time, time.time_ns
        time.time = lambda: true_time() + shift
        time.time_ns = lambda: true_ns() + round(shift * 1e9)
    form = f"%(asctime)s.%(msecs)03d {os.getpid()} %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("aiokafka.consumer.subscription_state").setLevel(logging.WARNING)  # a line for each read
    asyncio.run(serve(order))


if __name__ == "__main__":
    main(Order.decode(sys.argv[1]))
