"""A process that runs a flow and is killed by SIGKILL at a boundary of its journal; run as a script by the tests.

    python -m tests.recovery.mortal_process FOLDER FIRST LAST   one forked process a boundary, each with its own folder
    python -m tests.recovery.mortal_process FOLDER load SEED    thirty runs at once until killed from outside

Every call of a tool appends a line to ``calls.txt`` and syncs it before the tool does anything else, so that calls are
counted across deaths. Boundary 2k - 1 is just before the k-th hand-over to the journal, 2k just after the k-th commit,
before anything follows from it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dynamicflow import Engine, ToolContext, ToolFailed, tool
from dynamicflow.streams.embedded.journal import Committed, Write
from dynamicflow.streams.embedded.sqlite import SqliteJournal
from dynamicflow.values import Json

INPUT = {"n": 3, "list": [10, 20, 30]}
OUTPUT = {"paid": {"paid": 4}, "list": [11, 21, 31], "flaky": {"n": 5}, "kind": "big", "loop": [{"n": 1}, {"n": 2}]}
PLAN: dict[str, Json] = {
    "version": "1.0",
    "nodes": [
        {"id": "first", "type": "tool", "toolId": "add", "inputs": {"n": "$input.n"}},
        {
            "id": "each",
            "type": "map",
            "over": "$input.list",
            "concurrency": 2,
            "body": [
                {"id": "one", "type": "tool", "toolId": "add", "inputs": {"n": "$item"}},
                {"id": "number", "type": "value", "value": "$one.n"},
            ],
        },
        {"id": "pay", "type": "tool", "toolId": "pay", "inputs": {"amount": "$first.n"}},
        {
            "id": "flaky",
            "type": "tool",
            "toolId": "flaky",
            "inputs": {"n": "$first.n"},
            "retry": {"maxAttempts": 2, "backoff": "fixed", "initialDelay": 5},
        },
        {"id": "pause", "type": "wait", "duration": 10},
        {
            "id": "kind",
            "type": "conditional",
            "condition": "sum($each) > 50",
            "ifTrue": [{"id": "big", "type": "value", "value": "big"}],
            "ifFalse": [{"id": "small", "type": "value", "value": "small"}],
        },
        {
            "id": "loop",
            "type": "loop",
            "loop": "times",
            "times": 2,
            "body": [{"id": "turn", "type": "tool", "toolId": "add", "inputs": {"n": "$index"}}],
        },
    ],
    "edges": [{"from": "pause", "to": "loop"}],
    "output": {"paid": "$pay", "list": "$each", "flaky": "$flaky", "kind": "$kind", "loop": "$loop"},
}


def make_tools(folder: Path) -> list[object]:
    """The flow's tools, counting their calls in ``folder``."""

    def called(context: ToolContext) -> None:
        item = ".".join(map(str, context.item)) or "-"
        line = f"{context.run_id} {context.node_id} {item} {context.attempt} {context.idempotency_key}\n"
        with (folder / "calls.txt").open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @tool(side_effect="none")
    def add(n: int, context: ToolContext) -> dict[str, int]:
        """Counts one up."""
        called(context)
        return {"n": n + 1}

    @tool(side_effect="non_idempotent")
    async def pay(amount: int, context: ToolContext) -> dict[str, int]:
        """Must not run twice."""
        called(context)
        return {"paid": amount}

    @tool(side_effect="idempotent")
    async def flaky(n: int, context: ToolContext) -> dict[str, int]:
        """Fails at the first attempt."""
        called(context)
        if context.attempt == 1:
            raise ToolFailed("not yet", code="NOT_YET")
        return {"n": n + 1}

    return [add, pay, flaky]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class MortalJournal:
    """A SQLite journal whose process dies at one boundary."""

    def __init__(self, journal: SqliteJournal, reached: Callable[[], None]) -> None:
        self._journal, self._reached = journal, reached

    def submit(self, writes: Sequence[Write]) -> None:
        self._reached()
        self._journal.submit(writes)

    def __getattr__(self, name: str) -> object:
        return getattr(self._journal, name)


def mortal_engine(folder: Path, boundary: int) -> Engine:
    """An engine whose process is killed at ``boundary``; 0: never. Boundaries reached are counted in ``reached``."""
    count = itertools.count(1)

    def reached() -> None:
        at = next(count)
        (folder / "reached").write_text(str(at), encoding="utf-8")
        if at == boundary:
            die()

    def journal_of(durable: Callable[[list[Committed]], None], failed: object, command: object) -> MortalJournal:
        def after(committed: list[Committed]) -> None:
            reached()
            durable(committed)

        journal = SqliteJournal.open(folder / "runs.db", on_durable=after, on_failure=failed, on_command=command)  # type: ignore[arg-type]
        return MortalJournal(journal, reached)

    return Engine(journal_of, tools=make_tools(folder))  # type: ignore[arg-type]


async def run_flow(folder: Path, boundary: int) -> None:
    async with mortal_engine(folder, boundary) as engine:
        run = await engine.start(PLAN, input=INPUT, run_id="flow")
        await run.result()


async def load(folder: Path, seed: str) -> None:
    async with Engine.open(folder / "runs.db", tools=make_tools(folder)) as engine:
        runs = [await engine.start(PLAN, input=INPUT, run_id=f"flow-{seed}-{n}") for n in range(30)]
        print("started", flush=True)  # noqa: T201 - the test waits for it
        await asyncio.gather(*(run.result() for run in runs))


def sweep(folder: Path, first: int, last: int) -> None:
    """One process for each boundary. All imports are done: a fork takes milliseconds."""
    for boundary in range(first, last + 1):
        place = folder / str(boundary)
        place.mkdir()
        child = os.fork()
        if child == 0:
            asyncio.run(run_flow(place, boundary))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        (place / "killed").write_text("yes" if killed else "no", encoding="utf-8")


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2] == "load":
        asyncio.run(load(where, sys.argv[3]))
    else:
        sweep(where, int(sys.argv[2]), int(sys.argv[3]))
