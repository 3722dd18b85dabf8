"""Tools and plans for tests of an engine, and the places it may keep its runs in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from dynamicflow import Check, Engine, Options, Tool, ToolContext, create_tool
from dynamicflow.planner import ir
from dynamicflow.streams.core.events import Event
from dynamicflow.streams.embedded.memory import MemoryJournal
from dynamicflow.streams.kafka.engine import KafkaEngine
from dynamicflow.values import Json
from tests.kafka.kafka_kit import Site

WAIT_S: Final = 10.0
"""How long a test waits for what must happen; nothing here takes that long."""


class AnyRun(Protocol):
    """What a run is to a caller, whichever engine has it."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def rejected(self) -> dict[str, Json] | None: ...
    async def result(self, *, max_wait: float | None = None) -> dict[str, Json]: ...
    def events(self, *, after: int = 0, derived: bool = True, follow: bool = True) -> AsyncIterator[Event]: ...
    async def cancel(self, reason: str = "", *, by: str = "", control_id: str = "") -> None: ...
    async def pause(self, reason: str = "", *, by: str = "", control_id: str = "") -> None: ...
    async def resume(self, reason: str = "", *, by: str = "", control_id: str = "") -> None: ...
    async def resolve(
        self,
        node_id: str,
        resolution: str,
        *,
        output: Json = None,
        reason: str = "",
        item: tuple[int, ...] = (),
        by: str = "",
        control_id: str = "",
    ) -> None: ...


class AnyEngine(Protocol):
    """What an engine is to a caller."""

    def check(self, plan: Json | ir.Plan, *, options: Options | None = None) -> Check: ...
    async def start(
        self,
        plan_or_prompt: Json | ir.Plan,
        *,
        input: Json = None,
        run_id: str | None = None,
        options: Mapping[str, Json] | Options | None = None,
        labels: Mapping[str, str] | None = None,
        model: str | None = None,
    ) -> AnyRun: ...
    def run(self, run_id: str) -> AnyRun:
        """Raises RunNotFound at once, or when it is first read."""


Open: TypeAlias = Callable[..., AbstractAsyncContextManager[AnyEngine]]
"""Makes an engine on the test's own journal or topics; closed and made again, it finds the runs of before."""


def on_file(folder: Path) -> Open:
    return lambda **settings: Engine.open(folder / "runs.db", **settings)


def in_memory() -> Open:
    journal = MemoryJournal()
    return lambda **settings: Engine.in_memory(journal=journal, **settings)


def on_kafka(site: Site) -> Open:
    """A worker of this process with every role, and a client: together what the embedded engine is by itself."""
    return site.engine


async def listed(engine: AnyEngine, **asked: Any) -> dict[str, str]:
    """Run id -> status, as ``runs()`` lists them. The topics have to be read for it: there it is awaited."""
    if isinstance(engine, KafkaEngine):
        return {str(row["runId"]): str(row["status"]) for row in await engine.runs(**asked)}
    assert isinstance(engine, Engine)
    return {row.run_id: row.status for row in engine.runs(**asked)}


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


def unheld(types: Sequence[str]) -> list[str]:
    """Without holds of steps: a worker that is not sure to be the first puts a ``tool-start`` into the log."""
    return [kind for kind in types if kind != "tool-start"]


async def recorded(run: AnyRun) -> list[Event]:
    """The run's log, once its end is in it: a result may be had a moment before."""
    return [event async for event in run.events(derived=False)]
