"""Every test of this folder is of one contract and runs on every engine, but for those that the table names."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.engine.engine_kit import Open, in_memory, on_file, on_kafka
from tests.kafka.broker import SharedBroker
from tests.kafka.conftest import broker as broker
from tests.kafka.conftest import pytest_collection_finish as pytest_collection_finish
from tests.kafka.kafka_kit import Site

ENGINES: Final = ("file", "memory", "kafka")
EMBEDDED: Final = ("file", "memory")

NOT_EVERYWHERE: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "TestVirtualTime": (EMBEDDED, "workers go by the brokers' time; no clock of a test's own moves it"),
    "TestGoingOn::test_without_the_tools_it_is_parked_and_with_them_it_goes_on": (
        EMBEDDED,
        "opening a journal takes its runs up again; a run that a worker has parked waits for `resume`: tests/kafka",
    ),
    "TestGoingOn::test_only_the_runs_that_are_named": (
        EMBEDDED,
        "`resume=` chooses among the runs of a journal of one's own; workers share all of them",
    ),
}
"""Class, or class::test -> the engines it runs on, and why not on all. What is not here runs on ENGINES."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make" in metafunc.fixturenames:
        owner = metafunc.cls.__name__ if metafunc.cls is not None else ""
        for name in (f"{owner}::{metafunc.function.__name__}", owner):
            if name in NOT_EVERYWHERE:
                metafunc.parametrize("make", NOT_EVERYWHERE[name][0], indirect=True)
                return
        metafunc.parametrize("make", ENGINES, indirect=True)


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Makes an engine on the test's own journal or topics; closed and made again, it finds the runs of before."""
    makers: dict[str, Callable[[], Open]] = {
        "file": lambda: on_file(tmp_path),
        "memory": in_memory,
        "kafka": lambda: on_kafka(request.getfixturevalue("site")),
    }
    return makers[request.param]()


@pytest.fixture
async def site(broker: SharedBroker) -> AsyncIterator[Site]:
    """Topics of this test's own."""
    async with Site(broker.bootstrap, f"e{secrets.token_hex(3)}-", partitions=2) as own:
        yield own


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DYNAMICFLOW_MODEL"):
        monkeypatch.delenv(name, raising=False)
