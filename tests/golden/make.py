"""Writes the logs of this version's events and rules, once: ``python -m tests.golden.make``.

A log that is there is never written again: it stands for runs that people have on their disks. A new version of events
(``v``) or rules (``semantics``) gets a folder of its own beside the old ones, which stay for ever.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from pathlib import Path
from typing import Any, Final

from dynamicflow import Engine, ToolContext, VirtualClock, create_tool
from dynamicflow.streams.core.events import SEMANTICS, VERSION
from dynamicflow.streams.embedded.memory import MemoryJournal
from dynamicflow.streams.replay import Rebuilt, rebuild
from dynamicflow.values import Json, digest

HERE: Final = Path(__file__).parent
FOLDER: Final = f"v{VERSION}-semantics{SEMANTICS}"
Case = tuple[dict[str, Any], Json, dict[str, Json]]
"""plan, input, options"""


class Flaky(Exception):
    """What a step is retried on."""


def _echo(inputs: Any, context: ToolContext) -> Json:
    return dict(inputs)


def _score(inputs: Any, context: ToolContext) -> Json:
    return {"score": inputs["n"] * 1.5, "even": inputs["n"] % 2 == 0}


def _flaky(inputs: Any, context: ToolContext) -> Json:
    if context.attempt <= inputs["failures"]:
        raise Flaky(f"attempt {context.attempt}")
    return {"attempt": context.attempt}


def _broken(inputs: Any, context: ToolContext) -> Json:
    raise ValueError("always")


def _large(inputs: Any, context: ToolContext) -> Json:
    return {"text": "ä€" * inputs["n"]}


def _tool(name: str, execute: Any, **more: Any) -> Any:
    return create_tool({"id": name, "description": name, "inputSchema": {}, "execute": execute, **more})


TOOLS: Final = [
    _tool("echo", _echo),
    _tool("score", _score),
    _tool("flaky", _flaky),
    _tool("broken", _broken),
    _tool("large", _large),
    _tool("pay", _echo, config={"sideEffect": "non_idempotent"}),
]


def _call(node: str, tool: str, **fields: Any) -> dict[str, Any]:
    return {"id": node, "type": "tool", "toolId": tool, "inputs": {}, **fields}


def _value(node: str, value: Json) -> dict[str, Any]:
    return {"id": node, "type": "value", "value": value}


def _plan(name: str, nodes: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"version": "1.0", "metadata": {"name": name}, "nodes": nodes, **fields}


def every_node_kind() -> Case:
    nodes: list[dict[str, Any]] = [
        _call("t", "score", inputs={"n": "$input.n"}),
        _value("v", {"text": "score ${$t.score}", "whole": "$t"}),
        {
            "id": "c",
            "type": "conditional",
            "condition": "$t.even",
            "ifTrue": [_value("even", 1)],
            "ifFalse": [_value("odd", 0)],
        },
        {
            "id": "s",
            "type": "switch",
            "on": "$input.kind",
            "cases": {"a": [_value("s_a", "A")]},
            "default": [_value("s_d", "D")],
        },
        {"id": "q", "type": "sequence", "body": [_value("q1", 1), _call("q2", "echo", inputs={"x": "$q1"})]},
        {"id": "all", "type": "parallel", "branches": {"x": [_call("px", "echo")], "y": [_value("py", 2)]}},
        {"id": "race", "type": "parallel", "joinStrategy": "race", "branches": [[_value("r1", 1)], [_value("r2", 2)]]},
        {
            "id": "any",
            "type": "parallel",
            "joinStrategy": "any",
            "branches": [[_call("a1", "broken")], [_value("a2", 2)]],
        },
        {
            "id": "set",
            "type": "parallel",
            "joinStrategy": "settled",
            "branches": [[_call("b1", "broken")], [_value("b2", 2)]],
        },
        {
            "id": "m",
            "type": "map",
            "over": "$input.list",
            "body": [_call("ms", "score", inputs={"n": "$item"})],
            "concurrency": 2,
        },
        {"id": "f", "type": "filter", "over": "$m", "condition": "$item.even"},
        {"id": "fm", "type": "flatMap", "over": "$input.list", "body": [_value("fv", ["$item", "$index"])]},
        {"id": "r", "type": "reduce", "over": "$f", "initial": 0, "body": [_value("rv", "${$acc + $item.score}")]},
        {"id": "w", "type": "loop", "loop": "while", "condition": "$index < 3", "body": [_value("wv", "$index")]},
        {"id": "l", "type": "loop", "loop": "for", "over": [1, 2], "body": [_value("lv", "$item")]},
        {"id": "n", "type": "loop", "loop": "times", "times": 2, "body": [_call("ns", "echo", inputs={"i": "$index"})]},
        {"id": "d", "type": "wait", "duration": "1h"},
        {"id": "u", "type": "wait", "until": "$input.at"},
        _call("gone", "echo"),
    ]
    edges = [{"from": "t", "to": "gone", "condition": "$t.score > 1000"}, {"from": "even", "to": "l"}]
    given = {"n": 4, "kind": "a", "list": [1, 2, 3, 4], "at": "2024-01-02T00:00:00Z"}
    return _plan("Every node kind", nodes, edges=edges, output={"r": "$r", "set": "$set", "gone": "$gone"}), given, {}


def retries_and_recoveries() -> Case:
    retry = {"maxAttempts": 3, "initialDelay": 500, "retryableErrors": ["Flaky"]}
    nodes = [
        _call("twice", "flaky", inputs={"failures": 1}, retry=retry),
        _call("linear", "flaky", inputs={"failures": 2}, retry={**retry, "backoff": "linear"}),
        _call("never", "flaky", inputs={"failures": 9}, retry=retry, onError={"value": "$error"}),
        _call("mended", "broken", onError={"nodes": [_call("mend", "echo", inputs={"why": "$error.message"})]}),
        _call("dropped", "broken", onError="continue"),
    ]
    return _plan("Retries", nodes), None, {}


def partial_and_held() -> Case:
    nodes = [
        _call("paid", "pay", inputs={"sum": "$input.sum"}),
        _call("bad", "broken"),
        _call("needs", "echo", inputs={"x": "$bad"}),
        _call("after", "echo"),
    ]
    options: dict[str, Json] = {"fallbackBehavior": {"onExecutionFailure": "partial-results"}, "timeout": "1d"}
    return _plan("Partial", nodes, edges=[{"from": "paid", "to": "after"}]), {"sum": 12.5}, options


def large_values() -> Case:
    nodes = [_call("a", "large", inputs={"n": 100_000}), _call("b", "echo", inputs={"x": "$a.text", "y": "$input"})]
    return _plan("Large", nodes, output={"length": "${length($b.x)}"}), "z" * 300_000, {}


def timed_out() -> Case:
    body = [{"id": "w", "type": "wait", "duration": "$item", "timeout": "9d"}, _call("e", "echo")]
    nodes = [{"id": "m", "type": "map", "over": ["1h", "2d"], "body": body}]
    return _plan("Timed out", nodes), None, {"timeout": "1d"}


CASES: Final = (every_node_kind, retries_and_recoveries, partial_and_held, large_values, timed_out)


def expectation(rebuilt: Rebuilt) -> dict[str, Json]:
    """What a log must come to in every later version."""
    state = rebuilt.state
    result = state.result or {}
    return {
        "records": rebuilt.records,
        "facts": state.seq,
        "stateDigest": rebuilt.digest,
        "planHash": state.program.hash if state.program else None,
        "status": result["status"],
        "output": result["output"],
        "error": result["error"],
        "resultDigest": digest(result),
    }


async def cancelled(journal: MemoryJournal) -> None:
    """A run that somebody stops while it waits."""
    plan = _plan("Cancelled", [_call("a", "echo"), {"id": "w", "type": "wait", "duration": "2d"}, _call("b", "pay")])
    async with Engine.in_memory(journal=journal, tools=TOOLS) as engine:
        run = await engine.start(plan, run_id="cancelled", labels={"team": "ä"})
        await run.result(max_wait=1)
        await run.cancel("no longer wanted", by="ada", control_id="c-1")
        await run.result()


async def write(folder: Path) -> list[str]:
    """Make the logs that are missing in a folder; their names."""
    made = []
    for case in CASES:
        name = case.__name__
        if not (folder / f"{name}.jsonl").exists():
            journal = MemoryJournal()
            plan, given, options = case()
            async with Engine.in_memory(journal=journal, tools=TOOLS, clock=VirtualClock()) as engine:
                await (await engine.start(plan, input=given, run_id=name, options=options)).result()
            made.append(save(folder, name, journal))
    if not (folder / "cancelled.jsonl").exists():
        journal = MemoryJournal()
        await cancelled(journal)
        made.append(save(folder, "cancelled", journal))
    return made


def save(folder: Path, name: str, journal: MemoryJournal) -> str:
    """The log, its large values, and what it comes to."""
    records = [record for _, record in journal.read(name)]
    wanted = {str(place["sha256"]) for record in records for place in (json.loads(record).get("large") or {}).values()}
    values = {sha: body.decode() for sha, body in journal.load(wanted).items()}
    expected = expectation(rebuild(journal, name, verify=True))
    (folder / f"{name}.jsonl").write_bytes(b"".join(record + b"\n" for record in records))
    _json(folder / f"{name}.expected.json", expected)
    if values:
        body = json.dumps(values, ensure_ascii=False, sort_keys=True).encode()
        (folder / f"{name}.values.json.gz").write_bytes(gzip.compress(body, mtime=0))
    return name


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    (HERE / FOLDER).mkdir(exist_ok=True)
    names = asyncio.run(write(HERE / FOLDER))
    sys.stdout.write("\n".join(names) + "\n" if names else f"all logs of {FOLDER} are there\n")
