"""The exit code says how it ended, and with --json standard output is one document whatever happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command_line import GOOD, Desk

RUN = ("run", "-t", "my_tools.py")
CASES = {
    "completed": (0, "completed", (*RUN, "--plan", "onboarding.json", "-i", GOOD)),
    "failed": (1, "failed", (*RUN, "--plan", "boom.json")),
    "timed out": (1, "timed_out", ("run", "--plan", "waiting.json", "-o", "timeout=50ms")),
    "input invalid": (2, "rejected", (*RUN, "--plan", "onboarding.json", "-i", "{}")),
    "plan invalid": (2, "rejected", ("run", "--plan", "onboarding.json", "-i", GOOD)),
    "prompt not planned": (2, "rejected", (*RUN, "--prompt", "Brew some tea and feed the cat.")),
    "nothing to run": (2, "rejected", ("run",)),
    "both": (2, "rejected", ("run", "--prompt", "x", "--plan", "value.json")),
    "no such option": (2, "rejected", ("run", "--nonsense")),
    "no such command": (2, "rejected", ("ruhn",)),
    "a number that is none": (2, "rejected", ("run", "--plan", "value.json", "--max-wait", "soon")),
    "a bad run id": (2, "rejected", ("run", "--plan", "value.json", "--run-id", "../x")),
    "a bad option": (2, "rejected", ("run", "--plan", "value.json", "-o", "maxSteps=0")),
    "waits for a time": (3, "suspended", ("run", "--plan", "waiting.json", "--max-wait", "1")),
    "no journal": (4, "rejected", ("runs", "--db", "missing.db")),
    "a foreign journal": (4, "rejected", ("run", "--plan", "value.json", "--db", "my_tools.py")),
    "a folder as journal": (4, "rejected", ("run", "--plan", "value.json", "--db", ".")),
    "no such run": (2, "rejected", ("show", "nobody")),
}


@pytest.fixture
def desk_with_runs(desk: Desk) -> Desk:
    desk("run", "--plan", "value.json", "--run-id", "first", "--db", "runs.db")
    return desk


class TestAnOutcomeHasOneExitCode:
    @pytest.mark.parametrize("case", CASES)
    def test_for_people(self, desk_with_runs: Desk, case: str) -> None:
        code, _, argv = CASES[case]

        outcome = desk_with_runs(*argv)

        assert outcome.code == code
        assert "Traceback" not in outcome.err

    @pytest.mark.parametrize("case", CASES)
    def test_for_programs_there_is_one_document_and_nothing_else(self, desk_with_runs: Desk, case: str) -> None:
        code, status, argv = CASES[case]

        outcome = desk_with_runs(*argv, "--json")

        assert outcome.code == code
        assert outcome.document["status"] == status
        assert outcome.err == ""

    def test_an_error_has_code_and_message(self, desk: Desk) -> None:
        outcome = desk("run", "--plan", "missing.json", "--json")

        error = outcome.document["error"]
        assert error["code"] == "FILE_UNREADABLE"
        assert "missing.json does not exist" in error["message"]

    def test_an_endpoint_that_does_not_answer(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")

        outcome = desk(*RUN, "--prompt", "Validate the email", "-o", "planning.retry.maxAttempts=1", "--json")

        assert outcome.code == 4
        assert outcome.document["error"]["code"] == "ENDPOINT_UNUSABLE"


class TestWhatAUserCanGetWrongIsASentence:
    @pytest.mark.parametrize(
        ("argv", "code", "said"),
        [
            (("run", "--plan", "."), "FILE_UNREADABLE", "is a folder"),
            (("run", "--plan", "value.json", "-i", "@none.json"), "FILE_UNREADABLE", "none.json does not exist"),
            (("run", "--plan", "value.json", "-i", '{"a": 1,\n "b": }'), "INVALID_JSON", "line 2, column 7"),
            (("run", "--plan", "value.json", "-i", "NaN"), "INVALID_JSON", "NaN"),
            (("run", "--plan", "value.json", "-i", "hello"), "INVALID_JSON", "'\"text\"'"),
            (("run", "--plan", "value.json", "-i", "[" * 5000), "INVALID_JSON", "250 levels"),
            (("run", "--plan", "value.json", "-t", "none.py"), "TOOLS_FILE_NOT_FOUND", "none.py"),
            (("run", "--plan", "value.json", "-t", "raises.py"), "TOOLS_FILE_INVALID", "ZeroDivisionError"),
            (("run", "--plan", "value.json", "-o", "maxSteps"), "INVALID_OPTION", "NAME=VALUE"),
            (("run", "--plan", "value.json", "-o", "colour=1"), "INVALID_OPTION", "not usable"),
            (("run", "--plan", "value.json", "--options", "[]"), "INVALID_OPTION", "expected an object"),
            (("run", "--plan", "value.json", "--label", "x"), "USAGE", "NAME=TEXT"),
            (("resolve", "r", "n"), "USAGE", "exactly one of"),
            (("runs", "--status", "done"), "USAGE", "completed"),
        ],
    )
    def test_with_its_code(self, desk: Desk, argv: tuple[str, ...], code: str, said: str) -> None:
        (desk.folder / "raises.py").write_text("1 / 0\n", encoding="utf-8")

        outcome = desk(*argv, "--json")

        error = outcome.document["error"]
        assert (outcome.code, error["code"]) == (2, code)
        assert said in error["message"]

    def test_a_plan_that_is_not_json_is_an_invalid_plan_with_its_place(self, desk: Desk) -> None:
        Path("broken.json").write_text('{"version": "1.0",\n "nodes": [}', encoding="utf-8")

        outcome = desk("run", "--plan", "broken.json", "--json")

        problem = outcome.document["error"]["details"]["problems"][0]
        assert (outcome.code, problem["code"]) == (2, "INVALID_JSON")
        assert "line 2" in problem["message"]

    def test_problems_are_listed_with_code_path_message_and_suggestion(self, desk: Desk) -> None:
        plan = json.loads(Path("onboarding.json").read_text(encoding="utf-8"))
        plan["nodes"][0]["toolId"] = "validate_emial"

        outcome = desk("check", desk.plan("typo", plan), "-t", "my_tools.py")

        assert outcome.code == 2
        assert "/nodes/0/toolId" in outcome.err
        assert "validate_email" in outcome.err

    def test_an_internal_error_is_named_and_its_traceback_only_shown_on_request(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dynamicflow.streams.cli.reading.stands", None)

        told, debugged = desk("show", "x", "--json"), desk("show", "x", "--debug")

        assert told.code == debugged.code == 70
        assert told.document["error"]["code"] == "INTERNAL_ERROR"
        assert "Traceback" in debugged.err
