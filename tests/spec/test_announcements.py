"""Announcements follow from facts, byte for byte, and being rebuilt is not an event (design §3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynamicflow.streams.core import commands as c
from dynamicflow.streams.core.codec import decode_event, encode_event
from dynamicflow.streams.core.fold import apply, claimed, outstanding
from dynamicflow.values import digest
from tests.spec.given import Given, edge, node, step, value


def everything() -> Given:
    """A run that announces every kind that a plan can lead to, and ends."""
    run = Given(
        step("a"),
        step("gone"),
        node("c", "conditional", condition="$a.n > 1", ifTrue=[value("yes", 1)], ifFalse=[value("no", 0)]),
        node("l", "loop", loop="times", times=2, body=[step("turn")]),
        node("f", "filter", over="$a.list", condition="$item > 1"),
        step("mend", onError={"nodes": [step("mended"), step("mended_too")]}),
        step("pay", tool="pay"),
        edges=[edge("a", "gone", "$a.n > 100")],
        policies={"pay": {"sideEffect": "non_idempotent"}},
        options={"fallbackBehavior": {"onExecutionFailure": "partial-results"}},
    )
    run.output("a", {"n": 2, "list": [1, 2, 3]})
    run.passes(5)
    run.start("pay", "c1")
    run.lost("pay", "c1")
    run.error("mend")
    run.output("turn", 1, item=(0,))
    run.passes(5)
    run.error("mended")
    run.output("turn", 2, item=(1,))
    run.control("resolve", node="pay", resolution="done", output=1)
    assert run.ended == "partial"
    return run


KINDS = {
    "flow-start",
    "branch-taken",
    "edge-taken",
    "loop-iteration",
    "items-kept",
    "node-skipped",
    "node-error",
    "input-requested",
    "flow-complete",
}


def announced(run: Given) -> list[Any]:
    return [command.event for command in run.all if isinstance(command, c.Announce)]


class TestAnAnnouncement:
    def test_of_every_kind_is_in_this_run(self) -> None:
        assert {event.type for event in announced(everything())} == KINDS

    def test_takes_its_time_and_cause_from_the_fact(self) -> None:
        run = everything()
        facts = {event.id: event for event in map(decode_event, run.facts)}

        for event in announced(run):
            assert event.causation_id in facts
            assert event.timestamp == facts[event.causation_id].timestamp

    def test_has_an_id_of_its_own_made_of_its_position(self) -> None:
        events = announced(everything())

        assert len({event.id for event in events}) == len(events)
        assert all(event.id.startswith(f"r/{event.node_id or '-'}/") for event in events)
        assert {event.id for event in events} >= {
            "r/-/-/-/flow-start",
            "r/l/-/-/loop-iteration/0",
            "r/gone/-/-/node-skipped",
        }

    def test_names_the_plan_it_happened_under(self) -> None:
        run = everything()

        assert {event.plan_hash for event in announced(run)} == {run.state.program.hash if run.state.program else None}

    def test_is_the_same_bytes_when_the_facts_are_folded_again(self) -> None:
        run = everything()

        again = run.again()

        assert [encode_event(event).record for event in announced(again)] == [
            encode_event(event).record for event in announced(run)
        ]
        assert again.digest == run.digest

    def test_changes_nothing_when_it_is_applied(self) -> None:
        run = everything()
        before = run.digest

        for event in announced(run):
            assert apply(run.state, event, {}) == []

        assert run.digest == before


def in_flight() -> Given:
    return Given(step("a"), step("b", inputs={"x": "$input"}), input=[1, 2])


def in_a_map() -> Given:
    run = Given(
        node("m", "map", over="$input", body=[step("s", inputs={"i": "$item"})], concurrency=2), input=[7, 8, 9]
    )
    run.output("s", 1, item=(0,))
    return run


def between_attempts() -> Given:
    run = Given(step("a", retry={"maxAttempts": 2}), options={"timeout": 60_000})
    run.error("a")
    return run


def in_the_second_attempt() -> Given:
    run = between_attempts()
    run.next_timer()
    return run


def after_a_lost_delivery() -> Given:
    run = Given(step("a"))
    run.start("a", "c1")
    run.lost("a", "c1")
    return run


def uncertain() -> Given:
    run = Given(step("a"), policies={"work": {"sideEffect": "non_idempotent"}})
    run.start("a", "c1")
    run.lost("a", "c1")
    return run


def with_joins() -> Given:
    run = Given(
        step("a", tool="from"),
        step("b", tool="to", inputs="$a"),
        joins=[{"fromTool": "from", "toTool": "to", "mapping": {"x": "$source.y"}}],
        joined={"b": ["a"]},
    )
    run.output("a", {"y": 1})
    return run


class TestWhatANewOwnerHasToDo:
    @pytest.mark.parametrize(
        "made",
        [in_flight, in_a_map, between_attempts, in_the_second_attempt, after_a_lost_delivery, uncertain, with_joins],
    )
    def test_is_what_was_asked_and_has_no_outcome_the_same_commands(self, made: Callable[[], Given]) -> None:
        run = made()
        asked = {(one.node_id, one.item): one for one in run.all if isinstance(one, c.Dispatch)}
        timers = {one.timer: one for one in run.all if isinstance(one, c.StartTimer)}
        over = {one.timer for one in run.all if isinstance(one, c.CancelTimer)}

        again = outstanding(run.again().state)

        dispatched = [one for one in again if isinstance(one, c.Dispatch)]
        started = [one for one in again if isinstance(one, c.StartTimer)]
        assert dispatched == [asked[node_id, item] for node_id, item in run.state.in_flight]
        assert started == [timers[name] for name in run.state.timers]
        assert not over & {one.timer for one in started}
        assert len(dispatched) + len(started) == len(again) > 0

    def test_asking_changes_nothing(self) -> None:
        run = in_a_map()
        before = run.digest

        first, second = outstanding(run.state), outstanding(run.state)

        assert first == second
        assert run.digest == before

    def test_while_there_is_no_plan_is_to_plan_with_the_whole_request(self) -> None:
        run = Given(planned=False, input={"n": 1})
        (asked,) = run.requested(prompt="do it")

        (again,) = outstanding(run.again().state)

        assert isinstance(asked, c.Plan)
        assert isinstance(again, c.Plan)
        assert again.run_id == asked.run_id
        assert digest(again.request) == digest(asked.request)

    def test_of_a_run_that_has_ended_is_nothing(self) -> None:
        assert outstanding(everything().again().state) == []

    def test_a_step_that_was_claimed_is_named(self) -> None:
        run = Given(step("a"), step("b"))
        run.start("a", "c1")

        assert [live.step.id for live in claimed(run.again().state)] == ["a"]


class TestFactsAloneMakeTheState:
    @pytest.mark.parametrize("made", [everything, in_a_map, between_attempts, uncertain, with_joins])
    def test_the_same_facts_give_the_same_digest(self, made: Callable[[], Given]) -> None:
        assert made().again().digest == made().digest

    def test_after_every_fact(self) -> None:
        facts = everything().facts

        for length in range(1, len(facts) + 1):
            first, second = Given(planned=False), Given(planned=False)
            for run in (first, second):
                run.facts = facts[:length]
            assert first.again().digest == second.again().digest
