"""What a client keeps of the runs of a cluster: it may live for months."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition

from tests.engine.engine_kit import CHAIN, double
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, until


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix) as own:
        yield own


async def test_a_run_that_has_ended_is_known_by_its_mark_alone_for_as_long_as_there_is_one(site: Site) -> None:
    async with site.engine(tools=[double]) as engine:
        for number in range(5):
            run = await engine.start(CHAIN, input={"n": number}, run_id=f"r{number}")
            assert (await run.result())["status"] == "completed"
        tail, finder = engine._tail, engine._finder
        assert tail.requested_in(0)

        async def all_marked() -> bool:
            return len(await finder.marks(0)) == 5

        await until(all_marked, "five marks")
        assert tail.requested_in(0) == {}
        assert len(await (await engine.find("r3")).records()) > 3
        assert [row["status"] for row in await engine.runs()] == ["completed"] * 5

        await site.delete_before(site.topics.done, {TopicPartition(site.topics.done, 0): 3})
        assert list(await finder.marks(0)) == ["r3", "r4"]
