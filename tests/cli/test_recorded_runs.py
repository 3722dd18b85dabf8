"""A recorded run can be read, rebuilt, gone on with; by this process or beside the one that drives it."""

from __future__ import annotations

import json
import signal
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cli.command_line import GOOD, Desk, Outcome, ended, one_step, process, until

DB = ("--db", "runs.db")
TOOLS = ("-t", "my_tools.py")
MINE = ("--run-id", "mine", "--json")


@pytest.fixture
def recorded(desk: Desk) -> Desk:
    desk("run", "--plan", "onboarding.json", *TOOLS, "-i", GOOD, *DB, "--run-id", "order-42")
    return desk


def statuses(desk: Desk) -> dict[str, str]:
    return {run["runId"]: run["status"] for run in desk("runs", *DB, "--json").document["runs"]}


class TestARecordedRunCanBeRead:
    def test_runs_lists_it(self, recorded: Desk) -> None:
        assert statuses(recorded) == {"order-42": "completed"}

    def test_runs_by_status(self, recorded: Desk) -> None:
        assert recorded("runs", *DB, "--status", "failed", "--json").document == {"runs": []}

    def test_runs_for_people_is_a_line_each(self, recorded: Desk) -> None:
        assert recorded("runs", *DB).out.startswith("order-42\tcompleted\t")

    def test_show_gives_the_result_record(self, recorded: Desk) -> None:
        shown = recorded("show", "order-42", *DB, "--json")

        assert shown.code == 0
        assert shown.document["output"] == {"sent": True}
        assert shown.document["nodes"]["validate_email"] == {"valid": True}

    def test_events_are_one_document_a_line(self, recorded: Desk) -> None:
        events = [json.loads(line) for line in recorded("events", "order-42", *DB, "--json").out.splitlines()]

        types = [event["type"] for event in events]
        assert types[0] == "flow-requested"
        assert types[-1] == "flow-complete"
        assert [event["derived"] for event in events if event["type"] == "node-complete"] == [True] * 3

    def test_raw_events_are_those_of_the_log(self, recorded: Desk) -> None:
        raw = [json.loads(line) for line in recorded("events", "order-42", *DB, "--raw", "--json").out.splitlines()]

        assert len(raw) == recorded("rebuild", "order-42", *DB, "--json").document["records"]
        assert not any(event.get("derived") for event in raw)

    def test_after_leaves_out_the_first_records(self, recorded: Desk) -> None:
        raw = recorded("events", "order-42", *DB, "--raw", "--json").out.splitlines()

        assert recorded("events", "order-42", *DB, "--raw", "--after", "2", "--json").out.splitlines() == raw[2:]

    def test_events_for_people(self, recorded: Desk) -> None:
        assert "node-start" in recorded("events", "order-42", *DB).out

    def test_watch_of_a_run_that_has_ended_shows_it(self, recorded: Desk) -> None:
        watched = recorded("watch", "order-42", *DB, "--json")

        assert (watched.code, watched.document["status"]) == (0, "completed")


class TestARunIsRebuiltFromItsLog:
    def test_and_verified(self, recorded: Desk) -> None:
        rebuilt = recorded("rebuild", "order-42", *DB, "--verify", "--json")

        assert rebuilt.code == 0
        assert rebuilt.document["problems"] == []
        assert rebuilt.document["result"]["output"] == {"sent": True}

    def test_at_a_point_of_its_life(self, recorded: Desk) -> None:
        rebuilt = recorded("rebuild", "order-42", *DB, "--at", "2", "--json")

        assert rebuilt.document["records"] == 2
        assert rebuilt.document["status"] == "running"

    def test_a_damaged_file_is_told(self, recorded: Desk) -> None:
        with sqlite3.connect("runs.db") as connection:
            connection.execute("UPDATE event SET body = x'7b7d' WHERE position = 2")
        connection.close()

        outcome = recorded("rebuild", "order-42", *DB, "--json")

        assert (outcome.code, outcome.document["error"]["code"]) == (4, "JOURNAL_CORRUPT")


class TestTheSameRunIdIsTheSameRun:
    def test_the_same_command_again_gives_its_result(self, recorded: Desk) -> None:
        again = recorded("run", "--plan", "onboarding.json", *TOOLS, "-i", GOOD, *DB, "--run-id", "order-42", "--json")

        assert again.document == recorded("show", "order-42", *DB, "--json").document

    def test_the_id_alone_gives_it_too(self, recorded: Desk) -> None:
        assert recorded("run", *DB, "--run-id", "order-42", "--json").document["output"] == {"sent": True}

    def test_other_content_is_refused(self, recorded: Desk) -> None:
        other = recorded("run", "--plan", "value.json", *DB, "--run-id", "order-42", "--json")

        assert (other.code, other.document["error"]["code"]) == (2, "RUN_EXISTS")

    def test_a_rejected_start_leaves_the_id_free(self, desk: Desk) -> None:
        start = ("run", "--plan", "onboarding.json", *TOOLS, *DB, "--run-id", "typo", "--json")

        assert desk(*start, "-i", '{"emial": "a@b.c"}').document["status"] == "rejected"
        assert desk(*start, "-i", GOOD).document["status"] == "completed"

    def test_without_db_nothing_is_left(self, desk: Desk) -> None:
        desk("run", "--plan", "value.json")

        assert not list(desk.folder.glob("*.db*"))

    def test_a_run_id_without_db_is_recorded_in_runs_db(self, desk: Desk) -> None:
        desk("run", "--plan", "value.json", "--run-id", "kept")

        assert statuses(desk) == {"kept": "completed"}

    def test_going_on_with_a_run_that_is_not_there_makes_no_file(self, desk: Desk) -> None:
        assert desk("run", "--run-id", "nobody", "--json").document["error"]["code"] == "RUN_NOT_FOUND"
        assert not list(desk.folder.glob("*.db*"))


class TestAnInterruptedRunGoesOn:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_with_what_it_had_done(self, desk: Desk, number: signal.Signals) -> None:
        plan = one_step("hold", folder=str(desk.folder))
        plan["nodes"].append({"id": "after", "type": "tool", "toolId": "hold", "inputs": {"folder": "$input"}})
        plan["edges"] = [{"from": "only", "to": "after"}]
        held = desk.plan("held", plan)
        start = ("run", "--plan", held, *TOOLS, *DB, "--run-id", "r", "-i", f'"{desk.folder}"', "--json")

        running = process(*start, cwd=desk.folder)
        until(desk.holding)
        running.send_signal(number)
        (desk.folder / "go").touch()
        stopped = ended(running)
        resumed = desk(*start)

        assert stopped.code == 130
        assert stopped.document["error"]["code"] == "INTERRUPTED"
        assert (resumed.code, resumed.document["status"]) == (0, "completed")
        assert len(desk.holding()) == 2, "each step ran once"


class TestAStepOfUnknownOutcomeWaitsForAPerson:
    @pytest.fixture
    def killed(self, desk: Desk) -> Desk:
        """The process died while it charged."""
        plan = desk.plan("charge", one_step("charge", folder=str(desk.folder)))
        running = process("run", "--plan", plan, *TOOLS, *DB, "--run-id", "r", cwd=desk.folder)
        until(desk.holding)
        running.kill()
        ended(running)
        (desk.folder / "go").touch()
        return desk

    def go_on(self, desk: Desk) -> Outcome:
        return desk("run", *TOOLS, *DB, "--run-id", "r", "--json")

    def test_it_is_not_done_again(self, killed: Desk) -> None:
        waiting = self.go_on(killed)

        assert (waiting.code, waiting.document["status"]) == (3, "suspended")
        assert len(killed.holding()) == 1

    def test_people_are_told_how_to_settle_it(self, killed: Desk) -> None:
        assert "dynamicflow resolve r only --db runs.db" in killed("run", *TOOLS, *DB, "--run-id", "r").err
        assert "dynamicflow resolve r only --db runs.db" in killed("show", "r", *DB).err

    @pytest.mark.parametrize(
        ("how", "status", "calls"),
        [(("--done", '"paid"'), "completed", 1), (("--fail",), "failed", 1), (("--retry",), "completed", 2)],
    )
    def test_a_person_settles_it(self, killed: Desk, how: tuple[str, ...], status: str, calls: int) -> None:
        self.go_on(killed)

        resolved = killed("resolve", "r", "only", *DB, *how, "--by", "ada", "--json")
        result = self.go_on(killed)

        assert resolved.code == 0, resolved
        assert result.document["status"] == status
        assert len(killed.holding()) == calls

    def test_what_is_not_uncertain_cannot_be_settled(self, recorded: Desk) -> None:
        refused = recorded("resolve", "order-42", "send", *DB, "--fail", "--json")

        assert (refused.code, refused.document["error"]["code"]) == (2, "RUN_ENDED")


class TestARunCanBeCancelled:
    def test_where_nobody_drives_it_and_without_its_tools(self, desk: Desk) -> None:
        desk("run", "--plan", "waiting.json", *DB, "--run-id", "w", "--max-wait", "0")

        cancelled = desk("cancel", "w", *DB, "--reason", "not needed", "--json")

        assert (cancelled.code, cancelled.document["status"]) == (0, "cancelled")
        assert statuses(desk) == {"w": "cancelled"}

    def test_not_twice(self, recorded: Desk) -> None:
        assert recorded("cancel", "order-42", *DB, "--json").document["error"]["code"] == "RUN_ENDED"


class TestBesideTheProcessThatDrivesTheFile:
    @pytest.fixture
    def driven(self, desk: Desk) -> Desk:
        """Another process owns the file; its run holds."""
        plan = desk.plan("held", one_step("hold", folder=str(desk.folder)))
        start = ("run", "--plan", plan, *TOOLS, *DB, "--run-id", "theirs", "--json")
        self.other = process(*start, cwd=desk.folder)
        until(desk.holding)
        return desk

    def let_go_of(self, folder: Path) -> None:
        (folder / "go").touch()

    def let_go(self, desk: Desk) -> Outcome:
        (desk.folder / "go").touch()
        return ended(self.other)

    def test_a_run_goes_through_its_inbox(self, driven: Desk) -> None:
        mine = driven("run", "--plan", "onboarding.json", *TOOLS, "-i", GOOD, *DB, "--run-id", "mine", "--json")
        theirs = self.let_go(driven)

        assert (mine.code, mine.document["output"]) == (0, {"sent": True})
        assert theirs.document["status"] == "completed"

    def test_an_unfinished_run_is_taken_up_by_the_owner(self, desk: Desk) -> None:
        held = desk.plan("held", one_step("hold", folder=str(desk.folder)))
        mine = process("run", "--plan", held, *TOOLS, *DB, "--run-id", "mine", cwd=desk.folder)
        until(desk.holding)
        mine.kill()
        ended(mine)
        driven = ("run", "--plan", held, *TOOLS, *DB, "--run-id", "theirs", "--json")
        self.other = process(*driven, cwd=desk.folder)
        until(lambda: len(desk.holding()) == 2)

        again = process("run", *TOOLS, *DB, "--run-id", "mine", "--json", cwd=desk.folder)
        until(lambda: len(desk.holding()) == 3)
        self.let_go(desk)

        assert ended(again).document["status"] == "completed"

    def test_an_owner_that_leaves_leaves_the_run_to_who_asked_for_it(self, driven: Desk) -> None:
        slow = driven.folder / "slow"
        slow.mkdir()
        plan = one_step("hold", folder=str(slow))
        plan["nodes"] += [{"id": f"n{n}", "type": "wait", "duration": 200} for n in range(5)]
        plan["edges"] = [{"from": f, "to": t} for f, t in pairwise(node["id"] for node in plan["nodes"])]
        mine = process("run", "--plan", driven.plan("mine", plan), *TOOLS, *DB, *MINE, cwd=driven.folder)
        until(lambda: (slow / "calls").exists())
        self.let_go_of(slow)
        theirs = self.let_go(driven)
        outcome = ended(mine)

        assert theirs.document["status"] == outcome.document["status"] == "completed"

    def test_a_refused_start_is_answered(self, driven: Desk) -> None:
        mine = driven("run", "--plan", "onboarding.json", *TOOLS, "-i", "{}", *DB, "--run-id", "mine", "--json")
        self.let_go(driven)

        assert (mine.code, mine.document["error"]["code"]) == (2, "INPUT_INVALID")

    def test_an_owner_without_the_tools_is_named(self, driven: Desk) -> None:
        (driven.folder / "other.py").write_text(
            "from dynamicflow import tool\n@tool\ndef only_mine() -> int:\n    return 1\n", encoding="utf-8"
        )
        plan = driven.plan("mine", one_step("only_mine"))
        refused = driven("run", "--plan", plan, "-t", "other.py", *DB, "--run-id", "mine", "--json")
        self.let_go(driven)

        assert (refused.code, refused.document["error"]["code"]) == (4, "JOURNAL_OWNED")
        assert f"process {self.other.pid}" in refused.document["error"]["message"]
        assert "only_mine" in refused.document["error"]["message"]

    def test_its_runs_can_be_listed_shown_and_rebuilt(self, driven: Desk) -> None:
        shown = driven("show", "theirs", *DB, "--json")
        listed = statuses(driven)
        self.let_go(driven)

        assert shown.document["status"] == "running"
        assert listed == {"theirs": "running"}

    def test_watch_follows_to_the_end(self, driven: Desk) -> None:
        watching = process("watch", "theirs", *DB, "--json", cwd=driven.folder)
        self.let_go(driven)

        assert ended(watching).document["status"] == "completed"

    def test_cancel_is_done_by_the_owner(self, driven: Desk) -> None:
        cancelled = driven("cancel", "theirs", *DB, "--json")
        theirs = self.let_go(driven)

        assert cancelled.code == 0
        assert (theirs.code, theirs.document["status"]) == (1, "cancelled")
