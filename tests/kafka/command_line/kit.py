"""The command line at a cluster with one worker, a process of its own: what its tools do is steered by files."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from dynamicflow.streams.cli.main import main
from dynamicflow.streams.kafka.reader import Reader
from dynamicflow.streams.kafka.topics import Topics
from tests.cli.command_line import Outcome, environment, until
from tests.kafka.process_kit import WAIT_S, Kcat

TOOLS: Final = '''
import time
from pathlib import Path
from dynamicflow import tool

HERE = Path(__file__).parent


@tool(side_effect="none")
async def double(number: int) -> dict[str, int]:
    """Double a number."""
    return {"doubled": number * 2}


@tool
def boom() -> str:
    """Fail."""
    raise RuntimeError("the mail server is down")


@tool
def text(size: int) -> dict[str, str]:
    """A text of so many characters."""
    return {"text": "x" * size}


def _at_gate(name: str) -> None:
    (HERE / f"at-{name}").touch()
    while not (HERE / f"open-{name}").exists():
        time.sleep(0.02)


@tool(side_effect="idempotent")
def gate(name: str) -> dict[str, str]:
    """Ends when the gate is open."""
    _at_gate(name)
    return {"passed": name}


@tool(side_effect="non_idempotent")
def pay(name: str) -> dict[str, bool]:
    """Must not run twice; ends when the gate is open."""
    _at_gate(name)
    return {"paid": True}
'''


PARTITIONS: Final = 2
"""Of the log."""


def call(node: str, tool: str, **inputs: Any) -> dict[str, Any]:
    """A node that calls a tool."""
    return {"id": node, "type": "tool", "toolId": tool, "inputs": inputs}


def plan(*nodes: dict[str, Any], name: str = "Generated Flow") -> dict[str, Any]:
    """A plan whose nodes run one after the other."""
    edges = [{"from": one["id"], "to": other["id"]} for one, other in pairwise(nodes)]
    return {"version": "1.0", "metadata": {"name": name}, "nodes": list(nodes), "edges": edges}


DOUBLED: Final = plan(call("a", "double", number="$input.n"), name="Doubling")
GATED: Final = plan(call("g", "gate", name="$input"), call("b", "double", number=2), name="Gated")
PAID: Final = plan(call("pay", "pay", name="$input"), call("b", "double", number=2))
WAITING: Final = plan({"id": "later", "type": "wait", "duration": 3_600_000})
PLANS: Final = {"doubled": DOUBLED, "gated": GATED, "paid": PAID, "waiting": WAITING, "boom": plan(call("x", "boom"))}


class Site:
    """A folder with plans and gates, and topics under a prefix of their own."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder, self.bootstrap = folder, bootstrap
        self.prefix = f"cli{secrets.token_hex(3)}-"
        self.topics, self.kcat = Topics(self.prefix), Kcat(bootstrap)
        self.flags = ("--bootstrap", bootstrap, "--prefix", self.prefix)
        (folder / "tools.py").write_text(TOOLS, encoding="utf-8")
        for name, made in PLANS.items():
            (folder / f"{name}.json").write_text(json.dumps(made), encoding="utf-8")

    def at_gate(self, name: str) -> None:
        """A step has come to this gate, on return."""
        until((self.folder / f"at-{name}").exists)

    def append(self, key: str, value: str, *headers: str, topic: str | None = None) -> None:
        """Put a record into a run's log, or another topic, as somebody could who may write there."""
        command = ["kcat", "-b", self.bootstrap, "-q", "-P", "-t", topic or self.topics.events]
        command += ["-k", key] if key else []
        command += ["-X", "partitioner=murmur2_random", *(part for one in headers for part in ("-H", one))]
        subprocess.run(command, input=value.encode(), check=True, timeout=WAIT_S)

    def open(self, name: str, after_s: float = 0.0) -> None:
        """Let the step there pass, now or a moment later."""
        if not after_s:
            (self.folder / f"open-{name}").touch()
        else:
            threading.Timer(after_s, (self.folder / f"open-{name}").touch).start()


@dataclass(frozen=True)
class Read:
    """A look of a reader into a partition."""

    topic: str
    partition: int
    start: int


class Shell:
    """Commands at a site, in this process; the environment names the cluster."""

    def __init__(self, site: Site, capture: pytest.CaptureFixture[bytes]) -> None:
        self.site, self._capture = site, capture

    def __call__(self, *argv: str) -> Outcome:
        self._capture.readouterr()
        code = main(argv)
        out, err = self._capture.readouterr()
        return Outcome(code, out.decode(), err.decode())

    def run(self, name: str, given: Any, run_id: str) -> Any:
        """The result of a run of one of the plans."""
        done = self("run", "--plan", f"{name}.json", "-i", json.dumps(given), "--run-id", run_id, "--json")
        return done.document

    def publish(self, name: str, given: Any, run_id: str) -> None:
        """Publish a run of one of the plans; it has begun on return."""
        asked = ("--plan", f"{name}.json", "-i", json.dumps(given), "--run-id", run_id)
        assert self("publish", *asked).out == f"{run_id}\n"

    def lines(self, *argv: str) -> list[Any]:
        """The JSON documents that a command prints."""
        return [json.loads(line) for line in self(*argv).out.splitlines()]

    def process(self, *argv: str) -> subprocess.Popen[str]:
        """The command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "dynamicflow", *argv, *self.site.flags],
            cwd=self.site.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )


def reads_of(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """Every stretch that readers read from now on."""
    seen: list[Read] = []
    read = Reader.read

    def noted(self: Reader, topic: str, partition: int, start: int, end: int) -> Any:
        seen.append(Read(topic, partition, start))
        return read(self, topic, partition, start, end)

    monkeypatch.setattr(Reader, "read", noted)
    return seen


def types(events: Sequence[Any]) -> list[str]:
    """Types of events, without holds: a worker that has just come holds what it is not sure to be the first to run."""
    return [event["type"] for event in events if event["type"] != "tool-start"]
