"""kill -9 of workers at random under load: nothing is lost, nothing that is recorded runs again (design §6)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from statistics import median
from typing import Final

import pytest

from tests.faults_kafka.load import PLANNED, Case, Make, mixed, prompt
from tests.faults_kafka.stage import Seat, Stage

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

ROUNDS: Final = int(os.environ.get("FAULTS_ROUNDS", "20"))
RUNS: Final = 60
"""Of a round, begun over LOAD_S seconds; the kill comes at any moment of that time or just after."""
LOAD_S: Final = 1.5
SETTLE: Final = 4
"""After so many rounds all results are waited for; between them, one death is not over when the next comes."""
STALL_S: Final = 25.0
"""From the last request of a round to its last result: session 3 s, lease 4 s, take-over, restart on a busy machine."""


async def rounds(stage: Stage, victims: Sequence[Seat], seed: int, *, most: int, kinds: tuple[Make, ...]) -> None:
    """In each round load, 1 to ``most`` deaths among the victims, restarts; every few rounds all results."""
    rng = random.Random(seed)
    stage.schedule.seed = seed
    stalls, waiting = [], list[Case]()
    for number in range(1, ROUNDS + 1):
        cases = list(mixed(rng, f"r{number}", RUNS, kinds))
        loading = asyncio.ensure_future(stage.publish(cases, over=LOAD_S))
        dying = rng.sample(victims, rng.randint(1, most))
        for seat in dying:
            await asyncio.sleep(rng.uniform(0.0, LOAD_S * 1.2 / len(dying)))
            seat.kill()
        await asyncio.sleep(rng.choice((0.0, rng.uniform(0.0, 3.0))))
        for seat in dying:
            seat.start()
        await loading
        waiting += cases
        if number % SETTLE == 0 or number == ROUNDS:
            stalls.append(await stage.results(waiting, STALL_S))
            stage.schedule.note(f"round {number}: all results are there after {stalls[-1]:.1f} s")
            waiting.clear()
    stage.tell(f"waits for results: longest {max(stalls):.1f} s, median {median(stalls):.1f} s")
    await stage.check()


async def test_an_executor(stage: Stage, seed: int) -> None:
    executors = [stage.seat(f"executor-{number}", "executor") for number in range(2)]
    stage.seat("rest", "intake", "scheduler")
    await stage.up()

    await rounds(stage, executors, seed, most=1, kinds=PLANNED)


async def test_a_scheduler(stage: Stage, seed: int) -> None:
    schedulers = [stage.seat(f"scheduler-{number}", "scheduler") for number in range(2)]
    stage.seat("rest", "intake", "executor")
    await stage.up()

    await rounds(stage, schedulers, seed, most=1, kinds=PLANNED)


async def test_a_planner_worker(stage: Stage, seed: int) -> None:
    planners = [stage.seat(f"planner-{number}", "planner") for number in range(2)]
    stage.seat("rest", "intake", "scheduler", "executor")
    await stage.up()

    await rounds(stage, planners, seed, most=1, kinds=(prompt,))


async def test_several_together(stage: Stage, seed: int) -> None:
    seats = [stage.seat(f"{role}-{n}", role) for role in ("executor", "scheduler", "planner") for n in range(2)]
    intake = stage.seat("intake", "intake")
    await stage.up()

    await rounds(stage, [*seats, intake], seed, most=4, kinds=(*PLANNED, prompt))
