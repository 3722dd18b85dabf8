"""One step, from the fold's command to the fact of its outcome. Both shells run steps through these functions; no IO.

Order: joins, then nulls left out, then the input schema, the call, the output schema.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple, TypeAlias

from ..planner.expressions import Bound, ExpressionFailed
from ..planner.templates import parse_template
from ..tools.call import CallError, CallResult, check_inputs, check_output, describe_exception
from ..tools.context import ToolFailed
from ..tools.entry import Delivered
from ..tools.joins import Join
from ..tools.spec import ToolSpec
from ..values import LARGE_VALUE_BYTES, Json, canonical, encode
from .core.commands import Dispatch, JoinInput
from .core.events import ToolError, ToolOutput, envelope, event_id

log = logging.getLogger(__name__)

JoinTable: TypeAlias = Mapping[tuple[str, str], Join]
"""By (from tool, to tool)."""


class Ready(NamedTuple):
    """A step that may be called. ``inputs`` share structure with the log: the caller copies them."""

    inputs: dict[str, Json]
    warnings: tuple[str, ...]


def prepare(step: Dispatch, spec: ToolSpec, joins: JoinTable) -> Ready | CallError:
    """What the tool will be called with, or why it cannot be."""
    inputs = step.inputs
    if step.joins:
        joined: dict[str, Json] = {}
        for source in step.joins:
            made = _joined(source, step.tool_id, joins)
            if isinstance(made, CallError):
                return made
            joined.update(made)
        inputs = {**joined, **inputs} if isinstance(inputs, dict) else inputs
    checked = check_inputs(spec, inputs, "warn" if step.validation == "warn" else "strict")
    if isinstance(checked, CallError):
        return checked
    return Ready(*checked)


def joins_in_python(step: Dispatch, joins: JoinTable) -> bool:
    """One of its joins is a function of the user's."""
    known = [joins.get((source.from_tool, step.tool_id)) for source in step.joins if source.mapping is None]
    return any(join is not None and join.mapping is None for join in known)


def _joined(source: JoinInput, to_tool: str, joins: JoinTable) -> dict[str, Json] | CallError:
    if source.mapping is not None:
        return map_fields(source.mapping, source.value, source.from_tool, to_tool)
    join = joins.get((source.from_tool, to_tool))
    if join is None:
        return _join_failed(source.from_tool, to_tool, "the join this plan was checked with is not loaded here")
    if join.mapping is not None:
        return map_fields(join.mapping, source.value, source.from_tool, to_tool)
    try:
        return join.apply(source.value)
    except ToolFailed as failed:
        return _join_failed(source.from_tool, to_tool, str(failed))


def map_fields(mapping: Json, value: Json, from_tool: str, to_tool: str) -> dict[str, Json] | CallError:
    """The target's fields that a declarative join makes of ``$source``."""
    template = parse_template(mapping, frozenset({"source"}))
    try:
        made = template.compile(lambda name: Bound(lambda source: source, node=True))(value)
    except ExpressionFailed as failed:
        return _join_failed(from_tool, to_tool, f"{failed.message} (column {failed.column})")
    if not isinstance(made, dict):
        return _join_failed(from_tool, to_tool, f"its mapping gave a {type(made).__name__}, not an object")
    return made


def _join_failed(from_tool: str, to_tool: str, why: str) -> CallError:
    message = f"the join from {from_tool} to {to_tool} failed: {why}"
    return CallError(
        code="JOIN_FAILED", message=message, type=None, bases=(), retryable=False, retry_after_ms=None, details=None
    )


def inputs_digest(inputs: Json) -> str:
    """Digest of a step's inputs as dispatched; fields over 256 KiB count as ``{sha256, bytes}``."""
    text = canonical(inputs)
    if len(text) > LARGE_VALUE_BYTES and isinstance(inputs, dict):
        text = canonical({name: _small(value) for name, value in inputs.items()})
    return "sha256:" + sha256(text).hexdigest()


def _small(value: Json) -> Json:
    body = encode(value)
    return value if len(body) <= LARGE_VALUE_BYTES else {"sha256": sha256(body).hexdigest(), "bytes": len(body)}


def result_of(delivery: Delivered) -> CallResult | CallError:
    """What came of a call. On the host's threads: serialisers and attributes of users' classes run here.

    Whatever fails in telling it is this call's error: others of the same batch have theirs.
    """
    spec = delivery.call.tool.spec
    try:
        if isinstance(delivery.outcome, BaseException):
            return describe_exception(delivery.outcome)
        return check_output(spec, delivery.outcome, delivery.call.mode)
    except Exception as error:
        log.exception("what came of a call of %s cannot be told", spec.id)
        message = f"what came of the call cannot be told: {type(error).__name__}"
        return CallError(code="INTERNAL", message=message, retryable=False)


def outcome(
    step: Dispatch,
    digest: str,
    result: CallResult | CallError,
    *,
    started_at: str,
    ended_at: str,
    execution_ms: float,
    plan_hash: str | None,
    tenant: str | None = None,
    warnings: tuple[str, ...] = (),
) -> ToolOutput | ToolError:
    """The fact of what came of a step."""
    kind = "tool-output" if isinstance(result, CallResult) else "tool-error"
    item = step.item or None
    fields = envelope(
        event_id(step.run_id, step.node_id, item, step.attempt, kind), step.run_id, ended_at, plan_hash=plan_hash
    )
    fields["node_id"] = step.node_id
    fields["item"] = item
    fields["attempt"] = step.attempt
    fields["delivery"] = step.delivery
    fields["causation_id"] = step.causation_id
    fields["tenant"] = tenant
    fields["tool_id"] = step.tool_id
    fields["inputs_digest"] = digest
    fields["started_at"] = started_at
    fields["execution_time"] = round(execution_ms, 3)
    if isinstance(result, CallResult):
        fields["output"] = result.output
        fields["usage"] = usage_of(result.output)
        fields["warnings"] = [*warnings, *result.warnings]
        return ToolOutput.trusted(fields)
    fields["error"] = error_json(result)
    return ToolError.trusted(fields)


def usage_of(output: Json) -> dict[str, Json] | None:
    """Token counts that an LLM tool reports in its output as ``usage``; None where there are none."""
    usage = output.get("usage") if isinstance(output, dict) else None
    if isinstance(usage, dict) and isinstance(usage.get("totalTokens"), int):
        return usage
    return None


def error_json(error: CallError) -> dict[str, Json]:
    """The ``error`` of a tool-error."""
    made: dict[str, Json] = {"code": error.code, "message": error.message}
    for name, value in (
        ("type", error.type),
        ("bases", list(error.bases)),
        ("retryable", error.retryable),
        ("retryAfter", error.retry_after_ms),
        ("details", error.details),
    ):
        if value not in (None, []):
            made[name] = value
    return made
