"""How a parallel node's branches are brought together: all, any, race, settled (canonical.md §2, Outputs)."""

from __future__ import annotations

from typing import Any

from tests.spec.given import Given, node, step, value


def parallel(strategy: str, *branches: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return node("p", "parallel", branches=list(branches), joinStrategy=strategy, **fields)


BROKEN: dict[str, Any] = {"value": "${1 + null}"}
"""Fields of a value node that fails by itself."""


class TestAll:
    def test_gives_a_list_in_branch_order_whoever_ended_first(self) -> None:
        run = Given(parallel("all", [step("x")], [step("y")], [step("z")]))

        for name in ("z", "x", "y"):
            run.output(name, name.upper())

        assert run.result["output"] == ["X", "Y", "Z"]

    def test_gives_an_object_where_the_branches_are_one(self) -> None:
        run = Given(node("p", "parallel", branches={"stock": [step("x")], "price": [step("y")]}))

        run.output("y", 2)
        run.output("x", 1)

        assert run.result["output"] == {"stock": 1, "price": 2}

    def test_fails_with_the_first_failure_and_cancels_the_rest(self) -> None:
        run = Given(parallel("all", [step("x")], [step("y")], [step("z")]))

        run.error("y", "TOOL_EXECUTION_FAILED")

        assert sorted(run.cancelled) == [("x", ()), ("z", ())]
        assert (run.ended, run.result["error"]["nodeId"]) == ("failed", "y")

    def test_of_no_branches_is_an_empty_list_at_once(self) -> None:
        run = Given(parallel("all"))

        assert run.result["output"] == []


class TestRace:
    def test_the_first_branch_to_end_decides_and_the_rest_is_cancelled(self) -> None:
        run = Given(parallel("race", [step("x")], [step("y")]))

        run.output("y", "Y")

        assert run.cancelled == [("x", ())]
        assert run.result["output"] == "Y"

    def test_a_failure_decides_as_well(self) -> None:
        run = Given(parallel("race", [step("x")], [step("y")], onError={"value": "$error.nodeId"}))

        run.error("y")

        assert run.cancelled == [("x", ())]
        assert run.result["output"] == "y"

    def test_of_branches_that_end_by_one_fact_the_first_in_branch_order_decides(self) -> None:
        long = [value("l1", 1), node("l2", "sequence", body=[value("l3", 3)]), value("l4", "long")]

        run = Given(parallel("race", long, [value("s", "short")]))

        assert run.result["output"] == "long"

    def test_of_a_failure_and_an_output_by_one_fact_branch_order_decides(self) -> None:
        failing_first = Given(parallel("race", [value("x", BROKEN["value"])], [value("y", "Y")]))
        failing_second = Given(parallel("race", [value("y", "Y")], [value("x", BROKEN["value"])]))

        assert failing_first.result["error"]["code"] == "EXPRESSION_FAILED"
        assert failing_second.result["output"] == "Y"

    def test_a_race_within_a_race_is_decided_from_inside_out(self) -> None:
        inner = node("q", "parallel", branches=[[value("i", "I")], [value("j", "J")]], joinStrategy="race")

        run = Given(parallel("race", [inner], [value("k", "K")]))

        assert run.result["output"] == "I"

    def test_the_loser_s_outcome_is_late(self) -> None:
        run = Given(parallel("race", [step("x")], [step("y")]), step("after", inputs={"x": "$p"}))

        run.output("x", "X")
        before = run.digest
        run.output("y", "Y")

        assert run.state.late == 1
        run.state.late = 0
        assert run.digest == before


class TestAny:
    def test_the_first_success_decides_failures_before_it_do_not(self) -> None:
        run = Given(parallel("any", [step("x")], [step("y")], [step("z")]))

        run.error("x")
        assert (run.cancelled, run.ended) == ([], None)
        run.output("z", "Z")

        assert run.cancelled == [("y", ())]
        assert run.result["output"] == "Z"

    def test_fails_with_the_first_failure_when_all_did(self) -> None:
        run = Given(parallel("any", [step("x")], [step("y")]))

        run.error("y", "TOOL_EXECUTION_FAILED")
        run.error("x", "TIMEOUT")

        assert run.result["error"]["nodeId"] == "y"

    def test_a_success_by_the_same_fact_as_failures_decides(self) -> None:
        run = Given(parallel("any", [value("x", BROKEN["value"])], [value("y", "Y")], [value("z", "Z")]))

        assert run.result["output"] == "Y"

    def test_of_failures_by_one_fact_the_first_in_branch_order_is_the_failure(self) -> None:
        run = Given(parallel("any", [value("x", BROKEN["value"])], [value("y", BROKEN["value"])]))

        assert run.result["error"]["nodeId"] == "x"

    def test_starts_the_next_branch_when_one_failed_and_there_is_room(self) -> None:
        run = Given(parallel("any", [step("x")], [step("y")], concurrency=1))
        assert run.dispatched == [("x", (), 1)]

        run.error("x")

        assert run.dispatched == [("y", (), 1)]


class TestSettled:
    def test_waits_for_all_and_says_of_each_what_came_of_it(self) -> None:
        run = Given(parallel("settled", [step("x")], [step("y")]))

        run.error("x", message="no such address")
        assert run.ended is None
        run.output("y", "Y")

        assert run.result["output"] == [
            {
                "status": "rejected",
                "error": {"code": "TOOL_EXECUTION_FAILED", "message": "no such address", "nodeId": "x", "attempt": 1},
            },
            {"status": "fulfilled", "value": "Y"},
        ]

    def test_keeps_the_keys_of_named_branches(self) -> None:
        run = Given(node("p", "parallel", branches={"a": [step("x")], "b": [step("y")]}, joinStrategy="settled"))

        run.output("x", 1)
        run.output("y", 2)

        assert run.result["output"] == {
            "a": {"status": "fulfilled", "value": 1},
            "b": {"status": "fulfilled", "value": 2},
        }

    def test_the_rest_of_a_failed_branch_does_not_run(self) -> None:
        run = Given(parallel("settled", [step("x"), step("never")], [step("y")]))

        run.error("x")

        assert run.dispatched == []
