"""Known answers: reading the cases, running one through the engine, comparing what is expected with what came."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dynamicflow import Engine, Options, VirtualClock
from dynamicflow.planner.check import Check, check_plan
from dynamicflow.values import Json, canonical
from tests.plans.plan_tools import CALLS, TOOLS

FOLDER: Final = Path(__file__).parent / "known_answers"
SPECS: Final = {tool.spec.id: tool.spec for tool in TOOLS}


@dataclass(frozen=True)
class Case:
    """One plan and what must come of it. ``says``: the rule it stands for."""

    name: str
    says: str
    plan: Json
    input: Json
    options: Mapping[str, Json]
    expect: Mapping[str, Json]

    def __str__(self) -> str:
        return self.name


def cases() -> Iterator[Case]:
    """All cases of all files, named ``file/name``."""
    for file in sorted(FOLDER.glob("*.json")):
        for raw in json.loads(file.read_text(encoding="utf-8")):
            name = f"{file.stem}/{raw['name']}"
            plan = {"version": "1.0", **raw["plan"]} if isinstance(raw["plan"], dict) else raw["plan"]
            yield Case(name, raw.get("says", ""), plan, raw.get("input"), raw.get("options", {}), raw["expect"])


def check_of(case: Case) -> Check:
    """What the check says of a case's plan under its options."""
    return check_plan(case.plan, tools=SPECS, options=Options.model_validate(dict(case.options)))


async def outcome(case: Case) -> dict[str, Json]:
    """The result record of a run in virtual time; ``calls`` and ``took`` (virtual ms) beside it."""
    CALLS.pop("r", None)
    clock = VirtualClock()
    began = clock.now_ms()
    async with Engine.in_memory(tools=TOOLS, clock=clock) as engine:
        run = await engine.start(case.plan, input=case.input, run_id="r", options=dict(case.options))
        result = await run.result()
    calls = [[tool, inputs, attempt] for tool, inputs, attempt in CALLS.pop("r", [])]
    return {**result, "calls": calls, "took": round(clock.now_ms() - began)}


def same(left: Json, right: Json) -> bool:
    """Equal as JSON texts: 1 is not 1.0 and not true."""
    return canonical(left) == canonical(right)


def differences(expected: Mapping[str, Json], got: Mapping[str, Json], at: str = "") -> list[str]:
    """What of ``expected`` is otherwise; ``error`` and ``metadata`` are compared by field, all else as a whole."""
    found = []
    for name, wanted in expected.items():
        where, is_ = f"{at}{name}", got.get(name)
        if name in ("error", "metadata", "certificate") and isinstance(wanted, dict) and isinstance(is_, dict):
            found += differences(wanted, is_, f"{where}.")
        elif name == "message" and isinstance(wanted, str):
            found += [] if wanted in str(is_) else [f"{where}: expected …{wanted}…, got {is_!r}"]
        elif not same(wanted, is_):
            found.append(f"{where}: expected {json.dumps(wanted)}, got {json.dumps(is_)}")
    return found


def check_differences(case: Case, check: Check) -> list[str]:
    """What is otherwise in the check: ``problems``, ``warnings`` as [code, path]; ``certificate``; bound ``inputs``."""
    told: dict[str, Any] = check.to_json()
    got: dict[str, Any] = {
        "problems": sorted([problem["code"], problem["path"]] for problem in told["problems"]),
        "warnings": sorted([problem["code"], problem["path"]] for problem in told["warnings"]),
        "certificate": told["certificate"],
        "canonical": check.plan.to_json() if check.plan is not None else None,
    }
    expected: dict[str, Any] = {"problems": []}
    for name in got:
        if name in case.expect:
            wanted = case.expect[name]
            expected[name] = sorted(wanted) if name in ("problems", "warnings") else wanted
    if isinstance(expected.get("canonical"), dict):
        made = got["canonical"] or {}
        expected["canonical"] = {"version": "1.0", **expected["canonical"]}
        got["canonical"] = {name: made.get(name) for name in expected["canonical"]}
    found = differences(expected, got)
    return found + ([f"  {problem}" for problem in (*check.problems, *check.warnings)] if found else [])
