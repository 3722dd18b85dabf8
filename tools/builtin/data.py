"""Data: JSON texts, and picking, merging, sorting and grouping of objects."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import Field
from typing_extensions import TypedDict

from ...values import Json, NotJson, decode
from ..context import ToolFailed
from ..decorate import tool
from ..spec import Tool

Object = dict[str, Any]
Key = Annotated[str, Field(description="The field's name")]
Items = Annotated[list[Object], Field(description="A list of objects")]


class Value(TypedDict):
    value: Any


class Written(TypedDict):
    text: str


class OneObject(TypedDict):
    object: Object


class ManyObjects(TypedDict):
    items: list[Object]


class Groups(TypedDict):
    groups: dict[str, list[Object]]


@tool(category="data", side_effect="none")
def json_parse(text: Annotated[str, Field(description="A JSON text")]) -> Value:
    """Reads a JSON text. Returns {value}."""
    try:
        return {"value": decode(text)}
    except NotJson as error:
        raise ToolFailed(f"the text is not JSON: {error}", code="INVALID_JSON", retryable=False) from error


@tool(category="data", side_effect="none")
def json_format(
    value: Annotated[Any, Field(description="Any JSON value")],
    indent: Annotated[int, Field(ge=0, le=8, description="Blanks for each level; 0: all in one line")] = 0,
) -> Written:
    """Writes a value as a JSON text with sorted keys. Returns {text}."""
    return {"text": json.dumps(value, ensure_ascii=False, sort_keys=True, indent=indent or None)}


@tool(category="data", side_effect="none")
def data_pick(
    object: Annotated[Object, Field(description="The object")],
    keys: Annotated[list[str], Field(description="Names of the fields to keep; those it lacks are left out")],
) -> OneObject:
    """Keeps some fields of an object. Returns {object}."""
    return {"object": {key: object[key] for key in keys if key in object}}


@tool(category="data", side_effect="none")
def data_merge(
    objects: Annotated[list[Object], Field(description="The objects; of two equal names the later one wins")],
) -> OneObject:
    """Merges objects into one, at the top level. Returns {object}."""
    merged: Object = {}
    for part in objects:
        merged.update(part)
    return {"object": merged}


@tool(category="data", side_effect="none")
def data_sort(
    items: Items,
    key: Key,
    descending: Annotated[bool, Field(description="The largest first")] = False,
) -> ManyObjects:
    """Sorts objects by one field, all numbers or all texts; those without it come last. Returns {items}."""
    there = [item for item in items if item.get(key) is not None]
    rest = [item for item in items if item.get(key) is None]
    if {_kind(item[key]) for item in there} not in (set(), {"number"}, {"text"}):
        said = f"the field {key!r} must be a number in every object, or a text in every object"
        raise ToolFailed(said, code="TOOL_INPUT_INVALID", retryable=False)
    return {"items": [*sorted(there, key=lambda item: item[key], reverse=descending), *rest]}


def _kind(value: Json) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return "text" if isinstance(value, str) else "other"


@tool(category="data", side_effect="none")
def data_group(items: Items, key: Key) -> Groups:
    """Groups objects by the text form of one field; those without it are in the group "". Returns {groups}."""
    groups: dict[str, list[Object]] = {}
    for item in items:
        value = item.get(key)
        name = value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
        groups.setdefault(name, []).append(item)
    return {"groups": groups}


TOOLS: Final[list[Tool]] = [json_parse, json_format, data_pick, data_merge, data_sort, data_group]
