"""The certificate: executions, duration, what a plan can reach (canonical.md §2, "Limits")."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.certificate import Certificate
from dynamicflow.tools.spec import RetryPolicy, ToolSpec
from tests.check.check_kit import call, check, plan, spec, value

DAY = 86_400_000
SECOND = 1000
TOOLS: dict[str, ToolSpec] = {
    "fast": spec("fast", timeout_ms=SECOND, side_effect="none"),
    "slow": spec("slow", timeout_ms=10 * SECOND),
    "plain": spec("plain"),
    "again": spec("again", timeout_ms=SECOND, retry=RetryPolicy(max_attempts=3, max_delay_ms=5 * SECOND)),
    "once": spec("once", timeout_ms=SECOND, side_effect="non_idempotent"),
    "gated": spec("gated", timeout_ms=SECOND, requires_approval=True),
}


def certificate(*nodes: Any, edges: Any = (), **options: Any) -> Certificate:
    checked = check(plan(*nodes, edges=edges), tools=TOOLS, options=options)
    assert checked.certificate is not None, [str(problem) for problem in checked.problems]
    return checked.certificate


def runs(*nodes: Any, **options: Any) -> int:
    return certificate(*nodes, **options).max_node_executions


def lasts(*nodes: Any, **options: Any) -> int:
    return certificate(*nodes, **options).max_duration_ms


def fast(node_id: str = "f", **more: Any) -> dict[str, Any]:
    return {**call(node_id, "fast"), **more}


def mapped(body: list[Any], **more: Any) -> dict[str, Any]:
    return {"id": "m", "type": "map", "over": "$input", "body": body, **more}


class TestNodeExecutions:
    def test_every_node_counts_owners_included(self) -> None:
        assert runs(value("a"), {"id": "q", "type": "sequence", "body": [value("b"), value("c")]}) == 4

    def test_both_branches_count(self) -> None:
        node = {
            "id": "c",
            "type": "conditional",
            "condition": "$input",
            "ifTrue": [value("a")],
            "ifFalse": [value("b")],
        }
        assert runs(node) == 3

    def test_the_item_bodies_around_multiply(self) -> None:
        inner = {"id": "i", "type": "map", "over": "$item", "maxItems": 3, "body": [value("x")]}
        assert runs(mapped([inner], maxItems=2)) == 1 + 2 + 2 * 3

    def test_an_on_error_is_no_item_body(self) -> None:
        assert runs(mapped([value("x")], maxItems=5, onError={"nodes": [value("y")]})) == 1 + 5 + 1

    @pytest.mark.parametrize(
        ("loop", "count"),
        [
            ({"loop": "for", "over": [1, 2, 3]}, 3),
            ({"loop": "for", "over": []}, 0),
            ({"loop": "for", "over": "$input"}, 1000),
            ({"loop": "for", "over": "$input", "maxItems": 7}, 7),
            ({"loop": "times", "times": 4}, 4),
            ({"loop": "times", "times": 250}, 250),
            ({"loop": "times", "times": 4.0, "maxIterations": 9}, 4),
            ({"loop": "times", "times": "$input.n"}, 100),
            ({"loop": "times", "times": "$input.n", "maxIterations": 9}, 9),
            ({"loop": "while", "condition": "$input"}, 100),
            ({"loop": "while", "condition": "$input", "maxIterations": 9}, 9),
        ],
    )
    def test_bounds(self, loop: dict[str, Any], count: int) -> None:
        assert runs({"id": "l", "type": "loop", "body": [value("x")], **loop}) == 1 + count

    def test_attempts_are_the_nodes_else_the_tools_else_the_options(self) -> None:
        options = {"retryStrategy": {"maxAttempts": 7}}
        assert runs(fast(retry={"maxAttempts": 2}), **options) == 2
        assert runs(call("a", "again"), **options) == 3
        assert runs(fast(), **options) == 7
        assert runs(fast()) == 1
        assert runs(value("v"), **options) == 1


class TestDuration:
    def test_a_step_lasts_to_its_timeout(self) -> None:
        assert lasts(fast()) == SECOND
        assert lasts(fast(timeout="3s")) == 3 * SECOND
        assert lasts(call("p", "plain")) == 60 * SECOND

    def test_every_attempt_and_the_longest_delay_between(self) -> None:
        assert lasts(call("a", "again")) == 3 * SECOND + 2 * 5 * SECOND

    def test_a_chain_adds_and_branches_side_by_side_do_not(self) -> None:
        chain = [fast("a"), fast("b"), call("c", "slow")]
        assert lasts(*chain, edges=[("a", "b"), ("b", "c")]) == 12 * SECOND
        assert lasts(*chain) == 10 * SECOND

    def test_references_order_as_edges_do(self) -> None:
        assert lasts(fast("a"), value("v", "$a"), fast("b", onError={"value": "$v"})) == 2 * SECOND

    def test_of_branches_the_longest_after_the_test(self) -> None:
        node = {
            "id": "c",
            "type": "conditional",
            "test": [fast("t")],
            "condition": "$t",
            "ifTrue": [fast("a"), fast("b")],
            "ifFalse": [call("s", "slow")],
        }
        assert lasts(node) == 11 * SECOND

    def test_items_in_turns_of_concurrency(self) -> None:
        assert lasts(mapped([fast()], maxItems=10, concurrency=4)) == 3 * SECOND
        filtered = {"id": "x", "type": "filter", "over": "$input", "maxItems": 10, "condition": "$f", "body": [fast()]}
        assert lasts({**filtered, "concurrency": 5}) == 2 * SECOND

    def test_loops_multiply(self) -> None:
        assert lasts({"id": "r", "type": "reduce", "over": [1, 2, 3], "body": [fast(), fast("g")]}) == 6 * SECOND
        assert lasts({"id": "n", "type": "loop", "loop": "times", "times": 5, "body": [fast()]}) == 5 * SECOND

    def test_branches_are_taken_up_in_order(self) -> None:
        branches = [[call("a", "slow")], [fast("b")], [fast("c")], [call("d", "slow")]]
        node = {"id": "p", "type": "parallel", "branches": branches}
        assert lasts(node) == 10 * SECOND
        assert lasts({**node, "concurrency": 2}) == 12 * SECOND
        assert lasts({**node, "concurrency": 1}) == 22 * SECOND

    def test_an_owners_timeout_caps_it_and_its_on_error_comes_after(self) -> None:
        node = {"id": "q", "type": "sequence", "body": [call("s", "slow")], "timeout": "2s"}
        assert lasts(node) == 2 * SECOND
        assert lasts({**node, "onError": {"nodes": [fast()]}}) == 3 * SECOND

    def test_more_steps_than_places_wait_for_each_other(self) -> None:
        many = [fast(f"f{at}") for at in range(20)]
        assert lasts(*many) == SECOND + 20 * SECOND // 10
        assert lasts(*many, maxConcurrency=20) == SECOND

    @pytest.mark.parametrize(
        ("wait", "longest"),
        [
            ({"type": "wait", "duration": "5m"}, 300 * SECOND),
            ({"type": "wait", "duration": "$input.d", "timeout": "1h"}, 3_600 * SECOND),
            ({"type": "wait", "until": "$input.at"}, 366 * DAY),
            ({"type": "wait", "until": "$input.at", "timeout": "2d"}, 2 * DAY),
            ({"type": "wait", "signal": "paid"}, DAY),
            ({"type": "wait", "signal": "paid", "timeout": "1h"}, 3_600 * SECOND),
            ({"type": "awaitInput"}, DAY),
        ],
    )
    def test_waits_last_to_their_timeout(self, wait: dict[str, Any], longest: int) -> None:
        assert lasts({"id": "w", **wait}) == longest

    def test_an_approval_waits_a_day_or_as_long_as_it_says(self) -> None:
        assert lasts(call("g", "gated")) == DAY + SECOND
        assert lasts(fast(approval={"timeout": "1h"})) == 3_601 * SECOND

    def test_absurd_figures_stay_numbers(self) -> None:
        assert lasts(fast(timeout=1e300)) == 2**53 - 1


class TestWhatAPlanCanReach:
    def test_tools_and_side_effects(self) -> None:
        made = certificate(fast(), mapped([call("o", "once")], maxItems=2), call("s", "slow"))
        assert made.tools == ("fast", "once", "slow")
        assert made.side_effects == {"once": "non_idempotent", "slow": "idempotent"}

    def test_model_calls_and_approvals(self) -> None:
        asked = {"id": "g", "type": "llm", "prompt": "Hi", "retry": {"maxAttempts": 2}}
        person = {"id": "h", "type": "awaitInput", "preset": "approval"}
        made = certificate(mapped([asked], maxItems=3), mapped_gate(), person)
        assert made.model_calls == 6
        assert made.approvals == 4 + 1

    def test_its_json(self) -> None:
        assert certificate(fast()).to_json() == {
            "maxNodeExecutions": 1,
            "maxDurationMs": 1000,
            "tools": ["fast"],
            "sideEffects": {},
            "modelCalls": 0,
            "approvals": 0,
        }

    def test_an_invalid_plan_has_none(self) -> None:
        checked = check(plan(call("x", "nothing")), tools=TOOLS)
        assert checked.certificate is None and checked.plan_hash is None


def mapped_gate() -> dict[str, Any]:
    return {"id": "n", "type": "map", "over": "$input", "maxItems": 4, "body": [call("x", "gated")]}
