"""Workers join and leave while a thousand runs live: nothing stalls for long, nothing is repeated (design §6)."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults_kafka.claim import Evidence
from tests.faults_kafka.conftest import MakeStage
from tests.faults_kafka.load import mixed, slow
from tests.faults_kafka.observer import by_run
from tests.faults_kafka.stage import UP_S, Seat, Stage, until
from tests.kafka.broker import SharedBroker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(420)]

RUNS: Final = 1000
CYCLES: Final = 9
WAIT_MS: Final = 12_000
STEP_MS: Final = (5000, 8000)
"""A tenth of what a minute's drain is meant for; sessions (3 s) and leases (12 s) are scaled with it."""
STALL_S: Final = 3.0 + 4.0
"""A session, and a take-over on a busy machine."""


def delays(evidence: Evidence) -> Iterator[float]:
    """How much later than it could be each step began: after its wait, which began with the outcome before it."""
    begun: dict[tuple[str, str], float] = {}
    for call in evidence.calls:
        begun.setdefault((call.place[0], call.place[1]), call.begin + evidence.wall)
    for run_id, records in by_run(list(evidence.log)).items():
        before = next(one.at for one in records if one.kind == "plan-published")
        ended = {json.loads(one.value or b"")["nodeId"]: one.at for one in records if one.kind == "tool-output"}
        for index in range(CYCLES):
            if (run_id, f"s{index}") in begun:
                yield begun[run_id, f"s{index}"] - before - WAIT_MS / 1000
            before = ended.get(f"s{index}", before)


async def restarted(seat: Seat, stage: Stage) -> None:
    """Asked to leave, gone, and back."""
    seat.ask_to_leave()
    await until(seat.left, f"{seat.name} leaves", 40)
    seat.start()
    await stage.up(seat)


class TestAThousandRunsLive:
    async def test_while_workers_join_and_leave_and_each_is_restarted(self, stage: Stage, seed: int) -> None:
        rng = random.Random(seed)
        stage.schedule.seed = seed
        settings = {"lease_s": 12.0, "drain_s": 30.0, "concurrency": 500, "hold_after_s": 1.0, "commit_s": 0.5}
        seats = [stage.seat(f"worker-{number}", **settings) for number in range(3)]
        await stage.up()
        cases = [slow(f"run-{n}", n, rng.randint(*STEP_MS), cycles=CYCLES, wait_ms=WAIT_MS) for n in range(RUNS)]
        loading = asyncio.ensure_future(stage.publish(cases, over=18.0))
        await asyncio.sleep(10)
        guest = stage.seat("guest", **settings)
        await stage.up(guest)
        await loading
        guest.ask_to_leave()
        await until(guest.left, "the guest leaves", 40)
        for number in range(10):
            await restarted(seats[number % len(seats)], stage)
        ended = len({one.run_id for one in stage.complete.records})
        stage.tell(f"{RUNS - ended} of {RUNS} runs lived when the last restart was over")

        await stage.results(cases, 150)

        counts = await stage.check()
        late = sorted(delays(await stage.evidence()))
        stage.tell(f"steps began late by {late[len(late) // 2]:.2f} s (p50), {late[-1]:.2f} s at most")
        assert counts.repeated == counts.lost == 0, "everybody was asked to leave and did"
        assert late[-1] < STALL_S


class TestMoreWorkersThanPartitions:
    async def test_stand_by_and_take_over(self, make_stage: MakeStage, broker: SharedBroker, seed: int) -> None:
        stage = await make_stage(broker.bootstrap).open(partitions=1)
        rng = random.Random(seed)
        stage.schedule.seed = seed
        seats = [stage.seat(f"worker-{number}") for number in range(3)]
        await stage.up()
        first = await stage.publish(mixed(rng, "first", 30))
        await stage.results(first, UP_S)
        for number, seat in enumerate(seats[:2]):
            cases = list(mixed(rng, f"next-{number}", 60))
            loading = asyncio.ensure_future(stage.publish(cases, over=2.0))
            await asyncio.sleep(rng.uniform(0.2, 1.8))
            seat.kill()
            await loading
            took = await stage.results(cases, 30)
            stage.tell(f"those who stood by had all results {took:.1f} s after the last request")

        await stage.check()
