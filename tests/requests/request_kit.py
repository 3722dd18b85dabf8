"""Shared by these tests: readers, schemas, one request of every kind."""

from __future__ import annotations

import json
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

import jsonschema_rs

from dynamicflow.errors import Problem
from dynamicflow.streams.kafka.dead_letter import DeadLetters
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.streams.metrics import NO_METRICS
from dynamicflow.streams.requests import ControlRequest, RequestInvalid, StartRequest, read_request
from dynamicflow.streams.schemas import schemas

PLAN: Final = {"version": "1.0", "nodes": [{"id": "a", "type": "value", "value": 1}]}
HASH: Final = "sha256:" + "0" * 64
OF_EVERY_KIND: Final[dict[str, dict[str, Any]]] = {
    "start": {
        "type": "start", "runId": "r", "prompt": "do it", "tools": ["a"], "model": "m", "labels": {"tenant": "t"},
        "joins": [{"fromTool": "a", "toTool": "b", "mapping": {"x": "$source.y"}}], "input": [1, None],
        "options": {"timeout": "5m", "fallbackBehaviour": {"onTimeoutFailure": "fail"}}, "parameters": {"p": 1},
        "principal": {"id": 7},
    },
    "start of a plan": {"plan": PLAN},
    "start of a registered plan": {"runId": "r", "plan": "refund-v2", "input": None},
    "start of a template": {"template": "refund"},
    "cancel": {"type": "cancel", "runId": "r", "id": "1", "by": "me", "reason": "because"},
    "pause": {"type": "pause", "runId": "r"},
    "resume": {"type": "resume", "runId": "r"},
    "resolve": {"type": "resolve", "runId": "r", "nodeId": "n-1", "item": [2, 0], "resolution": "done", "output": 1},
    "resolve as failed": {"type": "resolve", "runId": "r", "nodeId": "n", "resolution": "fail", "output": None},
    "approve": {"type": "approve", "runId": "r", "nodeId": "n", "item": [1], "planHash": HASH},
    "approve a plan": {"type": "approve", "runId": "r", "planHash": HASH},
    "reject": {"type": "reject", "runId": "r", "key": "k"},
    "answer": {"type": "answer", "runId": "r", "key": "k", "payload": None},
    "signal": {"type": "signal", "runId": "r", "name": "paid", "payload": {"a": 1}},
    "retry": {"type": "retry", "runId": "r"},
    "fork": {"type": "fork", "runId": "r", "nodeId": "n", "item": [], "output": 3, "planHash": HASH},
}  # fmt: skip


def encoded(request: Any) -> bytes:
    return json.dumps(request).encode()


def read(request: Any, key: bytes | None = None) -> StartRequest | ControlRequest:
    return read_request(encoded(request), key)


def refused(value: bytes | None, key: bytes | None = None, **limits: int) -> RequestInvalid:
    """Why a record is refused."""
    try:
        made = read_request(value, key, **limits)
    except RequestInvalid as error:
        return error
    raise AssertionError(f"it is taken: {made}")


def problems(request: Any, key: bytes | None = None) -> list[tuple[str, str]]:
    """(code, path) of everything that is wrong with a request."""
    return [(problem.code, problem.path) for problem in refused(encoded(request), key).problems]


def only_problem(request: Any, key: bytes | None = None) -> Problem:
    (problem,) = refused(encoded(request), key).problems
    return problem


@cache
def schema(name: str) -> Any:
    """A schema of docs/schemas, as the models make it."""
    return schemas()[name]


@cache
def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Of a schema."""
    return jsonschema_rs.Draft202012Validator(schema(name), validate_formats=True)


def faults(name: str, value: Any) -> list[str]:
    """What a schema says against a value."""
    return [f"{list(error.instance_path)}: {error.message}" for error in validator(name).iter_errors(value)]


async def dead_letter(value: bytes | None, problems: Any) -> tuple[Any, dict[str, str]]:
    """A dead letter as it is written, and its headers."""
    written: list[Any] = []

    async def partitions(topic: str) -> int:
        return 1

    async def put(records: list[Any]) -> None:
        written.extend(records)

    writer: Any = SimpleNamespace(partitions=partitions, put=put)
    record = SimpleNamespace(topic="flow-requests", partition=3, offset=1207, timestamp=1768473000000, key=None)
    record.value = value
    await DeadLetters(writer, Topics(), NO_METRICS).put(
        record, "REQUEST_INVALID", "the request has 3 problems", problems
    )
    return json.loads(written[0].value), {name: part.decode() for name, part in written[0].headers}
