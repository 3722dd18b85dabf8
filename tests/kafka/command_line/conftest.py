"""One worker for all tests of the command line in a process: its topics are its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kafka.broker import SharedBroker
from tests.kafka.command_line.kit import PARTITIONS, Shell, Site
from tests.kafka.process_kit import WorkerProcess


@pytest.fixture(scope="session")
def site(broker: SharedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Topics with one worker."""
    made = Site(tmp_path_factory.mktemp("cluster"), broker.bootstrap)
    arguments = ("--tools", "tools.py", "--partitions", str(PARTITIONS), "--metrics-port", "0", *made.flags)
    with WorkerProcess(made.folder / "worker.log", *arguments) as worker:
        worker.wait_ready()
        yield made


@pytest.fixture
def shell(site: Site, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command at the site, in its folder."""
    for name in [name for name in os.environ if name.startswith(("DYNAMICFLOW_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DYNAMICFLOW_BOOTSTRAP", site.bootstrap)
    monkeypatch.setenv("DYNAMICFLOW_TOPIC_PREFIX", site.prefix)
    monkeypatch.chdir(site.folder)
    return Shell(site, capsysbinary)
