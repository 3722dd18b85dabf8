"""``plan`` and ``check``: a plan to read, its bounds, and all that is wrong with it. Nothing runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...planner.check import Check, check_plan
from ...planner.inspection import inspect_plan
from ...planner.mermaid import mermaid as flowchart
from ...planner.options import Options
from ...planner.planning import PlanRequest, make_plan, planner_for
from ...planner.request import ABSENT
from ...tools.registry import ToolRegistry
from ...values import Json
from .errors import REJECTED, show_problems
from .inputs import json_argument, load_tools, prompted, read_bytes, read_options, well_formed
from .output import document, err, out, pretty, text
from .view import duration_text

if TYPE_CHECKING:
    from rich.console import Console


def plan_command(
    prompt: str,
    tools: Sequence[str],
    given: str | None,
    model: str | None,
    options: str | None,
    option: Sequence[str],
    *,
    mermaid: bool,
    json_out: bool,
) -> int:
    """Raises PlanningFailed, UsageError."""
    registry = load_tools(tools).registry
    request = PlanRequest(
        prompt=prompted(prompt),
        tools=registry.specs,
        joins=tuple(registry.joins.values()),
        model=None if model is None else well_formed(model, "--model"),
        options=read_options(options, option),
        input=ABSENT if given is None else json_argument(given, "--input"),
    )
    planned = asyncio.run(make_plan(request, planner_for(model, os.environ), now=datetime.now(UTC)))
    about: dict[str, Json] = {
        "source": planned.source,
        "model": planned.model,
        "attempts": planned.attempts,
        "executionTime": planned.execution_time_ms,
        "usage": planned.usage,
    }
    if json_out:
        document({"plan": _plan_json(planned.check), **_facts(planned.check, registry, request.options), **about})
    elif mermaid:
        _mermaid(planned.check)
    else:
        pretty(_plan_json(planned.check))  # alone on standard output: `dynamicflow plan … > plan.json`
        show_valid(planned.check, registry, request.options, err())
    return 0


def check_command(
    path: str, tools: Sequence[str], options: str | None, option: Sequence[str], *, mermaid: bool, json_out: bool
) -> int:
    """0 for a plan that may run, 2 for one that may not."""
    registry = load_tools(tools).registry if tools else ToolRegistry()
    chosen = read_options(options, option)
    source = read_bytes(path, "the plan")
    check = check_plan(source, tools=registry.specs, joins=tuple(registry.joins.values()), options=chosen)
    if json_out:
        document(check.to_json())
    elif not check.valid:
        count = len(check.problems)
        err().print(f"invalid: {count} problem{'s' * (count != 1)}", style="bold red", markup=False)
        show_problems(check.problems)
        show_problems(check.warnings, style="yellow")
    elif mermaid:
        _mermaid(check)
    else:
        show_valid(check, registry, chosen, out())
    return 0 if check.valid else REJECTED


def _plan_json(check: Check) -> dict[str, Json]:
    if check.plan is None:
        raise ValueError("only a valid plan is printed")
    return check.plan.to_json()


def _mermaid(check: Check) -> None:
    if check.plan is not None:
        text(flowchart(check.plan))


def _facts(check: Check, registry: ToolRegistry, options: Options) -> dict[str, Json]:
    if check.plan is None or check.certificate is None:
        raise ValueError("only a valid plan is printed")
    inspection = inspect_plan(check.plan, registry.specs, check.certificate, options=options, joined=check.joined)
    return {
        "planHash": check.plan_hash,
        "certificate": check.certificate.to_json(),
        "warnings": [warning.to_json() for warning in check.warnings],
        "inspection": inspection.to_json(),
    }


def show_valid(check: Check, registry: ToolRegistry, options: Options, console: Console) -> None:
    """The bounds of a plan and its inspection."""
    if check.plan is None or check.certificate is None:
        return
    bounds = check.certificate.to_json()
    console.print(f"valid  {check.plan_hash}", style="bold green", markup=False)
    console.print("certificate: what no run of this plan exceeds", style="bold", markup=False)
    for name, value in bounds.items():
        console.print(f"  {_label(name)}: {_shown(name, value)}", markup=False)
    show_problems(check.warnings, style="yellow")
    inspection = inspect_plan(check.plan, registry.specs, check.certificate, options=options, joined=check.joined)
    console.print(str(inspection), markup=False, soft_wrap=True)


def _label(name: str) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.removesuffix(" ms")


def _shown(name: str, value: Json) -> str:
    if name.endswith("Ms"):
        return duration_text(value)
    if isinstance(value, dict):
        return ", ".join(f"{tool} ({effect})" for tool, effect in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
