"""A worker that stands still beyond its session, and goes on where it was: others own what it thinks is its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import pytest

from tests.faults_kafka.load import PLANNED, mixed, prompt, single
from tests.faults_kafka.stage import Seat, Stage

pytestmark = [pytest.mark.faults, pytest.mark.timeout(200)]

FROZEN_S: Final = 6.0
"""Twice the session timeout of the workers here, and longer than a lease."""
TIMES: Final = 4
STALL_S: Final = 30.0


async def freezes(stage: Stage, seats: Sequence[Seat], seed: int) -> None:
    """Under load one of them after the other stands still and goes on; then every result."""
    rng = random.Random(seed)
    stage.schedule.seed = seed
    cases = list(mixed(rng, "run", TIMES * 90, (*PLANNED, prompt)))
    loading = asyncio.ensure_future(stage.publish(cases, over=TIMES * (FROZEN_S + 3)))
    for number in range(TIMES):
        await asyncio.sleep(rng.uniform(0.5, 3.0))
        seat = seats[number % len(seats)].freeze()
        await asyncio.sleep(FROZEN_S + rng.uniform(0.0, 1.0))
        seat.thaw()
    took = await stage.results(await loading, STALL_S)
    stage.tell(f"{took:.1f} s from the last request to the last result")


class TestFrozenBeyondItsSession:
    async def test_a_scheduler_meets_the_one_that_took_over(self, stage: Stage, seed: int) -> None:
        schedulers = [stage.seat(f"scheduler-{number}", "scheduler") for number in range(2)]
        stage.seat("rest", "intake", "planner", "executor")
        await stage.up()

        await freezes(stage, schedulers, seed)

        counts = await stage.check()
        assert counts.repeated == counts.uncertain == 0, "every executor lived"

    async def test_an_executor(self, stage: Stage, seed: int) -> None:
        executors = [stage.seat(f"executor-{number}", "executor") for number in range(2)]
        stage.seat("rest", "intake", "planner", "scheduler")
        await stage.up()

        await freezes(stage, executors, seed)

        await stage.check()

    async def test_intake(self, stage: Stage, seed: int) -> None:
        intakes = [stage.seat(f"intake-{number}", "intake") for number in range(2)]
        stage.seat("rest", "planner", "scheduler", "executor")
        await stage.up()

        await freezes(stage, intakes, seed)

        counts = await stage.check()
        assert counts.repeated == counts.uncertain == 0, "every executor lived"


class TestSchedulersFrozenBeyondALease:
    @pytest.mark.parametrize("count", [1, 2])
    async def test_take_no_held_step_for_lost(self, stage: Stage, seed: int, count: int) -> None:
        stage.schedule.seed = seed
        schedulers = [stage.seat(f"scheduler-{number}", "scheduler") for number in range(count)]
        stage.seat("rest", "intake", "executor")
        await stage.up()
        cases = [single(f"long-{n}", "work", n, 12_000) for n in range(8)]
        cases += [single(f"dear-{n}", "charge", n, 12_000, onError={"value": {"n": -1}}) for n in range(8)]
        await stage.publish(cases)
        await stage.held(len(cases))

        for seat in schedulers:
            seat.freeze()
        await asyncio.sleep(FROZEN_S)
        for seat in schedulers:
            seat.thaw()

        await stage.results(cases, STALL_S)
        counts = await stage.check()
        assert counts.repeated == counts.uncertain == counts.lost == 0, "every executor lived"
