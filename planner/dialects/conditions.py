"""Condition objects as expressions, with the node that asks where one must be asked.

``{type: expression|variable|literal}`` becomes text. ``{type: tool|llm}`` becomes a node in ``test`` (in ``body`` for a
filter) and an expression over it; where there is no such place, in a while condition or on an edge, it is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ...values import Json, pointer
from .draft import Deferred, Draft
from .report import ABSENT, Report, short

if TYPE_CHECKING:
    from .nodes import Reader

_OPERATORS: Final = {
    "eq": "==",
    "neq": "!=",
    "gt": ">",
    "lt": "<",
    "gte": ">=",
    "lte": "<=",
    "in": "in",
    "not-in": "not in",
}
_KEYS: Final = {
    "expression": ("expression", "value", "expr"),
    "variable": ("value", "name", "operator", "operands"),
    "literal": ("value", "operator", "operands"),
}
_TYPES: Final = ("expression", "tool", "llm", "variable", "literal")
_PATH: Final = re.compile(
    r"\$?([A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*"
    r"(?:\.[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*|\[(?:-?\d+|\*|'[^'\\]*'|\"[^\"\\]*\")\])*)\Z"
)
ANSWER: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {"answer": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["answer"],
}
"""What a model is asked for when it decides a condition."""


def read(value: Json, given: str, owner: Draft | None, reader: Reader) -> Json:
    """An expression, a Deferred one, or ABSENT. ``owner`` is the node whose condition it is; None for an edge."""
    report = reader.report
    if isinstance(value, str) and value.strip():
        return value
    if value is None or isinstance(value, str):
        report.add("MISSING_CONDITION", given, "the condition is empty", 'Write it as text: "$a.total > 100".')
        return ABSENT
    if not isinstance(value, dict):
        report.shape(given, value, "an expression (a string)", 'Write it as text, for instance "$a.total > 100".')
        return ABSENT
    type_ = value.get("type", _guess(value))
    match type_:
        case "expression":
            return _expression(value, given, report)
        case "variable" | "literal":
            return _comparison(type_, value, given, report)
        case "tool" | "llm":
            return _asked(type_, value, given, owner, reader)
    near = report.nearest(type_, _TYPES) if isinstance(type_, str) else ""
    message = "a condition object has type " + ", ".join(_TYPES)
    report.add("INVALID_SHAPE", given, message, near, expected=list(_TYPES), available=_TYPES)
    return ABSENT


def _guess(value: Mapping[str, Json]) -> str | None:
    for key, type_ in (("expression", "expression"), ("toolId", "tool"), ("tool", "tool"), ("prompt", "llm")):
        if key in value:
            return type_
    return None


def _closed(type_: str, value: Mapping[str, Json], given: str, report: Report) -> None:
    for key in value:
        if key != "type" and key not in _KEYS[type_]:
            near = report.nearest(key, _KEYS[type_])
            message = f"a condition of type {type_!r} has no field {short(key)!r}"
            report.add("UNKNOWN_FIELD", given + pointer(key), message, near, available=("type", *_KEYS[type_]))


def _expression(value: Mapping[str, Json], given: str, report: Report) -> Json:
    _closed("expression", value, given, report)
    key = next((key for key in _KEYS["expression"] if key in value), None)
    text = value[key] if key is not None else None
    if isinstance(text, str) and text.strip():
        return text
    if text is None or isinstance(text, str):
        report.add("MISSING_CONDITION", given, "the condition object has no expression", expected="expression")
    else:
        report.shape(given + pointer(key or ""), text, "an expression (a string)")
    return ABSENT


# ── comparisons given as data ───────────────────────────────────────────────────────────────────────────────────────


def _comparison(type_: str, value: Mapping[str, Json], given: str, report: Report) -> Json:
    _closed(type_, value, given, report)
    left = _left(type_, value, given, report)
    if left is ABSENT or "operator" not in value:
        return left
    operator = value["operator"]
    if not isinstance(operator, str) or operator not in _OPERATORS:
        message = "'operator' must be one of " + ", ".join(_OPERATORS)
        report.add("INVALID_SHAPE", given + "/operator", message, available=tuple(_OPERATORS))
        return ABSENT
    operands = value.get("operands")
    if not isinstance(operands, list):
        report.shape(given + "/operands" if "operands" in value else given, operands, "a list of operands")
        return ABSENT
    read_ones = [_operand(part, f"{given}/operands/{at}", report) for at, part in enumerate(operands)]
    if ABSENT in read_ones:
        return ABSENT
    right = _right(operator, operands, read_ones)
    if right is None:
        report.add("INVALID_SHAPE", given + "/operands", f"{operator!r} takes one operand, found {len(operands)}")
        return ABSENT
    return f"{left} {_OPERATORS[operator]} {right}"


def _left(type_: str, value: Mapping[str, Json], given: str, report: Report) -> Json:
    if type_ == "literal":
        if "value" in value:
            return literal(value["value"])
        report.add("MISSING_CONDITION", given, "the literal condition has no value", expected="value")
        return ABSENT
    key = "value" if "value" in value else "name"
    name = value.get(key)
    if isinstance(name, str) and (path := _PATH.match(name)):
        return "$" + path[1]
    report.shape(given + pointer(key) if key in value else given, name, "the name or path of a variable")
    return ABSENT


def _right(operator: str, operands: list[Json], read_ones: list[str]) -> str | None:
    """The right side: one operand, or for ``in`` a list of them; None when there is not exactly one."""
    if operator in ("in", "not-in"):
        one = len(operands) == 1 and (isinstance(operands[0], list) or read_ones[0].startswith("$"))
        return read_ones[0] if one else f"[{', '.join(read_ones)}]"
    return read_ones[0] if len(read_ones) == 1 else None


def _operand(value: Json, given: str, report: Report) -> Json:
    if isinstance(value, str) and value.startswith("$") and (path := _PATH.match(value)):
        return "$" + path[1]
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return literal(value)
    match value["type"]:
        case "literal" if "value" in value:
            return literal(value["value"])
        case "variable" if isinstance(value.get("name"), str) and (path := _PATH.match(value["name"])):
            return "$" + path[1]
        case "reference" if isinstance(value.get("nodeId"), str) and (path := _PATH.match(value["nodeId"])):
            return "$" + path[1]
        case "expression" if isinstance(value.get("expr", value.get("expression")), str):
            return f"({value.get('expr', value.get('expression'))})"
    report.shape(given, value, "a literal, a reference, or {type: literal|variable|reference|expression}")
    return ABSENT


def literal(value: Json) -> str:
    """A JSON value in the spelling of expressions, which is JSON's."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


# ── conditions that someone has to be asked for ─────────────────────────────────────────────────────────────────────


def _asked(type_: str, value: dict[str, Json], given: str, owner: Draft | None, reader: Reader) -> Json:
    if owner is None or owner.variant == "loop:while":
        where = "on an edge" if owner is None else "in a while condition"
        how = "Make it a node of its own and compare its output: an edge runs nothing."
        if owner is not None:
            how = "Make it the last node of the body and compare its output in the condition."
        report = reader.report
        report.add("OPERATION_NOT_ALLOWED", given, f"a condition of type {type_!r} cannot stand {where}", how)
        return ABSENT
    raw: dict[str, Any] = {**value, "type": type_}
    if type_ == "llm":
        raw["schema"] = dict(ANSWER)
        if owner.type == "filter" and "prompt" in raw:
            raw["prompt"] = with_item(raw["prompt"])
    elif owner.type == "filter" and raw.keys().isdisjoint({"inputs", "args", "input"}):
        raw["inputs"] = "$item"
    node = reader.node(raw, given, owner.depth + 1)
    if not isinstance(node, Draft):
        return ABSENT
    node.suffix = "test"
    owner.bodies[("body",) if owner.type == "filter" else ("test",)].append(node)
    if type_ == "llm":
        return Deferred(node, ".answer == true")
    is_object = gives_object(reader.tools.get(str(node.fields.get("toolId"))))
    return Deferred(node, ".result == true" if is_object else " == true")


def with_item(prompt: Json) -> Json:
    """A prompt that is asked per item and does not mention the item gets it at its end."""
    if not isinstance(prompt, str) or re.search(r"\b(?:item|acc)\b", prompt):
        return prompt
    return prompt + "\n\n${$item}"


def gives_object(spec: Any) -> bool:
    """Whether a tool's output schema says that its output is an object; local ``$ref`` followed."""
    root = getattr(spec, "output_schema", None)
    schema = root
    for _ in range(8):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            break
        schema = _local(root, schema["$ref"])
    if not isinstance(schema, dict):
        return False
    type_ = schema.get("type")
    return type_ == "object" or (type_ is None and "properties" in schema) or type_ == ["object"]


def _local(root: Json, ref: str) -> Json:
    if not ref.startswith("#"):
        return None
    part = root
    for key in ref[1:].split("/")[1:]:
        name = key.replace("~1", "/").replace("~0", "~")
        part = part.get(name) if isinstance(part, dict) else None
    return part
