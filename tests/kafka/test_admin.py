"""Topics on a real broker: made, looked at, and what is said when there is no broker to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from dynamicflow import BrokerError, Problem
from dynamicflow.streams.kafka.admin import (
    Created,
    best_replication,
    check_topics,
    create_topics,
    describe_partitions,
    list_topics,
    require_topics,
)
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.topics import HOUR_MS, Topics, TopicSpec
from tests.kafka.broker import Cluster, SharedBroker

COPARTITIONED: Final = ["flow-events", "flow-done", "flow-snapshots", "flow-complete"]


def said(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in problems]


@pytest.fixture
def connection(broker: SharedBroker) -> Connection:
    return Connection(broker.bootstrap)


async def changed_on(connection: Connection, topics: Topics, name: str, **config: str) -> None:
    """Set settings of a topic; all others are the broker's own then. Brokers see it a moment later."""
    changes = {key.replace("_", "."): value for key, value in config.items()}
    async with _admin(connection) as admin:
        (answer,) = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, changes)])
        assert [code for code, *_ in answer.resources] == [0]
    async with asyncio.timeout(10):
        while True:
            (state,) = (one for one in await list_topics(connection, topics) if one.name == name)
            if state.config is not None and changes.items() <= state.config.items():
                return


async def made_on(connection: Connection, name: str, partitions: int) -> None:
    """Make a topic with the broker's own settings."""
    assert await create_topics(connection, [TopicSpec(name, partitions, 1, {})]) == [Created(name, partitions, True)]


async def widened_on(connection: Connection, name: str, partitions: int) -> None:
    async with _admin(connection) as admin:
        answer = await admin.create_partitions({name: NewPartitions(total_count=partitions)})
        assert [code for _, code, *_ in answer.topic_errors] == [0]
    async with asyncio.timeout(10):
        while await describe_partitions(connection, name) != partitions:
            pass


@contextlib.asynccontextmanager
async def _admin(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**connection.client_options())
    await client.start()
    try:
        yield client
    finally:
        await client.close()


class TestMakingThem:
    async def test_makes_all_of_them_as_they_should_be(self, connection: Connection, prefix: str) -> None:
        topics = Topics(prefix)
        specs = topics.specs(partitions=3, queues=["gpu"])

        made = await create_topics(connection, specs)

        assert made == [Created(spec.name, spec.partitions, True) for spec in specs]
        assert await check_topics(connection, topics, partitions=3, queues=["gpu"]) == []
        assert await require_topics(connection, topics, queues=["gpu"]) == 3

    async def test_again_changes_nothing(self, connection: Connection, prefix: str) -> None:
        await create_topics(connection, Topics(prefix).specs(partitions=2))

        again = await create_topics(connection, Topics(prefix).specs(partitions=2, queues=["late"]))

        assert [one.name for one in again if one.created] == [f"{prefix}node-ready.late"]

    async def test_two_at_once_are_both_right(self, connection: Connection, prefix: str) -> None:
        specs = Topics(prefix).specs(partitions=2)

        both = await asyncio.gather(create_topics(connection, specs), create_topics(connection, specs))

        assert [[one.partitions for one in made] for made in both] == [[spec.partitions for spec in specs]] * 2

    async def test_what_follows_the_log_gets_as_many_partitions_as_it_has(
        self, connection: Connection, prefix: str
    ) -> None:
        await made_on(connection, f"{prefix}flow-events", 3)

        made = {one.name: one for one in await create_topics(connection, Topics(prefix).specs(partitions=5))}

        assert {made[f"{prefix}{name}"].partitions for name in COPARTITIONED} == {3}
        assert made[f"{prefix}node-ready"].partitions == 5
        assert not made[f"{prefix}flow-events"].created

    async def test_every_partition_can_be_written_to_at_once(self, connection: Connection, prefix: str) -> None:
        await create_topics(connection, Topics(prefix).specs(partitions=3))
        producer = AIOKafkaProducer(**connection.client_options(), retry_backoff_ms=10_000)
        await producer.start()
        try:
            for partition in range(3):
                async with asyncio.timeout(5):
                    await producer.send_and_wait(f"{prefix}flow-events", b"x", partition=partition)
        finally:
            await producer.stop()

    async def test_what_the_broker_does_not_make_is_told_with_its_reason(
        self, connection: Connection, prefix: str
    ) -> None:
        with pytest.raises(BrokerError, match="replication factor of 3") as told:
            await create_topics(connection, Topics(prefix).specs(replication=3))

        assert told.value.code == "TOPICS_WRONG"
        assert await list_topics(connection, Topics(prefix)) == []

    async def test_as_many_copies_as_there_are_brokers(self, connection: Connection) -> None:
        assert await best_replication(connection) == 1


class TestLookingAtThem:
    async def test_nothing_is_made_by_asking(self, connection: Connection, prefix: str) -> None:
        topics = Topics(prefix)

        problems = await check_topics(connection, topics)

        assert {problem.code for problem in problems} == {"TOPICS_MISSING"}
        assert len(problems) == len(topics.specs())
        assert await describe_partitions(connection, topics.events) is None
        assert await list_topics(connection, topics) == []

    async def test_everything_that_is_wrong_at_once(self, connection: Connection, prefix: str) -> None:
        topics = Topics(prefix)
        await made_on(connection, topics.done, 2)
        await create_topics(connection, [spec for spec in topics.specs(partitions=3) if spec.name != topics.live])
        await made_on(connection, topics.live, 1)
        await widened_on(connection, topics.events, 4)
        await changed_on(
            connection, topics, topics.snapshots, cleanup_policy="delete", message_timestamp_type="LogAppendTime"
        )

        problems = await check_topics(connection, topics, partitions=3, queues=["gpu"])

        wrong = (topics.events, topics.complete, topics.done, topics.snapshots, topics.live)
        missing = topics.node_ready("gpu")
        assert set(said(problems)) == {
            *(("TOPICS_WRONG", f"/{name}") for name in wrong),
            ("TOPICS_MISSING", f"/{missing}"),
        }

    async def test_a_worker_is_refused_with_all_of_it(self, connection: Connection, prefix: str) -> None:
        await create_topics(connection, Topics(prefix).specs(partitions=1))

        with pytest.raises(BrokerError) as wrong:
            await require_topics(connection, Topics(prefix), partitions=8)
        with pytest.raises(BrokerError) as missing:
            await require_topics(connection, Topics(prefix), queues=["gpu"])

        assert (wrong.value.code, len(wrong.value.problems)) == ("TOPICS_WRONG", 1)
        assert (missing.value.code, len(missing.value.problems)) == ("TOPICS_MISSING", 1)

    async def test_a_warning_is_logged_and_the_worker_starts(
        self, connection: Connection, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        topics = Topics(prefix)
        await create_topics(connection, topics.specs(partitions=2))
        good = {"cleanup_policy": "delete", "message_timestamp_type": "LogAppendTime"}
        await changed_on(connection, topics, topics.done, **good, retention_ms=str(HOUR_MS))

        assert await require_topics(connection, topics) == 2

        assert f"{topics.done}: retention.ms is {HOUR_MS}" in caplog.text

    async def test_listing_finds_every_queue(self, connection: Connection, prefix: str) -> None:
        await create_topics(connection, Topics(prefix).specs(partitions=2, queues=["gpu", "slow"]))

        found = {one.name: one for one in await list_topics(connection, Topics(prefix))}

        assert set(found) == {spec.name for spec in Topics(prefix).specs(queues=["gpu", "slow"])}
        log = found[f"{prefix}flow-events"]
        assert (log.partitions, log.replication, log.leaderless) == (2, 1, ())
        assert log.config is not None
        assert log.config["message.timestamp.type"] == "LogAppendTime"
        assert await describe_partitions(connection, log.name) == 2


class TestABrokerThatCannotBeUsed:
    async def told(self, connection: Connection, within_s: float = 5.0) -> BrokerError:
        with pytest.raises(BrokerError) as found:
            await describe_partitions(connection, "flow-events", within_s=within_s)
        assert connection.bootstrap in found.value.message
        return found.value

    async def test_nobody_listens(self) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            told = await self.told(Connection(f"127.0.0.1:{held.getsockname()[1]}"))

        assert (told.code, "Connection refused" in told.message) == ("BROKER_UNREACHABLE", True)

    async def test_a_name_that_is_none(self) -> None:
        told = await self.told(Connection("no-such-host.invalid:9092"))

        assert (told.code, "no such host" in told.message) == ("BROKER_UNREACHABLE", True)

    async def test_somebody_listens_and_never_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            started = time.monotonic()
            told = await self.told(Connection(f"127.0.0.1:{silent.getsockname()[1]}"), within_s=0.6)

        assert (told.code, "no answer in time" in told.message) == ("BROKER_UNREACHABLE", True)
        assert time.monotonic() - started < 3

    async def test_somebody_who_is_no_kafka(self) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(4)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            told = await self.told(Connection(f"127.0.0.1:{server.sockets[0].getsockname()[1]}"), within_s=2)

        assert told.code == "BROKER_UNREACHABLE"

    async def test_one_of_several_addresses_is_enough(self, connection: Connection, prefix: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            several = f"127.0.0.1:1,127.0.0.1:{silent.getsockname()[1]},{connection.bootstrap}"

            assert await describe_partitions(Connection(several), f"{prefix}none") is None

    async def test_tls_where_there_is_none(self, connection: Connection) -> None:
        told = await self.told(replace(connection, security_protocol="SSL"))

        assert told.code == "BROKER_UNREACHABLE"
        assert "DYNAMICFLOW_SECURITY_PROTOCOL" in told.message

    async def test_a_login_where_there_is_none(self, connection: Connection) -> None:
        login = Connection(connection.bootstrap, "SASL_PLAINTEXT", "PLAIN", "ada", "hunter2")

        told = await self.told(login)

        assert (told.code, "no login by PLAIN" in told.message) == ("BROKER_AUTH", True)


class TestACluster:
    async def test_topics_are_made_safe_and_others_are_told(self, cluster: Cluster, prefix: str) -> None:
        connection, topics = Connection(cluster.bootstrap), Topics(prefix)
        copies = await best_replication(connection)
        await create_topics(connection, topics.specs(partitions=2, replication=copies), within_s=40)
        single = Topics(f"{prefix}single-")
        await create_topics(connection, single.specs(partitions=1), within_s=40)

        assert copies == 3
        assert await check_topics(connection, topics) == []
        weak = await check_topics(connection, single)
        assert {problem.code for problem in weak} == {"TOPICS_WEAK"}
        assert len(weak) == len(single.specs())
        assert await require_topics(connection, single) == 1
