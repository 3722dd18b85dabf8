"""One turn of the fold: one fact comes in, an agenda of consequences is worked off, commands go out. No rules here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ...planner.expressions import ExpressionFailed
from ...values import Json, time_ms
from .commands import Announce, CancelTimer, Command, StartTimer
from .events import Announcement, Event, envelope, event_id
from .program import Step
from .state import Frame, Live, Path, RunState, Timer

ToldT = TypeVar("ToldT", bound=Announcement)

LAST_MS: Final = 253_402_300_799_000.0
"""The last second of the year 9999, the latest that a timestamp can name. What is due later is due then."""


class NodeFailed(Exception):
    """A node cannot go on. Caught where the node is known; never leaves the fold."""

    def __init__(self, code: str, message: str, details: Json = None) -> None:
        super().__init__(code, message)
        self.code, self.message, self.details = code, message, details


@dataclass(frozen=True, slots=True)
class Kind:
    """The rules of one kind of node."""

    start: Callable[[Turn, Live], None]
    body_done: Callable[[Turn, Live, str, Frame, Json], None] | None = None
    """One of its bodies has ended: (turn, owner, key, frame of the body, output of its last node)."""
    child_failed: Callable[[Turn, Live, str, Frame, dict[str, Json]], bool] | None = None
    """A node of one of its bodies failed for good; True when the owner takes it (and does not fail with it)."""
    decide: Callable[[Turn, Live], None] | None = None
    """Called when nothing else of this fact is left to do, if it asked for that."""


@dataclass(frozen=True, slots=True)
class Top:
    """The rules of the top of a run: whom to tell that a node has ended. Handed in, since they start nodes in turn."""

    sources_ended: Callable[[Turn, Step], None]
    """A node that edges leave (or leave nodes inside it) has ended, in whatever way."""
    ended: Callable[[Turn, Step], None]
    """A top-level node has ended without a failure."""
    failed: Callable[[Turn, Step, dict[str, Json]], None]
    """A top-level node has failed for good."""


@dataclass(slots=True, eq=False)
class Turn:
    """The consequences of one fact."""

    state: RunState
    event: Event
    kinds: Mapping[str, Kind]
    top: Top
    commands: list[Command] = field(default_factory=list)
    agenda: deque[tuple[Any, ...]] = field(default_factory=deque)
    """Calls still to make: (function, *arguments). Flat, so that a long chain of instant nodes needs no stack."""
    deciders: list[Live] = field(default_factory=list)
    trace: list[tuple[str, str, Path, dict[str, Json]]] | None = None
    """(event type, node, item, fields) of what happened, for readers; None when nobody reads."""
    weights: dict[int, tuple[int, int, Json]] = field(default_factory=dict)
    """Identity of a large container -> (bytes, levels, the container, kept so that its identity stays its own)."""

    def later(self, call: Callable[..., None], *arguments: Any) -> None:
        self.agenda.append((call, *arguments))

    def announce(
        self,
        kind: type[ToldT],
        node_id: str | None,
        item: Path,
        *tail: object,
        attempt: int | None = None,
        **fields: Any,
    ) -> ToldT:
        """Append an announcement. Its id and time come from the fact, so two schedulers write the same bytes."""
        name = kind.model_fields["type"].default
        ident = event_id(self.state.run_id, node_id, item, attempt, name, *tail)
        plan_hash = self.state.program.hash if self.state.program else None
        fields |= envelope(ident, self.state.run_id, self.event.timestamp, plan_hash=plan_hash)
        fields |= {
            "node_id": node_id,
            "item": item or None,
            "attempt": attempt,
            "causation_id": self.event.id,
            "tenant": self.state.tenant,
        }
        made = kind.trusted(fields)
        self.commands.append(Announce(made))
        return made

    def note(self, name: str, node_id: str, item: Path, **fields: Json) -> None:
        if self.trace is not None:
            self.trace.append((name, node_id, item, fields))

    @property
    def now_ms(self) -> float:
        """The fact's time, in milliseconds since 1970."""
        return time_ms(self.event.timestamp)

    def in_ms(self, length: int | float) -> float:
        """The moment ``length`` milliseconds from now, however large an integer it is."""
        return min(self.now_ms + min(length, LAST_MS), LAST_MS)

    def start_timer(self, name: str, kind: str, due_ms: float, node_id: str | None = None, item: Path = ()) -> None:
        due_ms = round(min(due_ms, LAST_MS), 3)
        self.state.timers[name] = Timer(kind, due_ms, node_id, item)
        self.commands.append(StartTimer(self.state.run_id, name, kind, due_ms))

    def cancel_timer(self, name: str | None) -> None:
        if name is not None and self.state.timers.pop(name, None) is not None:
            self.commands.append(CancelTimer(self.state.run_id, name))

    def error_of(self, failed: Exception, node_id: str, item: Path, attempt: int = 1) -> dict[str, Json]:
        """The error record of an expression or node that failed."""
        if isinstance(failed, ExpressionFailed):
            at = {"line": failed.line, "column": failed.column}
            return error_record("EXPRESSION_FAILED", failed.message, node_id, item, attempt, at)
        if isinstance(failed, NodeFailed):
            return error_record(failed.code, failed.message, node_id, item, attempt, failed.details)
        raise TypeError(f"not a failure of a node: {failed!r}")


def error_record(
    code: str, message: str, node_id: str | None, item: Path, attempt: int = 1, details: Json = None
) -> dict[str, Json]:
    """{code, message, nodeId, item, attempt, details}: the form that travels through owners unchanged."""
    return {
        "code": code,
        "message": message,
        "nodeId": node_id,
        "item": list(item) or None,
        "attempt": attempt,
        "details": details,
    }


def shown(value: Json) -> str:
    """For messages: what a value is, never the whole of it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:50]}…"


def path_text(path: Path) -> str:
    """``2.0``; ``-`` at the top."""
    return ".".join(map(str, path)) if path else "-"


def owner_of(step: Step, frame: Frame) -> Live:
    """The running owner of a node that stands in a body."""
    at = frame.parent if step.in_item_body else frame
    if at is None or step.owner is None:
        raise ValueError(f"{step.id} stands in no body, or its frame has no parent")
    return at.live[step.owner.id]
