"""Tools that block, crash or starve their process, and work that comes twice: the claim holds all the same."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer

from tests.faults_kafka.load import mixed, single
from tests.faults_kafka.observer import Seen
from tests.faults_kafka.stage import Stage, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(150)]

LONGER_THAN_A_SESSION_MS: Final = 6000
RESULTS_S: Final = 45.0


class TestAToolThat:
    async def test_blocks_its_loop_beyond_a_session_is_called_once(self, stage: Stage, seed: int) -> None:
        stage.schedule.seed = seed
        for number in range(2):
            stage.seat(f"worker-{number}")
        await stage.up()
        cases = [single(f"block-{n}", "block", n, LONGER_THAN_A_SESSION_MS) for n in range(2)]
        cases += mixed(random.Random(seed), "beside", 60)
        await stage.publish(cases, over=2.0)

        await stage.results(cases, RESULTS_S)

        counts = await stage.check()
        assert counts.repeated == counts.lost == 0

    async def test_holds_the_interpreter_beyond_a_session_is_as_good_as_frozen(self, stage: Stage, seed: int) -> None:
        stage.schedule.seed = seed
        executors = [stage.seat(f"executor-{number}", "executor") for number in range(2)]
        stage.seat("rest", "intake", "scheduler")
        await stage.up()
        cases = [single("starve", "hold_everything", 1, LONGER_THAN_A_SESSION_MS)]
        cases += mixed(random.Random(seed), "beside", 60)
        await stage.publish(cases, over=2.0)

        await stage.results(cases, RESULTS_S)

        await until(lambda: all(one.end for one in starving(stage)), "it lets go", RESULTS_S)
        for seat in executors:
            for call in starving(stage):
                if call.pid == seat.pid:
                    seat.stood_still(call.begin, call.end or call.begin)
        await stage.check()

    async def test_takes_its_process_with_it_is_given_up_and_others_go_on(self, stage: Stage, seed: int) -> None:
        stage.schedule.seed = seed
        for number in range(2):
            stage.seat(f"executor-{number}", "executor")
        stage.seat("rest", "intake", "scheduler")
        await stage.up()
        poison = single("poison", "segfault", 1, 0)
        cases = [replace(poison, status="failed", output=None), *mixed(random.Random(seed), "beside", 60)]
        await stage.publish(cases, over=2.0)

        await stage.results(cases, 90)

        await stage.check()
        calls = [call for call in stage.diary.calls() if call.tool == "segfault"]
        stage.tell(f"it was called {len(calls)} times before it was given up")
        assert 3 <= len(calls) <= 4, "three starts that are in the log, and perhaps one that was too short to be held"


def starving(stage: Stage) -> list[Any]:
    return [call for call in stage.diary.calls() if call.tool == "hold_everything"]


class TestWorkThatMustNotBeDoneTwice:
    @pytest.mark.parametrize("together", [True, False], ids=["at once", "after it was done"])
    async def test_is_done_once_though_its_record_comes_twice(self, stage: Stage, seed: int, together: bool) -> None:
        stage.schedule.seed = seed
        executors = [stage.seat(f"executor-{number}", "executor") for number in range(2)]
        stage.seat("rest", "intake", "scheduler")
        await stage.up()
        cases = [single(f"dear-{n}", "charge", n, 400) for n in range(20)]
        async with stage.work:
            if together:
                for seat in executors:
                    seat.freeze()
            await stage.publish(cases)
            if not together:
                await stage.results(cases, RESULTS_S)
            await until(lambda: len(stage.work.records) >= len(cases), "their work is there", 15)
            originals = list(stage.work.records)
            await copied(stage, originals)
            if together:
                for seat in executors:
                    seat.thaw()
            await stage.results(cases, RESULTS_S)
            await asyncio.sleep(3)  # for a call too many: nothing tells that none will come

        counts = await stage.check()
        assert counts.repeated == counts.uncertain == 0


async def copied(stage: Stage, records: list[Seen]) -> None:
    """Each record stands in every other partition as well, so that the other executor has it too."""
    async with AIOKafkaProducer(bootstrap_servers=stage.bootstrap, acks="all") as producer:
        for record in records:
            for partition in {0, 1, 2, 3} - {record.partition}:
                headers = [("ce_type", record.kind.encode()), ("ce_id", record.ident.encode())]
                await producer.send_and_wait(
                    stage.topics.node_ready(), record.value, key=b"again", partition=partition, headers=headers
                )
