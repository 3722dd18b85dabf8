"""Which journal or cluster a command means: flags first, then the environment, and never a guess between two."""

from __future__ import annotations

import pytest

from dynamicflow import UsageError
from dynamicflow.streams.cli.places import Where
from tests.cli.command_line import Desk, ended, process, until

DB = {"DYNAMICFLOW_DB": "env.db"}
CLUSTER = {"DYNAMICFLOW_BOOTSTRAP": "env:9092"}
PREFIX = {"DYNAMICFLOW_TOPIC_PREFIX": "env."}
TOOLS = ("-t", "my_tools.py")
NODE = {"id": "only", "type": "tool", "toolId": "hold", "inputs": {"folder": "$input"}}
AFTER = {**NODE, "id": "after"}


class TestWhere:
    @pytest.mark.parametrize(
        ("flags", "environ", "found"),
        [
            ((None, None, None), {}, Where()),
            ((None, None, None), DB, Where(db="env.db")),
            ((None, None, None), CLUSTER, Where(bootstrap="env:9092")),
            ((None, None, None), CLUSTER | PREFIX, Where(bootstrap="env:9092", prefix="env.")),
            (("a.db", None, None), {}, Where(db="a.db")),
            (("a.db", None, None), DB | CLUSTER | PREFIX, Where(db="a.db")),
            ((None, "a:1", None), DB | CLUSTER, Where(bootstrap="a:1")),
            ((None, "a:1", None), PREFIX, Where(bootstrap="a:1", prefix="env.")),
            ((None, "a:1", "b."), PREFIX, Where(bootstrap="a:1", prefix="b.")),
            ((None, None, "b."), CLUSTER, Where(bootstrap="env:9092", prefix="b.")),
            ((None, None, None), PREFIX | DB, Where(db="env.db")),
            ((None, None, None), {"DYNAMICFLOW_DB": "", **CLUSTER}, Where(bootstrap="env:9092")),
        ],
    )
    def test_is_what_is_said(
        self, flags: tuple[str | None, str | None, str | None], environ: dict[str, str], found: Where
    ) -> None:
        assert Where.of(*flags, environ) == found

    @pytest.mark.parametrize(
        ("flags", "environ", "said"),
        [
            (("a.db", "a:1", None), {}, "not both"),
            ((None, None, None), DB | CLUSTER, "both set"),
            ((None, None, "b."), {}, "goes with --bootstrap"),
            (("a.db", None, "b."), CLUSTER, "goes with --bootstrap"),
        ],
    )
    def test_or_a_question(
        self, flags: tuple[str | None, str | None, str | None], environ: dict[str, str], said: str
    ) -> None:
        with pytest.raises(UsageError, match=said):
            Where.of(*flags, environ)


class TestAJournalRun:
    """What is asked of a run, in a journal that nobody drives."""

    @pytest.fixture
    def waiting(self, desk: Desk) -> Desk:
        desk("run", "--plan", "waiting.json", "--db", "runs.db", "--run-id", "w", "--max-wait", "0")
        return desk

    def test_is_paused_and_resumed(self, waiting: Desk) -> None:
        paused = waiting("pause", "w", "--by", "ada", "--reason", "lunch", "--json")
        going_on = waiting("run", "--run-id", "w")
        resumed = waiting("resume", "w", "--json")

        assert (paused.code, paused.document["status"]) == (0, "paused")
        assert (going_on.code, "dynamicflow resume w --db runs.db" in going_on.err) == (3, True)
        assert (resumed.code, resumed.document["status"]) == (0, "suspended")
        assert waiting("rebuild", "w", "--verify").code == 0

    def test_by_the_process_that_drives_it(self, desk: Desk) -> None:
        desk.plan("held", {"version": "1.0", "nodes": [NODE, AFTER], "edges": [{"from": "only", "to": "after"}]})
        held = process("run", "--plan", "held.json", *TOOLS, "--run-id", "h", "-i", f'"{desk.folder}"', cwd=desk.folder)
        until(desk.holding)
        paused = desk("pause", "h", "--json")
        (desk.folder / "go").touch()
        left = ended(held)
        desk("resume", "h")

        assert (paused.code, paused.document["status"]) == (0, "paused")
        assert left.code == 3
        assert len(desk.holding()) == 1
        assert desk("run", "--run-id", "h", *TOOLS, "--json").document["status"] == "completed"
