"""Timers of many runs: what a run leaves costs nobody anything."""

from __future__ import annotations

import asyncio

from dynamicflow.streams.kafka.broker_clock import BrokerClock
from dynamicflow.streams.timers import MOST_LEFT, Timers

DAY_MS = 86_400_000.0


async def many(runs: int) -> tuple[Timers, list[str]]:
    """Timers of so many runs, each with a limit of a day; and the names of those that came due."""
    clock, fired = BrokerClock(), list[str]()
    clock.heard(1_000_000.0)
    timers = Timers(asyncio.get_running_loop(), clock, lambda run_id, name, kind: fired.append(f"{run_id}/{name}"))
    for number in range(runs):
        timers.start(f"r{number}", "deadline", "deadline", clock.now_ms() + DAY_MS)
    return timers, fired


class TestTimersOfRunsThatHaveEnded:
    async def test_are_dropped_without_a_look_at_those_of_others(self) -> None:
        timers, _ = await many(5000)
        for number in range(4999):
            timers.drop(f"r{number}")
        assert timers.next_due_ms() is not None
        timers.drop("r4999")
        assert timers.next_due_ms() is None

    async def test_do_not_stay_until_they_would_be_due(self) -> None:
        timers, _ = await many(50_000)
        for number in range(49_990):
            timers.drop(f"r{number}")
        assert len(timers._heap) <= 2 * 10 + MOST_LEFT
        timers.stop()

    async def test_leave_the_others_theirs(self) -> None:
        timers, fired = await many(3000)
        timers.start("r7", "wait", "wait", 0.0)
        timers.start("r8", "wait", "wait", 0.0)
        timers.start("r9", "wait", "wait", 0.0)
        timers.start("r9", "wait", "wait", 2 * DAY_MS + 1_000_000.0)  # the later one counts
        timers.cancel("r8", "wait")
        timers.fire()
        assert fired == ["r7/wait"]
        timers.stop()
