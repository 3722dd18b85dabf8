"""What the fold asks of its shell. Every command may be issued again: the shell does nothing twice because of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ...values import Json
from .events import Announcement, FlowComplete


@dataclass(frozen=True, slots=True)
class Plan:
    """Ask the planner for a plan, then append ``plan-published`` or ``planning-failed``."""

    run_id: str
    request: dict[str, Json]


@dataclass(frozen=True, slots=True)
class JoinInput:
    """One predecessor's output that a join turns into input. ``mapping`` is a template over ``$source``; None: code."""

    from_tool: str
    value: Json
    mapping: Json | None = None


class Dispatch(NamedTuple):
    """Run one step and append its outcome. The inputs share structure with the state: copy before a tool sees them.

    (A named tuple: made once a step, in a third of the time of a frozen dataclass.)
    """

    run_id: str
    node_id: str
    item: tuple[int, ...]
    attempt: int
    delivery: int
    tool_id: str
    inputs: Json
    joins: tuple[JoinInput, ...]
    idempotency_key: str
    timeout_ms: float
    held: bool
    """Must not run twice: append ``tool-start`` with a claim and wait until it is durable before calling."""
    validation: str
    causation_id: str


@dataclass(frozen=True, slots=True)
class CancelStep:
    """Its outcome no longer matters."""

    run_id: str
    node_id: str
    item: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Append ``timer-fired`` when the log's time reaches ``due_ms`` (milliseconds since 1970, UTC)."""

    run_id: str
    timer: str
    kind: str
    due_ms: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    run_id: str
    timer: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Append for readers."""

    event: Announcement


@dataclass(frozen=True, slots=True)
class Publish:
    """The run has ended; ``event.result`` is the result record of canonical.md §5."""

    event: FlowComplete


Command: TypeAlias = Plan | Dispatch | CancelStep | StartTimer | CancelTimer | Announce | Publish
