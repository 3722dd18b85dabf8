"""Clocks that are wrong, and runs that wait for days: time is the brokers', and what has expired is not needed."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Final

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from dynamicflow.values import time_ms
from tests.faults_kafka.load import PLANNED, chain, mixed, prompt, slow
from tests.faults_kafka.stage import Seat, Stage, of_kind, until, until_async
from tests.faults_kafka.test_requests import committed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

RESULTS_S: Final = 40.0
WAIT_MS: Final = 4000
DAYS: Final = 3


class TestAWorkerWhoseClockIsWrong:
    @pytest.mark.parametrize("hours", [-1, 1])
    async def test_neither_hurries_nor_holds_up_anything(self, stage: Stage, seed: int, hours: int) -> None:
        stage.schedule.seed = seed
        for number, ahead in enumerate((hours, 0)):
            stage.seat(f"worker-{number}", hours_ahead=ahead)
        await stage.up()
        cases = [slow(f"wait-{n}", n, 700, cycles=2, wait_ms=WAIT_MS) for n in range(20)]
        cases += mixed(random.Random(seed), "run", 60, (*PLANNED, prompt))
        await stage.publish(cases, over=2.0)

        await stage.results(cases, RESULTS_S)

        counts = await stage.check()
        assert counts.repeated == counts.lost == 0
        log = await stage.log.whole()
        plans = of_kind(log, "plan-published")
        begun = {one.run_id: time_ms(json.loads(one.value or b"")["timestamp"]) / 1000 for one in plans}
        waits = [one.at - begun[one.run_id] for one in of_kind(log, "timer-fired") if "/w0/" in one.ident]
        assert min(waits) >= WAIT_MS / 1000
        assert min(waits) < WAIT_MS / 1000 + 3


class TestARunThatWaitsForDays:
    async def test_goes_on_from_its_snapshot_when_its_events_have_expired(self, stage: Stage, seed: int) -> None:
        stage.schedule.seed = seed
        settings = {"snapshot_records": 20}
        seats = [stage.seat("scheduler", "scheduler", **settings), stage.seat("rest", "intake", "executor")]
        await stage.up()
        waiting = [slow(f"wait-{n}", n, 50, cycles=1, wait_ms=DAYS * 86_400_000) for n in range(8)]
        await stage.publish(waiting)
        others = await stage.publish(mixed(random.Random(seed), "run", 120), over=3.0)
        await stage.results(others, RESULTS_S)
        firsts = {one.partition: one.offset for one in reversed(stage.log.records) if one.run_id.startswith("wait-")}
        gone = await self.expired(stage, firsts)
        stage.tell(f"records up to {gone} have expired; the waiting runs began at {firsts}")
        for seat in seats:
            await self.restarted_days_later(stage, seat)

        await stage.results(waiting, RESULTS_S)

        await stage.check()

    async def expired(self, stage: Stage, firsts: dict[int, int]) -> dict[int, int]:
        """What retention does: what no run needs any more is deleted; the runs that wait began in it."""
        places = [TopicPartition(stage.topics.events, number) for number in range(4)]
        group = f"{stage.prefix}dynamicflow-scheduler"

        async def past_them() -> dict[TopicPartition, int] | None:
            marks = await committed(stage.bootstrap, group, places)
            return marks if all(marks[place] > firsts.get(place.partition, -1) for place in places) else None

        marks = await until_async(past_them, "the low-water marks are past the runs that wait", 20, every=0.3)
        admin = AIOKafkaAdminClient(bootstrap_servers=stage.bootstrap)
        await admin.start()
        try:
            await admin.delete_records({place: RecordsToDelete(mark) for place, mark in marks.items()})
        finally:
            await admin.close()
        return {place.partition: mark for place, mark in marks.items()}

    async def restarted_days_later(self, stage: Stage, seat: Seat) -> None:
        seat.ask_to_leave()
        await until(seat.left, f"{seat.name} leaves", 30)
        seat.set_forward(DAYS * 24 + 1)
        seat.start()
        await stage.up(seat)


class TestASchedulerThatStandsStillWhileItWritesSnapshots:
    async def test_meets_the_one_that_took_over(self, stage: Stage, seed: int) -> None:
        rng = random.Random(seed)
        stage.schedule.seed = seed
        schedulers = [stage.seat(f"scheduler-{number}", "scheduler", snapshot_records=10) for number in range(2)]
        stage.seat("rest", "intake", "executor")
        await stage.up()
        async with stage.snapshots:
            cases = [slow(f"slow-{n}", n, 900, cycles=4, wait_ms=9000) for n in range(30)]
            cases += [chain(f"run-{n}", n, rng.choice((0, 50))) for n in range(300)]
            loading = asyncio.ensure_future(stage.publish(cases, over=40.0))
            for number in range(4):
                seen = len(stage.snapshots.records)
                await until(lambda seen=seen: len(stage.snapshots.records) > seen, "a snapshot", 20, every=0.001)  # type: ignore[misc]
                seat = schedulers[number % 2].freeze()
                await asyncio.sleep(6)
                seat.thaw()
            await stage.results(await loading, RESULTS_S)
            stage.tell(f"{len(stage.snapshots.records)} records of snapshots")

        counts = await stage.check()
        assert counts.repeated == counts.lost == 0
