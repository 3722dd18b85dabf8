"""Small flows with one thing wrong each, as targets of processes that are killed, and the tools they are made of."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded import inbox
from dynamicflow.streams.embedded.sqlite import SqliteReader
from dynamicflow.tools import Tool, ToolContext, create_tool, tool
from dynamicflow.values import Json
from tests.fault.flow_process import Fate, Place, Point, die, engine_of, mortal_engine

PATIENCE_S: Final = 30.0


def one_step(tool_id: str, **fields: Json) -> dict[str, Json]:
    """A plan of one tool node ``t`` that hands on the whole input, or ``inputs``."""
    node: dict[str, Json] = {"id": "t", "type": "tool", "toolId": tool_id, "inputs": {}, **fields}
    return {"version": "1.0", "nodes": [node]}


def chain(*tool_ids: str) -> dict[str, Json]:
    """A plan of tool nodes ``t0``, ``t1`` … one after the other."""
    nodes: list[Json] = [{"id": f"t{i}", "type": "tool", "toolId": name} for i, name in enumerate(tool_ids)]
    edges: list[Json] = [{"from": f"t{i}", "to": f"t{i + 1}"} for i in range(len(tool_ids) - 1)]
    return {"version": "1.0", "nodes": nodes, "edges": edges}


def made(name: str, execute: Callable[[Any, ToolContext], Any], **fields: Any) -> Tool:
    """A tool that takes anything."""
    return create_tool({"id": name, "description": name, "inputSchema": {}, "execute": execute, **fields})


def noting(place: Place, name: str, output: Json = None, **fields: Any) -> Tool:
    """A tool that keeps the diary."""

    def execute(inputs: Any, context: ToolContext) -> Json:
        place.note(context, name, output)
        return output

    return made(name, execute, **fields)


def held_back(place: Place, name: str, side_effect: str = "idempotent") -> Tool:
    """A tool that keeps the diary and returns once the file ``release`` is there."""

    def execute(inputs: Any, context: ToolContext) -> Json:
        place.note(context, name)
        ends = time.monotonic() + PATIENCE_S
        while not (place.folder / "release").exists() and time.monotonic() < ends:
            if context.wait(0.005):
                break
        return {"by": name}

    return made(name, execute, config={"sideEffect": side_effect})


# --- a step that takes the process with it ----------------------------------------------------------------------


def poisoned(folder: str) -> None:
    """Run a tool that kills its process, but not before its start is in the log."""
    place = Place(Path(folder))

    def execute(inputs: Any, context: ToolContext) -> Json:
        place.note(context, "poison")
        seen, ends = held_starts(place), time.monotonic() + PATIENCE_S
        while held_starts(place) == seen and time.monotonic() < ends:
            context.wait(0.02)
        die()
        return None

    async def main() -> None:
        async with engine_of(place, [made("poison", execute), noting(place, "note", "fine")]) as engine:
            other = await engine.start(one_step("note"), run_id="other")
            run = await engine.start(one_step("poison"), run_id="poisoned")
            place.leave("result", [await other.result(), await run.result()])

    asyncio.run(main())


def held_starts(place: Place) -> int:
    with SqliteReader.open(place.journal) as reader:
        return sum(b'"tool-start"' in body for _, body in reader.read("poisoned"))


# --- commands of other processes --------------------------------------------------------------------------------


def posting(folder: str, commands: list[dict[str, Json]]) -> None:
    """Post commands and leave the answers of the owner."""
    place = Place(Path(folder))
    ids = [inbox.post(place.journal, command) for command in commands]
    place.leave("posted", ids)
    place.leave("answers", [inbox.await_reply(place.journal, one, PATIENCE_S) for one in ids])


def serving(folder: str, point: Point | None, wanted: int) -> None:
    """Own the journal until ``wanted`` commands are answered and every run has ended, or stands still."""
    place, fate = Place(Path(folder)), Fate(point)
    tools = [
        noting(place, "note", "noted"),
        noting(place, "charge", "charged", config={"sideEffect": "non_idempotent"}),
        held_back(place, "wait"),
    ]

    async def main() -> None:
        async with mortal_engine(place, fate, tools, drain_s=0) as engine:
            ends = time.monotonic() + PATIENCE_S
            while time.monotonic() < ends:
                answered = sum(engine.journal.reply_to(one + 1) is not None for one in range(wanted))
                if answered == wanted and all(row.completed_at for row in engine.runs()):
                    break
                await asyncio.sleep(0.005)
            place.leave("rows", {row.run_id: row.status for row in engine.runs()})

    asyncio.run(main())
    place.leave("counts", fate.counts)


def beginning(folder: str, plans: dict[str, dict[str, Json]], tool_name: str) -> None:
    """Start runs whose tool ``tool_name`` kills the process when all of them have called it."""
    place, called = Place(Path(folder)), threading.Semaphore(0)

    async def execute(inputs: Any, context: ToolContext) -> Json:
        called.release()
        await context.wait_cancelled()
        return None

    side = "non_idempotent" if tool_name == "charge" else "idempotent"

    async def main() -> None:
        tools = [made(tool_name, execute, config={"sideEffect": side}), noting(place, "note", "noted")]
        async with engine_of(place, tools) as engine:
            for run_id, plan in plans.items():
                await engine.start(plan, run_id=run_id)
            for _ in plans:
                await asyncio.to_thread(called.acquire, timeout=PATIENCE_S)
            die()

    asyncio.run(main())


def opening(folder: str, user: int | None) -> None:
    """Try to open the journal, as another user where the process may choose; leave the error's code."""
    place = Place(Path(folder))

    async def main(place: Place = place) -> str:
        async with engine_of(place, [noting(place, "note")]):
            return "opened"

    if user is not None:
        with tempfile.TemporaryDirectory() as other:  # all is loaded by this: that user may not see where the code lies
            asyncio.run(main(Place(Path(other))))
        os.setuid(user)

    try:
        said = asyncio.run(main())
    except JournalError as error:
        said = f"{error.code}: {error.message}"
    (Path(folder).parent / "said").write_text(said, encoding="utf-8")


# --- large values -----------------------------------------------------------------------------------------------

LARGE: Final = 300 * 1024
HUGE: Final = 5 * 1024 * 1024
LARGE_PLAN: Final[dict[str, Json]] = {
    "version": "1.0",
    "nodes": [
        {"id": "a", "type": "tool", "toolId": "grow", "inputs": {"text": "$input.text", "to": LARGE}},
        {"id": "b", "type": "tool", "toolId": "grow", "inputs": {"text": "$a.text", "to": HUGE}},
        {"id": "c", "type": "tool", "toolId": "grow", "inputs": {"text": "$b.text", "to": HUGE}},
    ],
    "output": {"text": "$c.text", "again": "$a.text"},
}


def growing(folder: str, point: Point | None) -> None:
    """Run a flow of large values."""
    place, fate = Place(Path(folder)), Fate(point)

    @tool
    def grow(text: str, to: int, context: ToolContext) -> dict[str, Any]:
        """Make a text longer."""
        place.note(context, "grow", len(text))
        fate.comes_to("noted")
        return {"text": (text + context.node_id * to)[:to]}

    async def main() -> None:
        async with mortal_engine(place, fate, [grow]) as engine:
            run = await engine.start(LARGE_PLAN, input={"text": "ä" * LARGE}, run_id="large")
            place.leave("result", await run.result())

    asyncio.run(main())
    place.leave("counts", fate.counts)
