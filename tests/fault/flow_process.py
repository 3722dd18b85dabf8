"""A process that opens a journal and drives several runs of a rich plan, and can be killed at a chosen moment.

Its tools append a line to a *diary* (O_APPEND, fsync) before they return, so that executions are counted across deaths.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from dynamicflow.errors import UsageError
from dynamicflow.streams.embedded.engine import Engine
from dynamicflow.streams.embedded.journal import Committed, Journal, OnCommand, OnDurable, OnFailure, Write
from dynamicflow.streams.embedded.run import Run
from dynamicflow.streams.embedded.sqlite import SqliteJournal
from dynamicflow.tools import Join, Tool, ToolContext, tool
from dynamicflow.values import Json

PLAN: Final[dict[str, Json]] = {
    "version": "1.0",
    "nodes": [
        {"id": "begin", "type": "tool", "toolId": "note", "inputs": {"x": "$input.n"}},
        {
            "id": "choose",
            "type": "conditional",
            "condition": "$begin.x > 1",
            "ifTrue": [{"id": "high", "type": "tool", "toolId": "note", "inputs": {"x": "high"}}],
            "ifFalse": [{"id": "low", "type": "tool", "toolId": "charge", "inputs": {"x": "low"}}],
        },
        {
            "id": "each",
            "type": "map",
            "over": "$input.list",
            "maxItems": 5,
            "concurrency": 2,
            "body": [
                {"id": "look", "type": "tool", "toolId": "slow", "inputs": {"x": "$item"}},
                {"id": "take", "type": "tool", "toolId": "charge", "inputs": {"x": "$look.x"}},
            ],
        },
        {
            "id": "both",
            "type": "parallel",
            "branches": [
                [
                    {
                        "id": "shaky",
                        "type": "tool",
                        "toolId": "flaky",
                        "inputs": {"x": 1},
                        "retry": {"maxAttempts": 3, "initialDelay": 5, "backoff": "fixed"},
                    }
                ],
                [
                    {"id": "rest", "type": "wait", "duration": 10},
                    {"id": "rested", "type": "tool", "toolId": "note", "inputs": {"x": "rested"}},
                ],
            ],
        },
        {
            "id": "again",
            "type": "loop",
            "loop": "while",
            "condition": "$index < 2",
            "maxIterations": 3,
            "body": [{"id": "turn", "type": "tool", "toolId": "slow", "inputs": {"x": "$index"}}],
        },
        {
            "id": "lame",
            "type": "tool",
            "toolId": "broken",
            "inputs": {"x": 0},
            "onError": {"value": {"instead": "$error.code"}},
        },
        {"id": "pay", "type": "tool", "toolId": "charge", "inputs": {"x": "$again.x"}},
        {"id": "report", "type": "tool", "toolId": "report", "inputs": {}},
    ],
    "edges": [
        {"from": "begin", "to": "choose"},
        {"from": "begin", "to": "each"},
        {"from": "choose", "to": "both"},
        {"from": "choose", "to": "again"},
        {"from": "both", "to": "lame"},
        {"from": "again", "to": "pay"},
        {"from": "pay", "to": "report"},
    ],
    "output": {"each": "$each", "both": "$both", "paid": "$pay", "report": "$report", "lame": "$lame"},
}
INPUTS: Final[dict[str, dict[str, Json]]] = {"first": {"n": 3, "list": [2, 3]}, "second": {"n": 1, "list": [5]}}
NON_IDEMPOTENT: Final = frozenset({"charge"})

Where = Literal["before", "after", "called", "noted"]


class Point(NamedTuple):
    """Where a process kills itself.

    before: its n-th Write is submitted; after: that is durable and the engine does not know yet; called: its n-th tool
    call has begun; noted: that has had its effect and has not returned.
    """

    where: Where
    n: int


class Line(NamedTuple):
    """One execution of a tool, as the diary has it."""

    run: str
    node: str
    item: tuple[int, ...]
    attempt: int
    key: str
    tool: str
    output: Json

    @property
    def step(self) -> tuple[str, str, tuple[int, ...], int]:
        return self.run, self.node, self.item, self.attempt


@dataclass(frozen=True)
class Place:
    """The files of one scenario."""

    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "runs.db"

    @property
    def diary(self) -> Path:
        return self.folder / "diary"

    def lines(self) -> list[Line]:
        """The diary; a process killed while it wrote leaves no half line, as a line is one small write."""
        if not self.diary.exists():
            return []
        parts = map(json.loads, self.diary.read_text(encoding="utf-8").splitlines())
        return [Line(run, node, tuple(item), *rest) for run, node, item, *rest in parts]

    def note(self, context: ToolContext, name: str, output: Json = None) -> None:
        """Add an execution to the diary."""
        line = Line(
            context.run_id,
            context.node_id,
            context.item,
            context.attempt,
            context.idempotency_key,
            name,
            output,
        )
        append_line(self.diary, json.dumps(line))

    def answer(self, name: str) -> Any:
        """What a process left for its parent; None when it died before."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def leave(self, name: str, answer: Any) -> None:
        """Tell the parent, who may look at any moment."""
        whole = self.folder / f"{name}.new"
        whole.write_text(json.dumps(answer), encoding="utf-8")
        whole.rename(self.folder / f"{name}.json")


def append_line(path: Path, text: str) -> None:
    """Durably, in one write."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (text + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def die() -> None:
    """Of a SIGKILL, as at a power cut: nothing is flushed, closed or said."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Fate:
    """Counts what happens in a process and kills it at its point."""

    point: Point | None = None
    counts: dict[Where, int] = field(default_factory=lambda: dict.fromkeys(("before", "after", "called", "noted"), 0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def comes_to(self, where: Where) -> None:
        with self.lock:
            self.counts[where] += 1
            if self.point == (where, self.counts[where]):
                die()


class MortalJournal(SqliteJournal):
    """Commits one Write at a time, and may die with its process around each."""

    fate: Fate

    def submit(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self.fate.comes_to("before")
            super().submit([write])


def open_mortal(place: Place, fate: Fate, durable: OnDurable, failed: OnFailure, command: OnCommand) -> Journal:
    """A journal whose every Write is a boundary."""

    def told(committed: list[Committed]) -> None:
        fate.comes_to("after")
        durable(committed)

    journal = MortalJournal.open(place.journal, on_durable=told, on_failure=failed, on_command=command, max_batch=1)
    assert isinstance(journal, MortalJournal)
    journal.fate = fate
    return journal


def tools_of(place: Place, fate: Fate) -> tuple[list[Tool], list[Join]]:
    """Tools that keep the diary, and the join between two of them."""

    def effect(context: ToolContext, name: str, output: dict[str, Json]) -> dict[str, Json]:
        fate.comes_to("called")
        output = {**output, "key": context.idempotency_key}
        place.note(context, name, output)
        fate.comes_to("noted")
        return output

    @tool
    def note(x: Any, context: ToolContext) -> dict[str, Any]:
        """Write down a value."""
        return effect(context, "note", {"x": x})

    @tool
    async def slow(x: Any, context: ToolContext) -> dict[str, Any]:
        """Write down a value after some milliseconds."""
        await asyncio.sleep(0.003)
        return effect(context, "slow", {"x": x})

    @tool(side_effect="non_idempotent")
    def charge(x: Any, context: ToolContext) -> dict[str, Any]:
        """Take money: never twice."""
        return effect(context, "charge", {"charged": x})

    @tool
    def flaky(x: Any, context: ToolContext) -> dict[str, Any]:
        """Succeed at the second attempt."""
        output = effect(context, "flaky", {"x": x})
        if context.attempt < 2:
            raise ConnectionError("not yet")
        return output

    @tool
    def broken(x: Any, context: ToolContext) -> dict[str, Any]:
        """Fail."""
        effect(context, "broken", {})
        raise ValueError("broken")

    @tool
    def report(total: Any, context: ToolContext) -> dict[str, Any]:
        """Report a total."""
        return effect(context, "report", {"total": total})

    join = Join("charge", "report", decode=lambda paid: {"total": [paid["charged"], paid["key"]]})
    return [note, slow, charge, flaky, broken, report], [join]


def compared(result: dict[str, Any]) -> dict[str, Any]:
    """Of a result what does not depend on time."""
    metadata = result["metadata"]
    return {
        **{name: result[name] for name in ("runId", "status", "output", "nodes", "error")},
        **{name: metadata[name] for name in ("stepCount", "skipped", "failed", "degraded")},
        "toolsExecuted": sorted(metadata["toolsExecuted"]),
    }


def mortal_engine(place: Place, fate: Fate, tools: list[Tool], joins: Sequence[Join] = (), **settings: Any) -> Engine:
    """An engine whose every Write is a boundary."""

    def journal_of(durable: OnDurable, failed: OnFailure, command: OnCommand) -> Journal:
        return open_mortal(place, fate, durable, failed, command)

    return Engine(journal_of, tools=tools, joins=joins, **settings)


def engine_of(place: Place, tools: list[Tool], joins: Sequence[Join] = (), **settings: Any) -> Engine:
    """An engine as users open it."""
    return Engine.open(place.journal, tools=tools, joins=joins, **settings)


async def _drive(place: Place, fate: Fate, runs: dict[str, dict[str, Json]]) -> dict[str, Any]:
    tools, joins = tools_of(place, fate)
    made = engine_of(place, tools, joins) if fate.point is None else mortal_engine(place, fate, tools, joins)
    async with made as engine:
        begun = await asyncio.gather(*(engine.start(PLAN, input=given, run_id=name) for name, given in runs.items()))
        ended = await asyncio.gather(*(settled(place, run) for run in begun))
    return {"results": {run.id: result for run, result in zip(begun, ended, strict=True)}, "counts": fate.counts}


async def settled(place: Place, run: Run) -> dict[str, Any]:
    """The result of a run; a step of unknown outcome that it waits for is resolved as a person who looked would."""
    resolved: set[str] = set()
    while (result := await run.result())["status"] == "suspended":
        asked = [event async for event in run.events(follow=False) if event.type == "input-requested"]
        new = [event for event in asked if event.id not in resolved]
        for event in new[:1]:
            resolved.add(event.id)
            node, item = str(event.node_id), event.item or ()
            outputs = [
                line.output for line in place.lines() if (line.run, line.node, line.item) == (run.id, node, item)
            ]
            try:
                if outputs:
                    await run.resolve(node, "done", output=outputs[-1], item=item)
                else:
                    await run.resolve(node, "retry", item=item)
            except UsageError as error:
                if error.code != "NOT_UNCERTAIN":  # resolved by a process that was killed since
                    raise
        if not new:
            await asyncio.sleep(0.002)
    return compared(result)


NEVER: Final = Point("before", 0)
"""No Write is the 0th: counts what an undisturbed process does."""


def drive(folder: str, point: Point | None = None, answer: str = "drive", copies: int = 1) -> None:
    """Start the runs, or go on with them, to the end; leave the results. The target of a process.

    With a ``point`` every Write is a commit of its own; without, what has gathered is committed together, as for users.
    """
    place = Place(Path(folder))
    runs = {f"{name}-{copy}": given for copy in range(copies) for name, given in INPUTS.items()}
    place.leave(answer, asyncio.run(_drive(place, Fate(point), runs)))
