"""Standard output is for results, whatever users' code does, and a terminal is never sent what it would obey."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOISY = '''
import logging, os, subprocess, sys
from dynamicflow import tool

print("printed while imported")


@tool
def noisy(how: str) -> int:
    """Write to standard output."""
    if how == "print":
        print("printed")
    elif how == "descriptor":
        os.write(1, b"written\\n")
    elif how == "child":
        subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
    elif how == "logging":
        logging.basicConfig(stream=sys.stdout, level=0, force=True)
        logging.error("logged")
    elif how == "original":
        sys.__stdout__.write("original")
        sys.__stdout__.flush()
    elif how == "close":
        sys.stdout.close()
    elif how == "close descriptor":
        os.close(1)
    return 1


@tool
def evil() -> str:
    """Fail with a title for the terminal."""
    raise ValueError("\\x1b]0;title\\x07 \\x9b31m")
'''


def step(tool: str) -> dict[str, Any]:
    """A plan of one step, with a name that a terminal would obey."""
    node = {"id": "n", "type": "tool", "toolId": tool, "inputs": {}}
    return {"version": "1.0", "metadata": {"name": "\x1b[31mred \x9b31m\n  ✓ spoof"}, "nodes": [node]}


def command(*argv: str | bytes, cwd: Path, shell: str = "") -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own; ``shell``: what stands behind it on the command line."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "DYNAMICFLOW_"))
    }
    environment["PYTHONPATH"] = str(ROOT / "src")
    called: list[str | bytes] = [sys.executable, "-m", "dynamicflow", *argv]
    if shell:
        called = ["bash", "-o", "pipefail", "-c", f'"$@" {shell}', "bash", *called]
    return subprocess.run(
        called, cwd=cwd, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with ``noisy.py`` and ``evil.json``."""
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    (tmp_path / "evil.json").write_text(json.dumps(step("evil")), encoding="utf-8")
    return tmp_path


class TestOneDocumentWhateverToolsPrint:
    def test_a_tool(self, folder: Path) -> None:
        ways = ("print", "descriptor", "child", "logging", "original", "close", "close descriptor")
        nodes = [
            {"id": f"n{number}", "type": "tool", "toolId": "noisy", "inputs": {"how": how}}
            for number, how in enumerate(ways)
        ]
        edges = [{"from": f"n{number}", "to": f"n{number + 1}"} for number in range(len(ways) - 1)]
        plan = {"version": "1.0", "nodes": nodes, "edges": edges}
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")

        ran = command("run", "--plan", "plan.json", "--tools", "noisy.py", "--json", cwd=folder)

        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["nodes"] == {f"n{number}": 1 for number in range(len(ways))}
        for said in (b"printed while imported", b"printed", b"written", b"a child", b"logged", b"original"):
            assert said in ran.stderr

    def test_a_tools_file_that_is_only_checked(self, folder: Path) -> None:
        checked = command("check", "evil.json", "--tools", "noisy.py", "--json", cwd=folder)

        assert json.loads(checked.stdout)["valid"] is True

    def test_an_interrupted_import(self, folder: Path) -> None:
        (folder / "stopped.py").write_text("raise KeyboardInterrupt", encoding="utf-8")

        stopped = command("check", "evil.json", "--tools", "stopped.py", "--json", cwd=folder)

        assert stopped.returncode == 130
        assert json.loads(stopped.stdout)["error"]["code"] == "INTERRUPTED"


class TestATerminalIsNeverSentCommands:
    def test_by_names_and_errors(self, folder: Path) -> None:
        for argv in (
            ["run", "--plan", "evil.json", "--tools", "noisy.py", "--db", "e.db", "--run-id", "e"],
            ["check", "evil.json", "--tools", "noisy.py"],
            ["show", "e", "--db", "e.db"],
            ["events", "e", "--db", "e.db"],
            ["runs", "--db", "e.db"],
            ["watch", "e", "--db", "e.db"],
        ):
            shown = command(*argv, cwd=folder)

            said = (shown.stdout + shown.stderr).decode()
            assert "Traceback" not in said
            assert not {"\x1b", "\x07", "\x9b"} & set(said), argv
            assert "\n  ✓ spoof" not in said or argv[0] == "check"


class TestStandardOutputThatTakesNothing:
    @pytest.mark.parametrize(("shell", "code"), [(">&-", 1), ("| true", 1), (">/dev/full", 4)])
    def test_the_exit_code_is_the_runs(self, folder: Path, shell: str, code: int) -> None:
        ran = command("run", "--plan", "evil.json", "--tools", "noisy.py", "--json", cwd=folder, shell=shell)

        assert ran.returncode == code
        assert b"Traceback" not in ran.stderr

    @pytest.mark.parametrize("shell", ["| head -c 5", ">&-"])
    def test_events_end_in_peace(self, folder: Path, shell: str) -> None:
        command("run", "--plan", "evil.json", "--tools", "noisy.py", "--db", "e.db", "--run-id", "e", cwd=folder)

        shown = command("events", "e", "--db", "e.db", "--json", cwd=folder, shell=shell)

        assert (shown.returncode, shown.stderr) == (0, b"")


class TestArgumentsThatAreNoText:
    @pytest.mark.parametrize(
        "argv",
        [
            ["--plan", b"\xff.json"],
            ["--plan", "evil.json", "--tools", b"\xff.py"],
            ["--plan", "evil.json", "--tools", "noisy.py", "--label", b"a=\xff"],
            ["--plan", "evil.json", "--tools", "noisy.py", "--input", b'"\xff"'],
            ["--prompt", b"be noisy \xff", "--tools", "noisy.py"],
            ["--prompt", "be noisy", "--tools", "noisy.py", "--model", b"\xff"],
            ["--plan", "evil.json", "--option", "a." * 3000 + "b=1"],
            ["--plan", "evil.json", "--tools", "noisy.py", "--run-id", ""],
            [b"--\xff"],
        ],
    )
    def test_are_told_as_usage(self, folder: Path, argv: list[str | bytes]) -> None:
        refused = command("run", *argv, "--json", cwd=folder)

        assert refused.returncode == 2, refused.stderr
        assert json.loads(refused.stdout)["status"] == "rejected"
