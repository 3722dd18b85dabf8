"""Runs that are asked for before a worker has admitted them, or that none will ever admit."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cli.command_line import until
from tests.kafka.broker import SharedBroker
from tests.kafka.command_line.kit import PARTITIONS, Shell, Site
from tests.kafka.process_kit import WorkerProcess


@pytest.fixture
def unmanned(
    broker: SharedBroker, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Topics that no worker reads, with the request of the run ``early`` in them."""
    site = Site(tmp_path, broker.bootstrap)
    monkeypatch.setenv("DYNAMICFLOW_BOOTSTRAP", site.bootstrap)
    monkeypatch.setenv("DYNAMICFLOW_TOPIC_PREFIX", site.prefix)
    monkeypatch.chdir(site.folder)
    shell = Shell(site, capsysbinary)
    assert shell("topics", "create", "--partitions", str(PARTITIONS)).code == 0
    published = shell("publish", "--plan", "doubled.json", "--tools", "tools.py", "-i", '{"n": 3}', "--run-id", "early")
    assert (published.code, published.out) == (0, "early\n")
    return shell


class TestARunThatNoWorkerHasAdmitted:
    def test_is_waited_for_by_who_watches_it(self, unmanned: Shell) -> None:
        site = unmanned.site
        watching = unmanned.process("watch", "early", "--json")
        following = unmanned.process("events", "early", "--raw", "--json", "--follow")
        arguments = ("--tools", "tools.py", "--metrics-port", "0", *site.flags)
        time.sleep(2)  # both have looked in vain by now; were they slower, there would be less to see
        with WorkerProcess(site.folder / "worker.log", *arguments):
            result, told = watching.communicate(timeout=60)
            events, _ = following.communicate(timeout=60)

        assert json.loads(result)["output"] == {"doubled": 6}
        assert f"its request is at 0 in {site.topics.requests}-" in told
        assert f"`dynamicflow worker --bootstrap {site.bootstrap} --prefix {site.prefix}` starts one" in told
        assert len(told.splitlines()) == 1
        assert json.loads(events.splitlines()[-1])["type"] == "flow-complete"

    @pytest.mark.parametrize("command", ["show", "events", "rebuild"])
    def test_is_told_where_its_request_lies(self, unmanned: Shell, command: str) -> None:
        told = unmanned(command, "early")

        assert told.code == 2
        assert "and no worker has admitted it; wait with `dynamicflow watch early --bootstrap" in told.err

    def test_that_was_not_asked_for_either_is_not_waited_for(self, unmanned: Shell) -> None:
        assert unmanned("watch", "never").err.startswith("RUN_NOT_FOUND: no run 'never' in kafka at")


def test_a_run_whose_request_was_refused_is_told_so(shell: Shell) -> None:
    shell.site.append("bad", '{"promt": "x"}', topic=shell.site.topics.requests)
    until(lambda: "REQUEST_INVALID" in shell("show", "bad").err)
    told = shell("watch", "bad", "--json")

    assert (told.code, told.document["error"]["code"]) == (2, "RUN_NOT_FOUND")
    assert "its request was refused: REQUEST_INVALID: the request has 2 problems" in told.document["error"]["message"]
    assert f"in {shell.site.topics.dead_letter}-" in told.document["error"]["message"]
