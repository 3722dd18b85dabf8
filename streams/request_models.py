"""The forms of what users put on ``flow-requests``: starts and control records (canonical.md §5), as data.

They are read by ``requests.read_request``, which tells everything that is wrong in one go; the published JSON Schema
is made of them. Names are closed, and absent is not null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ..errors import Problem
from ..planner.ir import JoinSpec
from ..planner.options import Options
from ..values import NODE_ID, RUN_ID, Json, pointer, whole_number

StartType: TypeAlias = Literal["start"]
Resolution: TypeAlias = Literal["done", "fail", "retry"]

A_RUN_ID: Final = "1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
_A_NODE_ID: Final = "the id of a node of the plan: A-Z a-z 0-9 _ -, at most 128"
_A_TEXT: Final = "a text that is not empty"
_INDEXES: Final = "a list of whole numbers, the indexes of the enclosing items, outermost first, like [2, 0]"
EXPECTED: Final[Mapping[str, str]] = {
    "runId": A_RUN_ID,
    "nodeId": _A_NODE_ID,
    "item": _INDEXES,
    "prompt": _A_TEXT,
    "plan": "a plan (an object), or the name of a registered plan (a text that is not empty)",
    "template": "the name of a registered template (a text that is not empty)",
    "tools": 'a list of tool ids, like ["validateEmail"]',
    "joins": 'a list of joins, like [{"fromTool": "a", "toTool": "b", "mapping": {"to": "$source.email"}}]',
    "model": "the name of a model (a text that is not empty)",
    "options": 'an object, like {"timeout": "5m"}',
    "labels": 'an object of texts by name, like {"tenant": "acme"}',
    "parameters": 'an object of values by name, like {"region": "eu"}',
    "principal": 'an object that says who asks, like {"id": "u-1", "role": "support"}',
    "id": "a text that is not empty, the same for the same request sent again",
    "by": "a text, who asks",
    "reason": "a text, why",
    "resolution": '"done", "fail" or "retry"',
    "key": "a text that is not empty, the key of an approval or question",
    "planHash": "the hash of a plan: sha256: and 64 hexadecimal digits",
    "name": "the name of a signal (a text that is not empty)",
    "payload": "any JSON value",
    "output": "any JSON value",
}
"""Field -> what it must be, as messages say it."""
NULLABLE: Final = frozenset({"input", "payload", "output"})
"""Fields whose value may be anything, null as well."""


def _matching(pattern: Any) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.match(text):
            raise ValueError("another form")
        return text

    return AfterValidator(check)


def _indexes(value: Any) -> Any:
    """3.0 is an integer, as in JSON Schema."""
    if not isinstance(value, list | tuple):
        return value
    whole = [whole_number(one) for one in value]
    return value if None in whole else tuple(whole)


Text: TypeAlias = Annotated[str, Field(min_length=1)]
RunId: TypeAlias = Annotated[
    str, _matching(RUN_ID), Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"})
]
NodeId: TypeAlias = Annotated[
    str,
    _matching(NODE_ID),
    Field(json_schema_extra={"pattern": "^[A-Za-z_][A-Za-z0-9_]*(-[A-Za-z0-9_]+)*$", "maxLength": 128}),
]
PlanHash: TypeAlias = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
Item: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_indexes)]


def wrong(path: str, message: str, suggestion: str = "") -> Problem:
    """A problem of a request that can be read."""
    return Problem("REQUEST_INVALID", path, message, suggestion)


class Request(BaseModel):
    """What both kinds have. Frozen, closed, camelCase on the wire."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
    )
    exactly_one: ClassVar[tuple[str, ...]] = ()
    """One of these fields must be there, and no other of them."""
    at_least_one: ClassVar[tuple[str, ...]] = ()
    only_with: ClassVar[Mapping[str, str]] = {}
    """Field -> the field without which it says nothing."""

    def to_json(self) -> dict[str, Json]:
        """The request as on the wire: camelCase, what was not given left out."""
        return self.model_dump(by_alias=True, exclude_unset=True, mode="json")

    @classmethod
    def more_problems(cls, given: Mapping[str, Json]) -> Iterator[Problem]:
        """What is wrong beyond the fields one by one."""
        there = [name for name in cls.exactly_one if name in given]
        if cls.exactly_one and len(there) != 1:
            found = "all of them are" if len(there) == len(cls.exactly_one) else f"{' and '.join(there) or 'none'} is"
            found = f"{' and '.join(there)} are" if len(there) == 2 else found
            yield wrong("", f"exactly one of {', '.join(cls.exactly_one)} is expected; {found} given")
        if cls.at_least_one and not any(name in given for name in cls.at_least_one):
            yield wrong("", f"one of {', '.join(cls.at_least_one)} is expected, to say what is meant; none is given")
        for name, other in cls.only_with.items():
            if name in given and other not in given:
                yield wrong(pointer(other), f"{other} is missing: {name} says nothing without it")


class StartRequest(Request):
    """Start a run of a prompt, a plan or a template. The same start again is the same run."""

    exactly_one: ClassVar[tuple[str, ...]] = ("prompt", "plan", "template")

    type: StartType = "start"
    run_id: RunId | None = None
    """Absent: the record's key, else ``options.workflowId``, else made by whoever takes the request in."""
    prompt: Text | None = None
    """What is to be done, in words: a planner makes the plan."""
    plan: dict[str, Json] | Text | None = None
    """A ready plan, in any form the loader reads, or the name of a registered one."""
    template: Text | None = None
    """The name of a registered template; ``parameters`` fill it."""
    tools: list[Text] | None = None
    """Ids of the tools that the plan may use. Absent: all that are registered."""
    joins: list[JoinSpec] = []
    """Declarative joins: how the output of one tool becomes the input of another."""
    input: Json = None
    """The run's input."""
    model: Text | None = None
    """The language model that is asked for a plan of the prompt."""
    options: dict[str, Json] = {}
    """As given: what binds the planner and the run."""
    labels: dict[str, str] = {}
    """Texts by name, for finding the run again; a plan sees them as ``$run.labels``."""
    parameters: dict[str, Json] = {}
    """Values for the places of a template."""
    principal: dict[str, Json] = {}
    """On whose behalf the run is."""

    @property
    def chosen(self) -> Options:
        """The options as the planner and the fold read them."""
        return Options.of(self.options)

    @classmethod
    def more_problems(cls, given: Mapping[str, Json]) -> Iterator[Problem]:
        yield from super().more_problems(given)
        plan = given.get("plan")
        if isinstance(plan, str) and plan.lstrip("\ufeff \t\r\n").startswith("{"):
            yield wrong("/plan", "a plan is sent as an object, not as a text that holds JSON", "Leave the quotes out.")


class ControlRequest(Request):
    """Something asked of a run that is there. ``type`` says what."""

    type: str
    run_id: RunId
    id: Text | None = None
    """Tells this request from others: the same one sent twice counts once."""
    by: str = ""
    """Who asks."""
    reason: str = ""
    """Why; kept in the run's log."""


class CancelRequest(ControlRequest):
    """End the run."""

    type: Literal["cancel"] = "cancel"


class PauseRequest(ControlRequest):
    """Start nothing new; what runs is let end."""

    type: Literal["pause"] = "pause"


class ResumeRequest(ControlRequest):
    """Go on with a run that is paused or parked."""

    type: Literal["resume"] = "resume"


class ResolveRequest(ControlRequest):
    """Settle a step whose outcome nobody knows (UNCERTAIN_OUTCOME)."""

    type: Literal["resolve"] = "resolve"
    node_id: NodeId
    item: Item | None = None
    """Which item of the enclosing collections; absent: the node stands in none."""
    resolution: Resolution
    """``done``: it happened, with this ``output``; ``fail``: it did not; ``retry``: run it again."""
    output: Json = None

    @classmethod
    def more_problems(cls, given: Mapping[str, Json]) -> Iterator[Problem]:
        yield from super().more_problems(given)
        if given.get("output") is not None and given.get("resolution") in ("fail", "retry"):
            yield wrong("/output", "an output goes with resolution done only", 'Say "done", or leave the output out.')


class _Decision(ControlRequest):
    at_least_one: ClassVar[tuple[str, ...]] = ("key", "nodeId", "planHash")
    only_with: ClassVar[Mapping[str, str]] = {"item": "nodeId"}

    key: Text | None = None
    """The key of what waits, as its announcement says it."""
    node_id: NodeId | None = None
    """The step that waits."""
    item: Item | None = None
    plan_hash: PlanHash | None = None
    """The plan that is meant: a decision about another one is refused."""


class ApproveRequest(_Decision):
    """Agree to a step, or to the plan as a whole."""

    type: Literal["approve"] = "approve"


class RejectRequest(_Decision):
    """Refuse a step, or the plan as a whole."""

    type: Literal["reject"] = "reject"


class AnswerRequest(ControlRequest):
    """The answer to a question that a run waits on."""

    at_least_one: ClassVar[tuple[str, ...]] = ("key", "nodeId")
    only_with: ClassVar[Mapping[str, str]] = {"item": "nodeId"}

    type: Literal["answer"] = "answer"
    key: Text | None = None
    """The key of the question, as its announcement says it."""
    node_id: NodeId | None = None
    """The node that asks."""
    item: Item | None = None
    payload: Json
    """The answer."""


class SignalRequest(ControlRequest):
    """Something happened that a ``wait`` node of the run may wait for."""

    type: Literal["signal"] = "signal"
    name: Text
    payload: Json = None


class RetryRequest(ControlRequest):
    """Start a child of a run that has ended: what completed is taken over, what failed runs again."""

    type: Literal["retry"] = "retry"


class ForkRequest(ControlRequest):
    """Start a child of a run that goes on from one of its nodes, if wanted with another output of that node."""

    only_with: ClassVar[Mapping[str, str]] = {"item": "nodeId", "output": "nodeId"}

    type: Literal["fork"] = "fork"
    node_id: NodeId | None = None
    item: Item | None = None
    output: Json = None
    plan_hash: PlanHash | None = None
    """The plan that is meant: a fork of another one is refused."""


CONTROLS: Final[Mapping[str, type[ControlRequest]]] = {
    "cancel": CancelRequest,
    "pause": PauseRequest,
    "resume": ResumeRequest,
    "resolve": ResolveRequest,
    "approve": ApproveRequest,
    "reject": RejectRequest,
    "answer": AnswerRequest,
    "signal": SignalRequest,
    "retry": RetryRequest,
    "fork": ForkRequest,
}
KINDS: Final[Mapping[str, type[Request]]] = {"start": StartRequest, **CONTROLS}
"""``type`` -> model."""
