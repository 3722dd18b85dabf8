"""What is true of a run after a prefix of its log. Plain data and look-ups; the rules are in ``fold`` and ``nodes``.

The state has one owner and is changed in place. ``to_json`` gives everything the fold depends on: two states are the
same when the digests of that are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ...planner.ir import Retry
from ...planner.options import NO_OPTIONS, Options
from ...values import Json

if TYPE_CHECKING:
    from .program import Program, Step

Path: TypeAlias = tuple[int, ...]
"""Indexes of the enclosing item bodies, outermost first; () at the top."""
Phase: TypeAlias = Literal["completed", "failed", "skipped", "cancelled"]
EndStatus: TypeAlias = Literal["completed", "partial", "failed", "cancelled", "timed_out", "rejected"]

ENDED: Final = frozenset({"completed", "partial", "failed", "cancelled", "timed_out", "rejected"})

UNRESOLVED: Final = 0
SATISFIED: Final = 1
DEAD: Final = 2
SOURCE_COMPLETED: Final = -1
SOURCE_DID_NOT: Final = -2
"""How a control edge stands. With the last two its source has ended, but its condition waits for other nodes."""


@dataclass(slots=True)
class RunValues:
    """What ``$input``, ``$vars`` and ``$run`` read."""

    input: Json = None
    variables: dict[str, Json] = field(default_factory=dict)
    about: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True, eq=False, repr=False)
class Frame:
    """The values of one item body's execution, or of the top. Dropped when the item is done."""

    run: RunValues
    scope: str = ""
    """Id of the node whose item body this is; "" at the top."""
    path: Path = ()
    parent: Frame | None = None
    item: Json = None
    index: int = 0
    acc: Json = None
    last: Json = None
    outputs: dict[str, Json] = field(default_factory=dict)
    """Of completed nodes."""
    errors: dict[str, dict[str, Json]] = field(default_factory=dict)
    """First failure of nodes whose onError took over: what ``$error`` reads."""
    phases: dict[str, Phase] = field(default_factory=dict)
    """Of nodes that have ended."""
    live: dict[str, Live] = field(default_factory=dict)
    """Nodes that have started and not ended."""

    def to_json(self) -> Json:
        return {
            "scope": self.scope,
            "path": list(self.path),
            "item": self.item,
            "index": self.index,
            "acc": self.acc,
            "last": self.last,
            "outputs": self.outputs,
            "errors": self.errors,
            "phases": self.phases,
            "live": {name: live.to_json() for name, live in sorted(self.live.items())},
        }


@dataclass(slots=True, eq=False, repr=False)
class Live:
    """A node that has started and not ended. Which fields mean something depends on the kind of node."""

    step: Step
    frame: Frame
    status: str = "running"
    """tool: queued, dispatched, retrying, uncertain · others: running, recovering (in onError's nodes)."""
    # a step that leaves the fold
    attempt: int = 1
    delivery: int = 1
    starts: int = 0
    """Held starts without an outcome, of this attempt."""
    claim: str | None = None
    inputs_digest: str | None = None
    timer: str | None = None
    """The timer it waits for, or that bounds it."""
    cause: str = ""
    # an owner
    body: str = ""
    """The body that runs now, where only one can."""
    items: list[Json] | None = None
    results: list[Json] = field(default_factory=list)
    next: int = 0
    """The next item, iteration or branch to start."""
    total: int = 0
    active: dict[int, Frame] = field(default_factory=dict)
    """Items or branches under way."""
    failures: dict[int, dict[str, Json]] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    """Branches that have ended, in the order they did, where the join strategy needs it."""
    acc: Json = None

    def to_json(self) -> Json:
        return {
            "status": self.status,
            "attempt": self.attempt,
            "delivery": self.delivery,
            "starts": self.starts,
            "claim": self.claim,
            "inputsDigest": self.inputs_digest,
            "timer": self.timer,
            "cause": self.cause,
            "body": self.body,
            "items": self.items,
            "results": self.results,
            "next": self.next,
            "total": self.total,
            "active": sorted(self.active),
            "failures": {str(key): value for key, value in self.failures.items()},
            "ended": self.ended,
            "acc": self.acc,
        }


@dataclass(slots=True)
class Timer:
    kind: str
    due_ms: float
    node_id: str | None
    item: Path


@dataclass(slots=True, eq=False)
class RunState:
    """Everything the fold knows of one run."""

    run_id: str
    seq: int = 0
    """Facts accepted."""
    late: int = 0
    """Facts that came after what they speak of was settled; kept in the log, they change nothing."""
    status: Literal["pending", "planning", "running", "ended"] = "pending"
    end: EndStatus | None = None
    paused: bool = False
    parked: str | None = None
    request: dict[str, Json] = field(default_factory=dict)
    options: Options = NO_OPTIONS
    root_run_id: str = ""
    tenant: str | None = None
    program: Program | None = None
    policies: dict[str, dict[str, Json]] = field(default_factory=dict)
    joined: dict[str, list[str]] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    values: RunValues = field(default_factory=RunValues)
    top: Frame = field(default_factory=lambda: Frame(RunValues()))
    frames: dict[tuple[str, Path], Frame] = field(default_factory=dict)
    """Frames under way by scope and path, the top's too."""
    waits: dict[str, int] = field(default_factory=dict)
    """Top-level node -> edges and references still unresolved."""
    edges: list[int] = field(default_factory=list)
    """Per control edge: one of UNRESOLVED … DEAD."""
    edge_waits: dict[int, int] = field(default_factory=dict)
    """Control edge -> what it still waits for: its source, and the nodes its condition refers to."""
    open_nodes: int = 0
    """Top-level nodes that have not ended."""
    poisoned: set[str] = field(default_factory=set)
    """Top-level nodes that refer to a failed one, in a run that goes on with partial results."""
    ready: deque[Live] = field(default_factory=deque)
    """Steps that wait for their turn; some may have been cancelled meanwhile."""
    in_flight: dict[tuple[str, Path], Live] = field(default_factory=dict)
    timers: dict[str, Timer] = field(default_factory=dict)
    retries: dict[str, Retry] = field(default_factory=dict)
    """Tool node -> its retry policy, worked out once. Derived."""
    started_at: str = ""
    steps_done: int = 0
    tools_used: dict[str, None] = field(default_factory=dict)
    tokens: int = 0
    first_error: dict[str, Json] | None = None
    result: dict[str, Json] | None = None
    controls: dict[str, None] = field(default_factory=dict)
    """Ids of control facts applied: the same request twice is one."""

    def live_at(self, node_id: str | None, item: Path) -> Live | None:
        """The node at that place, if it has started and not ended."""
        step = self.program.steps.get(node_id or "") if self.program is not None else None
        frame = self.frames.get((step.scope, item)) if step is not None else None
        return frame.live.get(step.id) if frame is not None and step is not None else None

    @property
    def public_status(self) -> str:
        """One of canonical.md's: pending, planning, running, suspended, paused, parked, or how it ended."""
        if self.end is not None:
            return self.end
        if self.parked is not None:
            return "parked"
        if self.paused:
            return "paused"
        if self.status == "running" and self.suspended:
            return "suspended"
        return self.status

    @property
    def suspended(self) -> bool:
        """Nothing runs or is about to: it waits for a person or for a time."""
        if self.in_flight or any(live.status == "queued" for live in self.ready):
            return False
        return all(timer.kind != "retry" for timer in self.timers.values())

    def to_json(self) -> Json:
        """Everything the fold depends on, as JSON."""
        return {
            "runId": self.run_id,
            "seq": self.seq,
            "late": self.late,
            "status": self.status,
            "end": self.end,
            "paused": self.paused,
            "parked": self.parked,
            "request": self.request,
            "planHash": self.program.hash if self.program else None,
            "policies": self.policies,
            "joined": self.joined,
            "tools": self.tools,
            "frames": [frame.to_json() for _, frame in sorted(self.frames.items())],
            "waits": self.waits,
            "edges": self.edges,
            "edgeWaits": {str(key): value for key, value in self.edge_waits.items()},
            "openNodes": self.open_nodes,
            "poisoned": sorted(self.poisoned),
            "ready": [[live.step.id, list(live.frame.path)] for live in self.ready if live.status == "queued"],
            "inFlight": sorted([node, list(path)] for node, path in self.in_flight),
            "timers": {
                name: [timer.kind, timer.due_ms, timer.node_id, list(timer.item)]
                for name, timer in sorted(self.timers.items())
            },
            "startedAt": self.started_at,
            "stepsDone": self.steps_done,
            "toolsUsed": list(self.tools_used),
            "tokens": self.tokens,
            "firstError": self.first_error,
            "result": self.result,
            "controls": list(self.controls),
        }


def new_run(run_id: str) -> RunState:
    """The state before the first fact."""
    return RunState(run_id)


def step_key(live: Live) -> tuple[str, Path]:
    """What identifies a step within its run."""
    return live.step.id, live.frame.path
