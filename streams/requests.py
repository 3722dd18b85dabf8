"""What users put on ``flow-requests``: reading it, and what a start becomes in a log. Pure; both shells use it.

    value, key -> decode -> which kind -> which run -> fields, options -> StartRequest | ControlRequest

Whatever the bytes are, :func:`read_request` gives a request or raises RequestInvalid with everything that is wrong. A
``null`` where a value is expected is refused, never read as "all".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from ..errors import DynamicFlowError, Problem
from ..planner.near import nearest
from ..values import MAX_NESTING, MAX_RECORD_NESTING, RUN_ID, Json, NotJson, decode, digest, plain, pointer
from .request_models import (
    A_RUN_ID,
    CONTROLS,
    EXPECTED,
    KINDS,
    NULLABLE,
    AnswerRequest,
    ApproveRequest,
    CancelRequest,
    ControlRequest,
    ForkRequest,
    PauseRequest,
    RejectRequest,
    Request,
    ResolveRequest,
    ResumeRequest,
    RetryRequest,
    SignalRequest,
    StartRequest,
    wrong,
)
from .request_problems import (
    MOST_PROBLEMS,
    field_problems,
    options_problems,
    shown,
    shown_key,
    told_options,
    unknown_field,
    wire_names,
)

__all__ = [
    "CONTROLS",
    "KINDS",
    "MOST_BYTES",
    "AnswerRequest",
    "ApproveRequest",
    "CancelRequest",
    "ControlRequest",
    "ForkRequest",
    "PauseRequest",
    "RejectRequest",
    "RequestInvalid",
    "ResolveRequest",
    "ResumeRequest",
    "RetryRequest",
    "SignalRequest",
    "StartRequest",
    "control_request",
    "read_request",
    "request_digest",
    "start_json",
    "start_request",
]

MOST_BYTES: Final = 1024 * 1024
"""One request, encoded: what a broker takes in a record when nobody has raised it."""
_STAND_IN: Final = "x"
"""A run id in place of one that is wrong or missing, so that the other fields can be looked at."""
_R = TypeVar("_R", bound=Request)


@dataclass(eq=False)
class RequestInvalid(DynamicFlowError):
    """Bytes that are no request. ``code`` is that of the first problem:

    REQUEST_EMPTY, REQUEST_TOO_LARGE, INVALID_JSON, UNKNOWN_REQUEST_TYPE, INVALID_RUN_ID, RUN_ID_MISMATCH,
    REQUEST_INVALID (a field that is wrong, missing or unknown). ``run_id`` and ``kind``: what it speaks of, as far as
    that can be told.
    """

    run_id: str | None = None
    kind: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code, self.message, tuple(self.problems), self.run_id, self.kind))


# --- reading ------------------------------------------------------------------------------------------------------


def read_request(
    value: bytes | None, key: bytes | None = None, *, most: int = MOST_BYTES
) -> StartRequest | ControlRequest:
    """The request in a record's value; its run id is the body's, else the record's key, else ``options.workflowId``.

    A start without any of them has none. Raises RequestInvalid with all problems, and nothing else.
    """
    data = _decoded(value, most)
    found: list[Problem] = []
    kind = _kind(data, found)
    run_id = _run_id(data, key, found)
    if kind is None:
        raise _invalid(found, run_id, data.get("type"))
    if run_id is None and kind is not StartRequest and not found:
        found.append(wrong("/runId", f"runId is missing, and the record has no key: expected {A_RUN_ID}"))
    data["runId"] = run_id or _STAND_IN
    if run_id is None and kind is StartRequest and not found:
        del data["runId"]
    made = _read(kind, data, found)
    if made is None or found:
        raise _invalid(found, run_id, data.get("type", "start"))
    assert isinstance(made, StartRequest | ControlRequest)
    return made


def _decoded(value: bytes | None, most: int) -> dict[str, Json]:
    if not value:
        message = "the record has no value: expected one JSON object"
        raise _invalid([Problem("REQUEST_EMPTY", "", message, "To end a run, send a cancel request.")])
    if len(value) > most:
        message = f"the request has {len(value)} bytes, at most {most} are taken"
        raise _invalid([Problem("REQUEST_TOO_LARGE", "", message, "Register the plan, or send a link to the data.")])
    try:
        data = decode(value, max_nesting=MAX_RECORD_NESTING)
    except NotJson as error:
        hint = "A request is one JSON object in UTF-8, with nothing around it."
        raise _invalid([Problem("INVALID_JSON", "", str(error), hint)]) from error
    if not isinstance(data, dict):
        raise _invalid([wrong("", f"the request is {shown(data)}: expected an object")])
    if value.count(b"[") + value.count(b"{") > MAX_NESTING:
        deep = [name for name, part in data.items() if _nesting(part) > MAX_NESTING]
        message = f"lists and objects are nested more than {MAX_NESTING} levels deep"
        if deep:
            raise _invalid([Problem("INVALID_JSON", pointer(name), message) for name in deep])
    return data


def _nesting(value: Json) -> int:
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, list | dict)]:
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth


def _kind(data: Mapping[str, Json], found: list[Problem]) -> type[Request] | None:
    given = data.get("type", "start")
    kind = KINDS.get(given) if isinstance(given, str) else None
    if kind is None:
        near = nearest(given, list(KINDS)) if isinstance(given, str) else []
        hint = f"Did you mean {near[0]!r}?" if near else ""
        message = f"the type is {shown(given)}: expected one of {', '.join(KINDS)} (absent: start)"
        found.append(Problem("UNKNOWN_REQUEST_TYPE", "/type", message, hint, available=tuple(KINDS)))
    return kind


def _run_id(data: Mapping[str, Json], key: bytes | None, found: list[Problem]) -> str | None:
    """The id that body and key agree on; None, and what is wrong in ``found``, when there is none."""
    keyed = None if key is None else _key_text(key)
    if "runId" in data:
        said = data["runId"]
        if not isinstance(said, str) or not RUN_ID.match(said):
            hint = "Leave the field out where there is no id." if said is None else ""
            found.append(Problem("INVALID_RUN_ID", "/runId", f"the run id is {shown(said)}: expected {A_RUN_ID}", hint))
            return None
        if key is not None and keyed != said:
            message = f"the record's key is {shown_key(key)} and runId is {shown(said)}: they must be the same"
            hint = "Use the run id as the record's key, or send no key."
            found.append(Problem("RUN_ID_MISMATCH", "/runId", message, hint))
        return said
    if key is not None:
        if keyed is None:
            message = f"the record's key {shown_key(key)} is taken as the run id and is none: expected {A_RUN_ID}"
            found.append(Problem("INVALID_RUN_ID", "", message, "Put the run id into the body, or send no key."))
        return keyed
    options = data.get("options")
    wished = options.get("workflowId", options.get("workflow_id")) if isinstance(options, dict) else None
    if wished is None or data.get("type", "start") != "start":
        return None
    if isinstance(wished, str) and RUN_ID.match(wished):
        return wished
    message = f"the workflow id is {shown(wished)}, and the run's id with it: expected {A_RUN_ID}"
    found.append(Problem("INVALID_RUN_ID", "/options/workflowId", message))
    return None


def _key_text(key: bytes) -> str | None:
    """The run id that a record's key is, None when it is none."""
    text = key.decode("utf-8", "replace")
    return text if RUN_ID.match(text) else None


def _read(kind: type[_R], data: Mapping[str, Json], found: list[Problem]) -> _R | None:
    names = wire_names(kind)
    unknown = [name for name in data if name not in names]
    found += [unknown_field(pointer(name), name, names) for name in unknown[:MOST_PROBLEMS]]
    if len(unknown) > MOST_PROBLEMS:
        found.append(wrong("", f"{len(unknown) - MOST_PROBLEMS} more names are no fields of a request"))
    known = {name: given for name, given in data.items() if name in names}
    for name in [name for name, given in known.items() if given is None and name not in NULLABLE]:
        found.append(wrong(pointer(name), f"{name} is null: expected {EXPECTED[name]}", "Leave the field out."))
        del known[name]
    found += kind.more_problems(data)
    if isinstance(known.get("options"), dict):
        found += options_problems(known["options"])
    try:
        return kind.model_validate(known, by_alias=True, by_name=False)
    except ValidationError as error:
        said = {problem.path for problem in found}
        found += [problem for problem in field_problems(error, data) if problem.path not in said]
        return None


def _invalid(problems: Sequence[Problem], run_id: str | None = None, kind: Json = None) -> RequestInvalid:
    """What is raised for a request with these problems."""
    code, count = problems[0].code, len(problems)
    message = problems[0].message if count == 1 else f"the request has {count} problems"
    if count > MOST_PROBLEMS:
        rest = Problem(code, "", f"and {count - MOST_PROBLEMS} problems more")
        problems = [*problems[:MOST_PROBLEMS], rest]
    return RequestInvalid(code, message, tuple(problems), run_id, kind if isinstance(kind, str) else None)


# --- what it becomes in a run's log -------------------------------------------------------------------------------


def start_json(request: StartRequest, run_id: str, *, plan: str | None = None) -> dict[str, Json]:
    """The ``request`` of ``flow-requested``: defaults left out, the same in both shells.

    ``plan``: the hash of the plan that the request names or holds. Without it a name stays as it is, and the digest of
    what was given stands for a plan that has none because it is invalid. Large things lie elsewhere: the plan in
    ``plan-published``. A model is kept where there is a prompt: nothing else is asked of it.
    """
    made: dict[str, Json] = {"type": "start", "runId": run_id, "input": request.input}
    if request.plan is not None:
        made["plan"] = plan or (request.plan if isinstance(request.plan, str) else digest(request.plan))
    for name in ("prompt", "template"):
        if (given := getattr(request, name)) is not None:
            made[name] = given
    if request.model is not None and request.plan is None:
        made["model"] = request.model
    if request.options:
        made["options"] = told_options(request.options)
    if request.tools is not None:
        made["tools"] = list(request.tools)
    if request.joins:
        made["joins"] = [join.model_dump(by_alias=True, exclude_defaults=True) for join in request.joins]
    for name in ("labels", "parameters", "principal"):
        if given := getattr(request, name):
            made[name] = given
    return made


def request_digest(request: Mapping[str, Json]) -> str:
    """What tells a start, as :func:`start_json` gives it, from another under the same id: all but the id."""
    return digest({**request, "runId": None})


# --- for clients ----------------------------------------------------------------------------------------------------


def start_request(
    *,
    prompt: str | None = None,
    plan: Mapping[str, Json] | str | None = None,
    template: str | None = None,
    input: Json = None,
    run_id: str | None = None,
    **fields: Json,
) -> dict[str, Json]:
    """The value of a start to put on ``flow-requests``, as JSON; ``fields`` by their names on the wire or in Python.

    Raises RequestInvalid for what no worker would take.
    """
    given = {"run_id": run_id, "prompt": prompt, "plan": plan, "template": template, "input": input, **fields}
    return _checked("start", {name: value for name, value in given.items() if value is not None})


def control_request(kind: str, run_id: str, **fields: Json) -> dict[str, Json]:
    """The value of a control record: ``control_request("resolve", "order-42", node_id="pay", resolution="fail")``.

    Raises RequestInvalid for what no worker would take.
    """
    return _checked(kind, {"run_id": run_id, **fields})


def _checked(kind: str, fields: Mapping[str, Json]) -> dict[str, Json]:
    request = {"type": kind, **{to_camel(name): value for name, value in fields.items()}}
    try:
        encoded = plain(request, max_bytes=MOST_BYTES)[1]
    except NotJson as error:
        raise _invalid([Problem("INVALID_JSON", "", f"the request is not JSON: {error}")], kind=kind) from error
    except OverflowError as error:
        raise _invalid([Problem("REQUEST_TOO_LARGE", "", f"the request is too large: {error}")], kind=kind) from error
    return read_request(encoded).to_json()
