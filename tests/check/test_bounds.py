"""Bounds that are known before the run (canonical.md §2, "Limits")."""

from __future__ import annotations

from typing import Any

import pytest

from tests.check.check_kit import call, check, codes, only, plan, value


def mapped(over: object, **more: object) -> dict[str, Any]:
    return plan({"id": "m", "type": "map", "over": over, "body": [value("x")], **more})


class TestLiteralsOverTheirBound:
    def test_a_list_longer_than_max_items(self) -> None:
        problem = only(check(mapped([1, 2, 3], maxItems=2)))
        assert (problem.code, problem.path) == ("BOUND_EXCEEDED", "/nodes/0/over")
        assert (problem.expected, problem.actual) == (2, 3)
        assert "maxItems" in problem.suggestion

    def test_elements_that_refer_count_one_each(self) -> None:
        assert check(mapped(["$input.a", "$input.b"], maxItems=2)).valid

    def test_times_above_max_iterations(self) -> None:
        node = {"id": "n", "type": "loop", "loop": "times", "times": 5, "maxIterations": 3, "body": [value("x")]}
        problem = only(check(plan(node)))
        assert (problem.code, problem.path) == ("BOUND_EXCEEDED", "/nodes/0/times")

    def test_literal_times_need_no_max_iterations(self) -> None:
        assert check(plan({"id": "n", "type": "loop", "loop": "times", "times": 5000, "body": [value("x")]})).valid


class TestAPlanTooLargeToRun:
    def test_the_largest_bounds_are_named(self) -> None:
        inner = {"id": "i", "type": "map", "over": "$item", "maxItems": 5000, "body": [value("x")]}
        problem = only(check(plan({"id": "o", "type": "map", "over": "$input", "maxItems": 4000, "body": [inner]})))
        assert (problem.code, problem.path) == ("BOUND_EXCEEDED", "/nodes/0/body/0/maxItems")
        assert "maxItems of 'i' (5000) × maxItems of 'o' (4000)" in problem.message
        assert problem.actual == 1 + 4000 + 4000 * 5000

    def test_attempts_count(self) -> None:
        problem = only(check(plan({**call("p", "poll"), "retry": {"maxAttempts": 10_000_001}})))
        assert "maxAttempts of 'p'" in problem.suggestion

    def test_just_at_the_cap_it_may_run(self) -> None:
        assert check(plan({**call("p", "poll"), "retry": {"maxAttempts": 10_000_000}})).valid

    def test_astronomic_products_are_answered_in_short(self) -> None:
        node: dict[str, object] = value("x")
        for level in range(49):
            node = {"id": f"m{level}", "type": "map", "over": "$input", "body": [node]}
        problem = only(check(plan(node)))
        assert problem.code == "BOUND_EXCEEDED"
        assert len(problem.message) < 400


class TestWaitsNeedAnEnd:
    def test_a_duration_that_is_not_literal_needs_a_timeout(self) -> None:
        node = {"id": "d", "type": "wait", "duration": "$input.pause"}
        problem = only(check(plan(node)))
        assert (problem.code, problem.path) == ("UNBOUNDED_LOOP", "/nodes/0/duration")
        assert check(plan({**node, "timeout": "1h"})).valid

    def test_until_has_one_of_its_own(self) -> None:
        assert check(plan({"id": "d", "type": "wait", "until": "$input.at"})).valid

    @pytest.mark.parametrize("bound", [None, 0, -1])
    def test_a_bound_of_nothing_is_none(self, bound: object) -> None:
        assert codes(check(mapped("$input", maxItems=bound))) == ["UNBOUNDED_LOOP"]


class TestWhatIsCertainToFail:
    @pytest.mark.parametrize("over", [5, "a text", {"a": 1}, "${1 + 1}"])
    def test_a_collection_that_is_none(self, over: object) -> None:
        checked = check(mapped(over))
        assert codes(checked) == ["NOT_A_COLLECTION"]
        assert only(checked).path == "/nodes/0/over"

    def test_an_output_that_is_certainly_no_list(self) -> None:
        given = plan(call("v", "validateEmail", email="a"), {**mapped("$v.email")["nodes"][0]})
        assert codes(check(given)) == ["NOT_A_COLLECTION"]

    def test_what_may_be_a_list_is_left_to_the_run(self) -> None:
        assert check(mapped("$input.all")).valid
        assert check(mapped("${filter($input.all, $item > 1)}")).valid
