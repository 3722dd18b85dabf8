"""The closed union of what can stand in a run's log (canonical.md §4).

A *fact* is what only the world can know; the fold reads nothing else. An *announcement* follows from facts: it is
appended for readers and never folded. On the wire an event is JSON with camelCase names, and ``type`` says which it is.
``timestamp`` is RFC 3339 text in UTC with microseconds; times in fields named ``…Time`` are milliseconds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from ...values import Json

VERSION = 1
"""Of the envelope and the fields (``v``). Older ones are upcast on reading."""
SEMANTICS = 1
"""Of the fold's rules (``semantics``). A run keeps the rules it started with."""


class Event(BaseModel):
    """The envelope. Frozen; fields it does not know are kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True
    )
    folded: ClassVar[bool] = True

    if TYPE_CHECKING:

        @property
        def type(self) -> str:
            """Every kind has its own, as a field."""

    id: str
    """Never random: runId/nodeId|-/2.0|-/attempt/type, then what tells two of them apart."""
    run_id: str
    timestamp: str
    v: int
    semantics: int
    plan_hash: str | None = None
    revision: int = 0
    node_id: str | None = None
    item: tuple[int, ...] | None = None
    """Indexes of the enclosing item bodies, outermost first."""
    attempt: int | None = None
    delivery: int | None = None
    claim: str | None = None
    causation_id: str | None = None
    tenant: str | None = None
    large: dict[str, dict[str, Json]] | None = None
    """JSON Pointer -> {sha256, bytes} of values that lie beside the log; null stands in their place."""

    @classmethod
    def trusted(cls, fields: dict[str, Any]) -> Self:
        """An event of values that our own code made, without validating them again (a fifth of the time).

        ``fields`` by their names in Python; those left out have their defaults.
        """
        made = cls.__new__(cls)
        object.__setattr__(made, "__dict__", {**_defaults(cls), **fields})
        object.__setattr__(made, "__pydantic_fields_set__", set(fields))
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made

    def __getitem__(self, name: str) -> Json:
        """A field by its name on the wire: ``event["nodeId"]``. Raises KeyError for one it does not have."""
        for field_name, info in type(self).model_fields.items():
            if name in (info.alias, field_name):
                return getattr(self, field_name)
        return (self.model_extra or {})[name]


class FlowRequested(Event):
    type: Literal["flow-requested"] = "flow-requested"
    request: dict[str, Json]


class PlanPublished(Event):
    type: Literal["plan-published"] = "plan-published"
    plan: Json
    certificate: dict[str, Json] | None = None
    tools: dict[str, str] = Field(default_factory=dict)
    """Tool id -> digest of its schemas: what the run pins."""
    policies: dict[str, dict[str, Json]] = Field(default_factory=dict)
    """Tool id -> {timeout, retry, sideEffect, validation}: what the fold must know of a tool, so that it needs none."""
    joined: dict[str, list[str]] = Field(default_factory=dict)
    """Node id -> nodes whose output a join turns into its input, in order."""
    source: str = "given"
    model: str | None = None
    usage: dict[str, Json] | None = None
    attempts: int | None = None
    execution_time: float | None = None


class PlanningFailed(Event):
    type: Literal["planning-failed"] = "planning-failed"
    code: str
    message: str = ""
    problems: list[Json] = Field(default_factory=list)
    questions: list[Json] = Field(default_factory=list)
    tried: list[Json] = Field(default_factory=list)


class ToolStart(Event):
    """A held step begins: only the executor whose claim is first may call."""

    type: Literal["tool-start"] = "tool-start"
    tool_id: str
    inputs_digest: str
    lease: str
    """Until when the claim holds without an outcome."""


class ToolOutput(Event):
    type: Literal["tool-output"] = "tool-output"
    tool_id: str
    output: Json
    inputs_digest: str
    started_at: str
    execution_time: float
    usage: dict[str, Json] | None = None
    cached: bool = False
    warnings: list[str] = Field(default_factory=list)


class ToolError(Event):
    type: Literal["tool-error"] = "tool-error"
    tool_id: str
    error: dict[str, Json]
    """{code, message, type, bases, retryable, retryAfter}: ``bases`` are class names, ``retryAfter`` milliseconds."""
    inputs_digest: str
    started_at: str
    execution_time: float


class ToolLost(Event):
    """The holder of ``claim`` died or let its lease end without an outcome."""

    type: Literal["tool-lost"] = "tool-lost"


class ToolRefused(Event):
    type: Literal["tool-refused"] = "tool-refused"
    tool_id: str
    reason: str


class TimerFired(Event):
    type: Literal["timer-fired"] = "timer-fired"
    timer: str
    kind: Literal["retry", "timeout", "wait", "deadline"]


class Control(Event):
    """What a person or program asked of a run; ``control`` is the request as it came, its coordinates included."""

    control: dict[str, Json] = Field(default_factory=dict)


class StepResolved(Control):
    type: Literal["step-resolved"] = "step-resolved"
    resolution: Literal["done", "fail", "retry"]
    output: Json = None
    reason: str = ""


class CancelRequested(Control):
    type: Literal["cancel-requested"] = "cancel-requested"
    reason: str = ""


class PauseRequested(Control):
    type: Literal["pause-requested"] = "pause-requested"
    reason: str = ""


class ResumeRequested(Control):
    type: Literal["resume-requested"] = "resume-requested"
    reason: str = ""


class Announcement(Event):
    """Written for readers; the fold never sees one."""

    folded: ClassVar[bool] = False


class FlowStart(Announcement):
    type: Literal["flow-start"] = "flow-start"
    metadata: dict[str, Json]


class BranchTaken(Announcement):
    type: Literal["branch-taken"] = "branch-taken"
    branch: str
    operands: Json = None


class EdgeTaken(Announcement):
    """How a conditional edge was decided (edges without a condition follow from their source)."""

    type: Literal["edge-taken"] = "edge-taken"
    from_: Annotated[str, Field(alias="from")]
    to: str
    open: bool
    operands: Json = None


class LoopIteration(Announcement):
    type: Literal["loop-iteration"] = "loop-iteration"
    index: int
    more: bool


class ItemsKept(Announcement):
    type: Literal["items-kept"] = "items-kept"
    kept: list[int]


class NodeSkipped(Announcement):
    type: Literal["node-skipped"] = "node-skipped"
    reason: str


class NodeError(Announcement):
    type: Literal["node-error"] = "node-error"
    error: dict[str, Json]


class RunParked(Announcement):
    type: Literal["run-parked"] = "run-parked"
    reason: str


class InputRequested(Announcement):
    """A step whose outcome nobody knows waits for a person until ``expiresAt``."""

    type: Literal["input-requested"] = "input-requested"
    key: str
    subject: str
    message: str
    expires_at: str
    inputs_digest: str | None = None


class ControlRefused(Announcement):
    type: Literal["control-refused"] = "control-refused"
    control: dict[str, Json]
    code: str
    message: str


class FlowComplete(Announcement):
    """The only end of a run."""

    type: Literal["flow-complete"] = "flow-complete"
    status: Literal["completed", "partial", "failed", "cancelled", "timed_out", "rejected"]
    result: dict[str, Json]
    error: dict[str, Json] | None = None
    total_execution_time: float
    metadata: dict[str, Json] = Field(default_factory=dict)


Fact: TypeAlias = (
    FlowRequested
    | PlanPublished
    | PlanningFailed
    | ToolStart
    | ToolOutput
    | ToolError
    | ToolLost
    | ToolRefused
    | TimerFired
    | StepResolved
    | CancelRequested
    | PauseRequested
    | ResumeRequested
)
Told: TypeAlias = (
    FlowStart
    | BranchTaken
    | EdgeTaken
    | LoopIteration
    | ItemsKept
    | NodeSkipped
    | NodeError
    | RunParked
    | InputRequested
    | ControlRefused
    | FlowComplete
)
AnyEvent: TypeAlias = Fact | Told


@cache
def _defaults(kind: type[Event]) -> dict[str, Any]:
    fields = kind.model_fields.items()
    return {name: info.get_default(call_default_factory=True) for name, info in fields if not info.is_required()}


EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="type")])


def event_id(
    run_id: str, node_id: str | None, item: tuple[int, ...] | None, attempt: int | None, kind: str, *more: object
) -> str:
    """``runId/nodeId|-/2.0|-/attempt/type`` and, where one can come twice, what tells them apart."""
    at = ".".join(map(str, item)) if item else "-"
    tail = "".join(f"/{part}" for part in more)
    return f"{run_id}/{node_id or '-'}/{at}/{'-' if attempt is None else attempt}/{kind}{tail}"


def envelope(ident: str, run_id: str, at: str, *, plan_hash: str | None = None) -> dict[str, Any]:
    """The fields of the envelope that every event made by this version has, by their names in Python."""
    return {
        "id": ident,
        "run_id": run_id,
        "timestamp": at,
        "v": VERSION,
        "semantics": SEMANTICS,
        "plan_hash": plan_hash,
    }


def known_types() -> frozenset[str]:
    """The ``type`` of every event this version knows."""
    members: Any = Fact.__args__ + Told.__args__
    return frozenset(member.model_fields["type"].default for member in members)
