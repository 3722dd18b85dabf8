"""From a prompt, or a checked plan, to the fact that a run starts with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
import os

from pydantic import ValidationError

from ...errors import DynamicFlowError, PlanningFailed, Problem, UsageError
from ...planner.check import Check
from ...planner.options import Options
from ...planner.planning import PlanRequest, make_plan, planner_for
from ...tools.joins import Join
from ...tools.spec import ToolSpec
from ...values import Json, pointer
from ..clock import Clock, stamp
from ..core import commands as c
from ..core import events as e
from ..core.events import SEMANTICS, VERSION, event_id

Refusal = Callable[[Check, Json, Options], DynamicFlowError | None]


def options_of(given: Mapping[str, Json] | Options | None) -> Options:
    """Options of a request. Raises UsageError naming every field that is wrong."""
    if isinstance(given, Options):
        return given
    try:
        return Options.model_validate(dict(given or {}))
    except ValidationError as error:
        problems = [
            Problem("INVALID_OPTION", pointer("options", *fault["loc"]), fault["msg"]) for fault in error.errors()
        ]
        raise UsageError("INVALID_OPTION", "the options are not usable", problems) from error


def name_of(check: Check | None) -> str | None:
    """The plan's name; None where there is no plan."""
    return check.plan.metadata.name if check is not None and check.plan is not None else None


def published(
    run_id: str,
    check: Check,
    at: str,
    *,
    source: str = "given",
    model: str | None = None,
    usage: dict[str, Json] | None = None,
    attempts: int | None = None,
    execution_ms: float | None = None,
) -> e.PlanPublished:
    """The fact that a run's plan is this one, with all that the fold must know of the tools it uses."""
    if check.plan is None or check.certificate is None:
        raise ValueError("only a valid plan is published")
    policies: dict[str, dict[str, Json]] = {name: dict(policy) for name, policy in check.policies.items()}
    return e.PlanPublished(
        id=event_id(run_id, None, None, None, "plan-published", 0),
        run_id=run_id,
        timestamp=at,
        v=VERSION,
        semantics=SEMANTICS,
        plan_hash=check.plan_hash,
        plan=check.plan.to_json(),
        certificate=check.certificate.to_json(),
        tools={name: str(policy["digest"]) for name, policy in policies.items()},
        policies={name: {k: v for k, v in policy.items() if k != "digest"} for name, policy in policies.items()},
        joined={node: list(sources) for node, sources in check.joined.items()},
        source=source,
        model=model,
        usage=usage,
        attempts=attempts,
        execution_time=execution_ms,
    )


def failed(run_id: str, error: PlanningFailed | DynamicFlowError, at: str) -> e.PlanningFailed:
    """The fact that no valid plan came of a request."""
    extra: dict[str, Any] = {
        name: list(getattr(error, name, ())) for name in ("questions", "tried") if getattr(error, name, ())
    }
    return e.PlanningFailed(
        id=event_id(run_id, None, None, None, "planning-failed"),
        run_id=run_id,
        timestamp=at,
        v=VERSION,
        semantics=SEMANTICS,
        code=error.code,
        message=error.message,
        problems=[problem.to_json() for problem in error.problems],
        **extra,
    )


async def plan_run(
    command: c.Plan, tools: Mapping[str, ToolSpec], joins: Sequence[Join], refusal: Refusal, clock: Clock
) -> e.PlanPublished | e.PlanningFailed:
    """Ask the planner. Raises PlanningFailed."""
    request = command.request
    options = Options.model_validate(request.get("options") or {})
    allowed = request.get("tools")
    model = request.get("model")
    asked = PlanRequest(
        prompt=str(request["prompt"]),
        tools={name: spec for name, spec in tools.items() if allowed is None or name in allowed},
        joins=joins,
        model=model if isinstance(model, str) else None,
        options=options,
        input=request.get("input"),
    )
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    planned = await make_plan(asked, planner_for(asked.model, os.environ), now=now)
    refused = refusal(planned.check, request.get("input"), options)
    at = stamp(clock.now_ms())
    if refused is not None:
        return failed(command.run_id, refused, at)
    return published(
        command.run_id,
        planned.check,
        at,
        source=planned.source,
        model=planned.model,
        usage=dict(planned.usage) if planned.usage else None,
        attempts=planned.attempts,
        execution_ms=planned.execution_time_ms,
    )
