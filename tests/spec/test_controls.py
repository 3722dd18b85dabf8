"""What a person or program asks of a run: cancel, pause, resume (canonical.md §4). The same request twice is one."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.streams.core import commands as c
from tests.spec.given import Given, node, step

RETRY: dict[str, Any] = {"maxAttempts": 3, "initialDelay": 1000}


def running() -> Given:
    """Two steps in flight, one between attempts, one wait, one not begun."""
    run = Given(
        step("a"),
        step("b"),
        step("again", retry=RETRY),
        node("w", "wait", duration=5000),
        step("later", inputs={"x": "$a"}),
        options={"timeout": 60_000},
    )
    run.error("again")
    return run


class TestCancelling:
    def test_stops_every_step_and_timer_and_publishes_the_end(self) -> None:
        run = running()

        run.control("cancel", reason="no longer wanted")

        assert sorted(run.cancelled) == [("a", ()), ("b", ())]
        assert sorted(one.timer for one in run.asked_for(c.CancelTimer)) == [
            "deadline/-/-",
            "retry/again/-/2",
            "wait/w/-",
        ]
        assert len(run.asked_for(c.Publish)) == 1
        assert (run.result["status"], run.result["error"]["message"]) == ("cancelled", "no longer wanted")

    def test_keeps_what_was_done(self) -> None:
        run = running()
        run.output("a", "kept")

        run.control("cancel")

        assert run.result["nodes"] == {"a": "kept"}

    def test_stops_the_items_under_way(self) -> None:
        run = Given(node("m", "map", over="$input", body=[step("s")], concurrency=2), input=[1, 2, 3])

        run.control("cancel")

        assert sorted(run.cancelled) == [("s", (0,)), ("s", (1,))]

    def test_before_there_is_a_plan_ends_it_and_the_plan_comes_too_late(self) -> None:
        run = Given(step("a"), planned=False)
        run.requested(prompt="do it")

        run.control("cancel")
        run.planned()

        assert (run.ended, run.state.late, run.dispatched) == ("cancelled", 1, [])

    @pytest.mark.parametrize("again", ["cancel", "pause", "resume"])
    def test_whatever_comes_after_the_end_is_late(self, again: str) -> None:
        run = running()
        run.control("cancel")
        run.state.late, before = 0, run.digest

        run.control(again, 2)
        run.output("a")
        run.timer("wait/w/-", "wait")
        run.start("b", "c1")

        assert (run.asked, run.state.late) == ([], 4)
        run.state.late = 0
        assert run.digest == before


class TestPausing:
    def test_starts_nothing_new_and_lets_what_runs_end(self) -> None:
        run = Given(step("a"), step("b", inputs={"x": "$a"}))

        run.control("pause")
        assert run.state.public_status == "paused"
        run.output("a", 1)

        assert run.dispatched == []
        assert run.phases == {"a": "completed"}

    def test_resuming_starts_what_became_ready_meanwhile(self) -> None:
        run = Given(step("a"), step("b", inputs={"x": "$a"}), step("c", inputs={"x": "$a"}))

        run.control("pause")
        run.output("a", 1)
        run.control("resume")

        assert run.dispatched == [("b", (), 1), ("c", (), 1)]
        assert run.state.public_status == "running"

    def test_holds_another_attempt_back(self) -> None:
        run = Given(step("a", retry=RETRY))

        run.error("a")
        run.control("pause")
        run.next_timer()
        assert run.dispatched == []
        run.control("resume", 2)

        assert run.dispatched == [("a", (), 2)]

    def test_does_not_stop_the_run_s_deadline(self) -> None:
        run = Given(step("a"), options={"timeout": 1000})

        run.control("pause")
        run.next_timer()

        assert run.ended == "timed_out"

    def test_a_paused_run_can_be_cancelled(self) -> None:
        run = Given(step("a"))

        run.control("pause")
        run.control("cancel")

        assert run.ended == "cancelled"

    def test_a_run_whose_last_step_ends_meanwhile_has_ended(self) -> None:
        run = Given(step("a"))

        run.control("pause")
        run.output("a", 1)

        assert run.ended == "completed"


class TestTheSameRequestTwice:
    def test_a_pause_that_comes_again_after_the_resume_does_not_pause(self) -> None:
        run = Given(step("a"), step("b", inputs={"x": "$a"}))

        run.control("pause", 1)
        run.control("resume", 2)
        run.control("pause", 1)

        assert run.state.late == 1
        assert run.state.public_status == "running"

    def test_a_resume_that_comes_again_after_another_pause_does_not_resume(self) -> None:
        run = Given(step("a"), step("b", inputs={"x": "$a"}))

        run.control("resume", 1)
        run.control("pause", 2)
        run.output("a")
        run.control("resume", 1)

        assert (run.dispatched, run.state.public_status) == ([], "paused")

    def test_two_requests_are_two(self) -> None:
        run = Given(step("a"))

        run.control("pause", 1)
        run.control("resume", 2)
        run.control("pause", 3)

        assert run.state.public_status == "paused"
