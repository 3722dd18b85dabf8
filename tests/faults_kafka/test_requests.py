"""Requests of other clients while intake dies: each that was committed is one run, and no other is (design §6)."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from dynamicflow.streams.kafka.admission import Coordinates, run_id_at
from tests.faults_kafka.load import chain, of_request
from tests.faults_kafka.stage import Stage, of_kind

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

KILLS: Final = 12
REQUESTS: Final = 120
"""Between two kills, all at once, so that they are one batch of intake for each partition."""
RESULTS_S: Final = 30.0
HOUR_MS: Final = 3_600_000


def place_of(sent: Any) -> Coordinates:
    return Coordinates(sent.topic, sent.partition, sent.offset, sent.timestamp)


class TestIntakeDiesBetweenAppendAndCommit:
    async def test_requests_without_an_id_are_one_run_each(self, stage: Stage, seed: int) -> None:
        rng = random.Random(seed)
        stage.schedule.seed = seed
        stage.seat("rest", "scheduler", "executor")
        intake = stage.seat("intake", "intake")
        await stage.up()
        between = 0
        for _ in range(KILLS):
            before = len(of_kind(stage.log.records, "flow-requested"))
            await self.requests(stage, rng)
            await self.appended(stage, before + rng.randint(1, REQUESTS // 2))
            intake.kill()
            between += await self.appended_and_not_committed(stage)
            intake.start()
            await stage.up(intake)
        stage.tell(f"{between} requests were appended and not committed when intake died")

        await stage.results(stage.cases, RESULTS_S)

        counts = await stage.check()
        assert between > 0, "no kill came between append and commit: nothing was shown"
        assert counts.repeated == 0

    async def requests(self, stage: Stage, rng: random.Random) -> None:
        """Their ids follow from where they stand."""
        numbers = [rng.randrange(1000) for _ in range(REQUESTS)]
        sent = await asyncio.gather(*(stage.send(of_request("", n, 0)[1]) for n in numbers))
        stage.cases += [chain(run_id_at(place_of(where)), n, 0) for n, where in zip(numbers, sent, strict=True)]

    async def appended(self, stage: Stage, count: int) -> None:
        async with asyncio.timeout(20):
            while len(of_kind(stage.log.records, "flow-requested")) < count:
                stage.log.moved.clear()
                await stage.log.moved.wait()

    async def appended_and_not_committed(self, stage: Stage) -> int:
        """Requests whose fact is in the log while the group would read them again."""
        known = {one.run_id for one in await stage.log.whole() if one.kind == "flow-requested"}
        group = f"{stage.prefix}dynamicflow-intake"
        places = [TopicPartition(stage.topics.requests, number) for number in range(4)]
        async with AIOKafkaConsumer(
            bootstrap_servers=stage.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        ) as reader:
            offsets = await committed(stage.bootstrap, group, places)
            reader.assign(places)
            for place in places:
                reader.seek(place, offsets[place])
            ends = await reader.end_offsets(places)
            count = 0
            while any([await reader.position(place) < ends[place] for place in places]):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    ids = (
                        run_id_at(Coordinates(one.topic, one.partition, one.offset, one.timestamp)) for one in records
                    )
                    count += sum(run_id in known for run_id in ids)
        return count


async def committed(bootstrap: str, group: str, places: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Where a group would go on."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False) as asking:
        asking.assign(places)
        return {place: await asking.committed(place) or 0 for place in places}


class TestWhatIsAdmitted:
    async def test_is_nothing_of_an_aborted_transaction(self, stage: Stage) -> None:
        stage.seat("all")
        await stage.up()
        producer = AIOKafkaProducer(bootstrap_servers=stage.bootstrap, transactional_id=f"{stage.prefix}client")
        async with producer:
            for name, ends in (("taken-back", producer.abort_transaction), ("meant", producer.commit_transaction)):
                await producer.begin_transaction()
                for number in range(5):
                    case, value = of_request(f"{name}-{number}", number, 0)
                    await producer.send_and_wait(stage.topics.requests, value, key=case.run_id.encode())
                    stage.cases += [case] if name == "meant" else []
                await ends()

        await stage.results(stage.cases, RESULTS_S)

        await stage.check()
        assert {one.run_id for one in stage.log.records} == {case.run_id for case in stage.cases}

    @pytest.mark.parametrize("hours", [-24 * 30, 24 * 30])
    async def test_is_dated_by_the_brokers_whatever_the_client_says(self, stage: Stage, hours: int) -> None:
        stage.seat("all")
        await stage.up()
        told = round(time.time() * 1000) + hours * HOUR_MS
        for number in range(5):
            sent = await stage.send(of_request("", number, 0)[1], timestamp_ms=told)
            assert abs(sent.timestamp - told) > HOUR_MS
            stage.cases.append(chain(run_id_at(place_of(sent)), number, 0))

        await stage.results(stage.cases, RESULTS_S)

        await stage.check()
        requested = of_kind(stage.log.records, "flow-requested")
        assert all(abs(one.at - time.time()) < 3600 for one in requested)
