"""One call on its way through the host, and what the threads that carry it out need of the host."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..values import Json
from .context import ToolContext, ToolFailed
from .spec import Tool, Validation


@dataclass(slots=True, eq=False)
class Call:
    """What is to be called. ``inputs`` have passed ``check_inputs``; the host copies them on ``submit``.

    ``timeout_s`` None: the tool's own. ``token`` is hashable, and the caller's name for this call. ``mode`` None: the
    tool's own.
    """

    tool: Tool
    inputs: dict[str, Json]
    context: ToolContext
    timeout_s: float | None
    token: Any
    mode: Validation | None = None


class Delivered(NamedTuple):
    """How a call ended: once for each call. An ``outcome`` that is an exception was raised, never returned."""

    call: Call
    outcome: Any
    started_at: float
    """Seconds since the epoch."""
    elapsed_ms: float


class Entry:
    """A submitted call. ``began`` and ``deadline`` are seconds of time.monotonic(); ``began`` 0: not yet."""

    __slots__ = ("abandoned", "began", "began_wall", "call", "deadline", "inputs", "loop", "pooled", "task")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.inputs: dict[str, Json] = copied(call.inputs)
        self.began = 0.0
        self.began_wall = 0.0
        self.deadline = math.inf
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Any] | None = None
        self.pooled = False
        """Is a pool thread in this call?"""
        self.abandoned = False
        """Is one, although the outcome has been delivered?"""


class Supervisor(Protocol):
    """What lanes and workers tell the host. Every method may be called from any thread."""

    def begin(self, entry: Entry) -> bool:
        """The clock of this entry runs; False when it has an outcome already and must not be called."""

    def settle(self, entry: Entry, outcome: Any) -> bool:
        """This is the outcome; False when there was one before."""

    def is_open(self, entry: Entry) -> bool:
        """Is there no outcome yet?"""

    def flush(self) -> None:
        """Delivers what has been settled."""


def returned(value: Any) -> Any:
    """The outcome of a call that returned ``value``: an exception that was returned is no output."""
    if isinstance(value, BaseException):
        said = f"the tool returned a {type(value).__name__}; raise it"
        return ToolFailed(said, code="TOOL_OUTPUT_INVALID", retryable=False)
    return value


def copied(value: Any) -> Any:
    """A deep copy of JSON."""
    if type(value) is dict:
        return {key: copied(part) if type(part) in (dict, list) else part for key, part in value.items()}
    if type(value) is list:
        return [copied(part) if type(part) in (dict, list) else part for part in value]
    return value
