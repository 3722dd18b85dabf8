"""The brokers of these tests are those of ``tests/kafka``; each test has a stage of its own."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.faults_kafka.stage import Stage
from tests.kafka.broker import SharedBroker
from tests.kafka.conftest import broker, cluster, own_broker, prefix, pytest_collection_finish

__all__ = ["broker", "cluster", "own_broker", "prefix", "pytest_collection_finish"]

STAGES: Final = pytest.StashKey[list[Stage]]()
MakeStage = Callable[[str], Stage]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells its seed and its schedule, so that it can be made again; what passes tells what was counted."""
    report = yield
    for stage in item.stash.get(STAGES, []):
        if report.failed:
            report.sections.append(("stdout: schedule", f"{stage.schedule}\nlogs of the workers: {stage.folder}"))
            (stage.folder / "failure").write_text(f"{report.longreprtext}\n{stage.schedule}\n", encoding="utf-8")
        elif call.when == "call":
            report.sections.append(("stdout: what was counted", "\n".join(stage.told)))
    return report


@pytest_asyncio.fixture
async def make_stage(prefix: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[MakeStage]:
    """Makes the stage of this test at a bootstrap address; it still has to be opened."""
    made: list[Stage] = request.node.stash.setdefault(STAGES, [])

    def make(bootstrap: str) -> Stage:
        made.append(Stage(bootstrap, prefix, tmp_path))
        return made[-1]

    yield make
    for stage in made:
        if (stage.folder / "failure").exists():
            with suppress(Exception):
                await asyncio.wait_for(stage.dump(), 20)
        await stage.close()


@pytest_asyncio.fixture
async def stage(broker: SharedBroker, make_stage: MakeStage) -> Stage:
    """Topics on the broker of all tests; a test that stops brokers makes its own stage."""
    return await make_stage(broker.bootstrap).open()


@pytest.fixture
def seed() -> int:
    """Drawn anew for each test of a run; FAULTS_SEED makes one again."""
    given = os.environ.get("FAULTS_SEED")
    return int(given) if given else random.SystemRandom().randrange(1_000_000)
