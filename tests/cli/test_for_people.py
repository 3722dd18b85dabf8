"""What a person sees: help at once, plans to read, a demo, plain lines where there is no terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dynamicflow.streams.cli.view import Board, LiveView, duration_text
from tests.cli.command_line import GOOD, ONBOARDING, Desk, ended, environment, process

PROMPT = ("--prompt", "Validate the email. If it is valid, send a welcome email.")
TOOLS = ("-t", "my_tools.py")
CALL = "import sys; from dynamicflow.streams.cli.main import main; sys.exit(main(sys.argv[1:]))"
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


def python(script: str, *argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A script in a process of its own."""
    return subprocess.run([sys.executable, "-c", script, *argv], cwd=cwd, env=environment(**env), capture_output=True)


class TestHelpComesAtOnce:
    def test_it_loads_neither_models_nor_pydantic(self) -> None:
        script = (
            "import sys; from dynamicflow.streams.cli.main import main; main(['--help']);"
            "print(sorted({'openai', 'pydantic', 'lark', 'sqlite3', 'httpx2', 'mcp'} & set(sys.modules)))"
        )

        assert python(script).stdout.splitlines()[-1] == b"[]"

    def test_importing_the_package_loads_next_to_nothing(self) -> None:
        script = "import sys; import dynamicflow; print(len([n for n in sys.modules if n.startswith('dynamicflow')]))"

        assert python(script).stdout.strip() == b"1"

    @pytest.mark.parametrize(
        "command",
        [
            *("run", "plan", "check", "runs", "show", "events", "watch", "rebuild", "resolve", "cancel", "pause"),
            *("resume", "publish", "register"),
        ],
    )
    def test_every_command_has_help(self, desk: Desk, command: str) -> None:
        told = desk(command, "--help")

        assert told.code == 0
        assert "--json" in told.out

    def test_the_exit_codes_are_told(self, desk: Desk) -> None:
        assert "130 interrupted" in desk("--help").out


class TestAPlanIsMadeAndShown:
    def test_with_certificate_and_inspection(self, desk: Desk) -> None:
        planned = desk("plan", *PROMPT, *TOOLS, "--json")

        assert planned.code == 0
        assert set(planned.document) >= {"plan", "planHash", "certificate", "inspection", "source"}
        assert planned.document["source"] == "offline"

    def test_for_people(self, desk: Desk) -> None:
        planned = desk("plan", *PROMPT, *TOOLS)

        assert "Execution graph" in planned.err
        assert "what no run of this plan exceeds" in planned.err
        assert json.loads(planned.out)["nodes"], "the plan alone is on standard output"

    def test_as_mermaid(self, desk: Desk) -> None:
        assert desk("plan", *PROMPT, *TOOLS, "--mermaid").out.startswith("flowchart TD")

    def test_a_planned_plan_can_be_checked_and_run(self, desk: Desk) -> None:
        plan = desk.plan("planned", desk("plan", *PROMPT, *TOOLS, "--json").document["plan"])

        assert desk("check", plan, *TOOLS, "--json").document["valid"] is True
        assert desk("run", "--plan", plan, *TOOLS, "-i", GOOD, "--json").document["output"] == {"sent": True}

    def test_a_prompt_runs_at_once(self, desk: Desk) -> None:
        ran = desk("run", *PROMPT, *TOOLS, "-i", GOOD, "--json")

        assert (ran.code, ran.document["output"]) == (0, {"sent": True})

    def test_questions_of_the_planner_are_told(self, desk: Desk) -> None:
        asked = desk("plan", "--prompt", "Brew some tea.", *TOOLS)

        assert asked.code == 2
        assert "PLANNER_QUESTION" in asked.err


class TestAPlanIsChecked:
    def test_the_document_is_the_check(self, desk: Desk) -> None:
        checked = desk("check", "onboarding.json", *TOOLS, "--json")

        assert checked.code == 0
        assert set(checked.document) == {"valid", "problems", "warnings", "certificate", "planHash"}

    def test_an_invalid_one_exits_2(self, desk: Desk) -> None:
        checked = desk("check", "onboarding.json", "--json")

        assert (checked.code, checked.document["valid"]) == (2, False)
        assert checked.document["problems"][0]["code"] == "UNKNOWN_TOOL"

    def test_from_standard_input(self, desk: Desk) -> None:
        checking = process("check", "-", "--json", cwd=desk.folder, stdin=subprocess.PIPE)
        out, _ = checking.communicate(Path("value.json").read_text(encoding="utf-8"), timeout=30)

        assert '"valid":true' in out


class TestTheDemo:
    def test_shows_it_all_and_compares(self, desk: Desk) -> None:
        shown = desk("demo")

        assert shown.code == 0
        assert "is the same" in shown.out
        assert "✓ validate_email" in shown.err
        assert not list(desk.folder.glob("*.db*"))

    def test_for_programs(self, desk: Desk) -> None:
        shown = desk("demo", "--json")

        assert shown.document["rebuilt"]["same"] is True


class TestPeopleSeeTheRunGoOn:
    def test_a_line_for_every_step_and_the_output_alone_on_standard_output(self, desk: Desk) -> None:
        ran = desk("run", "--plan", "onboarding.json", *TOOLS, "-i", GOOD)

        assert ran.out == '{\n  "sent": true\n}\n'
        assert "✓ validate_email" in ran.err
        assert "completed" in ran.err

    def test_a_failure_names_the_step(self, desk: Desk) -> None:
        ran = desk("run", "--plan", "boom.json", *TOOLS)

        assert "✗ only  boom" in ran.err
        assert "the mail server is down" in ran.err

    def test_a_map_counts_its_items(self, desk: Desk) -> None:
        body = [{"id": "one", "type": "tool", "toolId": "send_welcome_email", "inputs": {"email": "$item"}}]
        plan = {"version": "1.0", "nodes": [{"id": "all", "type": "map", "over": "$input", "body": body}]}

        ran = desk("run", "--plan", desk.plan("map", plan), *TOOLS, "-i", '["a", "b", "c"]')

        assert "3/3" in ran.err

    def test_the_live_tree_draws_every_kind_of_step(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dynamicflow.streams.cli.running.view_for_people", LiveView)

        ran = desk("run", "--plan", "onboarding.json", *TOOLS, "-i", '{"email": "nobody"}')

        assert "✓ validate_email" in ran.err
        assert "- send" in ran.err

    @pytest.mark.parametrize(
        ("ms", "text"), [(3.2, "3 ms"), (1500, "1.50 s"), (125_000, "2 min 5 s"), (7.2e6, "2 h 0 min")]
    )
    def test_durations_read_well(self, ms: float, text: str) -> None:
        assert duration_text(ms) == text

    def test_an_empty_board_is_no_error(self) -> None:
        assert Board().top == []


class TestTheCommandIsAGoodNeighbour:
    def test_a_pipe_closed_early_is_quiet(self, desk: Desk) -> None:
        desk("run", "--plan", "onboarding.json", *TOOLS, "-i", GOOD, "--db", "runs.db", "--run-id", "r")

        printing = process("events", "r", "--json", cwd=desk.folder)
        assert printing.stdout is not None
        printing.stdout.close()
        assert printing.stderr is not None
        said = printing.stderr.read()
        printing.wait(30)
        printing.stderr.close()

        assert said == ""

    def test_utf8_whatever_the_locale(self, desk: Desk) -> None:
        made = python(CALL, "run", "--plan", "value.json", "--json", cwd=desk.folder, **ASCII)

        assert '"ü"'.encode() in made.stdout

    def test_people_with_an_ascii_terminal_get_no_traceback(self, desk: Desk) -> None:
        made = python(CALL, "run", "--plan", "value.json", cwd=desk.folder, **ASCII)

        assert made.returncode == 0
        assert b"Traceback" not in made.stderr

    def test_a_script_of_the_users_beside_their_own_tools_py(self, desk: Desk) -> None:
        (desk.folder / "tools.py").write_text(
            "from dynamicflow import tool\n@tool\ndef double(n: int) -> int:\n    '''Double.'''\n    return 2 * n\n",
            encoding="utf-8",
        )
        (desk.folder / "script.py").write_text(
            "from dynamicflow import blocking\nfrom tools import double\n"
            "node = {'id': 'd', 'type': 'tool', 'toolId': 'double', 'inputs': {'n': '$input'}}\n"
            "plan = {'version': '1.0', 'nodes': [node]}\n"
            "print(blocking.run_collect(plan=plan, tools=[double], input=21).output)\n",
            encoding="utf-8",
        )

        made = subprocess.run([sys.executable, "script.py"], cwd=desk.folder, env=environment(), capture_output=True)

        assert made.stdout == b"42\n", made.stderr

    def test_debug_may_stand_anywhere(self, desk: Desk) -> None:
        assert desk("run", "--plan", "value.json", "--debug", "--json").document["output"] == {"x": "ü"}

    def test_the_module_is_the_command(self, desk: Desk) -> None:
        assert ended(process("check", "value.json", cwd=desk.folder)).code == 0

    def test_the_builders_plan_is_the_seeds(self) -> None:
        assert ONBOARDING["nodes"][1]["condition"] == "$validate_email.valid === true"
