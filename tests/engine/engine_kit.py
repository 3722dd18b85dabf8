"""Tools and plans for tests of an engine, and the two places it may keep its runs in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dynamicflow import Engine, Run, Tool, ToolContext, create_tool
from dynamicflow.streams.core.events import Event
from dynamicflow.streams.embedded.memory import MemoryJournal

WAIT_S: Final = 10.0
"""How long a test waits for what must happen; nothing here takes that long."""

Open = Callable[..., Engine]
"""Makes an engine on the test's own journal; closed and made again, it finds the runs of before."""


def on_file(folder: Path) -> Open:
    return lambda **settings: Engine.open(folder / "runs.db", **settings)


def in_memory(folder: Path) -> Open:
    journal = MemoryJournal()
    return lambda **settings: Engine.in_memory(journal=journal, **settings)


def made(name: str, execute: Callable[..., Any], **spec: Any) -> Tool:
    """A tool that takes any input."""
    return create_tool({"id": name, "description": name, "inputSchema": {}, "execute": execute, **spec})


class Gate:
    """A tool that waits until it is opened, and says when it was entered and when it was told to stop."""

    def __init__(self, name: str = "gate", **spec: Any) -> None:
        self.entered, self.stopped, self._open = threading.Event(), threading.Event(), threading.Event()
        self.calls = 0
        self.tool = made(name, self._run, **spec)

    def open(self) -> None:
        self._open.set()

    async def _run(self, inputs: Any, context: ToolContext) -> Any:
        self.calls += 1
        self.entered.set()
        waiting = asyncio.get_running_loop().run_in_executor(None, self._open.wait, WAIT_S)
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self.stopped.set()
            self._open.set()
            raise
        return inputs


class Crowd:
    """A tool whose calls go on only when ``size`` of them are under way at once; it knows the most there ever were."""

    def __init__(self, size: int) -> None:
        self.most = self._now = 0
        self._lock, self._barrier = threading.Lock(), threading.Barrier(size)
        self.tool = made("crowd", self._run)

    def _run(self, inputs: Any, context: ToolContext) -> Any:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._barrier.wait(WAIT_S)
        with self._lock:
            self._now -= 1
        return inputs


def flaky(failures: int) -> Tool:
    """Fails that often, then gives the number of its attempt."""

    def run(inputs: Any, context: ToolContext) -> Any:
        if context.attempt <= failures:
            raise ValueError(f"attempt {context.attempt}")
        return context.attempt

    return made("flaky", run)


def _double(inputs: Any, context: ToolContext) -> Any:
    return {"n": 2 * inputs["n"]}


double: Final = create_tool(
    {
        "id": "double",
        "description": "Double a number.",
        "inputSchema": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]},
        "outputSchema": {"type": "object", "properties": {"n": {"type": "number"}}},
        "execute": _double,
    }
)
echo: Final = made("echo", lambda inputs, context: inputs)


def plan(*nodes: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {"version": "1.0", "nodes": list(nodes), **fields}


def call(node: str, tool: str, inputs: Any = None, **fields: Any) -> dict[str, Any]:
    return {"id": node, "type": "tool", "toolId": tool, "inputs": {} if inputs is None else inputs, **fields}


CHAIN: Final = plan(call("a", "double", {"n": "$input.n"}), call("b", "double", {"n": "$a.n"}))


def types_of(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


async def recorded(run: Run) -> list[Event]:
    """The run's log, once its end is in it: a result may be had a moment before."""
    return [event async for event in run.events(derived=False)]
