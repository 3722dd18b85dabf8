"""`make bench-kafka`: the workloads on a real broker beside a bare ping-pong in the same run."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.kafka.broker import Broker
from tests.kafka.runtime import LASTING

from .kafka_takeover import take_over
from .kafka_workloads import LOADS, measure, rebuild_topic
from .table import table_of
from .workloads import Measured

ASKED = {
    "chain": "ratio ≥ 0.35",
    "chain-500": "ratio ≥ 0.25",
    "one": "≤ 2 × bare ms: ratio ≥ 0.50",
    "rebuild": "10 000 events: whole < 2 000 ms",
    "takeover-100000-live": "all dispatched < 5 000 ms",
    "takeover-100000-done": "all dispatched < 3 000 ms",
}
EXECUTORS = {"chain": (1, 2, 4), "chain-500": (1, 2, 4)}
"""Numbers of executor processes; one by default."""


@contextmanager
def broker() -> Iterator[str]:
    """The address of DYNAMICFLOW_BOOTSTRAP, else of a broker of our own."""
    if address := os.environ.get("DYNAMICFLOW_BOOTSTRAP"):
        yield address
        return
    with Broker(heap="1g", jvm=LASTING) as own:
        yield own.bootstrap


def lines_of(bootstrap: str, only: list[str]) -> Iterator[Measured]:
    names = only or [name for name in LOADS if name != "wide-100000"] + ["rebuild", "takeover"]
    for name in names:
        if name == "rebuild":
            yield asyncio.run(rebuild_topic(bootstrap))
        elif name == "takeover":
            yield asyncio.run(take_over(bootstrap, "takeover-100000-live", live=5_000, steps=17, done=0))
            yield asyncio.run(take_over(bootstrap, "takeover-100000-done", live=10, steps=5, done=100_000))
        else:
            for count in EXECUTORS.get(name, (1,)):
                yield asyncio.run(measure(bootstrap, name, count))


def bench(
    only: Annotated[list[str] | None, typer.Argument(help="Workloads; all but wide-100000 by default.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write one JSON line a workload here.")] = None,
) -> None:
    """Run workloads and print a table."""
    known = [*LOADS, "rebuild", "takeover"]
    unknown = [name for name in only or () if name not in known]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is no workload; there are {', '.join(known)}")
    lines = []
    with broker() as bootstrap:
        for measured in lines_of(bootstrap, only or []):
            lines.append(measured.to_json())
            typer.echo(
                f"{measured.workload}: {measured.steps_per_s:,.0f} steps/s, ratio {measured.ratio:.3f}", err=True
            )
    if json_file is not None:
        json_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    title = "Kafka shell: scheduler, executors, client and broker on this machine, beside a bare aiokafka ping-pong"
    Console(width=None if sys.stdout.isatty() else 160).print(table_of(lines, title, ASKED))


if __name__ == "__main__":
    typer.run(bench)
