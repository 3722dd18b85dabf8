"""The fields of every node type, as data: name, shape, other spellings, default, and the code when it is missing.

Unknown fields, aliases, defaults and shape problems all come from here, so the canonical form has one description.
A *variant* is a node type, or one of the forms of a type: ``loop:for``, ``loop:while``, ``loop:times``, and the
accepted forms ``switch:llm`` (a model picks the branch) and ``value:expression`` (an expression as a node).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ...values import Json
from .report import ABSENT

Kind: TypeAlias = Literal[
    "text", "name", "number", "count", "bound", "enum", "schema", "expr", "condition", "template", "inputs",
    "duration", "wait", "moment", "times", "body", "branches", "cases", "options", "retry", "approval", "onError",
]  # fmt: skip

EXPRESSIONS: Final = frozenset({"expr", "condition"})
"""Kinds whose whole string is an expression."""
TEMPLATES: Final = frozenset({"template", "inputs", "wait", "moment", "times", "approval", "onError"})
"""Kinds whose strings may refer."""
BODIES: Final = frozenset({"body", "branches", "cases"})
"""Kinds that hold nodes; so may ``onError``."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of one kind of node."""

    name: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    missing: str = ""
    """The code when it is not given; ``""`` for an optional field."""
    default: Json = ABSENT
    """Left out of the canonical form when given."""
    choices: tuple[str, ...] = ()
    stand_in: Json = ABSENT
    """What takes its place when it is missing or wrong, so that the rest of the plan can be looked at."""


_TAIL: Final = (
    Field("description", "text", default=""),
    Field("timeout", "duration"),
    Field("onError", "onError", default="fail"),
)
_STEP: Final = (
    *_TAIL,
    Field("retry", "retry"),
    Field("approval", "approval", default=False),
    Field("validation", "enum", choices=("strict", "warn")),
)
_INPUTS: Final = Field("inputs", "inputs", ("args", "input"), default={})
_CONDITION: Final = Field("condition", "condition", missing="MISSING_CONDITION", stand_in="$input == null")
_OVER: Final = Field("over", "template", ("collection",), missing="MISSING_OPERATION_TARGET", stand_in="$input")
_BODY: Final = Field("body", "body", ("with", "withId", "bodyIds"), missing="MISSING_OPERATION_SPEC", stand_in=[])
_AS: Final = Field("as", "name", default="item")
_MAX_ITEMS: Final = Field("maxItems", "bound", default=1000)
_MAX_ITERATIONS: Final = Field("maxIterations", "bound", default=100)
_CONCURRENCY: Final = Field("concurrency", "count", ("maxConcurrency",), default=10)
_TEST: Final = Field("test", "body", default=[])


def _over(alias: str) -> Field:
    return Field("over", "template", (alias, "collection"), missing="MISSING_OPERATION_TARGET", stand_in="$input")


def _map(over: Field) -> tuple[Field, ...]:
    return (over, _AS, _BODY, _CONCURRENCY, _MAX_ITEMS, *_TAIL)


FIELDS: Final[Mapping[str, tuple[Field, ...]]] = {
    "tool": (Field("toolId", "text", ("tool",), missing="MISSING_TOOL_ID"), _INPUTS, *_STEP),
    "value": (Field("value", "template", missing="INVALID_SHAPE", stand_in=None), *_TAIL),
    "value:expression": (Field("expression", "expr", missing="MISSING_OPERATION_SPEC"), *_TAIL),
    "conditional": (
        _TEST,
        _CONDITION,
        Field("ifTrue", "body", ("then", "if_true", "thenBranch", "ifTrueIds"), default=[]),
        Field("ifFalse", "body", ("else", "if_false", "elseBranch", "ifFalseIds"), default=[]),
        *_TAIL,
    ),
    "switch": (
        _TEST,
        Field("on", "expr", ("discriminator",), missing="MISSING_CONDITION", stand_in="$input"),
        Field("cases", "cases", default={}),
        Field("default", "body", ("defaultCase",), default=[]),
        *_TAIL,
    ),
    "switch:llm": (
        _TEST,
        Field("prompt", "template", ("switch",), missing="MISSING_CONDITION", stand_in=""),
        Field("options", "options", missing="MISSING_CONDITION", stand_in=[]),
        Field("cases", "cases", ("branches", "branchIds"), default={}),
        Field("default", "body", ("defaultCase",), default=[]),
        *_TAIL,
    ),
    "sequence": (Field("body", "body", ("sequence", "steps", "bodyIds"), missing="MISSING_OPERATION_SPEC"), *_TAIL),
    "parallel": (
        Field("branches", "branches", ("parallel", "parallelIds", "branchIds"), missing="MISSING_OPERATION_SPEC"),
        Field("joinStrategy", "enum", default="all", choices=("all", "race", "any", "settled")),
        _CONCURRENCY,
        *_TAIL,
    ),
    "map": _map(_over("map")),
    "forEach": _map(_OVER),
    "flatMap": _map(_OVER),
    "filter": (
        _over("filter"),
        _AS,
        Field("body", "body", ("with", "withId", "bodyIds"), default=[]),
        _CONDITION,
        Field("mode", "enum", default="include", choices=("include", "exclude")),
        _CONCURRENCY,
        _MAX_ITEMS,
        *_TAIL,
    ),
    "reduce": (
        _over("reduce"),
        _AS,
        Field("initial", "template", ("initialValue",), default=None),
        _BODY,
        _MAX_ITEMS,
        *_TAIL,
    ),
    "loop:for": (_OVER, _AS, _BODY, Field("maxItems", "bound", ("maxIterations",), default=1000), *_TAIL),
    "loop:while": (
        _CONDITION,
        _BODY,
        _MAX_ITERATIONS,
        Field("onLimit", "enum", default="fail", choices=("fail", "stop")),
        *_TAIL,
    ),
    "loop:times": (
        Field("times", "times", missing="MISSING_OPERATION_TARGET", stand_in=1),
        _BODY,
        _MAX_ITERATIONS,
        *_TAIL,
    ),
    "llm": (
        Field("prompt", "template", missing="INVALID_SHAPE", stand_in=""),
        Field("system", "template", default=""),
        Field("schema", "schema"),
        Field("model", "text"),
        Field("temperature", "number"),
        Field("maxTokens", "count"),
        *_STEP,
    ),
    "awaitInput": (
        Field("preset", "text"),
        Field("message", "template", default=""),
        Field("schema", "schema"),
        Field("choices", "template", default=[]),
        Field("approvers", "template", default=[]),
        Field("default", "template", ("defaultValue",)),
        _TAIL[0],
        Field("timeout", "duration", default=86_400_000),
        _TAIL[2],
    ),
    "wait": (
        Field("duration", "wait"),
        Field("until", "moment"),
        Field("signal", "text"),
        Field("match", "expr"),
        *_TAIL,
    ),
    "subflow": (Field("plan", "text", missing="INVALID_SHAPE"), _INPUTS, *_STEP),
}

SIGNAL_TIMEOUT: Final = 86_400_000
"""Default ``timeout`` of a wait for a signal: 24 h."""

TYPES: Final = tuple(dict.fromkeys(variant.partition(":")[0] for variant in FIELDS))
"""Node types of the canonical form."""
TYPE_ALIASES: Final[Mapping[str, str]] = {
    "if-then": "conditional",
    "if": "conditional",
    "await_input": "awaitInput",
    "approval": "awaitInput",
    "timer": "wait",
    "expression": "value",
}
DROPPED_TYPES: Final = frozenset({"start", "end"})
"""Accepted and left out, with their edges."""

FUNCTIONAL: Final = frozenset({"map", "forEach", "flatMap", "filter", "reduce"})
"""Types that may be given with an ``operation`` (dialect B)."""
ITEM_BODIES: Final = FUNCTIONAL | {"loop"}
"""Types whose ``body`` runs in a scope of its own, once per item or iteration."""

OUTPUT_NAMES: Final = ("output", "outputVar", "outputAs")
"""Other names for a node's output; references by them become references to the node."""
IGNORED: Final[Mapping[str, Json]] = {"cache": False, "emitIntermediate": True, "emitTokens": True, "usePool": False}
"""Fields of ``config`` and ``operation`` without a counterpart, with the value that asks for nothing."""

RETRY: Final = (
    Field("maxAttempts", "count", default=1),
    Field("backoff", "enum", ("backoffStrategy",), default="exponential", choices=("exponential", "linear", "fixed")),
    Field("initialDelay", "duration", default=1000),
    Field("maxDelay", "duration", default=60_000),
    Field("retryableErrors", "template", default=["*"]),
)
APPROVAL: Final = (
    Field("message", "template", default=""),
    Field("approvers", "template", default=[]),
    Field("timeout", "duration", default=86_400_000),
)

_BY_A_MODEL: Final = frozenset({"switch", "options", "branches", "branchIds"})
"""Fields of a switch whose branch a model picks."""
_BY_NAME: Final = {
    variant: {name: field for field in fields for name in (field.name, *field.aliases)}
    for variant, fields in FIELDS.items()
}
_OF: Final = {variant: {field.name: field for field in fields} for variant, fields in FIELDS.items()}


def find_field(variant: str, name: str) -> Field | None:
    """The field that ``name``, or an alias, means in a node of this variant."""
    return _BY_NAME[variant].get(name)


def by_name(fields: Iterable[Field]) -> dict[str, Field]:
    """Fields under their name and their aliases."""
    return {name: field for field in fields for name in (field.name, *field.aliases)}


def valid_names(variant: str) -> tuple[str, ...]:
    """What to offer in place of an unknown field."""
    extra = ("loop",) if variant.startswith("loop:") else ()
    return ("id", "type", *extra, *_OF[variant])


def variant_of(type_: str, raw: Mapping[str, Json]) -> str | None:
    """The variant of a node of canonical (or ``expression``) type; None for a loop that does not say which it is."""
    if type_ == "expression":
        return "value:expression"
    if type_ == "switch" and "on" not in raw and not raw.keys().isdisjoint(_BY_A_MODEL):
        return "switch:llm"
    if type_ != "loop":
        return type_
    kind = raw.get("loop")
    if kind in ("for", "while", "times"):
        return f"loop:{kind}"
    for name, guess in (("times", "times"), ("over", "for"), ("collection", "for"), ("condition", "while")):
        if name in raw:
            return f"loop:{guess}"
    return None


def inferred_type(raw: Mapping[str, Json]) -> str | None:
    """The type of a step that leaves it out (dialect C), by the field that only this type has there."""
    for name in ("tool", "filter", "loop", "map", "reduce", "parallel", "switch"):
        if name in raw:
            return name
    if "if_true" in raw or "if_false" in raw:
        return "conditional"
    return None
