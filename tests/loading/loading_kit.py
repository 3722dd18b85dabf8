"""Plans for the tests of loading: the letter's own examples, and short makers."""

from __future__ import annotations

import json
from typing import Any, Final

from dynamicflow.planner.loading import Loaded, load_plan

NODES: Final[list[dict[str, Any]]] = json.loads(
    r"""
[{"id": "t", "type": "tool", "toolId": "validateEmail", "inputs": {"email": "$input.email"}},
 {"id": "v", "type": "value", "value": {"sent": false, "to": "Dear ${$input.name}"}},
 {"id": "c", "type": "conditional", "test": [], "condition": "$t.valid === true",
  "ifTrue": [{"id": "c_ifTrue", "type": "value", "value": 1}], "ifFalse": []},
 {"id": "s", "type": "switch", "test": [], "on": "$input.kind",
  "cases": {"refund": [{"id": "s_refund", "type": "value", "value": 1}]}, "default": []},
 {"id": "q", "type": "sequence", "body": [{"id": "q_1", "type": "value", "value": 1}]},
 {"id": "p", "type": "parallel", "branches": [[{"id": "p_0", "type": "value", "value": 1}],
  [{"id": "p_1", "type": "value", "value": 2}]], "joinStrategy": "all", "concurrency": 10},
 {"id": "m", "type": "map", "over": "$input.leads", "as": "item",
  "body": [{"id": "m_1", "type": "tool", "toolId": "score", "inputs": {"lead": "$item"}}],
  "concurrency": 10, "maxItems": 1000},
 {"id": "f", "type": "filter", "over": "$m", "as": "item", "body": [], "condition": "$item.score > 0.7",
  "mode": "include", "concurrency": 10, "maxItems": 1000},
 {"id": "r", "type": "reduce", "over": "$f", "as": "item", "initial": 0,
  "body": [{"id": "r_1", "type": "value", "value": "${$acc + $item.price * $item.quantity}"}], "maxItems": 1000},
 {"id": "w", "type": "loop", "loop": "while", "condition": "$w_1.status != 'done'",
  "body": [{"id": "w_1", "type": "tool", "toolId": "poll", "inputs": {}}], "maxIterations": 100, "onLimit": "fail"},
 {"id": "l", "type": "loop", "loop": "for", "over": [1, 2], "as": "item",
  "body": [{"id": "l_1", "type": "value", "value": "$item"}], "maxItems": 1000},
 {"id": "n", "type": "loop", "loop": "times", "times": 3,
  "body": [{"id": "n_1", "type": "value", "value": "$index"}], "maxIterations": 100},
 {"id": "g", "type": "llm", "prompt": "Sum up ${$t.text}", "system": "", "schema": {"type": "object"},
  "model": "gpt-4o", "temperature": 0.3, "maxTokens": 4000},
 {"id": "h", "type": "awaitInput", "preset": "approval", "message": "Refund ${$input.amount}?", "schema": {},
  "choices": [], "approvers": ["role:manager"], "timeout": 86400000, "default": {"approved": false}},
 {"id": "d", "type": "wait", "duration": 60000}, {"id": "u", "type": "wait", "until": "$input.at"},
 {"id": "x", "type": "wait", "signal": "paid", "match": "$signal.orderId == $input.orderId", "timeout": 86400000},
 {"id": "z", "type": "subflow", "plan": "refund-v2", "inputs": {"order": "$t"}}]
"""
)
"""Every node of the canonical form, with its defaults written out."""

PLAN: Final[dict[str, Any]] = json.loads(
    """
{"version": "1.0",
 "metadata": {"name": "Generated Flow", "description": "", "generated": false, "source": "given", "model": "gpt-4o",
              "timestamp": "2024-01-15T10:30:00Z"},
 "variables": {"limit": 100}, "nodes": [{"id": "a", "type": "value", "value": 1}], "edges": [],
 "output": {"total": "$a"}, "joins": [], "rationale": "", "alternatives": [], "assumptions": []}
"""
)

SEED: Final[dict[str, Any]] = {
    "version": "1.0",
    "metadata": {"name": "Onboarding", "generated": True},
    "nodes": [
        {"id": "validate_email", "type": "tool", "toolId": "validateEmail", "inputs": {"email": "$input.email"}},
        {
            "id": "check",
            "type": "conditional",
            "condition": "$validate_email.valid === true",
            "ifTrue": {"id": "send_welcome", "type": "tool", "toolId": "sendWelcome", "inputs": {"to": "$input.email"}},
            "ifFalse": {"type": "value", "value": {"sent": False, "reason": "Invalid email"}},
        },
    ],
    "edges": [{"from": "validate_email", "to": "check"}],
}


def plan(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A document around nodes."""
    return {"version": "1.0", "nodes": list(nodes), **more}


def value(id_: str, given: Any = 1) -> dict[str, Any]:
    """A value node."""
    return {"id": id_, "type": "value", "value": given}


def tool(id_: str, **more: Any) -> dict[str, Any]:
    """A tool node."""
    return {"id": id_, "type": "tool", "toolId": "t", **more}


def each(**more: Any) -> dict[str, Any]:
    """A map node ``m`` over the input."""
    return {"id": "m", "type": "map", "over": "$input", "body": [value("m_1")], **more}


def load(*nodes: dict[str, Any], **more: Any) -> Loaded:
    """A plan of these nodes that has nothing wrong with it, loaded."""
    loaded = load_plan(plan(*nodes, **more))
    assert loaded.problems == ()
    return loaded


def canonical(*nodes: dict[str, Any], **more: Any) -> Any:
    """The canonical document of a right plan."""
    return load(*nodes, **more).canonical


def node(*nodes: dict[str, Any], at: int = 0, **more: Any) -> Any:
    """One canonical top-level node of a right plan."""
    return canonical(*nodes, **more)["nodes"][at]


def faults(source: Any, **more: Any) -> list[tuple[str, str]]:
    """(code, path) of every problem."""
    return [(problem.code, problem.path) for problem in load_plan(source, **more).problems]
