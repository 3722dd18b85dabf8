"""What the other tests of this folder stand on: a broker for all, brokers of one's own, listeners with locks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from tests.kafka.broker import Broker, Cluster, SharedBroker, free_port, warm_up
from tests.kafka.runtime import NoKafka, runtime

ROOT: Final = Path(__file__).parents[2]


async def create_topic(bootstrap: str, topic: str, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, replicas)])
    finally:
        await admin.close()


async def leader_of(bootstrap: str, topic: str) -> int:
    """The node id of the topic's only partition's leader."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (found,) = await admin.describe_topics([topic])
        return int(found["partitions"][0]["leader"])
    finally:
        await admin.close()


async def send(bootstrap: str, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def received(bootstrap: str, topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


class TestTheBrokerOfTheRun:
    async def test_gives_what_it_took(self, broker: SharedBroker, prefix: str) -> None:
        await create_topic(broker.bootstrap, f"{prefix}x")
        await send(broker.bootstrap, f"{prefix}x", b"1", b"2")
        assert await received(broker.bootstrap, f"{prefix}x", 2) == [b"1", b"2"]


@pytest.fixture(scope="module")
def own() -> Iterator[Broker]:
    with Broker(properties={"auto.create.topics.enable": "true"}) as started:
        yield started


class TestABrokerOfOnesOwn:
    async def test_has_the_properties_it_was_given(self, own: Broker, prefix: str) -> None:
        await send(own.bootstrap, f"{prefix}x", b"1")

    async def test_keeps_address_and_data_over_a_crash(self, own: Broker, prefix: str) -> None:
        await send(own.bootstrap, f"{prefix}x", b"1")
        before = own.bootstrap, own.pid
        own.restart(kill=True)
        assert (own.bootstrap, own.pid is not None, own.pid != before[1]) == (before[0], True, True)
        assert await received(own.bootstrap, f"{prefix}x", 1) == [b"1"]

    async def test_answers_nothing_while_it_is_paused(self, own: Broker, prefix: str) -> None:
        async with AIOKafkaProducer(bootstrap_servers=own.bootstrap) as producer:
            await producer.send_and_wait(f"{prefix}x", b"1")
            own.pause()
            late = asyncio.create_task(producer.send_and_wait(f"{prefix}x", b"2"))
            done, _ = await asyncio.wait([late], timeout=1)
            own.resume()
            await late
        assert not done

    def test_is_gone_with_its_folder_after_the_test(self, own_broker: Callable[..., Broker]) -> None:
        own = own_broker()
        own.stop()
        assert (own.pid, own.folder.exists()) == (None, True)
        own.close()
        assert not own.folder.exists()


class TestACluster:
    async def test_survives_the_loss_of_a_leader_and_takes_it_back(self, cluster: Cluster, prefix: str) -> None:
        await create_topic(cluster.bootstrap, f"{prefix}x", replicas=3)
        await send(cluster.bootstrap, f"{prefix}x", b"1")
        lost = cluster.nodes[await leader_of(cluster.bootstrap, f"{prefix}x") - 1]
        lost.kill()
        await send(cluster.bootstrap, f"{prefix}x", b"2")
        lost.start()
        assert await received(lost.bootstrap, f"{prefix}x", 2) == [b"1", b"2"]


class Token(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, value: str) -> None:
        self._value = value

    async def token(self) -> str:
        return self._value


def password(given: str) -> dict[str, Any]:
    return {"sasl_plain_username": Broker.username, "sasl_plain_password": given}


def bearer(given: str) -> dict[str, Any]:
    return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": Token(given)}


class TestSecureListeners:
    @pytest.fixture(params=["SASL_PLAINTEXT", "SASL_SSL"])
    def sasl(self, request: pytest.FixtureRequest, secure_broker: Broker) -> dict[str, Any]:
        """Options of a client, but for who it is."""
        tls = {"ssl_context": create_ssl_context(cafile=str(secure_broker.cafile))} if "SSL" in request.param else {}
        address = secure_broker.bootstrap_for(request.param)
        return {"bootstrap_servers": address, "security_protocol": request.param, **tls}

    async def enter(self, **options: Any) -> None:
        """Raises KafkaError if the broker does not let this client in."""
        admin = AIOKafkaAdminClient(**options)
        try:
            await admin.start()
            await admin.list_topics()
        finally:
            await admin.close()

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
    async def test_know_the_right_password(self, sasl: dict[str, Any], mechanism: str) -> None:
        await self.enter(**sasl, sasl_mechanism=mechanism, **password(Broker.password))
        with pytest.raises(KafkaError):
            await self.enter(**sasl, sasl_mechanism=mechanism, **password("wrong"))

    async def test_know_a_token_that_is_still_good(self, sasl: dict[str, Any]) -> None:
        await self.enter(**sasl, **bearer(Broker.token()))
        for refused in (Broker.token(seconds=-60), "not-a-token"):
            with pytest.raises(KafkaError):
                await self.enter(**sasl, **bearer(refused))

    async def test_have_a_certificate_of_their_own_authority(self, secure_broker: Broker) -> None:
        options = {"bootstrap_servers": secure_broker.bootstrap_for("SSL"), "security_protocol": "SSL"}
        await self.enter(**options, ssl_context=create_ssl_context(cafile=str(secure_broker.cafile)))
        stranger = str(secure_broker.certificates / "stranger.pem")
        with pytest.raises(KafkaError):
            await self.enter(**options, ssl_context=create_ssl_context(cafile=stranger))

    @pytest.mark.parametrize(("name", "let_in"), [("client", True), ("stranger", False)])
    async def test_know_a_clients_certificate(self, secure_broker: Broker, name: str, let_in: bool) -> None:
        at = secure_broker.certificates
        context = create_ssl_context(
            cafile=str(at / "ca.pem"), certfile=str(at / f"{name}.pem"), keyfile=str(at / f"{name}.key")
        )
        options = {"bootstrap_servers": secure_broker.bootstrap_for("SSL"), "security_protocol": "SSL"}
        if let_in:
            await self.enter(**options, ssl_context=context)
        else:
            with pytest.raises(KafkaError):
                await self.enter(**options, ssl_context=context)


HANGING_TESTS: Final = """\
import json, os, pathlib, time, pytest

@pytest.mark.parametrize("n", [1, 2])
def test_hangs(n, broker):
    place = pathlib.Path(os.environ["SEEN"])
    (place / "new").joinpath(str(n)).write_text(json.dumps([broker.bootstrap, broker.pid, os.getpid()]))
    (place / "new").joinpath(str(n)).rename(place / str(n))
    while True:
        time.sleep(0.1)
"""


def alive(pid: int) -> bool:
    """A zombie is not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


class TestARunOfTwoProcesses:
    @pytest.mark.timeout(120)
    def test_has_one_broker_which_is_gone_when_the_run_is_killed(self, tmp_path: Path) -> None:
        (tmp_path / "new").mkdir()
        file = tmp_path / "test_hanging.py"
        file.write_text(HANGING_TESTS, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-n2", "--dist=load", "-ptests.kafka.conftest", str(file)]
        rules = [f"--rootdir={tmp_path}", f"-c{ROOT / 'pyproject.toml'}", f"--basetemp={tmp_path / 'run'}"]
        left_out = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        left_out.pop("DYNAMICFLOW_TEST_KAFKA", None)
        run = subprocess.Popen(
            [*command, *rules],
            cwd=ROOT,
            env={**left_out, "SEEN": str(tmp_path), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert until(lambda: (tmp_path / "1").exists() and (tmp_path / "2").exists(), 60)
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
        (address, broker, worker), (other_address, other_broker, other_worker) = (
            json.loads((tmp_path / n).read_text(encoding="utf-8")) for n in "12"
        )
        assert (address, broker) == (other_address, other_broker) and worker != other_worker
        assert until(lambda: not alive(broker), 15)


class TestWithoutAKafka:
    def test_the_three_ways_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(NoKafka, match=r"DYNAMICFLOW_TEST_KAFKA=host:port .* java .* mvn .* docker") as told:
            runtime.__wrapped__(warm_up)
        assert "java and mvn are not both on the PATH, and docker is not on the PATH" in str(told.value)

    def test_a_named_broker_that_is_not_there_is_told(self) -> None:
        with pytest.raises(NoKafka, match="does not answer"):
            SharedBroker.at(f"127.0.0.1:{free_port()}")
