"""``dynamicflow worker`` as a process: what it does with requests, signals, topics and brokers that are not there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from aiokafka import TopicPartition

from dynamicflow.streams.cli.main import main
from dynamicflow.streams.kafka.admin import create_topics
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.records import partition_of
from dynamicflow.streams.kafka.topics import Topics
from tests.kafka.broker import Broker, SharedBroker
from tests.kafka.process_kit import ROOT, TOOLS, Kcat, WorkerProcess, call, plan

pytestmark = pytest.mark.timeout(120)  # on a busy machine a process takes its time to start

PARTITIONS: Final = 2


@dataclass(eq=False)
class Place:
    """Topics of a test's own, a folder with tools, and the workers that are started there."""

    bootstrap: str
    prefix: str
    folder: Path
    ends: ExitStack

    def __post_init__(self) -> None:
        self.kcat, self.topics = Kcat(self.bootstrap), Topics(self.prefix)
        self.tools = self.folder / "tools.py"
        self.tools.write_text(TOOLS, "utf-8")
        self._started = 0

    def make_topics(self) -> None:
        """Sooner than a worker would."""
        asyncio.run(create_topics(Connection(self.bootstrap), self.topics.specs(PARTITIONS)))

    def worker(self, *arguments: str, **how: Any) -> WorkerProcess:
        self._started += 1
        common = ("--bootstrap", self.bootstrap, "--prefix", self.prefix, "--tools", str(self.tools))
        log = self.folder / f"worker{self._started}.log"
        return self.ends.enter_context(WorkerProcess(log, *common, "--metrics-port", "0", *arguments, **how))

    def start(self, run_id: str, *nodes: dict[str, Any], **request: Any) -> None:
        self.kcat.publish(self.topics.requests, {"plan": plan(*nodes), **request}, run_id)

    def kinds(self, run_id: str) -> list[str]:
        return self.kcat.kinds(self.topics.events, run_id)

    def open_gate(self) -> None:
        (self.folder / "open").touch()


@pytest.fixture
def place(broker: SharedBroker, prefix: str, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as ends:
        made = Place(broker.bootstrap, prefix, tmp_path, ends)
        made.make_topics()
        yield made


class TestARequestFromKcat:
    def test_ends_with_its_result_in_flow_complete(self, place: Place) -> None:
        place.worker().wait_ready()

        place.kcat.publish(place.topics.requests, {"prompt": "Double a number", "input": {"number": 4}}, "planned")
        place.start("given", call("a", "double", {"number": "$input.n"}), input={"n": 5})
        results = place.kcat.wait_for(place.topics.complete, "planned", "given")

        assert [results[key]["status"] for key in ("planned", "given")] == ["completed", "completed"]
        assert (results["planned"]["output"], results["given"]["output"]) == ({"doubled": 8}, {"doubled": 10})

    def test_is_served_by_four_processes_of_one_role_each(self, place: Place) -> None:
        for role in ("intake", "planner", "scheduler", "executor"):
            place.worker("--roles", role)

        place.kcat.publish(place.topics.requests, {"prompt": "Double a number", "input": {"number": 4}}, "planned")
        result = place.kcat.wait_for(place.topics.complete, "planned")["planned"]

        assert (result["status"], result["output"]) == ("completed", {"doubled": 8})


class TestTwoWorkersOnOneHost:
    def test_share_the_partitions_and_what_one_leaves_the_other_takes(self, place: Place) -> None:
        first, second = place.worker(), place.worker()
        first.wait_ready()
        second.wait_ready()
        until(lambda: owned(first) == owned(second) == 1)

        first.send(signal.SIGTERM)
        assert first.ended() == 0
        until(lambda: owned(second) == PARTITIONS and second.get("/readyz")[0] == 200)

        for number in range(4):
            place.start(f"run-{number}", call("a", "double", {"number": number}))
        results = place.kcat.wait_for(place.topics.complete, *(f"run-{number}" for number in range(4)))
        assert [results[f"run-{number}"]["output"]["doubled"] for number in range(4)] == [0, 2, 4, 6]
        assert sorted(os.listdir(place.folder)) == ["tools.py", "worker1.log", "worker2.log"]


class TestABusyWorker:
    def test_tells_what_waits_though_it_fetches_nothing_meanwhile(self, place: Place) -> None:
        worker = place.worker("--concurrency", "1")
        lag = f'consumer_lag{{role="executor",topic="{place.prefix}node-ready"}}'
        for count in (2, 4):
            for number in range(count - 2, count):
                place.start(f"run-{number}", call("a", "gate", {"name": str(number)}))
            until(lambda waiting=count - 1: worker.metric(lag) == waiting)  # type: ignore[misc]

        oldest = max(worker.metric(f'low_water_age_seconds{{partition="{one}"}}') or 0 for one in range(PARTITIONS))
        assert (worker.metric("active_runs"), worker.metric("steps_in_flight")) == (4, 1)
        assert 1 < oldest < 60


class TestAPartitionThatCannotBeTakenOver:
    def test_keeps_it_from_being_ready_which_says_why(self, place: Place) -> None:
        worker = place.worker()
        place.start("run", call("a", "gate", {"name": "slow"}))
        worker.wait_for("at the gate: slow")
        worker.send(signal.SIGTERM)
        worker.wait_for("waits for 1 step")
        place.open_gate()
        assert worker.ended() == 0
        partition = partition_of(b"run", PARTITIONS)
        asyncio.run(forget(place, partition, 3))  # of which the run's first two are needed

        second = place.worker()
        second.wait_for("cannot be taken over")

        begins = f"{place.prefix}flow-events-{partition} begins at 3; offset 0, which is needed, has expired"
        until(lambda: "starting" not in second.get("/readyz")[1])
        status, told = second.get("/readyz")
        assert status == 503 and f"partition {partition} of the log cannot be taken over: " in told and begins in told
        assert second.get("/healthz")[0] == 200
        second.send(signal.SIGTERM)
        assert second.ended() == 0


class TestToldToStop:
    def test_it_lets_a_running_step_end_and_leaves(self, place: Place) -> None:
        worker = place.worker()
        place.start("run", call("a", "gate", {"name": "slow"}))
        worker.wait_for("at the gate: slow")

        worker.send(signal.SIGTERM)
        worker.wait_for("waits for 1 step")
        not_ready = worker.get("/readyz")
        place.open_gate()

        assert worker.ended() == 0
        assert not_ready == (503, '{"status": "not ready", "reason": "the worker is leaving"}')
        assert place.kinds("run")[-1] == "tool-output"
        assert "Traceback" not in worker.said()

    def test_twice_it_ends_at_once(self, place: Place) -> None:
        worker = place.worker()
        place.start("run", call("a", "gate", {"name": "slow"}))
        worker.wait_for("at the gate: slow")

        worker.send(signal.SIGTERM)
        worker.wait_for("waits for 1 step")
        began = time.monotonic()
        worker.send(signal.SIGTERM)

        assert worker.ended() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 1.0
        assert "tool-output" not in place.kinds("run")

    def test_while_its_tools_are_loading_it_leaves(self, place: Place) -> None:
        place.tools.write_text("print('slow to load', flush=True)\nimport time; time.sleep(60)", "utf-8")
        worker = place.worker()
        worker.wait_for("slow to load")

        worker.send(signal.SIGTERM)

        assert worker.ended() == 0
        assert "Traceback" not in worker.said()

    def test_before_it_has_joined_its_groups_it_leaves(self, place: Place) -> None:
        worker = place.worker()
        worker.wait_for("has 2 partitions")  # the groups are joined next

        worker.send(signal.SIGINT)

        assert worker.ended() == 0
        assert "left in order" in worker.said() and "Traceback" not in worker.said()


class TestItRefusesToStart:
    def test_with_another_partition_count_than_it_is_told(self, place: Place) -> None:
        worker = place.worker("--partitions", "5")

        assert worker.ended() == 4
        assert f"TOPICS_WRONG  /{place.prefix}flow-events" in worker.said()
        assert "fixed for life" in worker.said() and "Traceback" not in worker.said()

    def test_with_another_partition_count_than_before(self, place: Place) -> None:
        asyncio.run(more_partitions(place, PARTITIONS + 1))

        worker = place.worker()

        assert worker.ended() == 4
        assert f"{place.prefix}flow-done has 2 partitions, {place.prefix}flow-events has 3" in worker.said()

    def test_without_topics_if_it_may_not_make_them(self, broker: SharedBroker, tmp_path: Path) -> None:
        arguments = ("--bootstrap", broker.bootstrap, "--prefix", "nobody-makes-them-", "--no-create-topics")
        with WorkerProcess(tmp_path / "log", *arguments) as worker:
            assert worker.ended() == 4
            assert "TOPICS_MISSING" in worker.said() and "nobody-makes-them-flow-events is missing" in worker.said()

    def test_without_a_broker_after_a_while(self, tmp_path: Path) -> None:
        with WorkerProcess(tmp_path / "log", "--bootstrap", "127.0.0.1:1", "--wait", "1") as worker:
            worker.wait_for("Connection refused; waiting for it, at most 1 s more")
            began = time.monotonic()

            assert worker.ended() == 4
            assert time.monotonic() - began < 5
            assert worker.said().splitlines()[-1].startswith("BROKER_UNREACHABLE: kafka at 127.0.0.1:1: Connection ref")

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["--roles", "intake,cook"], "USAGE"),
            (["--roles", ","], "USAGE"),
            (["--queues", " "], "USAGE"),
            (["--queues", "a b"], "KAFKA_SETTINGS"),
            (["--prefix", "a b"], "KAFKA_SETTINGS"),
            (["--bootstrap", "a b"], "KAFKA_SETTINGS"),
            (["--bootstrap", ""], "KAFKA_SETTINGS"),
            (["--tools", "there-is-none.py"], "TOOLS_FILE_NOT_FOUND"),
            (["--concurrency", "0"], "USAGE"),
            (["--metrics-port", "70000"], "USAGE"),
            (["--log-level", "loud"], "USAGE"),
            (["--nothing"], "USAGE"),
        ],
    )
    def test_with_what_cannot_be_meant(
        self, arguments: list[str], code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith("DYNAMICFLOW_")]:
            monkeypatch.delenv(name)
        before = signal.getsignal(signal.SIGTERM)

        exits = main(["worker", *([] if "--bootstrap" in arguments else ["--bootstrap", "b:1"]), *arguments])

        assert exits == 2
        assert capsys.readouterr().err.startswith(f"{code}: ")
        assert signal.getsignal(signal.SIGTERM) is before

    def test_at_an_address_that_is_taken(self, place: Place) -> None:
        worker = place.worker("--metrics-port", place.bootstrap.rpartition(":")[2])

        assert worker.ended() == 2
        assert "METRICS_ADDRESS: metrics cannot be served at 127.0.0.1:" in worker.said()


class TestABrokerThatIsStillStarting:
    def test_is_waited_for_and_no_secret_is_told(self, tmp_path: Path) -> None:
        broker = Broker(secure=True)
        with ExitStack() as ends:
            ends.callback(broker.close)
            login = {
                "DYNAMICFLOW_BOOTSTRAP": broker.bootstrap_for("SASL_PLAINTEXT"),
                "DYNAMICFLOW_TOPIC_PREFIX": "early-",
                "DYNAMICFLOW_TOOLS": str(tmp_path / "tools.py"),
                "DYNAMICFLOW_METRICS_PORT": "0",
                "DYNAMICFLOW_LOG_LEVEL": "debug",
                "DYNAMICFLOW_PARTITIONS": "2",
                "DYNAMICFLOW_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "DYNAMICFLOW_SASL_MECHANISM": "SCRAM-SHA-256",
                "DYNAMICFLOW_SASL_USERNAME": broker.username,
                "DYNAMICFLOW_SASL_PASSWORD": broker.password,
            }
            (tmp_path / "tools.py").write_text(TOOLS, "utf-8")
            worker = ends.enter_context(WorkerProcess(tmp_path / "log", environ=login))
            worker.wait_for("waiting for it, at most")
            early = worker.get("/readyz")
            broker.start()
            worker.wait_ready()
            kcat = Kcat(broker.bootstrap)
            kcat.publish("early-flow-requests", {"plan": plan(call("a", "double", {"number": 1}))}, "run")
            result = kcat.wait_for("early-flow-complete", "run")["run"]
            worker.send(signal.SIGTERM)

            assert worker.ended() == 0
            assert early[0] == 503 and "Connection refused" in early[1]
            assert result["output"] == {"doubled": 2}
            assert broker.password not in worker.said()


class TestHelp:
    def test_loads_no_client(self) -> None:
        code = (
            "import sys; from dynamicflow.streams.cli.main import main; main(['worker', '--help']); "
            "print(*{'aiokafka', 'faust', 'asyncio', 'rich'} & set(sys.modules), file=sys.stderr)"
        )
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30, env=environ
        )

        assert "--session-timeout" in done.stdout
        assert done.stderr.split() == []


Look: TypeAlias = Callable[[], bool]


def until(look: Look, seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < ends, f"not within {seconds:g} s"
        time.sleep(0.1)


def owned(worker: WorkerProcess) -> float | None:
    """Partitions of the log that are its own."""
    return worker.metric('partitions_owned{role="scheduler"}')


async def forget(place: Place, partition: int, before: int) -> None:
    """The log begins at that offset from now on, as when its time is over."""
    from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

    admin = AIOKafkaAdminClient(bootstrap_servers=place.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(place.topics.events, partition): RecordsToDelete(before)})
    finally:
        await admin.close()


async def more_partitions(place: Place, count: int) -> None:
    """As somebody might do with Kafka's own tools."""
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    admin = AIOKafkaAdminClient(bootstrap_servers=place.bootstrap)
    await admin.start()
    try:
        await admin.create_partitions({place.topics.events: NewPartitions(total_count=count)})
    finally:
        await admin.close()
