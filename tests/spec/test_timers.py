"""Time in the fold: owners' timeouts, the run's deadline, waits. It enters as facts' timestamps only (design §3)."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.streams.core import commands as c
from dynamicflow.values import stamp
from tests.spec.given import START_MS, Given, node, step

DAY = 86_400_000


class TestTheTimeoutOfAnOwner:
    def test_cancels_all_that_runs_in_it_and_is_its_failure(self) -> None:
        run = Given(
            node("p", "parallel", branches=[[step("x")], [step("y")]], timeout=5000, onError={"value": "$error.code"})
        )
        (timer,) = run.asked_for(c.StartTimer)
        assert (timer.kind, timer.due_ms) == ("timeout", run.now + 5000)

        run.timer("timeout/p/-")

        assert sorted(run.cancelled) == [("x", ()), ("y", ())]
        assert run.result["output"] == "TIMEOUT"

    def test_is_called_off_when_the_owner_ends(self) -> None:
        run = Given(node("s", "sequence", body=[step("x")], timeout=5000))

        run.output("x")

        assert run.asked_for(c.CancelTimer) == [c.CancelTimer("r", "timeout/s/-")]

    def test_has_one_timer_an_item(self) -> None:
        body = [node("s", "sequence", body=[step("x")], timeout=5000)]
        run = Given(node("m", "map", over="$input", body=body), input=[1, 2])

        names = [timer.timer for timer in run.asked_for(c.StartTimer)]

        assert names == ["timeout/s/0", "timeout/s/1"]

    def test_of_a_step_is_the_executor_s_and_none_of_the_fold_s(self) -> None:
        run = Given(step("a", timeout=1500))

        assert run.asked_for(c.StartTimer) == []
        assert run.dispatch("a").timeout_ms == 1500

    @pytest.mark.parametrize(
        ("of_node", "of_tool", "expected"),
        [(100, 200, 100), (None, 200, 200), (None, None, 60_000), (10**30, None, None)],
    )
    def test_of_a_step_is_the_node_s_then_the_tool_s_then_a_minute(
        self, of_node: int | None, of_tool: int | None, expected: float | None
    ) -> None:
        own: dict[str, Any] = {} if of_node is None else {"timeout": of_node}
        run = Given(
            step("a", **own),
            policies={"work": {} if of_tool is None else {"timeout": of_tool}},
        )

        assert run.dispatch("a").timeout_ms == (expected or 253_402_300_799_000.0)


class TestTheDeadlineOfARun:
    def test_counts_from_the_request_and_ends_it_as_timed_out(self) -> None:
        run = Given(step("a"), options={"timeout": 10_000}, planned=False)
        run.requested(plan="given")
        run.passes(4000)
        run.planned()
        (timer,) = run.asked_for(c.StartTimer)

        run.timer(timer.timer)

        assert timer.due_ms == START_MS + 10_000
        assert run.cancelled == [("a", ())]
        assert (run.ended, run.result["error"]["code"]) == ("timed_out", "TIMEOUT")

    def test_is_the_smaller_of_both_options(self) -> None:
        run = Given(step("a"), options={"timeout": "1h", "resourceLimits": {"maxExecutionTime": "1m"}})

        (timer,) = run.asked_for(c.StartTimer)

        assert timer.due_ms == START_MS + 60_000

    def test_is_called_off_when_the_run_ends(self) -> None:
        run = Given(step("a"), options={"timeout": 10_000})

        run.output("a")

        assert run.asked_for(c.CancelTimer) == [c.CancelTimer("r", "deadline/-/-")]

    def test_however_far_it_lies_it_is_a_moment(self) -> None:
        run = Given(step("a"), options={"timeout": 10**40})

        (timer,) = run.asked_for(c.StartTimer)

        assert stamp(timer.due_ms) == "9999-12-31T23:59:59.000000Z"


class TestAWait:
    def test_of_a_length_ends_that_much_later(self) -> None:
        run = Given(node("w", "wait", duration=3 * DAY), step("b", inputs={"x": "$w"}))
        (timer,) = run.asked_for(c.StartTimer)
        assert (timer.kind, timer.due_ms) == ("wait", run.now + 3 * DAY)

        run.timer("wait/w/-")

        assert run.phases["w"] == "completed"
        assert run.dispatch("b").inputs == {"x": None}

    def test_suspends_the_run_while_no_step_is_under_way(self) -> None:
        run = Given(node("w", "wait", duration=1000), step("a"))
        assert run.state.public_status == "running"

        run.output("a")

        assert run.state.public_status == "suspended"

    def test_until_a_moment_ends_then(self) -> None:
        run = Given(node("w", "wait", until="$input"), input=stamp(START_MS + DAY))

        (timer,) = run.asked_for(c.StartTimer)

        assert timer.due_ms == START_MS + DAY

    @pytest.mark.parametrize("at", [START_MS - DAY, START_MS])
    def test_until_a_moment_that_has_come_is_over_at_once(self, at: float) -> None:
        run = Given(node("w", "wait", until="$input"), input=stamp(at))

        assert run.ended == "completed"
        assert run.asked_for(c.StartTimer) == []

    def test_until_a_moment_after_its_timeout_ends_with_the_timeout(self) -> None:
        run = Given(node("w", "wait", until="$input", timeout=DAY), input=stamp(START_MS + 9 * DAY))
        (timer,) = run.asked_for(c.StartTimer)

        run.timer(timer.timer)

        assert (timer.kind, timer.due_ms) == ("timeout", START_MS + DAY)
        assert run.result["error"]["code"] == "TIMEOUT"

    def test_until_names_no_timeout_and_lies_more_than_366_days_away(self) -> None:
        run = Given(node("w", "wait", until="$input"), input=stamp(START_MS + 400 * DAY))

        (timer,) = run.asked_for(c.StartTimer)

        assert (timer.kind, timer.due_ms) == ("timeout", START_MS + 366 * DAY)

    @pytest.mark.parametrize("given", [-1, "soon", None, True, [], {}])
    def test_of_no_length_fails_by_its_own_code(self, given: object) -> None:
        run = Given(node("w", "wait", duration="$input", timeout=1000), input=given)

        assert run.result["error"]["code"] == "TOOL_INPUT_INVALID"

    @pytest.mark.parametrize("given", ["tomorrow", 5, None, "2030-13-01T00:00:00Z", ""])
    def test_until_no_moment_fails_by_its_own_code(self, given: object) -> None:
        run = Given(node("w", "wait", until="$input"), input=given)

        assert run.result["error"]["code"] == "TOOL_INPUT_INVALID"


class TestATimerFact:
    def test_that_nobody_waits_for_is_late(self) -> None:
        run = Given(step("a"))

        run.timer("retry/a/-/2", "retry")

        assert (run.asked, run.state.late) == ([], 1)

    def test_twice_counts_once(self) -> None:
        run = Given(node("w", "wait", duration=1000), step("b", inputs={"x": "$w"}))

        run.timer("wait/w/-")
        run.timer("wait/w/-", "wait")

        assert (run.asked, run.state.late) == ([], 1)

    def test_of_another_kind_is_late_and_the_right_one_still_counts(self) -> None:
        run = Given(node("w", "wait", duration=1000))

        run.timer("wait/w/-", "timeout")
        assert (run.state.late, run.ended) == (1, None)
        run.timer("wait/w/-")

        assert run.ended == "completed"

    def test_that_comes_early_is_believed(self) -> None:
        """When a timer is due is the owner's matter; the fold reads the log."""
        run = Given(node("w", "wait", duration=1000))

        run.timer("wait/w/-", at_due=False)

        assert run.ended == "completed"
