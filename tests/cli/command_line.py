"""Builders for the command-line tests: a folder with a user's tools and plans, and two ways to call the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from dynamicflow.streams.cli.main import main

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = '''
import time
from pathlib import Path

from pydantic import BaseModel

from dynamicflow import tool


class Verdict(BaseModel):
    valid: bool


@tool
def validate_email(email: str) -> Verdict:
    """Validate an email address."""
    return Verdict(valid="@" in email)


@tool
def send_welcome_email(email: str) -> dict[str, bool]:
    """Send a welcome email."""
    return {"sent": True}


@tool
def boom() -> str:
    """Fail."""
    raise RuntimeError("the mail server is down")


def _hold(folder: str) -> str:
    here = Path(folder)
    with (here / "calls").open("a") as calls:
        calls.write("called\\\\n")
    while not (here / "go").exists():
        time.sleep(0.01)
    return "held"


@tool
def hold(folder: str) -> str:
    """Wait for a file."""
    return _hold(folder)


@tool(side_effect="non_idempotent")
def charge(folder: str) -> str:
    """Charge once."""
    return _hold(folder)
'''.replace("\\\\n", "\\n")

ONBOARDING: Final[dict[str, Any]] = {
    "version": "1.0",
    "nodes": [
        {"id": "validate_email", "type": "tool", "toolId": "validate_email", "inputs": {"email": "$input.email"}},
        {
            "id": "check",
            "type": "conditional",
            "condition": "$validate_email.valid === true",
            "ifTrue": [
                {"id": "send", "type": "tool", "toolId": "send_welcome_email", "inputs": {"email": "$input.email"}}
            ],
            "ifFalse": [{"id": "no", "type": "value", "value": {"sent": False, "reason": "invalid email"}}],
        },
    ],
    "edges": [{"from": "validate_email", "to": "check"}],
}
GOOD: Final = '{"email": "ada@example.com"}'


def one_step(tool_id: str, **inputs: Any) -> dict[str, Any]:
    """A plan of one tool node, ``only``."""
    return {"version": "1.0", "nodes": [{"id": "only", "type": "tool", "toolId": tool_id, "inputs": inputs}]}


WAITING: Final[dict[str, Any]] = {"version": "1.0", "nodes": [{"id": "later", "type": "wait", "duration": 3_600_000}]}
VALUE: Final[dict[str, Any]] = {"version": "1.0", "nodes": [{"id": "v", "type": "value", "value": {"x": "ü"}}]}


@dataclass(frozen=True)
class Outcome:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which is exactly one JSON document."""
        return json.loads(self.out)


class Desk:
    """A user's folder: ``my_tools.py``, plans by name, and the command called in it."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder, self._capture = folder, capture
        (folder / "my_tools.py").write_text(TOOLS, encoding="utf-8")
        plans = {"onboarding": ONBOARDING, "boom": one_step("boom"), "waiting": WAITING, "value": VALUE}
        for name, plan in plans.items():
            self.plan(name, plan)

    def plan(self, name: str, plan: Any) -> str:
        """Write a plan file; its path."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(plan), encoding="utf-8")
        return str(path)

    def __call__(self, *argv: str) -> Outcome:
        """Call the command in this process."""
        self._capture.readouterr()
        code = main(argv)
        out, err = self._capture.readouterr()
        return Outcome(code, out.decode(), err.decode())

    def holding(self) -> list[str]:
        """Where ``hold`` was called, once for each call."""
        calls = self.folder / "calls"
        return calls.read_text(encoding="utf-8").split() if calls.exists() else []


def environment(**more: str) -> Mapping[str, str]:
    """Of a process of its own: this source, and no model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "DYNAMICFLOW_"))}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), **more}


def process(*argv: str, cwd: Path, **how: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dynamicflow", *argv],
        cwd=cwd,
        env=environment(),
        stdin=how.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **how,
    )


def ended(started: subprocess.Popen[str]) -> Outcome:
    """Wait for a process."""
    out, err = started.communicate(timeout=30)
    return Outcome(started.returncode, out, err)


def until(holds: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait until it holds."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.01)


def codes(problems: Sequence[Mapping[str, Any]]) -> list[str]:
    """The codes of problems."""
    return [problem["code"] for problem in problems]
