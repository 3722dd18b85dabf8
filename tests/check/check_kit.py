"""Builders of tools, plans and checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dynamicflow.errors import Problem
from dynamicflow.planner.check import Check, check_plan
from dynamicflow.planner.options import Options
from dynamicflow.tools.joins import Join
from dynamicflow.tools.spec import ToolSpec

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
FLAG = {"type": "boolean"}


def fields(**named: Any) -> dict[str, Any]:
    """An object schema; a field whose name ends in ``_`` is optional."""
    properties = {name.rstrip("_"): schema for name, schema in named.items()}
    return {"type": "object", "properties": properties, "required": [n for n in named if not n.endswith("_")]}


def spec(tool_id: str, takes: Any = None, gives: Any = None, **more: Any) -> ToolSpec:
    return ToolSpec(tool_id, input_schema=fields() if takes is None else takes, output_schema=gives, **more)


TOOLS: dict[str, ToolSpec] = {
    tool.id: tool
    for tool in (
        spec("validateEmail", fields(email=TEXT), fields(valid=FLAG, email=TEXT)),
        spec("sendEmail", fields(email=TEXT, subject_=TEXT), fields(id=TEXT), side_effect="non_idempotent"),
        spec("findLeads", fields(), fields(leads={"type": "array", "items": fields(name=TEXT, score=NUMBER)})),
        spec("score", fields(name=TEXT), fields(score=NUMBER), side_effect="none"),
        spec("refund", fields(amount=NUMBER, note_=TEXT), fields(ok=FLAG)),
        spec("poll", fields(), fields(status=TEXT, tries=NUMBER)),
        spec("anything", {}, None),
    )
}


def call(node_id: str, tool_id: str, **inputs: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "tool", "toolId": tool_id, "inputs": inputs}


def value(node_id: str, given: Any = 1) -> dict[str, Any]:
    return {"id": node_id, "type": "value", "value": given}


def plan(*nodes: Any, edges: Iterable[Any] = (), **more: Any) -> dict[str, Any]:
    """``edges``: (from, to) pairs, or edges."""
    made = [edge if isinstance(edge, dict) else {"from": edge[0], "to": edge[1]} for edge in edges]
    return {"version": "1.0", "nodes": list(nodes), "edges": made, **more}


def check(
    given: Any,
    *,
    tools: Mapping[str, ToolSpec] = TOOLS,
    joins: Sequence[Join] = (),
    options: Mapping[str, Any] | None = None,
    planned: bool = False,
) -> Check:
    asked = Options.model_validate(options or {})
    return check_plan(given, tools=tools, joins=joins, options=asked, planned=planned)


def codes(checked: Check) -> list[str]:
    return [problem.code for problem in checked.problems]


def warned(checked: Check) -> list[str]:
    return [problem.code for problem in checked.warnings]


def only(checked: Check) -> Problem:
    """The one problem there is."""
    assert len(checked.problems) == 1, [str(problem) for problem in checked.problems]
    return checked.problems[0]


def only_warning(checked: Check) -> Problem:
    """The one warning of a valid plan."""
    assert checked.valid, [str(problem) for problem in checked.problems]
    assert len(checked.warnings) == 1, [str(problem) for problem in checked.warnings]
    return checked.warnings[0]
