"""The plan as data: the canonical form of canonical.md §2, after normalising. No rules, no IO.

A plan is read in three steps, each a module: ``loading`` (text or dialect -> canonical JSON), this one (canonical JSON
-> models), ``check`` (everything that could be wrong, and the certificate). Durations are milliseconds. A TEMPLATE is
any JSON whose strings may refer (``$node.field``, ``${expression}``); an EXPR is the source of one expression.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ..values import Json, digest

Expr: TypeAlias = str
"""Source of an expression (canonical.md §3)."""
Template: TypeAlias = Json
"""JSON whose strings may refer."""
Milliseconds: TypeAlias = Annotated[int | float, Field(ge=0)]


class Model(BaseModel):
    """Frozen, closed, camelCase on the wire."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True, defer_build=True
    )


class Retry(Model):
    """How often and when a failed step is tried again. ``maxAttempts`` counts the first try."""

    max_attempts: Annotated[int, Field(ge=1)] = 1
    backoff: Literal["exponential", "linear", "fixed"] = "exponential"
    initial_delay: Milliseconds = 1000
    max_delay: Milliseconds = 60_000
    retryable_errors: list[str] = ["*"]


class Approval(Model):
    """Who must agree before a step runs."""

    message: str = ""
    approvers: list[str] = []
    timeout: Milliseconds = 86_400_000


class OnErrorValue(Model):
    """The output that stands in for a failed node's. Its template sees ``$error``."""

    value: Template


class OnErrorNodes(Model):
    """Nodes that run in place of a failed one; they see ``$error`` {code, message, nodeId, attempt}."""

    nodes: list[Node]


OnError: TypeAlias = Literal["fail", "continue"] | OnErrorValue | OnErrorNodes


class Common(Model):
    """What every node has."""

    id: str
    description: str = ""
    timeout: Milliseconds | None = None
    on_error: OnError = "fail"


class Step(Common):
    """What the nodes have that leave the fold: tool, llm, subflow."""

    retry: Retry | None = None
    approval: bool | Approval = False
    validation: Literal["strict", "warn"] | None = None


class ToolNode(Step):
    type: Literal["tool"]
    tool_id: str
    inputs: Template = {}
    """An object of templates, or one reference to the whole of it (``"$order"``)."""


class ValueNode(Common):
    type: Literal["value"]
    value: Template


class ConditionalNode(Common):
    type: Literal["conditional"]
    test: list[Node] = []
    condition: Expr
    if_true: list[Node] = []
    if_false: list[Node] = []


class SwitchNode(Common):
    type: Literal["switch"]
    test: list[Node] = []
    on: Expr
    cases: dict[str, list[Node]] = {}
    default: list[Node] = []


class SequenceNode(Common):
    type: Literal["sequence"]
    body: list[Node]


class ParallelNode(Common):
    type: Literal["parallel"]
    branches: list[list[Node]] | dict[str, list[Node]]
    join_strategy: Literal["all", "race", "any", "settled"] = "all"
    concurrency: Annotated[int, Field(ge=1)] = 10


class Collection(Common):
    """What runs a body, or evaluates a condition, once per item of a list."""

    over: Template
    as_: Annotated[str, Field(alias="as")] = "item"
    max_items: Annotated[int, Field(ge=1)] = 1000


class MapNode(Collection):
    type: Literal["map", "forEach", "flatMap"]
    body: list[Node]
    concurrency: Annotated[int, Field(ge=1)] = 10


class FilterNode(Collection):
    type: Literal["filter"]
    body: list[Node] = []
    condition: Expr
    mode: Literal["include", "exclude"] = "include"
    concurrency: Annotated[int, Field(ge=1)] = 10


class ReduceNode(Collection):
    type: Literal["reduce"]
    initial: Template = None
    body: list[Node]


class ForNode(Collection):
    type: Literal["loop"]
    loop: Literal["for"]
    body: list[Node]


class WhileNode(Common):
    type: Literal["loop"]
    loop: Literal["while"]
    condition: Expr
    body: list[Node]
    max_iterations: Annotated[int, Field(ge=1)] = 100
    on_limit: Literal["fail", "stop"] = "fail"


class TimesNode(Common):
    type: Literal["loop"]
    loop: Literal["times"]
    times: Template
    body: list[Node]
    max_iterations: Annotated[int, Field(ge=1)] | None = None
    """Absent: ``times`` where that is a literal, else 100."""


class LlmNode(Step):
    type: Literal["llm"]
    prompt: Template
    system: Template = ""
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    model: str | None = None
    temperature: int | float | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None


class AwaitInputNode(Common):
    type: Literal["awaitInput"]
    preset: str | None = None
    message: Template = ""
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    choices: Template = []
    approvers: Template = []
    default: Template | None = None
    timeout: Milliseconds | None = 86_400_000


class WaitNode(Common):
    """Exactly one of ``duration``, ``until``, ``signal``."""

    type: Literal["wait"]
    duration: Template | None = None
    until: Template | None = None
    signal: str | None = None
    match: Expr | None = None


class SubflowNode(Step):
    type: Literal["subflow"]
    plan: str
    inputs: Template = {}


LoopNode = Annotated[ForNode | WhileNode | TimesNode, Field(discriminator="loop")]
Node = Annotated[
    ToolNode
    | ValueNode
    | ConditionalNode
    | SwitchNode
    | SequenceNode
    | ParallelNode
    | MapNode
    | FilterNode
    | ReduceNode
    | LoopNode
    | LlmNode
    | AwaitInputNode
    | WaitNode
    | SubflowNode,
    Field(discriminator="type"),
]

ITEM_BODY_OWNERS: Final = (MapNode, FilterNode, ReduceNode, ForNode, WhileNode, TimesNode)
"""Nodes whose ``body`` runs once per item or iteration, in a scope of its own."""


class Edge(Model):
    """Order and gate between nodes: ``to`` waits for ``from``, and runs only if the condition is true."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    condition: Expr | None = None
    transform: Template | None = None
    label: str = ""


class JoinSpec(Model):
    """A declarative join: fields of the target's input from ``$source``, the source tool's output."""

    from_tool: str
    to_tool: str
    mapping: Template
    suggested: bool = False
    confidence: int | float = 1


class Metadata(BaseModel):
    """About the plan; never hashed. Keeps fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    name: str = "Generated Flow"
    description: str = ""
    generated: bool = False
    source: str = "given"
    model: str | None = None
    timestamp: str | None = None


class Plan(Model):
    """A validated graph. Immutable; ``hash`` identifies it."""

    version: Literal["1.0"]
    metadata: Metadata = Metadata()
    variables: dict[str, Json] = {}
    nodes: list[Node]
    edges: list[Edge] = []
    output: Template | None = None
    joins: list[JoinSpec] = []
    rationale: Json = ""
    alternatives: list[Json] = []
    assumptions: list[Json] = []

    def to_json(self) -> dict[str, Json]:
        """The canonical form: defaults left out, camelCase. ``Plan.model_validate`` reads it back."""
        made: dict[str, Json] = self.model_dump(by_alias=True, exclude_unset=True)
        return made

    @property
    def hash(self) -> str:
        """``planHash``: the digest of the canonical form without metadata, rationale, alternatives, assumptions."""
        form = self.model_dump(
            by_alias=True, exclude_unset=True, exclude={"metadata", "rationale", "alternatives", "assumptions"}
        )
        return digest(form)


Body: TypeAlias = "list[Node]"


def bodies(node: Common) -> Iterator[tuple[str, list[Node]]]:
    """The bodies a node owns, in document order, as (key, nodes).

    Keys: ``test ifTrue ifFalse default body onError``, ``case:NAME``, ``branch:NAME-or-INDEX``.
    """
    match node:
        case ConditionalNode():
            yield from (("test", node.test), ("ifTrue", node.if_true), ("ifFalse", node.if_false))
        case SwitchNode():
            yield "test", node.test
            yield from ((f"case:{name}", body) for name, body in node.cases.items())
            yield "default", node.default
        case ParallelNode():
            named = node.branches.items() if isinstance(node.branches, dict) else enumerate(node.branches)
            yield from ((f"branch:{name}", body) for name, body in named)
        case SequenceNode() | MapNode() | FilterNode() | ReduceNode() | ForNode() | WhileNode() | TimesNode():
            yield "body", node.body
        case _:
            pass
    if isinstance(node.on_error, OnErrorNodes):
        yield "onError", node.on_error.nodes
