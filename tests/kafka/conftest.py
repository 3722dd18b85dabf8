"""A real Kafka for these tests: one broker for the whole run, more where a test stops them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from filelock import FileLock

from tests.kafka.broker import Broker, Cluster, SharedBroker, warm_up
from tests.kafka.runtime import NoKafka, runtime


def pytest_collection_finish(session: pytest.Session) -> None:
    """Jars or image are there before the first test, whose time limit is not meant for a download."""
    starting = {"own_broker", "cluster", "secure_broker"}
    if "DYNAMICFLOW_TEST_KAFKA" not in os.environ:
        starting.add("broker")
    wanted = any(starting.intersection(getattr(item, "fixturenames", ())) for item in session.items)
    if wanted and not session.config.option.collectonly:
        with suppress(NoKafka):  # told by each test that needs it
            runtime(warm_up)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts are planned by words, whatever key the machine has."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DYNAMICFLOW_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedBroker]:
    """One per run, whatever the number of xdist's processes: the first that asks starts it; it ends with the run."""
    if address := os.environ.get("DYNAMICFLOW_TEST_KAFKA"):
        yield SharedBroker.at(address)
    elif "PYTEST_XDIST_WORKER" in os.environ:
        yield of_all_workers(tmp_path_factory.getbasetemp().parent / "kafka")
    else:
        with Broker() as own:
            yield SharedBroker(own.bootstrap, own.pid)


KEPT: list[Broker] = []
"""Kept until this process ends; the node itself lives as long as the run."""


def of_all_workers(folder: Path) -> SharedBroker:
    """The broker in ``folder``, started by the first who asks. It belongs to xdist's controller, our parent process."""
    folder.mkdir(exist_ok=True)
    address = folder / "address.json"
    with FileLock(folder / "lock"):
        if not address.exists():
            started = Broker(folder=folder / "node", belongs_to=os.getppid()).start()
            KEPT.append(started)
            address.write_text(json.dumps({"bootstrap": started.bootstrap, "pid": started.pid}), encoding="utf-8")
    return SharedBroker(**json.loads(address.read_text(encoding="utf-8")))


@pytest.fixture
def own_broker() -> Iterator[Callable[..., Broker]]:
    """Makes a started broker for this test alone; takes what ``Broker`` takes."""
    with ExitStack() as ends:
        yield lambda **options: ends.enter_context(Broker(**options))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes for this test alone."""
    with Cluster() as three:
        yield three


@pytest.fixture(scope="module")
def secure_broker() -> Iterator[Broker]:
    """One for the tests of a module, with a listener for every security protocol; none of them stops it."""
    with Broker(secure=True) as own:
        yield own


@pytest.fixture
def prefix() -> str:
    """For the names of this test's topics, groups and transactional ids: no other test has it."""
    return f"t{secrets.token_hex(3)}-"
