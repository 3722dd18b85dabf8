"""The door for scripts without an event loop. Inside a running loop use ``DynamicFlow`` with ``await``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

from .api import DynamicFlow
from .errors import UsageError
from .flow import Flow
from .result import Result
from .streams.core.events import Event

T = TypeVar("T")


def generate(**request: Any) -> Flow:
    """``DynamicFlow.generate``, waited for."""
    return _waited(DynamicFlow.generate, **request)


def run_collect(flow: Flow | None = None, given: Any = None, /, **request: Any) -> Result:
    """``DynamicFlow.run_collect(**request)``, or ``flow.run_collect(given, **request)``, waited for."""
    if flow is None:
        return _waited(DynamicFlow.run_collect, **request)
    if "input" in request:
        given = request.pop("input")
    return _waited(flow.run_collect, given, **request)


def execute(**request: Any) -> Iterator[Event]:
    """The events of ``DynamicFlow.execute`` as they happen. Leaving the iteration early lets the run go."""
    _refuse_inside_a_loop()
    return _events(request)


def _events(request: dict[str, Any]) -> Iterator[Event]:
    async def following() -> Event | None:
        return await anext(stream, None)

    with asyncio.Runner() as runner:
        stream: Any = DynamicFlow.execute(**request)
        try:
            while (event := runner.run(following())) is not None:
                yield event
        finally:
            runner.run(_closed(stream))


async def _closed(stream: Any) -> None:
    async with aclosing(stream):
        return


def _waited(call: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **keywords: Any) -> T:
    _refuse_inside_a_loop()
    return asyncio.run(call(*arguments, **keywords))


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    message = "dynamicflow.blocking waits, and an event loop runs in this thread: use `await DynamicFlow.…` here"
    raise UsageError("INSIDE_A_LOOP", message)
