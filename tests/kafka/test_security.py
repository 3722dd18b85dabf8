"""Every way to log in, on a real broker: with aiokafka's clients, with a Faust application, and with what is wrong."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from dynamicflow import BrokerError, UsageError
from dynamicflow.streams.kafka.admin import create_topics, describe_partitions
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.topics import TopicSpec
from tests.kafka.broker import Broker

Way: TypeAlias = Callable[[Broker], Connection]
SECONDS: Final = 20


@pytest.fixture(scope="module")
def guarded() -> Iterator[Broker]:
    """A broker with a listener for each protocol; the one for TLS alone asks for the client's certificate."""
    with Broker(secure=True, properties={"listener.name.ssl.ssl.client.auth": "required"}) as own:
        yield own


def by_password(mechanism: str, protocol: Any = "SASL_PLAINTEXT") -> Way:
    def connection(broker: Broker) -> Connection:
        ca = str(broker.cafile) if protocol == "SASL_SSL" else None
        return Connection(
            broker.bootstrap_for(protocol), protocol, mechanism, broker.username, broker.password, cafile=ca
        )

    return connection


def by_token(broker: Broker) -> Connection:
    async def fresh() -> str:
        return broker.token(seconds=60)

    return Connection(broker.bootstrap_for("SASL_PLAINTEXT"), "SASL_PLAINTEXT", "OAUTHBEARER", token_provider=fresh)


def by_certificate(broker: Broker) -> Connection:
    own = broker.certificates
    files = {"cafile": str(broker.cafile), "certfile": str(own / "client.pem"), "keyfile": str(own / "client.key")}
    return Connection(broker.bootstrap_for("SSL"), "SSL", **files)  # type: ignore[arg-type]


WAYS: Final[dict[str, Way]] = {
    "PLAIN": by_password("PLAIN"),
    "SCRAM-SHA-256": by_password("SCRAM-SHA-256"),
    "SCRAM-SHA-512": by_password("SCRAM-SHA-512"),
    "PLAIN over TLS": by_password("PLAIN", "SASL_SSL"),
    "OAUTHBEARER": by_token,
    "certificate": by_certificate,
}
ways: Final = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


async def refusal(connection: Connection) -> BrokerError:
    with pytest.raises(BrokerError) as told:
        await describe_partitions(connection, "flow-events", within_s=SECONDS)
    return told.value


class TestARecordGoesOutAndComesBack:
    @ways
    async def test_with_the_clients_of_aiokafka(self, way: Way, guarded: Broker, prefix: str) -> None:
        connection, topic = way(guarded), f"{prefix}there-and-back"
        await create_topics(connection, [TopicSpec(topic, 1, 1, {})])
        producer = AIOKafkaProducer(**connection.client_options())
        consumer = AIOKafkaConsumer(topic, **connection.client_options(), auto_offset_reset="earliest")

        async with asyncio.timeout(SECONDS), producer, consumer:
            await producer.send_and_wait(topic, b"hello")
            received = await consumer.getone()

        assert received.value == b"hello"

    @ways
    async def test_with_an_agent_of_faust(self, way: Way, guarded: Broker, prefix: str, tmp_path: Path) -> None:
        connection, name = way(guarded), f"{prefix}there-and-back"
        await create_topics(connection, [TopicSpec(name, 1, 1, {})])
        app = faust.App(
            name,
            **connection.faust_options(),
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            store="memory://",
            datadir=str(tmp_path),
        )
        topic = app.topic(name, value_type=bytes, value_serializer="raw")
        received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        @app.agent(topic)
        async def agent(stream: faust.StreamT[bytes]) -> None:
            async for value in stream:
                received.set_result(value)

        async with asyncio.timeout(SECONDS):
            await app.start()
            try:
                await (await topic.send(value=b"hello"))

                assert await received == b"hello"
            finally:
                await app.stop()


class TestWhoIsNotLetIn:
    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
    async def test_a_wrong_password(self, mechanism: str, guarded: Broker, caplog: pytest.LogCaptureFixture) -> None:
        wrong = replace(by_password(mechanism)(guarded), password="hunter2-in-the-attic")

        with caplog.at_level(logging.DEBUG):
            told = await refusal(wrong)

        assert told.code == "BROKER_AUTH"
        assert f"refuses the {mechanism} credentials" in told.message
        assert "DYNAMICFLOW_SASL_PASSWORD" in told.message
        assert "SaslAuthenticateRequest" in caplog.text, "the log is at debug level"
        assert "hunter2" not in f"{told} {caplog.text}"

    async def test_an_unknown_user(self, guarded: Broker) -> None:
        told = await refusal(replace(by_password("SCRAM-SHA-512")(guarded), username="nobody"))

        assert told.code == "BROKER_AUTH"

    @pytest.mark.parametrize("seconds", [-120, None], ids=["expired", "no token at all"])
    async def test_a_token_that_is_not_good(
        self, seconds: float | None, guarded: Broker, caplog: pytest.LogCaptureFixture
    ) -> None:
        token = "hunter2-in-the-attic" if seconds is None else guarded.token(seconds=seconds)

        with caplog.at_level(logging.DEBUG):
            told = await refusal(replace(by_token(guarded), token=token, token_provider=None))

        assert (told.code, "does not take the token" in told.message) == ("BROKER_AUTH", True)
        assert token not in f"{told} {caplog.text}"

    async def test_a_token_provider_that_fails(self, guarded: Broker) -> None:
        def fails() -> str:
            raise RuntimeError("hunter2")

        told = await refusal(replace(by_token(guarded), token_provider=fails))

        assert told.code == "BROKER_AUTH"
        assert "no token from fails: RuntimeError in test_security.py" in told.message
        assert "hunter2" not in str(told)

    async def test_a_certificate_that_is_missing(self, guarded: Broker) -> None:
        told = await refusal(replace(by_certificate(guarded), certfile=None, keyfile=None))

        assert (told.code, "DYNAMICFLOW_TLS_CERT" in told.message) == ("BROKER_AUTH", True)

    async def test_a_broker_that_another_authority_knows(self, guarded: Broker) -> None:
        stranger = str(guarded.certificates / "stranger.pem")

        told = await refusal(replace(by_certificate(guarded), cafile=stranger))

        assert (told.code, "certificate is not trusted" in told.message) == ("BROKER_AUTH", True)
        assert "DYNAMICFLOW_TLS_CA" in told.message

    async def test_plain_text_on_a_port_for_tls(self, guarded: Broker) -> None:
        told = await refusal(Connection(guarded.bootstrap_for("SSL")))

        assert (told.code, "DYNAMICFLOW_SECURITY_PROTOCOL" in told.message) == ("BROKER_UNREACHABLE", True)

    async def test_no_login_on_a_port_that_asks_for_one(self, guarded: Broker) -> None:
        told = await refusal(Connection(guarded.bootstrap_for("SASL_PLAINTEXT")))

        assert (told.code, "ask for a login" in told.message) == ("BROKER_UNREACHABLE", True)


class TestAKeyWithAPassword:
    @pytest.fixture
    def locked(self, guarded: Broker, tmp_path: Path) -> Connection:
        key = tmp_path / "client.locked.key"
        command = f"openssl pkcs8 -topk8 -v2 aes256 -passout pass:open-sesame -in client.key -out {key}"
        subprocess.run(command.split(), cwd=guarded.certificates, check=True, capture_output=True, timeout=SECONDS)
        return replace(by_certificate(guarded), keyfile=str(key))

    async def test_opens_with_it(self, locked: Connection) -> None:
        assert await describe_partitions(replace(locked, key_password="open-sesame"), "none") is None

    @pytest.mark.parametrize("password", [None, "hunter2"])
    async def test_is_refused_without_it_and_nobody_is_asked(self, password: str | None, locked: Connection) -> None:
        with pytest.raises(UsageError, match="DYNAMICFLOW_TLS_KEY_PASSWORD") as told:
            replace(locked, key_password=password).client_options()

        assert "hunter2" not in str(told.value)


class TestATokenThatIsRenewed:
    async def test_a_later_login_takes_the_new_one(self, guarded: Broker, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text(guarded.token(seconds=-120), encoding="utf-8")
        connection = replace(by_token(guarded), token_provider=None, token_file=str(path))

        told = await refusal(connection)
        path.write_text(guarded.token(), encoding="utf-8")

        assert told.code == "BROKER_AUTH"
        assert await describe_partitions(connection, "none") is None
