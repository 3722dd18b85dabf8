"""Attempts, the waits between them, and which outcome counts (canonical.md §4; design §3)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from dynamicflow.planner.ir import Retry
from dynamicflow.streams.core import commands as c
from dynamicflow.streams.core.leaves import retry_delay_ms
from tests.spec.given import Given, step

PINNED_DELAY = 1177.8941308730282


def retry(**fields: Any) -> dict[str, Any]:
    return {"maxAttempts": 3, "backoff": "exponential", "initialDelay": 1000, "maxDelay": 60_000, **fields}


def waited(run: Given) -> float:
    """Milliseconds of the wait that the last fact began."""
    (timer,) = run.asked_for(c.StartTimer)
    return timer.due_ms - run.now


class TestAttemptsAreNumberedByTheFold:
    def test_an_error_starts_a_wait_and_the_next_attempt_follows_it(self) -> None:
        run = Given(step("a", retry=retry()))

        run.error("a", attempt=1)
        assert [timer.timer for timer in run.asked_for(c.StartTimer)] == ["retry/a/-/2"]
        assert run.dispatched == []
        run.timer("retry/a/-/2")

        assert run.dispatched == [("a", (), 2)]

    def test_all_attempts_have_one_idempotency_key_and_each_begins_with_delivery_one(self) -> None:
        run = Given(step("a", retry=retry()))
        seen = [run.dispatch("a")]

        for attempt in (1, 2):
            run.error("a", attempt=attempt)
            run.next_timer()
            seen.append(run.dispatch("a"))

        assert [(one.attempt, one.delivery) for one in seen] == [(1, 1), (2, 1), (3, 1)]
        assert {one.idempotency_key for one in seen} == {"r/a/-"}

    def test_the_last_attempt_s_error_is_the_node_s(self) -> None:
        run = Given(step("a", retry=retry(maxAttempts=2)))

        run.error("a", attempt=1, message="first")
        run.next_timer()
        run.error("a", attempt=2, message="second")

        (told,) = run.told("node-error")
        assert (told["error"]["message"], told.attempt) == ("second", 2)
        assert run.ended == "failed"

    def test_without_a_policy_there_is_one_attempt(self) -> None:
        run = Given(step("a"))

        run.error("a")

        assert run.ended == "failed"


class TestWhichPolicyCounts:
    @pytest.mark.parametrize(
        ("node", "tool", "options", "attempts"),
        [(4, 3, 2, 4), (None, 3, 2, 3), (None, None, 2, 2), (None, None, None, 1)],
    )
    def test_the_node_s_then_the_tool_s_then_the_options(
        self, node: int | None, tool: int | None, options: int | None, attempts: int
    ) -> None:
        own: dict[str, Any] = {"retry": retry(maxAttempts=node)} if node else {}
        run = Given(
            step("a", **own),
            policies={"work": {"retry": retry(maxAttempts=tool)} if tool else {}},
            options={"retryStrategy": {"maxAttempts": options}} if options else {},
        )
        tried = 1

        while run.error("a", attempt=tried) and run.ended is None:
            run.next_timer()
            tried += 1

        assert tried == attempts


class TestWhichErrorsAreRetried:
    @pytest.mark.parametrize(
        ("names", "error", "again"),
        [
            (["*"], {"code": "TOOL_EXECUTION_FAILED"}, True),
            (["*"], {"code": "TIMEOUT"}, True),
            (["*"], {"code": "TOOL_OUTPUT_INVALID"}, False),
            (["TOOL_OUTPUT_INVALID"], {"code": "TOOL_OUTPUT_INVALID"}, True),
            (["*", "TOOL_INPUT_INVALID"], {"code": "TOOL_INPUT_INVALID"}, False),
            (["*", "EXPRESSION_FAILED"], {"code": "EXPRESSION_FAILED"}, False),
            (["NetworkError"], {"code": "TOOL_EXECUTION_FAILED", "type": "NetworkError"}, True),
            (["NetworkError"], {"code": "TOOL_EXECUTION_FAILED", "type": "Reset", "bases": ["NetworkError"]}, True),
            (["NetworkError"], {"code": "TOOL_EXECUTION_FAILED", "type": "ValueError"}, False),
            (["*"], {"code": "TOOL_EXECUTION_FAILED", "retryable": False}, False),
            ([], {"code": "TOOL_EXECUTION_FAILED"}, False),
        ],
    )
    def test_by_code_class_or_base(self, names: list[str], error: dict[str, Any], again: bool) -> None:
        run = Given(step("a", retry=retry(retryableErrors=names)))

        run.error("a", **error)

        assert (run.ended is None) is again


class TestTheWaitBetweenAttempts:
    @pytest.mark.parametrize(
        ("backoff", "expected"),
        [("exponential", [100, 200, 400, 800]), ("linear", [100, 200, 300, 400]), ("fixed", [100, 100, 100, 100])],
    )
    def test_grows_as_the_policy_says_with_up_to_a_quarter_of_jitter(self, backoff: str, expected: list[int]) -> None:
        run = Given(step("a", retry=retry(backoff=backoff, initialDelay=100, maxAttempts=5)))
        waits = []

        for attempt in range(1, 5):
            run.error("a", attempt=attempt)
            waits.append(waited(run))
            run.next_timer()

        assert all(low <= wait <= low * 1.25 for low, wait in zip(expected, waits, strict=True))
        assert len({wait / low for low, wait in zip(expected, waits, strict=True)}) == 4, "every attempt its own jitter"

    def test_is_the_same_on_every_machine(self) -> None:
        first, second = (Given(step("a", retry=retry())) for _ in range(2))

        first.error("a")
        second.error("a")

        assert waited(first) == waited(second)

    def test_of_this_step_is_what_it_was_when_this_version_was_written(self) -> None:
        """Pinned: another figure would make schedulers of two versions disagree."""
        assert retry_delay_ms(Retry.model_validate(retry()), 1, "r/a/-", None) == pytest.approx(PINNED_DELAY, abs=1e-9)

    def test_differs_between_steps_so_that_they_do_not_come_back_at_once(self) -> None:
        policy = Retry.model_validate(retry())

        waits = {retry_delay_ms(policy, 1, f"r/m/{index}", None) for index in range(100)}

        assert len(waits) == 100
        assert max(waits) - min(waits) > 200

    def test_is_at_most_max_delay_jitter_included(self) -> None:
        run = Given(step("a", retry=retry(initialDelay=1000, maxDelay=1000)))

        run.error("a")

        assert waited(run) == 1000

    def test_is_at_least_what_the_server_asked_for(self) -> None:
        run = Given(step("a", retry=retry(initialDelay=100)))

        run.error("a", retryAfter=7000)

        assert waited(run) == 7000

    def test_is_never_more_than_max_delay_whatever_the_server_asked_for(self) -> None:
        run = Given(step("a", retry=retry(maxDelay=5000)))

        run.error("a", retryAfter=3_600_000)

        assert waited(run) == 5000

    def test_of_many_attempts_stays_a_number(self) -> None:
        policy = Retry.model_validate(retry(maxAttempts=100_000, initialDelay=10**9, maxDelay=10**12))

        waits = [retry_delay_ms(policy, attempt, "k", None) for attempt in (1, 50, 5000, 99_999)]

        assert all(before <= after <= 10**12 for before, after in pairwise(waits))


class TestAnErrorCountsOnceAgainstItsOwnAttempt:
    def test_the_same_error_again_is_late(self) -> None:
        run = Given(step("a", retry=retry()))

        run.error("a", attempt=1)
        before = run.digest
        run.error("a", attempt=1)

        assert (run.asked, run.state.late) == ([], 1)
        run.state.late = 0
        assert run.digest == before

    def test_an_error_of_an_attempt_before_changes_nothing_while_the_next_runs(self) -> None:
        run = Given(step("a", retry=retry()))

        run.error("a", attempt=1)
        run.next_timer()
        run.error("a", attempt=1)

        assert (run.asked, run.state.late, run.ended) == ([], 1, None)

    def test_an_error_of_an_attempt_that_was_never_asked_for_changes_nothing(self) -> None:
        run = Given(step("a", retry=retry()))

        run.error("a", attempt=2)

        assert (run.asked, run.state.late) == ([], 1)


class TestTheFirstOutputWinsWhateverItsAttempt:
    def test_of_an_earlier_attempt_while_the_next_runs(self) -> None:
        run = Given(step("a", retry=retry()), step("b", inputs={"x": "$a"}))

        run.error("a", attempt=1)
        run.next_timer()
        run.output("a", "late but first", attempt=1)

        assert run.cancelled == [("a", ())], "the second attempt's outcome no longer matters"
        assert run.dispatch("b").inputs == {"x": "late but first"}

    def test_during_the_wait_and_the_wait_is_called_off(self) -> None:
        run = Given(step("a", retry=retry()), step("b", inputs={"x": "$a"}))

        run.error("a", attempt=1)
        run.output("a", "came after all", attempt=1)

        assert run.asked_for(c.CancelTimer) == [c.CancelTimer("r", "retry/a/-/2")]
        assert run.dispatched == [("b", (), 1)]

    def test_the_second_is_late(self) -> None:
        run = Given(step("a"), step("b", inputs={"x": "$a"}))

        run.output("a", 1)
        run.output("a", 2)

        assert (run.asked, run.state.late) == ([], 1)
        assert run.state.top.outputs["a"] == 1

    def test_an_error_after_it_is_late(self) -> None:
        run = Given(step("a"), step("b"))

        run.output("a", 1)
        run.error("a")

        assert (run.state.late, run.ended) == (1, None)
