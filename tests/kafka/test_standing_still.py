"""A process that stood still between taking a step and calling it: whether it may go on, by its own clock."""

from __future__ import annotations

import time

from dynamicflow.streams.core.commands import Dispatch
from dynamicflow.streams.core.events import Event
from dynamicflow.streams.kafka.broker_clock import BrokerClock
from dynamicflow.streams.kafka.calls import Calls, Running
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.records import Work
from dynamicflow.streams.kafka.settings import Settings
from dynamicflow.streams.metrics import NO_METRICS
from tests.engine.engine_kit import double

SETTINGS = Settings(Connection("localhost:1"), session_s=6.0, lease_s=10.0)


def taken(seconds_ago: float) -> tuple[Calls, Running]:
    """A step that was taken so long ago and is about to be called: the process stood still before or after that."""
    appended: list[Event] = []
    calls = Calls(
        SETTINGS, joins={}, clock=BrokerClock(), append=lambda _, fact, __: appended.append(fact), metrics=NO_METRICS
    )
    step = Dispatch("r", "a", (), 1, 1, "double", {"n": 1}, (), "r/a/-", 1000.0, False, "strict", "r/-/-/-/x")
    running = Running(
        Work(step, None, "", 0.0, None, 0, 0, 0, False), double, "t", lambda: None, time.monotonic() - seconds_ago
    )
    running.called, running.began = True, time.monotonic()
    return calls, running


class TestAStepThatNobodyHolds:
    async def test_is_called_and_held_while_nobody_else_can_have_it(self) -> None:
        calls, running = taken(1.0)
        assert calls.can_be_held(running)
        assert calls._may_begin(running)

    async def test_is_neither_after_half_a_session(self) -> None:
        calls, running = taken(3.5)
        assert not calls.can_be_held(running), "a hold would say that it is called here"
        assert not calls._may_begin(running)

    async def test_is_held_whatever_the_time_once_it_runs(self) -> None:
        calls, running = taken(1.0)
        assert calls._may_begin(running)
        running.taken -= 10
        assert calls.can_be_held(running)


class TestAStepThatIsHeldHere:
    async def test_is_called_as_long_as_its_claim_is_young(self) -> None:
        calls, running = taken(3.5)
        calls.start_fact(running)
        assert calls._may_begin(running)
        running.claimed -= 9
        assert not calls._may_begin(running)

    async def test_is_not_called_when_no_renewal_of_its_claim_reached_the_log(self) -> None:
        calls, running = taken(0.0)
        calls.running[running.place] = running
        calls.start_fact(running)
        running.claimed, running.asked = running.claimed - 9, running.asked - 9
        calls.hold_long()  # made, and never acknowledged: others count from the first one
        assert not calls.lease_holds(running)
        calls.renewed(running, running.asked)
        assert calls.lease_holds(running)


async def test_a_cancel_leaves_alone_what_was_asked_for_after_it() -> None:
    calls, running = taken(0.0)
    calls.running[running.place] = running
    calls.cancel_before(running.place, running.work.since)
    assert running.place in calls.running
    calls.cancel_before(running.place, running.work.since + 1)
    assert running.place not in calls.running
