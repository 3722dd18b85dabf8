"""``dynamicflow topics`` on a real broker: what it prints for people and for programs, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from dynamicflow.streams.cli.main import main
from tests.cli.command_line import Outcome
from tests.kafka.broker import SharedBroker

ROOT: Final = Path(__file__).parents[2]
Call: TypeAlias = Callable[..., Outcome]


class TestTheCommand:
    @pytest.fixture
    def call(
        self,
        broker: SharedBroker,
        prefix: str,
        capsysbinary: pytest.CaptureFixture[bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Call:
        for name in [name for name in os.environ if name.startswith("DYNAMICFLOW_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("DYNAMICFLOW_BOOTSTRAP", broker.bootstrap)
        monkeypatch.setenv("DYNAMICFLOW_TOPIC_PREFIX", prefix)

        def call(*argv: str) -> Outcome:
            capsysbinary.readouterr()
            code = main(["topics", *argv])
            out, err = capsysbinary.readouterr()
            return Outcome(code, out.decode(), err.decode())

        return call

    def test_make_list_and_check_for_people(self, call: Call, prefix: str) -> None:
        made, listed, checked = call("create", "--partitions", "2"), call("list"), call("check")

        assert (made.code, listed.code, checked.code) == (0, 0, 0)
        assert f"made\t{prefix}flow-events\t2 partitions" in made.out
        assert f"{prefix}flow-events\t2 partitions\t1 replica\tdelete after 90 d" in listed.out
        assert "as they should be" in checked.out
        assert made.err + listed.err + checked.err == ""

    def test_one_document_each_for_programs(self, call: Call, prefix: str) -> None:
        made, again = call("create", "--queue", "gpu", "--json"), call("create", "--queue", "gpu", "--json")
        listed, checked = call("list", "--json"), call("check", "--queue", "gpu", "--json")

        assert {"name": f"{prefix}flow-events", "partitions": 8, "created": True} in made.document["topics"]
        assert {one["created"] for one in again.document["topics"]} == {False}
        assert f"{prefix}node-ready.gpu" in [one["name"] for one in listed.document["topics"]]
        assert checked.document == {"problems": [], "warnings": []}

    def test_missing_topics_are_exit_code_4_with_all_of_them(self, call: Call, prefix: str) -> None:
        told, for_programs = call("check"), call("check", "--json")

        assert (told.code, for_programs.code) == (4, 4)
        assert f"TOPICS_MISSING  /{prefix}flow-events" in told.err
        assert len(for_programs.document["problems"]) == 12

    def test_another_partition_count_is_exit_code_4(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        call("create", "--partitions", "2")
        monkeypatch.setenv("DYNAMICFLOW_PARTITIONS", "3")

        told = call("create", "--json")

        assert told.code == 4
        assert [(one["code"], one["context"]["actual"]) for one in told.document["problems"]] == [("TOPICS_WRONG", 2)]

    def test_a_broker_that_is_not_there_is_exit_code_4_and_one_sentence(self, call: Call) -> None:
        told, for_programs = (
            call("list", "--bootstrap", "127.0.0.1:1"),
            call("check", "--bootstrap", "127.0.0.1:1", "--json"),
        )

        assert (told.code, told.out, len(told.err.splitlines())) == (4, "", 1)
        assert told.err.startswith("BROKER_UNREACHABLE: kafka at 127.0.0.1:1: Connection refused;")
        assert (for_programs.code, for_programs.document["error"]["code"]) == (4, "BROKER_UNREACHABLE")
        assert for_programs.err == ""

    @pytest.mark.parametrize(
        ("argv", "code"),
        [
            (["list", "--bootstrap", ""], "KAFKA_SETTINGS"),
            (["list", "--bootstrap", "a b"], "KAFKA_SETTINGS"),
            (["list", "--prefix", "a b"], "KAFKA_SETTINGS"),
            (["check", "--queue", "a b"], "KAFKA_SETTINGS"),
            (["create", "--partitions", "0"], "USAGE"),
            (["create", "--partitions", "many"], "USAGE"),
            (["nothing"], "USAGE"),
        ],
    )
    def test_what_cannot_be_meant_is_exit_code_2(
        self, call: Call, argv: list[str], code: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DYNAMICFLOW_BOOTSTRAP")

        told, for_programs = call(*argv), call(*argv, "--json")

        assert (told.code, told.out) == (2, "")
        assert (for_programs.code, for_programs.document["error"]["code"]) == (2, code)

    def test_help_loads_no_client(self) -> None:
        code = (
            "import sys; from dynamicflow.streams.cli.main import main; main(['topics', 'create', '--help']); "
            "print(*{'aiokafka', 'faust', 'asyncio', 'rich'} & set(sys.modules), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )

        assert "--replication" in done.stdout
        assert done.stderr.split() == []
