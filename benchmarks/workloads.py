"""The workloads on the embedded engine. Each runs in a process of its own, so its peak memory is its own."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dynamicflow.streams.embedded.engine import Engine
from dynamicflow.streams.embedded.reader import SqliteReader
from dynamicflow.streams.replay import rebuild
from dynamicflow.tools.decorate import tool
from dynamicflow.values import Json

from . import bare

STEPS = 10
FAN = 50


@tool
async def step(n: int) -> dict[str, int]:
    """Counts one up."""
    return {"n": n + 1}


@dataclass(frozen=True)
class Measured:
    """One line of the report. Latencies are of whole runs, from start to result."""

    engine: str
    workload: str
    runs: int
    steps: int
    steps_per_s: float
    ms_per_step: float
    p50_ms: float
    p95_ms: float
    peak_mb: float
    bare_steps_per_s: float
    ratio: float
    in_flight: int

    def to_json(self) -> dict[str, Json]:
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


def chain_plan(steps: int = STEPS) -> dict[str, Json]:
    """Steps that each need the one before."""
    nodes: list[dict[str, Json]] = [{"id": "s0", "type": "tool", "toolId": "step", "inputs": {"n": "$input.n"}}]
    nodes += [
        {"id": f"s{i}", "type": "tool", "toolId": "step", "inputs": {"n": f"$s{i - 1}.n"}} for i in range(1, steps)
    ]
    return {"version": "1.0", "nodes": nodes}


def fan_plan() -> dict[str, Json]:
    """1 -> 50 -> 1."""
    middle: list[dict[str, Json]] = [
        {"id": f"m{i}", "type": "tool", "toolId": "step", "inputs": {"n": "$head.n"}} for i in range(FAN)
    ]
    total = " + ".join(f"$m{i}.n" for i in range(FAN))
    return {
        "version": "1.0",
        "nodes": [
            {"id": "head", "type": "tool", "toolId": "step", "inputs": {"n": "$input.n"}},
            *middle,
            {"id": "tail", "type": "tool", "toolId": "step", "inputs": {"n": f"${{{total}}}"}},
        ],
    }


def wide_plan(items: int) -> dict[str, Json]:
    """One map."""
    body: list[Json] = [{"id": "one", "type": "tool", "toolId": "step", "inputs": {"n": "$item"}}]
    node = {"id": "m", "type": "map", "over": "$input.items", "maxItems": items, "concurrency": FAN, "body": body}
    return {"version": "1.0", "nodes": [node], "output": "${$m.length}"}


async def _runs(engine: Engine, plan: Json, inputs: Any, *, runs: int, in_flight: int, options: Json) -> list[float]:
    gate = asyncio.Semaphore(in_flight)
    took: list[float] = []

    async def one() -> None:
        async with gate:
            began = time.perf_counter()
            run = await engine.start(plan, input=inputs, options=options)
            result = await run.result()
            if result["status"] != "completed":
                raise SystemExit(f"a run ended as {result['status']}: {result['error']}")
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(one() for _ in range(runs)))
    return took


async def _measure(
    folder: Path, name: str, plan: Json, *, runs: int, steps: int, in_flight: int, width: int = 1, inputs: Any = None
) -> Measured:
    options = {"maxConcurrency": FAN}
    async with Engine.open(folder / "runs.db", tools=[step]) as engine:
        await _runs(engine, plan, inputs or {"n": 0}, runs=1, in_flight=1, options=options)  # compiled, threads up
        began = time.perf_counter()
        took = await _runs(engine, plan, inputs or {"n": 0}, runs=runs, in_flight=in_flight, options=options)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    base = await bare.group_commit(
        folder / "bare.db", runs=runs, steps=steps - steps % width, in_flight=in_flight, width=width
    )
    rate = runs * steps / seconds
    return Measured(
        engine="embedded",
        workload=name,
        runs=runs,
        steps=runs * steps,
        steps_per_s=rate,
        ms_per_step=seconds * 1000 / (runs * steps),
        p50_ms=statistics.median(took),
        p95_ms=sorted(took)[int(len(took) * 0.95)] if len(took) > 1 else took[0],
        peak_mb=peak,
        bare_steps_per_s=base,
        ratio=rate / base,
        in_flight=in_flight * width,
    )


async def chain(folder: Path) -> Measured:
    return await _measure(folder, "chain", chain_plan(), runs=200, steps=STEPS, in_flight=50)


async def chain_500(folder: Path) -> Measured:
    return await _measure(folder, "chain-500", chain_plan(), runs=2000, steps=STEPS, in_flight=500)


async def one(folder: Path) -> Measured:
    return await _measure(folder, "one", chain_plan(), runs=50, steps=STEPS, in_flight=1)


async def fan(folder: Path) -> Measured:
    return await _measure(folder, "fan", fan_plan(), runs=20, steps=FAN + 2, in_flight=10, width=FAN)


async def _wide(folder: Path, items: int) -> Measured:
    inputs = {"items": list(range(items)), "n": 0}
    plan = wide_plan(items)
    return await _measure(folder, f"wide-{items}", plan, runs=1, steps=items, in_flight=1, width=FAN, inputs=inputs)


async def wide_1000(folder: Path) -> Measured:
    return await _wide(folder, 1_000)


async def wide_10000(folder: Path) -> Measured:
    return await _wide(folder, 10_000)


async def wide_100000(folder: Path) -> Measured:
    return await _wide(folder, 100_000)


class ReadBefore:
    """A log whose records have been read from the file already."""

    def __init__(self, reader: SqliteReader) -> None:
        self._records = {row.run_id: list(reader.read(row.run_id)) for row in reader.runs()}

    def read(self, run_id: str, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        return (entry for entry in self._records[run_id] if entry[0] > after)

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        raise LookupError(f"no large values here: {list(digests)}")


async def rebuild_log(folder: Path) -> Measured:
    """Every run of a journal, decoded and folded; reading the file is not counted."""
    return await _rebuild(folder, "rebuild", read_before=True)


async def rebuild_file(folder: Path) -> Measured:
    """The same with the reading of the file, its checksums and the look-up of each run."""
    return await _rebuild(folder, "rebuild-file", read_before=False)


async def _rebuild(folder: Path, name: str, *, read_before: bool) -> Measured:
    """Chain runs and one map; a step is an event of the log."""
    path = folder / "runs.db"
    options = {"maxConcurrency": FAN}
    async with Engine.open(path, tools=[step]) as engine:
        await _runs(engine, chain_plan(), {"n": 0}, runs=500, in_flight=50, options=options)
        items = {"items": list(range(20_000))}
        await _runs(engine, wide_plan(20_000), items, runs=1, in_flight=1, options=options)
    took: list[float] = []
    events = 0
    with SqliteReader.open(path) as reader:
        rows = reader.runs()
        log: Any = ReadBefore(reader) if read_before else reader
        began = time.perf_counter()
        for row in rows:
            start = time.perf_counter()
            events += rebuild(log, row.run_id).records
            took.append((time.perf_counter() - start) * 1000)
        seconds = time.perf_counter() - began
    base = bare.read_rows(path)
    return Measured(
        engine="embedded",
        workload=name,
        runs=len(rows),
        steps=events,
        steps_per_s=events / seconds,
        ms_per_step=seconds * 1000 / events,
        p50_ms=statistics.median(took),
        p95_ms=sorted(took)[int(len(took) * 0.95)],
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        bare_steps_per_s=base,
        ratio=events / seconds / base,
        in_flight=1,
    )


WORKLOADS = {
    "chain": chain,
    "chain-500": chain_500,
    "one": one,
    "fan": fan,
    "wide-1000": wide_1000,
    "wide-10000": wide_10000,
    "wide-100000": wide_100000,
    "rebuild": rebuild_log,
    "rebuild-file": rebuild_file,
}
