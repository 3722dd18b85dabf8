"""A failure's way up: onError, owners, the run; and runs that go on without what failed (canonical.md §2)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.spec.given import Given, edge, node, step, value

GO_ON = {"fallbackBehavior": {"onExecutionFailure": "partial-results"}}


class TestAFailureThatNobodyTakes:
    def test_ends_the_run_and_cancels_the_rest(self) -> None:
        run = Given(step("a"), step("b"), step("c", inputs={"x": "$a"}))

        run.error("a", message="no")

        assert run.cancelled == [("b", ())]
        assert run.ended == "failed"
        assert run.result["error"] == {
            "code": "TOOL_EXECUTION_FAILED",
            "message": "no",
            "nodeId": "a",
            "item": None,
            "details": None,
        }
        assert run.result["metadata"]["failed"] == ["a"]

    def test_names_the_item_it_happened_in(self) -> None:
        inner = node("m2", "map", over="$item", body=[step("s")])
        run = Given(node("m", "map", over="$input", body=[inner]), input=[[1], [2, 3]])

        run.error("s", item=(1, 0))

        assert (run.result["error"]["nodeId"], run.result["error"]["item"]) == ("s", [1, 0])
        assert [event.node_id for event in run.told("node-error")] == ["s", "m2", "m"]


class TestOnError:
    def test_continue_completes_the_node_with_null(self) -> None:
        run = Given(step("a", onError="continue"), step("b", inputs={"x": "$a"}))

        run.error("a")

        assert run.phases["a"] == "completed"
        assert run.dispatch("b").inputs == {"x": None}

    def test_nodes_see_the_error_and_give_the_output(self) -> None:
        handler: Any = {"nodes": [step("mend", inputs={"why": "$error.message"})]}
        run = Given(step("a", onError=handler), step("b", inputs={"x": "$a"}))

        run.error("a", message="flat tyre")
        assert run.dispatch("mend").inputs == {"why": "flat tyre"}
        run.output("mend", "mended")

        assert run.dispatch("b").inputs == {"x": "mended"}

    def test_a_failure_of_its_nodes_is_the_node_s_failure(self) -> None:
        run = Given(step("a", onError={"nodes": [step("mend")]}))

        run.error("a", message="first")
        run.error("mend", message="second")

        assert (run.ended, run.result["error"]["message"]) == ("failed", "second")

    def test_a_failure_of_its_value_is_the_node_s_failure(self) -> None:
        run = Given(step("a", onError={"value": "${1 + null}"}))

        run.error("a")

        assert (run.ended, run.result["error"]["code"]) == ("failed", "EXPRESSION_FAILED")

    def test_of_an_owner_cancels_what_else_runs_in_it(self) -> None:
        p = node("p", "parallel", branches=[[step("x")], [step("y")]], onError={"value": "$error.nodeId"})
        run = Given(p)

        run.error("x")

        assert run.cancelled == [("y", ())]
        assert run.result["output"] == "x"

    def test_one_item_may_fail_without_its_map(self) -> None:
        body = [step("s", onError={"value": "$error.code"})]
        run = Given(node("m", "map", over="$input", body=body), input=[1, 2])

        run.error("s", item=(0,))
        run.output("s", "fine", item=(1,))

        assert run.result["output"] == ["TOOL_EXECUTION_FAILED", "fine"]

    def test_an_output_after_it_took_over_is_late(self) -> None:
        run = Given(step("a", onError={"nodes": [step("mend")]}))

        run.error("a")
        run.output("a", "after all")

        assert (run.state.late, run.ended) == (1, None)


class TestARunThatGoesOnWithPartialResults:
    def test_runs_what_does_not_need_the_failed_node(self) -> None:
        run = Given(step("a"), step("b"), step("c", inputs={"x": "$b"}), options=GO_ON)

        run.error("a", message="no")
        assert run.ended is None
        run.output("b", 1)
        run.output("c", 2)

        assert run.result["status"] == "partial"
        assert run.result["error"]["message"] == "no"
        assert run.result["nodes"] == {"b": 1, "c": 2}

    def test_skips_what_refers_to_it_and_what_hangs_on_that_by_edges(self) -> None:
        run = Given(
            step("a"), step("b", inputs={"x": "$a"}), step("c"), step("d"), edges=[edge("b", "c")], options=GO_ON
        )

        run.error("a")
        run.output("d")

        assert run.result["metadata"]["skipped"] == ["b", "c"]
        assert run.result["metadata"]["failed"] == ["a"]

    def test_skips_what_it_leads_to_by_an_edge(self) -> None:
        run = Given(step("a"), step("b"), edges=[edge("a", "b")], options=GO_ON)

        run.error("a")

        assert run.result["metadata"]["skipped"] == ["b"]
        assert run.result["status"] == "partial"

    def test_tells_the_first_error(self) -> None:
        run = Given(step("a"), step("b"), options=GO_ON)

        run.error("b", message="first")
        run.error("a", message="second")

        assert run.result["error"]["message"] == "first"

    def test_a_failure_that_was_taken_leaves_it_completed(self) -> None:
        run = Given(step("a", onError="continue"), options=GO_ON)

        run.error("a")

        assert (run.result["status"], run.result["error"]) == ("completed", None)


class TestAPlanThatNeverCame:
    def test_ends_the_run_as_rejected_with_all_that_was_wrong(self) -> None:
        run = Given(planned=False)
        run.requested(prompt="make me rich")

        run.planning_failed(
            "PLANNING_FAILED", message="no tool fits", problems=[{"code": "TOOL_NOT_FOUND"}], tried=["m1"]
        )

        assert (run.result["status"], run.result["error"]["code"]) == ("rejected", "PLANNING_FAILED")
        assert run.result["error"]["details"] == {"problems": [{"code": "TOOL_NOT_FOUND"}], "tried": ["m1"]}

    def test_after_a_plan_it_is_late_and_a_second_plan_as_well(self) -> None:
        run = Given(step("a"))

        run.planning_failed()
        run.planned()

        assert (run.state.late, run.ended) == (2, None)

    def test_a_request_that_comes_again_is_late(self) -> None:
        run = Given(step("a"))

        run.requested(prompt="another")

        assert run.state.late == 1
        assert "prompt" not in run.state.request


class TestAnExpressionThatFails:
    @pytest.mark.parametrize(
        "broken",
        [
            value("n", "${1 + null}"),
            step("n", inputs={"x": "${1 / 0}"}),
            node("n", "conditional", condition="null < 1", ifTrue=[value("v", 1)]),
            node("n", "switch", on="1 / 0", cases={"1": [value("v", 1)]}),
            node("n", "map", over="${first(5)}", body=[value("v", 1)]),
            node("n", "filter", over=[1], condition="$item + null > 1"),
            node("n", "reduce", over=[1], initial="${1 / 0}", body=[value("v", 1)]),
            node("n", "loop", loop="while", condition="null < 1", body=[value("v", 1)]),
            node("n", "loop", loop="times", times="${1 / 0}", body=[value("v", 1)]),
            node("n", "wait", duration="${1 / 0}", timeout=1000),
        ],
        ids=lambda broken: str(broken.get("loop", broken["type"])),
    )
    def test_is_the_failure_of_its_node(self, broken: dict[str, Any]) -> None:
        run = Given(broken)

        assert (run.ended, run.result["error"]["code"]) == ("failed", "EXPRESSION_FAILED")
        assert run.result["error"]["nodeId"] == "n"
        assert set(run.result["error"]["details"]) == {"line", "column"}

    def test_in_the_plan_s_output_is_the_run_s_failure(self) -> None:
        run = Given(value("v", 1), output="${$v + null}")

        assert (run.ended, run.result["error"]["code"]) == ("failed", "EXPRESSION_FAILED")
