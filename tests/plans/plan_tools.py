"""The tools that the known-answer plans call. Every call is told to ``CALLS`` by run id: (tool, inputs, attempt)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from dynamicflow import NetworkError, RateLimitError, Tool, ToolContext, ToolFailed, create_tool
from dynamicflow.values import Json

TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "number"}
INTEGER: Final = {"type": "integer"}
FLAG: Final = {"type": "boolean"}

CALLS: Final[defaultdict[str, list[tuple[str, Json, int]]]] = defaultdict(list)


def fields(**named: Any) -> dict[str, Any]:
    """A closed object schema; a field whose name ends in ``_`` is optional."""
    properties = {name.rstrip("_"): schema for name, schema in named.items()}
    return {"type": "object", "properties": properties, "required": [n for n in named if not n.endswith("_")]}


class PaymentDeclined(Exception):
    """An error of a user's own."""


class CardExpired(PaymentDeclined):
    """One below it."""


ERRORS: Final[Mapping[str, type[Exception]]] = {
    "ValueError": ValueError,
    "KeyError": KeyError,
    "ConnectionResetError": ConnectionResetError,
    "NetworkError": NetworkError,
    "RateLimitError": RateLimitError,
    "PaymentDeclined": PaymentDeclined,
    "CardExpired": CardExpired,
}


def _fails(inputs: Json, context: ToolContext) -> Json:
    if context.attempt > inputs.get("times", 1_000):
        return {"attempt": context.attempt, "key": context.idempotency_key}
    message = inputs.get("message", "boom")
    if "code" in inputs:
        raise ToolFailed(message, code=inputs["code"], retryable=inputs.get("retryable"))
    raise ERRORS[inputs.get("kind", "ValueError")](message)


async def _hangs(inputs: Json, context: ToolContext) -> Json:
    if context.attempt <= inputs.get("times", 1_000):
        await asyncio.Event().wait()
    return {"attempt": context.attempt}


def _leads(inputs: Json, context: ToolContext) -> Json:
    return {"leads": [{"name": f"lead{n}", "score": n * 10} for n in range(inputs.get("count", 3))]}


def _spoil(inputs: Json, context: ToolContext) -> Json:
    inputs["list"].append("spoilt")
    inputs["object"]["spoilt"] = True
    return inputs


def _city(order: Json) -> Json:
    return order["address"]["city"]


def _ship(inputs: Json, context: ToolContext) -> Json:
    return {"label": f"{inputs['orderId']}:{','.join(inputs['lines'])}:{inputs['to']}"}


FAILS: Final = fields(times_=INTEGER, code_=TEXT, kind_=TEXT, message_=TEXT, retryable_=FLAG)
ATTEMPT: Final = fields(attempt=INTEGER, key_=TEXT)
LEAD: Final = fields(name=TEXT, score=NUMBER)
ADDRESS: Final = fields(street=TEXT, city=TEXT, zip_=TEXT)
ORDER: Final = fields(
    orderId=TEXT, items={"type": "array", "items": fields(sku=TEXT, quantity=INTEGER)}, address=ADDRESS
)
NULLABLE: Final = {"type": ["string", "null"]}
MAYBE: Final = {"type": ["object", "null"], "properties": {"n": INTEGER}}

_SCHEMAS: Final[Mapping[str, tuple[Any, Any, Callable[..., Any], Mapping[str, Any]]]] = {
    "echo": (fields(value={}), None, lambda given, context: given["value"], {}),
    "show": ({"type": "object", "additionalProperties": True}, None, lambda given, context: given, {}),
    "add": (fields(a=NUMBER, b=NUMBER), fields(sum=NUMBER), lambda given, _: {"sum": given["a"] + given["b"]}, {}),
    "upper": (fields(text=TEXT), fields(text=TEXT), lambda given, context: {"text": given["text"].upper()}, {}),
    "validateEmail": (
        fields(email=TEXT),
        fields(valid=FLAG, email=TEXT),
        lambda given, context: {"valid": "@" in given["email"], "email": given["email"]},
        {},
    ),
    "isOdd": (fields(n=INTEGER), FLAG, lambda given, context: given["n"] % 2 == 1, {}),
    "checkOdd": (fields(n=INTEGER), fields(result=FLAG), lambda given, context: {"result": given["n"] % 2 == 1}, {}),
    "sendEmail": (
        fields(to=TEXT, subject_=TEXT),
        fields(id=TEXT, to=TEXT, subject_=TEXT),
        lambda given, context: {"id": "m1", **given},
        {"sideEffect": "non_idempotent"},
    ),
    "findLeads": (fields(count_=INTEGER), fields(leads={"type": "array", "items": LEAD}), _leads, {}),
    "score": (fields(name=TEXT), fields(score=NUMBER), lambda given, context: {"score": len(given["name"])}, {}),
    "poll": (
        fields(round=INTEGER),
        fields(status=TEXT, round=INTEGER),
        lambda given, context: {"status": "done" if given["round"] >= 2 else "busy", "round": given["round"]},
        {},
    ),
    "fails": (FAILS, ATTEMPT, _fails, {}),
    "stubborn": (
        FAILS,
        ATTEMPT,
        _fails,
        {"retry": {"maxAttempts": 3, "backoff": "fixed", "initialDelay": 100, "retryableErrors": ["NetworkError"]}},
    ),
    "hangs": (fields(times_=INTEGER), ATTEMPT, _hangs, {"timeout": 40}),
    "liar": (fields(gives={}), fields(n=INTEGER), lambda given, context: given["gives"], {}),
    "lax": (fields(n=INTEGER), fields(n=INTEGER), lambda given, context: given, {"validation": "warn"}),
    "nullable": (
        fields(text=NULLABLE, name_=TEXT, note_=NULLABLE, count_=INTEGER),
        None,
        lambda given, context: given,
        {},
    ),
    "spoil": (fields(list={"type": "array"}, object={"type": "object"}), None, _spoil, {}),
    "makeOrder": (
        fields(orderId=TEXT),
        ORDER,
        lambda given, context: {
            "orderId": given["orderId"],
            "items": [{"sku": "pen", "quantity": 2}, {"sku": "ink", "quantity": 1}],
            "address": {"street": "1 Main St", "city": "Springfield"},
        },
        {},
    ),
    "ship": (fields(orderId=TEXT, lines={"type": "array", "items": TEXT}, to=TEXT), fields(label=TEXT), _ship, {}),
    "deliver": (fields(order=ORDER), fields(city=TEXT), lambda given, _: {"city": _city(given["order"])}, {}),
    "whoami": (
        fields(),
        fields(runId=TEXT, nodeId=TEXT, item={"type": "array", "items": INTEGER}, attempt=INTEGER, key=TEXT),
        lambda given, context: {
            "runId": context.run_id,
            "nodeId": context.node_id,
            "item": list(context.item),
            "attempt": context.attempt,
            "key": context.idempotency_key,
        },
        {},
    ),
    "maybe": (fields(give_={}), MAYBE, lambda given, context: given.get("give"), {}),
    "gated": (fields(), None, lambda given, context: "ran", {"requiresApproval": True}),
}  # fmt: skip


def _recorded(tool_id: str, execute: Callable[..., Any]) -> Callable[..., Any]:
    if asyncio.iscoroutinefunction(execute):

        async def call_async(inputs: Json, context: ToolContext) -> Json:
            CALLS[context.run_id].append((tool_id, inputs, context.attempt))
            return await execute(inputs, context)

        return call_async

    def call(inputs: Json, context: ToolContext) -> Json:
        CALLS[context.run_id].append((tool_id, inputs, context.attempt))
        return execute(inputs, context)

    return call


TOOLS: Final[tuple[Tool, ...]] = tuple(
    create_tool(
        {
            "id": tool_id,
            "description": f"The test's tool {tool_id}.",
            "inputSchema": takes,
            "config": dict(config),
            "execute": _recorded(tool_id, execute),
        }
        | ({} if gives is None else {"outputSchema": gives})
    )
    for tool_id, (takes, gives, execute, config) in _SCHEMAS.items()
)
