"""Brokers go and come back: progress stops meanwhile, and nothing else (design §6)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults_kafka.conftest import MakeStage
from tests.faults_kafka.load import PLANNED, Case, mixed, prompt, single
from tests.faults_kafka.stage import Stage
from tests.kafka.broker import Broker, Cluster

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

RECOVERY_S: Final = 45.0
"""From the return of the brokers to the last result: producers and consumers find them again, what gathered is done."""
LONG_MS: Final = 9000


async def loaded(stage: Stage, seed: int, seconds: float) -> list[Case]:
    """Requests over so many seconds, most of them short, some with a step that is long or must not run twice."""
    rng = random.Random(seed)
    cases = list(mixed(rng, "run", round(seconds * 6), (*PLANNED, prompt)))
    cases += [single(f"long-{n}", "work", n, LONG_MS) for n in range(6)]
    cases += [single(f"dear-{n}", "charge", n, LONG_MS, onError={"value": {"n": -1}}) for n in range(6)]
    rng.shuffle(cases)
    return await stage.publish(cases, over=seconds)


async def outage(stage: Stage, seed: int, seconds: float, go: Callable[[], None], come: Callable[[], object]) -> None:
    """Load before, during and after; in the end every result, and nobody died, so nothing ran twice."""
    stage.schedule.seed = seed
    loading = asyncio.ensure_future(loaded(stage, seed, seconds + 8))
    await asyncio.sleep(5)
    await asyncio.to_thread(go)
    stage.schedule.note("the broker is gone")
    await asyncio.sleep(seconds)
    await asyncio.to_thread(come)
    stage.schedule.note("the broker is back")
    cases = await loading
    took = await stage.results(cases, RECOVERY_S)
    stage.tell(f"{took:.1f} s from the last request to the last result")
    counts = await stage.check()
    assert counts.repeated == counts.uncertain == 0


class TestOneBroker:
    async def workers(self, stage: Stage, **settings: float) -> Stage:
        await stage.open()
        for number in range(2):
            stage.seat(f"worker-{number}", **settings)
        await stage.up()
        return stage

    async def test_restarts(self, own_broker: Callable[..., Broker], make_stage: MakeStage, seed: int) -> None:
        broker = own_broker()
        stage = await self.workers(make_stage(broker.bootstrap), lease_s=60.0)
        await outage(stage, seed, 20.0, broker.stop, broker.start)

    async def test_is_away_for_longer_than_a_request_may_take(
        self, own_broker: Callable[..., Broker], make_stage: MakeStage, seed: int
    ) -> None:
        broker = own_broker()
        stage = await self.workers(make_stage(broker.bootstrap), lease_s=80.0)
        await outage(stage, seed, 45.0, broker.kill, broker.start)

    async def test_is_silent_for_longer_than_a_request_may_take(
        self, own_broker: Callable[..., Broker], make_stage: MakeStage, seed: int
    ) -> None:
        broker = own_broker()
        stage = await self.workers(make_stage(broker.bootstrap), lease_s=80.0)
        await outage(stage, seed, 45.0, broker.pause, broker.resume)

    async def test_is_away_for_longer_than_a_lease(
        self, own_broker: Callable[..., Broker], make_stage: MakeStage, seed: int
    ) -> None:
        broker = own_broker()
        stage = await self.workers(make_stage(broker.bootstrap))
        await outage(stage, seed, 12.0, broker.kill, broker.start)


class TestOneOfThreeBrokers:
    @pytest.mark.timeout(300)
    async def test_dies_and_comes_back_each_in_turn(self, cluster: Cluster, make_stage: MakeStage, seed: int) -> None:
        stage = await make_stage(cluster.bootstrap).open(replication=3)
        stage.schedule.seed = seed
        for number in range(2):
            stage.seat(f"worker-{number}", lease_s=60.0)
        await stage.up()
        loading = asyncio.ensure_future(loaded(stage, seed, 50))
        for node in cluster.nodes:
            await asyncio.sleep(4)
            await asyncio.to_thread(node.kill)
            stage.schedule.note(f"the broker at {node.bootstrap} is killed; others lead its partitions")
            await asyncio.sleep(8)
            await asyncio.to_thread(node.start)
            stage.schedule.note(f"the broker at {node.bootstrap} is back")
        took = await stage.results(await loading, RECOVERY_S)
        stage.tell(f"{took:.1f} s from the last request to the last result")

        counts = await stage.check()

        assert counts.repeated == counts.uncertain == 0
