"""A worker process of the Kafka benchmarks: ``python -m benchmarks.kafka_worker BOOTSTRAP PREFIX ROLES``."""

from __future__ import annotations

import asyncio
import signal
import sys

from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.event_loop import event_loop, settle
from dynamicflow.streams.kafka.settings import Settings
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.streams.kafka.worker import build_app

from .workloads import step


async def main(bootstrap: str, prefix: str, roles: str) -> None:
    """Run the roles until SIGTERM; say so once they are up."""
    settings = Settings(Connection(bootstrap), Topics(prefix), roles=tuple(roles.split(",")), concurrency=1000)
    app = build_app(settings, tools=[step])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settle()
    await app.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    await app.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(main(*sys.argv[1:4]))
