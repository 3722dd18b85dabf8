"""Runs that are asked for before a worker has admitted them, or that none will ever admit."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.cli.command_line import until
from tests.kafka.broker import Broker, SharedBroker
from tests.kafka.command_line.kit import PARTITIONS, Shell, Site
from tests.kafka.process_kit import WorkerProcess


def published(bootstrap: str, folder: Path, capture: pytest.CaptureFixture[bytes], patch: pytest.MonkeyPatch) -> Shell:
    """Topics that no worker reads, with the request of the run ``early`` in them."""
    site = Site(folder, bootstrap)
    patch.setenv("DYNAMICFLOW_BOOTSTRAP", site.bootstrap)
    patch.setenv("DYNAMICFLOW_TOPIC_PREFIX", site.prefix)
    patch.chdir(site.folder)
    shell = Shell(site, capture)
    assert shell("topics", "create", "--partitions", str(PARTITIONS)).code == 0
    sent = shell("publish", "--plan", "doubled.json", "--tools", "tools.py", "-i", '{"n": 3}', "--run-id", "early")
    assert (sent.code, sent.out) == (0, "early\n")
    return shell


@pytest.fixture
def unmanned(
    broker: SharedBroker, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    return published(broker.bootstrap, tmp_path, capsysbinary, monkeypatch)


def first_word(process: subprocess.Popen[str]) -> str:
    """What it says on standard error, once it does."""
    assert process.stderr is not None
    return process.stderr.readline()


@contextmanager
def worker(site: Site) -> Iterator[None]:
    arguments = ("--tools", "tools.py", "--metrics-port", "0", *site.flags)
    with WorkerProcess(site.folder / "worker.log", *arguments):
        yield


class TestARunThatNoWorkerHasAdmitted:
    def test_is_waited_for_by_who_watches_it(self, unmanned: Shell) -> None:
        site = unmanned.site
        watching = unmanned.process("watch", "early", "--json")
        following = unmanned.process("events", "early", "--raw", "--json", "--follow")
        told, follows = first_word(watching), first_word(following)
        with worker(site):
            result, more = watching.communicate(timeout=60)
            events, _ = following.communicate(timeout=60)

        assert json.loads(result)["output"] == {"doubled": 6}
        assert f"its request is at 0 in {site.topics.requests}-" in told
        assert f"`dynamicflow worker --tools FILE.py --bootstrap {site.bootstrap} --prefix {site.prefix}`" in told
        assert (told, more) == (follows, "")
        assert json.loads(events.splitlines()[-1])["type"] == "flow-complete"

    def test_is_waited_for_on_a_cluster_that_no_group_was_on_and_whose_broker_goes_away(
        self, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Broker() as own:
            shell = published(own.bootstrap, tmp_path, capsysbinary, monkeypatch)
            watching = shell.process("watch", "early", "--json")
            assert "its request is at 0" in first_word(watching)
            own.restart(down_s=3, kill=True)
            with worker(shell.site):
                result, _ = watching.communicate(timeout=60)

        assert json.loads(result)["output"] == {"doubled": 6}

    def test_is_told_why_it_was_refused_while_it_was_waited_for(self, unmanned: Shell) -> None:
        site = unmanned.site
        site.append("bad", '{"promt": "x"}', topic=site.topics.requests)
        watching = unmanned.process("watch", "bad", "--json")
        assert "its request is at" in first_word(watching)
        with worker(site):
            result, _ = watching.communicate(timeout=60)

        assert watching.returncode == 2
        assert "its request was refused: REQUEST_INVALID" in json.loads(result)["error"]["message"]

    @pytest.mark.parametrize("command", [("show", "early"), ("events", "early"), ("rebuild", "early")], ids=" ".join)
    def test_is_told_where_its_request_lies(self, unmanned: Shell, command: tuple[str, ...]) -> None:
        told = unmanned(*command)

        assert told.code == 2
        assert "and no worker has admitted it; wait with `dynamicflow watch early --bootstrap" in told.err

    async def test_is_found_behind_an_open_transaction(self, unmanned: Shell) -> None:
        topic, bootstrap = unmanned.site.topics.requests, unmanned.site.bootstrap
        async with (
            AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=unmanned.site.prefix) as holding,
            AIOKafkaProducer(bootstrap_servers=bootstrap) as plain,
        ):
            await holding.begin_transaction()
            for partition in range(PARTITIONS):
                await (await holding.send(topic, b'{"prompt": "x"}', key=b"first", partition=partition))
            await plain.send_and_wait(topic, b'{"prompt": "x"}', key=b"behind")
            told = await asyncio.to_thread(unmanned, "show", "behind")
            await holding.abort_transaction()
            first = await asyncio.to_thread(unmanned, "show", "first")

        assert "no worker has admitted it" in told.err
        assert "no run 'first' in kafka at" in first.err
        assert "admitted" not in first.err

    def test_that_was_not_asked_for_either_is_not_waited_for(self, unmanned: Shell) -> None:
        assert unmanned("watch", "never").err.startswith("RUN_NOT_FOUND: no run 'never' in kafka at")


@pytest.mark.parametrize(
    ("run_id", "request_"),
    [("keyed", '{"promt": "x"}'), ("named", '{"runId": "named", "promt": "x"}')],
    ids=["by its key", "by its text"],
)
def test_a_run_whose_request_was_refused_is_told_so(shell: Shell, run_id: str, request_: str) -> None:
    key = run_id if run_id == "keyed" else ""
    shell.site.append(key, request_, topic=shell.site.topics.requests)
    until(lambda: "refused: REQUEST_INVALID" in shell("show", run_id).err)
    told = shell("watch", run_id, "--json")

    assert (told.code, told.document["error"]["code"]) == (2, "RUN_NOT_FOUND")
    assert "its request was refused: REQUEST_INVALID: the request has 2 problems" in told.document["error"]["message"]
    assert f"in {shell.site.topics.dead_letter}-" in told.document["error"]["message"]
