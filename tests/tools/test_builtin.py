"""The text and data tools: each takes what its schema says and gives what its schema says."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.tools import (
    CallResult,
    ToolContext,
    ToolFailed,
    ToolRegistry,
    builtin_tools,
    check_inputs,
    check_output,
)

TOOLS = ToolRegistry.from_tools(builtin_tools())


@pytest.mark.parametrize(
    ("id", "inputs", "output"),
    [
        ("text_split", {"text": "a,b,c", "separator": ","}, {"parts": ["a", "b", "c"]}),
        ("text_split", {"text": " a  b ", "limit": 1}, {"parts": ["a  b "]}),
        ("text_join", {"parts": ["a", "b"], "separator": "-"}, {"text": "a-b"}),
        ("text_replace", {"text": "a.a", "search": ".", "replacement": "!"}, {"text": "a!a"}),
        ("text_case", {"text": "ab", "case": "upper"}, {"text": "AB"}),
        ("text_trim", {"text": " a\n"}, {"text": "a"}),
        ("json_parse", {"text": '{"a": [1]}'}, {"value": {"a": [1]}}),
        ("json_format", {"value": {"b": 1, "a": "ä"}}, {"text": '{"a": "ä", "b": 1}'}),
        ("json_format", {"value": None}, {"text": "null"}),
        ("data_pick", {"object": {"a": 1, "b": 2}, "keys": ["b", "c"]}, {"object": {"b": 2}}),
        ("data_merge", {"objects": [{"a": 1}, {"a": 2, "b": 3}]}, {"object": {"a": 2, "b": 3}}),
        (
            "data_sort",
            {"items": [{"n": 1}, {}, {"n": 3}], "key": "n", "descending": True},
            {"items": [{"n": 3}, {"n": 1}, {}]},
        ),
        (
            "data_group",
            {"items": [{"k": "a", "n": 1}, {"k": 1.5}, {"n": 2}], "key": "k"},
            {"groups": {"a": [{"k": "a", "n": 1}], "1.5": [{"k": 1.5}], "": [{"n": 2}]}},
        ),
    ],
)
def test_gives(id: str, inputs: dict[str, Any], output: Any) -> None:
    one = TOOLS[id]
    checked = check_inputs(one.spec, inputs, "strict")
    assert isinstance(checked, tuple)
    result = check_output(one.spec, one.invoke(checked[0], ToolContext()), "strict")
    assert isinstance(result, CallResult)
    assert result.output == output


@pytest.mark.parametrize(
    ("id", "inputs", "code"),
    [
        ("json_parse", {"text": "[NaN]"}, "INVALID_JSON"),
        ("data_sort", {"items": [{"n": 1}, {"n": "1"}], "key": "n"}, "TOOL_INPUT_INVALID"),
        ("data_sort", {"items": [{"n": [1]}], "key": "n"}, "TOOL_INPUT_INVALID"),
    ],
)
def test_refuses(id: str, inputs: dict[str, Any], code: str) -> None:
    with pytest.raises(ToolFailed) as caught:
        TOOLS[id].invoke(inputs, ToolContext())
    assert (caught.value.code, caught.value.retryable) == (code, False)


def test_every_one_describes_itself_and_declares_its_fields() -> None:
    for one in builtin_tools():
        assert one.spec.description
        assert one.spec.output is not None
        assert one.spec.output.fields
        assert all("description" in field for field in one.spec.input_schema["properties"].values())
