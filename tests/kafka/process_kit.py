"""Workers as real processes, and kcat: Kafka as a user's own client has it (Debian package; .ci/run installs it)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.kafka.broker import GUARD

ROOT: Final = Path(__file__).parents[2]
WAIT_S: Final = 30.0
"""How long a test waits for what must happen; on a busy machine a worker needs some seconds to start."""

TOOLS: Final = '''
import time
from pathlib import Path
from typing import Any
from dynamicflow import ToolContext, tool

print("the tools are loading", flush=True)
GATE = Path(__file__).with_name("open")

@tool(side_effect="none")
async def double(number: int) -> dict[str, int]:
    """Double a number."""
    return {"doubled": number * 2}

@tool(side_effect="idempotent")
def gate(name: str) -> dict[str, str]:
    """Ends when the gate is open."""
    print(f"at the gate: {name}", flush=True)
    while not GATE.exists():
        time.sleep(0.02)
    return {"passed": name}

@tool(side_effect="idempotent", retry={"maxAttempts": 2, "initialDelay": 1, "maxDelay": 1})
def flaky(fails: int, context: ToolContext) -> dict[str, int]:
    """Fails so many times."""
    if context.attempt <= fails:
        raise ConnectionError("not yet")
    return {"attempt": context.attempt}

@tool(side_effect="none")
async def anything() -> dict[str, Any]:
    """Nobody knows what it gives."""
    return {"number": "none"}

@tool(side_effect="non_idempotent")
def pay(amount: int) -> dict[str, bool]:
    """Must not run twice."""
    return {"paid": True}
'''


def call(node: str, tool: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A node of a plan that calls a tool."""
    return {"id": node, "type": "tool", "toolId": tool, "inputs": inputs, **more}


def plan(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"version": "1.0", "nodes": list(nodes)}


class WorkerProcess:
    """``dynamicflow worker`` in a process group of its own, which is gone on leaving, and when the test is killed."""

    def __init__(self, log: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        """``log`` takes what it says; the folder of ``log`` is where it runs."""
        self.log = log
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DYNAMICFLOW_", "OPENAI_"))}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "dynamicflow", "worker", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=log.parent,
                env={**kept, "PYTHONPATH": str(ROOT / "src"), **(environ or {})},
                start_new_session=True,
            )
        guarded = [str(os.getpid()), str(self.process.pid), str(log.parent / "no such folder")]
        self._guard = subprocess.Popen([sys.executable, "-I", "-S", GUARD, *guarded], start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(WAIT_S)
        self._guard.kill()
        self._guard.wait(WAIT_S)

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Until it has said something like that."""
        ends = time.monotonic() + WAIT_S
        while (found := re.search(pattern, self.said())) is None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}, said:\n{self.said()}"
            assert time.monotonic() < ends, f"not within {WAIT_S:g} s: {pattern}; said:\n{self.said()}"
            time.sleep(0.03)
        return found

    def wait_ready(self) -> Self:
        """Until /readyz says so; it was started with ``--metrics-port 0``."""
        ends = time.monotonic() + WAIT_S
        while (answer := self.get("/readyz"))[0] != 200:
            assert time.monotonic() < ends, f"not ready within {WAIT_S:g} s: {answer}; said:\n{self.said()}"
            time.sleep(0.1)
        return self

    @property
    def address(self) -> str:
        """``host:port`` of its endpoint."""
        return self.wait_for(r"serving http://([\d.:]+)/metrics")[1]

    def get(self, path: str) -> tuple[int, str]:
        """(status, body) of its endpoint."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def metric(self, series: str) -> float | None:
        """A number of /metrics; ``series`` is name and labels as they stand there, without the prefix."""
        found = re.search(rf"^dynamicflow_{re.escape(series)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return None if found is None else float(found[1])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, within_s: float = WAIT_S) -> int:
        """Its exit code, negative for a signal."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {within_s:g} s; said:\n{self.said()}") from None


class Kcat:
    """kcat at a broker."""

    def __init__(self, bootstrap: str) -> None:
        found = shutil.which("kcat")
        assert found is not None, "install the Debian package kcat; .ci/run does"
        self._command = [found, "-b", bootstrap, "-q", "-X", "fetch.wait.max.ms=50"]

    def publish(self, topic: str, value: object, key: str | None = None) -> None:
        """Appends one record; JSON unless ``value`` is a text."""
        text = value if isinstance(value, str) else json.dumps(value)
        keyed = [] if key is None else ["-k", key]
        subprocess.run([*self._command, "-P", "-t", topic, *keyed], input=text.encode(), check=True, timeout=WAIT_S)

    def read(self, topic: str) -> list[tuple[str, str]]:
        """(key, value) of all there is."""
        command = [*self._command, "-C", "-t", topic, "-o", "beginning", "-e", "-f", "%k\t%s\n"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S)
        return [(key, value) for key, _, value in (line.partition("\t") for line in done.stdout.splitlines())]

    def wait_for(self, topic: str, *keys: str) -> dict[str, Any]:
        """The newest values of these keys, decoded, once all are there."""
        ends = time.monotonic() + WAIT_S
        while True:
            found = dict(self.read(topic))
            if all(key in found for key in keys):
                return {key: json.loads(found[key]) for key in keys}
            assert time.monotonic() < ends, f"not in {topic} within {WAIT_S:g} s: {set(keys) - set(found)}"
            time.sleep(0.1)

    def kinds(self, topic: str, key: str) -> list[str]:
        """The types of a run's events in the order of the log, as the headers say."""
        command = [*self._command, "-C", "-t", topic, "-o", "beginning", "-e", "-f", "%k %h\n"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S)
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"{key} ")]
        return [found[1] for line in lines if (found := re.search(r"ce_type=([\w-]+)", line))]
