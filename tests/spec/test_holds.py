"""Holding a step, losing its holder, and steps that must not run twice (design §3)."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.streams.core import commands as c
from dynamicflow.streams.core.leaves import UNCERTAIN_FOR_MS
from dynamicflow.values import parse_time
from tests.spec.given import Given, node, step

ONCE = {"work": {"sideEffect": "non_idempotent"}}


def uncertain(*nodes: dict[str, Any]) -> Given:
    """A run whose step ``pay`` was called by somebody who then died."""
    run = Given(*(nodes or (step("pay"), step("after", inputs={"x": "$pay"}, toolId="other"))), policies=ONCE)
    run.start("pay", "c1")
    run.lost("pay", "c1")
    return run


class TestAClaim:
    def test_is_asked_for_where_the_tool_must_not_run_twice_and_only_there(self) -> None:
        run = Given(step("pay"), step("look", tool="other"), policies=ONCE)

        assert {one.node_id: one.held for one in run.asked_for(c.Dispatch)} == {"pay": True, "look": False}

    def test_the_first_wins(self) -> None:
        run = Given(step("pay"), policies=ONCE)

        run.start("pay", "c1")
        run.start("pay", "c2")

        live = run.state.live_at("pay", ())
        assert live is not None
        assert (live.claim, run.state.late) == ("c1", 1)

    def test_of_another_attempt_is_late(self) -> None:
        run = Given(step("pay"), policies=ONCE)

        run.start("pay", "c1", attempt=2)

        assert run.state.late == 1

    def test_changes_nothing_about_the_outcome(self) -> None:
        run = Given(step("pay"), policies=ONCE)

        run.start("pay", "c1")
        run.output("pay", 1)

        assert run.result["output"] == 1

    def test_of_a_step_that_has_ended_is_late(self) -> None:
        run = Given(step("pay"), step("other"), policies=ONCE)

        run.output("pay", 1)
        run.start("pay", "c1")

        assert run.state.late == 1


class TestALostHolderOfARepeatableStep:
    def test_has_the_step_delivered_again_as_the_same_attempt(self) -> None:
        run = Given(step("a"))

        run.start("a", "c1")
        run.lost("a", "c1")

        again = run.dispatch("a")
        assert (again.attempt, again.delivery, again.idempotency_key) == (1, 2, "r/a/-")

    def test_of_another_claim_is_late(self) -> None:
        run = Given(step("a"))

        run.start("a", "c1")
        run.lost("a", "c2")

        assert (run.asked, run.state.late) == ([], 1)

    def test_said_twice_counts_once(self) -> None:
        run = Given(step("a"))

        run.start("a", "c1")
        run.lost("a", "c1")
        run.lost("a", "c1")

        assert (run.asked, run.state.late) == ([], 1)

    def test_an_unclaimed_step_cannot_be_lost(self) -> None:
        run = Given(step("a"))

        run.lost("a", "c1")

        assert run.state.late == 1

    def test_after_three_starts_without_an_outcome_it_has_failed(self) -> None:
        run = Given(step("a", retry={"maxAttempts": 5}))

        for claim in ("c1", "c2", "c3"):
            assert run.ended is None
            run.start("a", claim)
            run.lost("a", claim)

        assert (run.ended, run.result["error"]["code"]) == ("failed", "EXECUTOR_LOST")

    def test_a_new_attempt_has_three_starts_of_its_own(self) -> None:
        run = Given(step("a", retry={"maxAttempts": 2}))
        for claim in ("c1", "c2"):
            run.start("a", claim)
            run.lost("a", claim)

        run.error("a", attempt=1)
        run.next_timer()
        for claim in ("c3", "c4"):
            run.start("a", claim, attempt=2)
            run.lost("a", claim, attempt=2)

        assert run.ended is None
        assert run.dispatch("a").delivery == 3

    def test_an_output_of_the_lost_holder_still_wins(self) -> None:
        run = Given(step("a"))

        run.start("a", "c1")
        run.lost("a", "c1")
        run.output("a", "after all", delivery=1)

        assert run.cancelled == [("a", ())], "the second delivery's outcome no longer matters"
        assert run.result["output"] == "after all"


class TestALostHolderOfAStepThatMustNotRunTwice:
    def test_suspends_the_run_and_asks_a_person_with_a_deadline(self) -> None:
        run = uncertain()

        (asked,) = run.told("input-requested")
        (timer,) = run.asked_for(c.StartTimer)
        until = parse_time(asked["expiresAt"])
        assert run.dispatched == []
        assert run.state.public_status == "suspended"
        assert (asked["subject"], asked["key"]) == ("UNCERTAIN_OUTCOME", "r/pay/-")
        assert (timer.kind, timer.due_ms) == ("deadline", run.now + UNCERTAIN_FOR_MS)
        assert until is not None and until.timestamp() * 1000 == timer.due_ms

    def test_goes_to_its_own_on_error_where_it_has_one(self) -> None:
        run = uncertain(step("pay", onError={"value": "$error.code"}))

        assert run.result["output"] == "UNCERTAIN_OUTCOME"

    def test_an_owner_s_on_error_is_not_its_own(self) -> None:
        run = uncertain(node("s", "sequence", body=[step("pay")], onError="continue"))

        assert run.state.public_status == "suspended"

    def test_fails_when_nobody_resolved_it_in_time(self) -> None:
        run = uncertain()

        run.next_timer()

        assert (run.ended, run.result["error"]["code"]) == ("failed", "UNCERTAIN_OUTCOME")

    def test_a_late_output_of_the_claimant_settles_it(self) -> None:
        run = uncertain()

        run.output("pay", {"paid": True})

        assert len(run.asked_for(c.CancelTimer)) == 1
        assert run.dispatch("after").inputs == {"x": {"paid": True}}

    def test_a_late_error_of_the_claimant_settles_it(self) -> None:
        run = uncertain()

        run.error("pay", message="card refused")

        assert (run.ended, run.result["error"]["message"]) == ("failed", "card refused")

    def test_the_run_can_be_cancelled(self) -> None:
        run = uncertain()

        run.control("cancel")

        assert run.ended == "cancelled"
        assert len(run.asked_for(c.CancelTimer)) == 1


class TestResolving:
    def test_done_gives_the_output(self) -> None:
        run = uncertain()

        run.control("resolve", node="pay", resolution="done", output={"paid": True})

        assert run.dispatch("after").inputs == {"x": {"paid": True}}
        assert run.state.tools_used == {"work": None}

    def test_fail_is_the_step_s_failure_with_the_person_s_reason(self) -> None:
        run = uncertain()

        run.control("resolve", node="pay", resolution="fail", reason="the bank says no")

        error = run.result["error"]
        assert (error["code"], error["message"]) == ("UNCERTAIN_OUTCOME", "the bank says no")

    def test_retry_delivers_the_same_attempt_again_held_as_before(self) -> None:
        run = uncertain()

        run.control("resolve", node="pay", resolution="retry")

        again = run.dispatch("pay")
        assert (again.attempt, again.delivery, again.held) == (1, 2, True)

    def test_retry_and_lost_again_asks_again_with_an_id_of_its_own(self) -> None:
        run = uncertain()

        run.control("resolve", node="pay", resolution="retry")
        run.start("pay", "c2")
        run.lost("pay", "c2")

        asked = run.told("input-requested", ever=True)
        assert len({event.id for event in asked}) == 2
        assert run.state.public_status == "suspended"

    @pytest.mark.parametrize("resolution", ["done", "fail", "retry"])
    def test_a_second_answer_is_late(self, resolution: str) -> None:
        run = uncertain()

        run.control("resolve", 1, node="pay", resolution="done", output=1)
        run.control("resolve", 2, node="pay", resolution=resolution, output=2)

        assert (run.asked, run.state.late) == ([], 1)
        assert run.state.top.outputs["pay"] == 1

    def test_a_step_whose_outcome_is_known_cannot_be_resolved(self) -> None:
        run = Given(step("a"))

        run.control("resolve", node="a", resolution="done", output=1)

        assert (run.asked, run.state.late) == ([], 1)


class TestAnExecutorThatCannotRunAStep:
    def test_parks_the_run_with_its_reason_and_resuming_delivers_it_again(self) -> None:
        run = Given(step("a"))

        run.refused("a", "tool work has another schema here")
        assert (run.state.public_status, run.dispatched) == ("parked", [])
        assert [event["reason"] for event in run.told("run-parked")] == ["tool work has another schema here"]
        run.control("resume")

        assert run.dispatched == [("a", (), 1)]
        assert run.dispatch("a").delivery == 2
