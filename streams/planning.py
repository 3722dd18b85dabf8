"""From a prompt, or a checked plan, to the fact that a run starts with."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import pydantic_core
import uuid_utils
from pydantic import ValidationError

from ..errors import DynamicFlowError, InputInvalid, PlanInvalid, PlanningFailed, Problem, UsageError
from ..planner import ir
from ..planner.check import Check, check_input, check_plan, unsupported
from ..planner.options import Options
from ..planner.planning import PlanRequest, make_plan, planner_for
from ..tools.joins import Join
from ..tools.spec import ToolSpec
from ..values import RUN_ID, Json, NotJson, plain, stamp
from .clock import Clock
from .core import commands as c
from .core import events as e
from .core.events import envelope, event_id
from .request_problems import options_problems

MOST_CHECKED: Final = 256
"""Valid plans whose check is kept."""


def options_of(given: Mapping[str, Json] | Options | None) -> Options:
    """Options of a request. Raises UsageError naming every field that is wrong."""
    if isinstance(given, Options):
        return given
    try:
        return Options.of(dict(given or {}))
    except ValidationError as error:
        problems = [replace(problem, code="INVALID_OPTION") for problem in options_problems(dict(given or {}))]
        raise UsageError("INVALID_OPTION", "the options are not usable", problems) from error
    except (TypeError, ValueError) as error:
        raise UsageError("INVALID_OPTION", f"the options are not JSON: {error}") from error


def labels_of(given: Mapping[str, str]) -> dict[str, Json]:
    """Labels of a request. Raises UsageError when they are no texts by name."""
    try:
        labels = plain(dict(given))[0]
    except (TypeError, ValueError, NotJson, OverflowError) as error:
        raise UsageError("USAGE", f"labels are texts by name, like {{'tenant': 'acme'}}: {error}") from error
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise UsageError("USAGE", "labels are texts by name, like {'tenant': 'acme'}")
    return labels


def tenant_of(request: Mapping[str, Json]) -> str | None:
    """Whose run a request asks for: its label ``tenant``. It stands in every event that follows from the request."""
    labels = request.get("labels")
    tenant = labels.get("tenant") if isinstance(labels, dict) else None
    return tenant if isinstance(tenant, str) else None


def text_of(name: str, given: object) -> str:
    """A text that a record can hold. Raises UsageError."""
    try:
        if isinstance(given, str) and given.encode():
            return given
    except UnicodeEncodeError as error:
        raise UsageError("USAGE", f"the {name} holds half a character: {error}") from error
    raise UsageError("USAGE", f"the {name} is {given!r:.80}: expected a text that is not empty")


def run_id_of(given: str | None, options: Options) -> str:
    """The id of a new run: the given one, else the options' workflow id, else one of our own, ordered by time."""
    ident = given if given is not None else options.workflow_id or str(uuid_utils.uuid7())
    if not isinstance(ident, str) or not RUN_ID.match(ident):
        expected = "expected 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        raise UsageError("INVALID_RUN_ID", f"run id {ident!r:.140}: {expected}")
    return ident


def name_of(check: Check | None) -> str | None:
    """The plan's name; None where there is no plan."""
    return check.plan.metadata.name if check is not None and check.plan is not None else None


class Accepted:
    """A plan that was checked, with what every run of it needs worked out once."""

    def __init__(self, check: Check, tools: Mapping[str, ToolSpec]) -> None:
        self.check, self._tools = check, tools
        self._refusals: dict[object, tuple[Problem, ...]] = {}

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The fields of ``plan-published``."""
        check = self.check
        if check.plan is None or check.certificate is None:
            raise ValueError("only a valid plan is published")
        policies: dict[str, dict[str, Json]] = {name: dict(policy) for name, policy in check.policies.items()}
        return {
            "plan_hash": check.plan_hash,
            "plan": check.plan.to_json(),
            "certificate": check.certificate.to_json(),
            "tools": {name: str(policy["digest"]) for name, policy in policies.items()},
            "policies": {name: {k: v for k, v in policy.items() if k != "digest"} for name, policy in policies.items()},
            "joined": {node: list(sources) for node, sources in check.joined.items()},
        }

    def refusal(self, given: Json, options: Options) -> DynamicFlowError | None:
        """Why a run of it cannot start with this input; None when it can."""
        check = self.check
        if not check.valid or check.plan is None:
            count = len(check.problems)
            return PlanInvalid("PLAN_INVALID", f"the plan has {count} problem{'s' * (count != 1)}", check.problems)
        plan = check.plan
        later = self._once(options.key, lambda: unsupported(plan, self._tools, options))
        if later:
            return PlanInvalid("NOT_SUPPORTED_YET", "the plan needs what this release cannot run", later)
        # what the input lacks depends on its top-level names alone
        names = frozenset(given) if isinstance(given, dict) else None
        missing = self._once(names, lambda: check_input(check, given, self._tools))
        return InputInvalid("INPUT_INVALID", "the input does not fit the plan", missing) if missing else None

    def _once(self, key: object, work: Callable[[], tuple[Problem, ...]]) -> tuple[Problem, ...]:
        if key not in self._refusals:
            if len(self._refusals) > 100:
                self._refusals.clear()
            self._refusals[key] = work()
        return self._refusals[key]


class CheckedPlans:
    """Checks plans against the tools at hand; valid ones are kept, by text and options: a plan is run many times."""

    def __init__(self, specs: Callable[[], Mapping[str, ToolSpec]], joins: Callable[[], Sequence[Join]]) -> None:
        self._specs, self._joins = specs, joins
        self._kept: OrderedDict[tuple[str | bytes, str, tuple[str, ...] | None], Accepted] = OrderedDict()

    def of(self, plan: Json | ir.Plan, options: Options, only: Sequence[str] | None = None) -> Accepted:
        """The check of a plan; with ``only`` it may use no other tools than these."""
        if isinstance(plan, ir.Plan):
            plan = plan.to_json()
        text = plan if isinstance(plan, str | bytes) else _text_of(plan)
        key = None if text is None else (text, options.key, None if only is None else tuple(only))
        found = self._kept.get(key) if key is not None else None
        if found is None:
            specs = self._specs()
            if only is not None:
                specs = {name: spec for name, spec in specs.items() if name in only}
            found = Accepted(check_plan(plan, tools=specs, joins=self._joins(), options=options), specs)
            if key is not None and found.check.valid:
                self._kept[key] = found
                if len(self._kept) > MOST_CHECKED:
                    self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        """The tools have changed."""
        self._kept.clear()


def _text_of(plan: Json) -> bytes | None:
    """What identifies a plan given as Python data, None for what is no JSON. More has one than is JSON (a set has
    that of a list), so it is the plan itself that is checked."""
    try:
        return pydantic_core.to_json(plan, inf_nan_mode="constants")
    except (TypeError, ValueError, RecursionError):
        return None


def published(
    run_id: str,
    plan: Accepted,
    at: str,
    *,
    tenant: str | None = None,
    source: str = "given",
    model: str | None = None,
    usage: dict[str, Json] | None = None,
    attempts: int | None = None,
    execution_ms: float | None = None,
) -> e.PlanPublished:
    """The fact that a run's plan is this one, with all that the fold must know of the tools it uses."""
    how = {"source": source, "model": model, "usage": usage, "attempts": attempts, "execution_time": execution_ms}
    place = envelope(event_id(run_id, None, None, None, "plan-published", 0), run_id, at)
    return e.PlanPublished.trusted({**place, "tenant": tenant, **plan.fields, **how})


def failed(
    run_id: str, error: PlanningFailed | DynamicFlowError, at: str, *, tenant: str | None = None
) -> e.PlanningFailed:
    """The fact that no valid plan came of a request."""
    extra: dict[str, Any] = {
        name: list(getattr(error, name, ())) for name in ("questions", "tried") if getattr(error, name, ())
    }
    return e.PlanningFailed(
        **envelope(event_id(run_id, None, None, None, "planning-failed"), run_id, at),
        code=error.code,
        message=error.message,
        problems=[problem.to_json() for problem in error.problems],
        tenant=tenant,
        **extra,
    )


async def plan_run(
    command: c.Plan, tools: Mapping[str, ToolSpec], joins: Sequence[Join], clock: Clock
) -> e.PlanPublished | e.PlanningFailed:
    """Ask the planner. Raises PlanningFailed."""
    request = command.request
    options = Options.model_validate(request.get("options") or {})
    allowed = request.get("tools")
    model = request.get("model")
    chosen = {name: spec for name, spec in tools.items() if allowed is None or name in allowed}
    if allowed and tools and not chosen:
        named = ", ".join(map(repr, allowed))
        message = f"the request may use {named} alone, which is no tool here"
        problem = Problem("UNKNOWN_TOOL", "/tools", message, available=tuple(sorted(tools)))
        raise PlanningFailed("UNKNOWN_TOOL", f"{message}; there are {', '.join(sorted(tools)[:20])}", (problem,))
    asked = PlanRequest(
        prompt=str(request["prompt"]),
        tools=chosen,
        joins=joins,
        model=model if isinstance(model, str) else None,
        options=options,
        input=request.get("input"),
    )
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    planned = await make_plan(asked, planner_for(asked.model, os.environ), now=now)
    plan = Accepted(planned.check, tools)
    refused = plan.refusal(request.get("input"), options)
    at = stamp(clock.now_ms())
    if refused is not None:
        return failed(command.run_id, refused, at, tenant=tenant_of(request))
    return published(
        command.run_id,
        plan,
        at,
        tenant=tenant_of(request),
        source=planned.source,
        model=planned.model,
        usage=dict(planned.usage) if planned.usage else None,
        attempts=planned.attempts,
        execution_ms=planned.execution_time_ms,
    )
