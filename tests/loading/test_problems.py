"""Every fault of shape, all at once, each with its code and its place in the plan as given."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.loading import load_plan
from tests.loading.loading_kit import each, faults, plan, tool, value

WHILE = {"id": "w", "type": "loop", "loop": "while", "condition": "$x", "body": [value("x")]}
COND = {"id": "c", "type": "conditional", "condition": "$input", "ifTrue": [value("x")]}


def of(node: Any, **more: Any) -> list[tuple[str, str]]:
    """Faults of a plan of one node, or of these."""
    return faults(plan(*(node if isinstance(node, list) else [node]), **more))


class TestTheText:
    @pytest.mark.parametrize(
        "text", ['{"a": 1', '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "", b"\xff{}"]
    )
    def test_is_json(self, text: Any) -> None:
        assert faults(text) == [("INVALID_JSON", "")]

    def test_a_fault_has_its_place(self) -> None:
        assert "line 2, column 6" in load_plan('{\n"a": }').problems[0].message

    @pytest.mark.parametrize("given", ["[]", "1", "null", [1], 7, None])
    def test_is_an_object(self, given: Any) -> None:
        assert faults(given) == [("INVALID_SHAPE", "")]

    def test_a_dict_follows_the_same_rules(self) -> None:
        assert faults({"a": float("nan")}) == faults({"a": {1, 2}}) == faults({"a": "\ud800"}) == [("INVALID_JSON", "")]


class TestTheDocument:
    @pytest.mark.parametrize("version", ["2.0", 1.0, None, ["1.0"]])
    def test_another_version(self, version: Any) -> None:
        assert of(value("a"), version=version) == [("INVALID_VERSION", "/version")]

    def test_no_version(self) -> None:
        assert faults({"nodes": [value("a")]}) == [("INVALID_VERSION", "")]

    def test_no_nodes(self) -> None:
        assert faults({"version": "1.0"}) == [("EMPTY_NODES", "")]
        assert faults({"version": "1.0", "nodes": []}) == [("EMPTY_NODES", "/nodes")]
        assert of({"id": "s", "type": "start"}) == [("EMPTY_NODES", "/nodes")]

    @pytest.mark.parametrize(
        ("more", "found"),
        [
            ({"edges": {}}, ("INVALID_EDGES", "/edges")),
            ({"edges": None}, ("INVALID_EDGES", "/edges")),
            ({"edges": [1]}, ("INVALID_SHAPE", "/edges/0")),
            ({"joins": {}}, ("INVALID_SHAPE", "/joins")),
            ({"joins": [{"fromTool": "a", "toTool": "b"}]}, ("INVALID_SHAPE", "/joins/0")),
            ({"joins": [{"from": "a", "to": 1, "mapping": {}}]}, ("INVALID_SHAPE", "/joins/0/to")),
            ({"joins": [{"from": "a", "to": "b", "mapping": {}, "x": 1}]}, ("UNKNOWN_FIELD", "/joins/0/x")),
            ({"variables": []}, ("INVALID_SHAPE", "/variables")),
            ({"metadata": []}, ("INVALID_SHAPE", "/metadata")),
            ({"metadata": {"name": 1}}, ("INVALID_SHAPE", "/metadata/name")),
            ({"metadata": {"generated": "yes"}}, ("INVALID_SHAPE", "/metadata/generated")),
            ({"assumptions": "none"}, ("INVALID_SHAPE", "/assumptions")),
            ({"modelPool": 1}, ("INVALID_SHAPE", "/modelPool")),
            ({"node/s~": []}, ("UNKNOWN_FIELD", "/node~1s~0")),
        ],
    )
    def test_its_fields(self, more: Any, found: Any) -> None:
        assert of(value("a"), **more) == [found]


class TestOneNode:
    @pytest.mark.parametrize(
        ("node", "found"),
        [
            ({"type": "value", "value": 1}, ("MISSING_NODE_ID", "/nodes/0")),
            ({"id": "", "type": "value", "value": 1}, ("MISSING_NODE_ID", "/nodes/0")),
            (value("1a"), ("INVALID_ID", "/nodes/0/id")),
            (value("a--b"), ("INVALID_ID", "/nodes/0/id")),
            (value("a" * 129), ("INVALID_ID", "/nodes/0/id")),
            ({"id": 7, "type": "value", "value": 1}, ("INVALID_ID", "/nodes/0/id")),
            (value("item"), ("RESERVED_ID", "/nodes/0/id")),
            (value("START"), ("RESERVED_ID", "/nodes/0/id")),
            ({"id": "a"}, ("MISSING_NODE_TYPE", "/nodes/0")),
            ({"id": "a", "type": ""}, ("MISSING_NODE_TYPE", "/nodes/0")),
            ({"id": "a", "type": "tol"}, ("INVALID_NODE_TYPE", "/nodes/0/type")),
            ({"id": "a", "type": ["tool"]}, ("INVALID_SHAPE", "/nodes/0/type")),
            (1, ("INVALID_SHAPE", "/nodes/0")),
            ({"id": "a", "type": "tool"}, ("MISSING_TOOL_ID", "/nodes/0")),
            ({"id": "a", "type": "tool", "toolId": " "}, ("MISSING_TOOL_ID", "/nodes/0/toolId")),
            (tool("a", inputs=[]), ("INVALID_SHAPE", "/nodes/0/inputs")),
            (tool("a", args="text"), ("INVALID_SHAPE", "/nodes/0/args")),
            (tool("a", inputs="see $b"), ("INVALID_SHAPE", "/nodes/0/inputs")),
            ({"id": "a", "type": "value"}, ("INVALID_SHAPE", "/nodes/0")),
            ({"id": "m", "type": "map"}, ("MISSING_OPERATION", "/nodes/0")),
            ({"id": "m", "type": "map", "body": []}, ("MISSING_OPERATION_TARGET", "/nodes/0")),
            ({"id": "m", "type": "map", "over": []}, ("MISSING_OPERATION_SPEC", "/nodes/0")),
            ({"id": "m", "type": "map", "operation": {"over": []}}, ("MISSING_OPERATION_SPEC", "/nodes/0/operation")),
            ({"id": "q", "type": "sequence"}, ("MISSING_OPERATION_SPEC", "/nodes/0")),
            ({"id": "q", "type": "parallel"}, ("MISSING_OPERATION_SPEC", "/nodes/0")),
            ({"id": "w", "type": "loop"}, ("MISSING_OPERATION", "/nodes/0")),
            ({"id": "f", "type": "filter", "over": []}, ("MISSING_CONDITION", "/nodes/0")),
            ({"id": "c", "type": "conditional", "ifTrue": [value("x")]}, ("MISSING_CONDITION", "/nodes/0")),
            (COND | {"condition": " "}, ("MISSING_CONDITION", "/nodes/0/condition")),
            (COND | {"condition": True}, ("INVALID_SHAPE", "/nodes/0/condition")),
            (COND | {"condition": {"type": "magic"}}, ("INVALID_SHAPE", "/nodes/0/condition")),
            (COND | {"ifTrue": [], "ifFalse": []}, ("MISSING_THEN_BRANCH", "/nodes/0")),
            ({"id": "c", "type": "conditional", "condition": "$input"}, ("MISSING_THEN_BRANCH", "/nodes/0")),
            (COND | {"ifFalse": None}, ("INVALID_SHAPE", "/nodes/0/ifFalse")),
            (COND | {"ifFalse": [3]}, ("INVALID_SHAPE", "/nodes/0/ifFalse/0")),
            ({"id": "s", "type": "switch", "on": "$input", "cases": []}, ("INVALID_SHAPE", "/nodes/0/cases")),
            ({"id": "p", "type": "parallel", "branches": 1}, ("INVALID_SHAPE", "/nodes/0/branches")),
            (tool("a", onError="retry"), ("INVALID_SHAPE", "/nodes/0/onError")),
            (tool("a", onError={}), ("INVALID_SHAPE", "/nodes/0/onError")),
            (tool("a", onError={"value": 1, "node": 2}), ("UNKNOWN_FIELD", "/nodes/0/onError/node")),
            (tool("a", timeout="soon"), ("INVALID_SHAPE", "/nodes/0/timeout")),
            (tool("a", timeout=-1), ("INVALID_SHAPE", "/nodes/0/timeout")),
            (tool("a", timeout=None), ("INVALID_SHAPE", "/nodes/0/timeout")),
            (tool("a", retry={"maxAttempts": 0}), ("INVALID_SHAPE", "/nodes/0/retry/maxAttempts")),
            (tool("a", retry={"tries": 2}), ("UNKNOWN_FIELD", "/nodes/0/retry/tries")),
            (tool("a", retry={"retryableErrors": "*"}), ("INVALID_SHAPE", "/nodes/0/retry/retryableErrors")),
            (tool("a", retry=True), ("INVALID_SHAPE", "/nodes/0/retry")),
            (tool("a", retries=-1), ("INVALID_SHAPE", "/nodes/0/retries")),
            (tool("a", retry={}, retries=1), ("DIALECT_AMBIGUOUS", "/nodes/0/retries")),
            (tool("a", approval="yes"), ("INVALID_SHAPE", "/nodes/0/approval")),
            (tool("a", validation="loose"), ("INVALID_SHAPE", "/nodes/0/validation")),
            (tool("a", toolID=1), ("UNKNOWN_FIELD", "/nodes/0/toolID")),
            (tool("a", config={"color": 1}), ("UNKNOWN_FIELD", "/nodes/0/config/color")),
            (tool("a", config={"timeout": 1}, timeout=1), ("DIALECT_AMBIGUOUS", "/nodes/0/timeout")),
            (value("a") | {"retry": {}}, ("UNKNOWN_FIELD", "/nodes/0/retry")),
            (value("a") | {"outputVar": 1}, ("INVALID_SHAPE", "/nodes/0/outputVar")),
            (each(concurrency=0), ("INVALID_SHAPE", "/nodes/0/concurrency")),
            (each(concurrency=1.5), ("INVALID_SHAPE", "/nodes/0/concurrency")),
            (each(**{"as": 1}), ("INVALID_SHAPE", "/nodes/0/as")),
            (each(mode="include"), ("UNKNOWN_FIELD", "/nodes/0/mode")),
            ({"id": "g", "type": "llm"}, ("INVALID_SHAPE", "/nodes/0")),
            ({"id": "g", "type": "llm", "prompt": "p", "schema": []}, ("INVALID_SHAPE", "/nodes/0/schema")),
            (
                {"id": "g", "type": "llm", "prompt": "p", "temperature": "hot"},
                ("INVALID_SHAPE", "/nodes/0/temperature"),
            ),
            ({"id": "z", "type": "subflow"}, ("INVALID_SHAPE", "/nodes/0")),
            ({"id": "v", "type": "expression", "expression": "} ${"}, ("EXPRESSION_SYNTAX", "/nodes/0/expression")),
        ],
        ids=str,
    )
    def test_is_refused_once(self, node: Any, found: Any) -> None:
        assert of(node) == [found]

    def test_an_unknown_field_shows_the_right_ones(self) -> None:
        (problem,) = load_plan(plan(tool("a", input_s={}))).problems

        assert problem.suggestion == "Did you mean 'inputs'?"
        assert "inputs" in problem.available and "toolId" in problem.available

    def test_an_unknown_type_shows_the_right_ones(self) -> None:
        (problem,) = load_plan(plan({"id": "a", "type": "Tool"})).problems

        assert problem.suggestion == "Did you mean 'tool'?"
        assert set(problem.available) >= {"tool", "value", "conditional", "switch", "subflow"}


class TestBounds:
    @pytest.mark.parametrize("bound", [None, 0, -1, 0.0])
    def test_null_or_below_one_is_unbounded(self, bound: Any) -> None:
        assert of(WHILE | {"maxIterations": bound}) == [("UNBOUNDED_LOOP", "/nodes/0/maxIterations")]
        assert of(each(maxItems=bound)) == [("UNBOUNDED_LOOP", "/nodes/0/maxItems")]

    def test_a_bound_is_a_whole_number(self) -> None:
        assert of(each(maxItems="many")) == [("INVALID_SHAPE", "/nodes/0/maxItems")]

    def test_times(self) -> None:
        times = {"id": "n", "type": "loop", "loop": "times", "body": []}

        assert of(times) == [("MISSING_OPERATION_TARGET", "/nodes/0")]
        assert of(times | {"times": None}) == [("UNBOUNDED_LOOP", "/nodes/0/times")]
        assert of(times | {"times": 1.5}) == of(times | {"times": "3"}) == [("INVALID_SHAPE", "/nodes/0/times")]
        assert of(times | {"times": 0}) == of(times | {"times": "$input.n"}) == []

    def test_a_loop_of_another_kind(self) -> None:
        loop = {"id": "n", "type": "loop", "loop": "until", "condition": "$x", "body": [value("x")]}

        assert of(loop) == [("INVALID_SHAPE", "/nodes/0/loop")]


class TestAWaitHasOneEnd:
    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({}, ("INVALID_SHAPE", "/nodes/0")),
            ({"duration": 1, "signal": "s"}, ("INVALID_SHAPE", "/nodes/0")),
            ({"duration": "1s", "match": "$signal"}, ("INVALID_SHAPE", "/nodes/0/match")),
            ({"duration": "$input.d"}, ("UNBOUNDED_LOOP", "/nodes/0/duration")),
            ({"duration": "later"}, ("INVALID_SHAPE", "/nodes/0/duration")),
            ({"until": "tomorrow"}, ("INVALID_SHAPE", "/nodes/0/until")),
            ({"until": 5}, ("INVALID_SHAPE", "/nodes/0/until")),
        ],
    )
    def test_or_it_is_refused(self, fields: Any, found: Any) -> None:
        assert of({"id": "d", "type": "wait", **fields}) == [found]

    def test_a_moment_or_a_reference(self) -> None:
        assert of({"id": "d", "type": "wait", "until": "2030-01-31T09:00:00+01:00"}) == []


class TestOwnership:
    def test_a_node_stands_in_one_place(self) -> None:
        twice = COND | {"ifTrue": ["a"], "ifFalse": ["a"]}

        assert of([twice, value("a")]) == [("NODE_OWNED_TWICE", "/nodes/0/ifFalse/0")]

    def test_an_inline_node_has_its_place(self) -> None:
        assert of([COND, each(body=["x"])]) == [("NODE_OWNED_TWICE", "/nodes/1/body/0")]

    def test_an_unknown_id_in_a_branch(self) -> None:
        (problem,) = load_plan(plan(COND | {"ifTrue": ["sendd"]}, value("send"))).problems

        assert (problem.code, problem.path) == ("UNRESOLVED_REFERENCE", "/nodes/0/ifTrue/0")
        assert problem.suggestion == "Did you mean 'send'?"

    def test_no_node_stands_inside_itself(self) -> None:
        one = {"id": "a", "type": "sequence", "body": ["b"]}
        other = {"id": "b", "type": "sequence", "body": ["a"]}

        assert of([one, other, value("v")]) == [("NODE_OWNED_TWICE", "/nodes/0"), ("NODE_OWNED_TWICE", "/nodes/1")]
        assert of([one, other]) == [("NODE_OWNED_TWICE", "/nodes/0"), ("NODE_OWNED_TWICE", "/nodes/1")]

    def test_ids_are_unique_in_the_whole_plan(self) -> None:
        assert of([value("x"), COND]) == [("DUPLICATE_NODE_ID", "/nodes/1/ifTrue/0/id")]


class TestEdges:
    @pytest.mark.parametrize(
        ("edge", "found"),
        [
            ({"to": "a"}, ("INVALID_EDGE_FROM", "/edges/0")),
            ({"from": "a"}, ("INVALID_EDGE_TO", "/edges/0")),
            ({"from": 1, "to": "a"}, ("INVALID_EDGE_FROM", "/edges/0/from")),
            ({"from": "a", "to": []}, ("INVALID_EDGE_TO", "/edges/0/to")),
            ({"from": "a", "to": ["b", "q"]}, ("INVALID_EDGE_TO", "/edges/0/to/1")),
            ({"from": "q", "to": "a"}, ("INVALID_EDGE_FROM", "/edges/0/from")),
            ({"from": "END", "to": "a"}, ("INVALID_EDGE_FROM", "/edges/0/from")),
            ({"from": "a", "to": "START"}, ("INVALID_EDGE_TO", "/edges/0/to")),
            ({"from": "a", "to": "a"}, ("SELF_EDGE", "/edges/0")),
            ({"from": "a", "to": ["b", "b"]}, ("DUPLICATE_EDGE", "/edges/0")),
            ({"from": "a", "to": "b", "source": 1}, ("UNKNOWN_FIELD", "/edges/0/source")),
            ({"from": "a", "to": "b", "transform": [1]}, ("INVALID_SHAPE", "/edges/0/transform")),
            ({"from": "a", "to": "b", "label": 1}, ("INVALID_SHAPE", "/edges/0/label")),
            ({"from": "a", "to": "b", "condition": 1}, ("INVALID_SHAPE", "/edges/0/condition")),
        ],
        ids=str,
    )
    def test_are_refused_once(self, edge: Any, found: Any) -> None:
        assert of([value("a"), tool("b")], edges=[edge]) == [found]

    def test_the_same_twice_and_the_same_with_another_condition(self) -> None:
        edge = {"from": "a", "to": "b", "condition": "$a.x"}
        edges = [edge, {**edge, "label": "again"}, {**edge, "condition": "$a.y"}, {"from": "a", "to": "b"}]

        assert of([value("a"), value("b")], edges=edges) == [("DUPLICATE_EDGE", "/edges/1")]

    def test_the_nearest_id_is_offered(self) -> None:
        (problem,) = load_plan(plan(value("validate"), value("b"), edges=[{"from": "validat", "to": "b"}])).problems

        assert problem.suggestion == "Did you mean 'validate'?"
        assert problem.available == ("validate", "b")


class TestAllAtOnce:
    def test_of_one_plan(self) -> None:
        found = faults(
            {
                "version": "2",
                "nodes": [
                    {"id": "a", "type": "tool", "colour": "red"},
                    COND | {"condition": "", "ifTrue": [{"type": "map", "over": [], "body": [{"type": "nope"}]}]},
                    value("a"),
                ],
                "edges": [{"from": "a", "to": "zzz"}, {"from": "c", "to": "c"}],
                "extra": 1,
            }
        )

        assert sorted(found) == [
            ("DUPLICATE_NODE_ID", "/nodes/2/id"),
            ("INVALID_EDGE_TO", "/edges/0/to"),
            ("INVALID_NODE_TYPE", "/nodes/1/ifTrue/0/body/0/type"),
            ("INVALID_VERSION", "/version"),
            ("MISSING_CONDITION", "/nodes/1/condition"),
            ("MISSING_TOOL_ID", "/nodes/0"),
            ("SELF_EDGE", "/edges/1"),
            ("UNKNOWN_FIELD", "/extra"),
            ("UNKNOWN_FIELD", "/nodes/0/colour"),
        ]

    def test_there_still_is_a_plan_to_look_at(self) -> None:
        loaded = load_plan(plan(tool("a"), {"id": "b", "type": "tool"}, {"id": "d", "type": "map"}, value("a")))

        assert loaded.plan is not None
        assert [node.id for node in loaded.plan.nodes] == ["a", "b", "d", "node"]
