"""Whatever it is given, a check answers; it never raises and it ends soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamicflow.planner.check import check_input
from dynamicflow.planner.inspection import inspect_plan
from dynamicflow.planner.mermaid import mermaid
from tests.check.check_kit import TOOLS, call, check, only, plan, value

IDS = st.sampled_from(["a", "b", "c", "item", "input", "x-y", "1", ""])
TEXTS = st.sampled_from(
    [
        "$a",
        "$b.c[0]",
        "$item.x",
        "${$a + 1}",
        "$a.b * 2",
        "text",
        "$$a",
        "${",
        "$nobody",
        "$input.x",
        "$a < 1",
        "1 <",
        "💥",
    ]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False), TEXTS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)
COMMON = {"timeout": VALUES, "onError": st.one_of(st.sampled_from(["fail", "continue"]), VALUES), "retry": VALUES}
LEAF = st.fixed_dictionaries(
    {"id": IDS, "type": st.sampled_from(["tool", "value", "wait", "llm", "awaitInput", "subflow", "nonsense"])},
    optional={
        **COMMON,
        "toolId": st.sampled_from([*TOOLS, "nobody"]),
        "inputs": VALUES,
        "value": VALUES,
        "duration": VALUES,
        "until": VALUES,
        "signal": VALUES,
        "prompt": VALUES,
        "plan": VALUES,
    },
)
OWNERS = ["conditional", "switch", "sequence", "parallel", "map", "filter", "reduce", "loop", "forEach", "flatMap"]


def owner(nodes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    body = st.lists(nodes, max_size=2)
    return st.fixed_dictionaries(
        {"id": IDS, "type": st.sampled_from(OWNERS)},
        optional={
            **COMMON,
            "loop": st.sampled_from(["for", "while", "times"]),
            "body": body,
            "ifTrue": body,
            "ifFalse": body,
            "test": body,
            "cases": st.dictionaries(TEXTS, body, max_size=2),
            "branches": st.lists(body, max_size=2),
            "condition": st.one_of(TEXTS, VALUES),
            "on": TEXTS,
            "over": VALUES,
            "times": VALUES,
            "as": IDS,
            "maxItems": st.one_of(st.integers(-1, 10**30), st.none()),
        },
    )


NODES = st.recursive(LEAF, owner, max_leaves=6)
EDGES = st.fixed_dictionaries({"from": IDS, "to": IDS}, optional={"condition": TEXTS, "transform": VALUES})
PLANS = st.fixed_dictionaries(
    {"version": st.just("1.0"), "nodes": st.lists(NODES, min_size=1, max_size=4)},
    optional={
        "edges": st.lists(EDGES, max_size=3),
        "output": VALUES,
        "variables": st.dictionaries(IDS, VALUES, max_size=2),
        "joins": st.lists(st.fixed_dictionaries({"fromTool": TEXTS, "toTool": TEXTS, "mapping": VALUES}), max_size=1),
    },
)


class TestAnythingIsAnswered:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(PLANS, VALUES)
    def test_plans_that_almost_make_sense(self, document: dict[str, Any], given_input: Any) -> None:
        checked = check(document, planned=True)
        json.dumps(checked.to_json(), allow_nan=False)
        assert checked.valid == (checked.problems == ())
        if checked.plan is not None:
            mermaid(checked.plan)
            check_input(checked, given_input, TOOLS)
        if checked.valid and checked.plan is not None:
            inspect_plan(checked.plan, TOOLS).lines()
            assert check(checked.plan.to_json(), planned=True).plan_hash == checked.plan_hash

    @pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"nodes": 1}', '{"version": NaN}', b"\xff", "[" * 10_000])
    def test_what_is_no_plan_at_all(self, text: str | bytes) -> None:
        checked = check(text)
        assert not checked.valid
        assert checked.plan is None
        assert checked.problems


class TestAllProblemsAtOnce:
    def test_shape_and_meaning_together(self) -> None:
        broken = {"id": "c", "type": "conditional", "ifTrue": [value("x")]}
        checked = check(plan(broken, call("v", "validatEmail"), value("w", "$nobody")))
        assert [problem.code for problem in checked.problems] == [
            "MISSING_CONDITION",
            "UNKNOWN_TOOL",
            "UNRESOLVED_REFERENCE",
        ]

    def test_paths_lead_into_the_plan_as_given(self) -> None:
        steps = {"version": "1.0", "flow": [{"id": "a", "tool": "poll", "args": {"speed": 3}}]}
        assert only(check(steps)).path == "/flow/0/args/speed"

    def test_the_json_of_a_check(self) -> None:
        form = check(plan(call("v", "validatEmail"))).to_json()
        assert set(form) == {"valid", "problems", "warnings", "certificate", "planHash"}
        assert form["problems"][0]["context"]["availableOptions"]


class TestFiveThousandNodes:
    @pytest.mark.parametrize("kind", ["chain", "unbound", "unknown", "cycle"])
    def test_are_checked_in_linear_time(self, kind: str) -> None:
        count = 5000
        builders: dict[str, Callable[[int], dict[str, Any]]] = {
            "chain": lambda at: call(f"n{at}", "validateEmail", email=f"$n{at - 1}.email" if at else "$input.email"),
            "unbound": lambda at: call(f"n{at}", "validateEmail"),
            "unknown": lambda at: call(f"n{at}", f"nobody{at}", email=f"$nobody{at}"),
            "cycle": lambda at: value(f"n{at}", f"$n{(at + 1) % count}"),
        }
        made = builders[kind]
        started = time.process_time()
        checked = check(json.dumps(plan(*(made(at) for at in range(count)))))
        assert checked.valid == (kind in ("chain", "unbound"))
        assert time.process_time() - started < 10  # seconds of processor time: 1 to 2 on one core; far off if quadratic
