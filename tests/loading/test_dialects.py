"""Every dialect loads to the same canonical plan as its twin in the canonical form."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.loading import load_plan
from tests.loading.loading_kit import each, faults, load, node, plan, tool, value


def same(given: dict[str, Any], twin: dict[str, Any]) -> None:
    """Both load without problems, to the same document and hash."""
    one, other = load_plan(given), load_plan(twin)
    assert one.problems == other.problems == ()
    assert one.canonical == other.canonical
    assert one.plan is not None and other.plan is not None
    assert one.plan.hash == other.plan.hash


class TestDialectA:
    def test_an_inline_node_is_a_body_of_one(self) -> None:
        branch = {"id": "s", "type": "tool", "toolId": "send"}
        given = {"id": "c", "type": "conditional", "condition": "$input.ok"}

        same(plan({**given, "ifTrue": branch}), plan({**given, "ifTrue": [branch]}))


class TestDialectB:
    """Branches are ids, the operation of a collection lies in ``operation``, settings in ``config``."""

    def test_ids_in_branches_move_the_nodes(self) -> None:
        same(
            plan(
                tool("a"),
                {
                    "id": "c",
                    "type": "if-then",
                    "condition": {"type": "expression", "expression": "$a.ok"},
                    "then": ["b", "d"],
                    "else": ["e"],
                },
                tool("b"),
                tool("d"),
                tool("e"),
                {"id": "p", "type": "parallel", "branches": [["f"], ["g"]]},
                tool("f"),
                tool("g"),
                {"id": "q", "type": "sequence", "sequence": ["h"]},
                tool("h"),
                edges=[{"from": "a", "to": "c"}, {"from": "c", "to": "p"}],
            ),
            plan(
                tool("a"),
                {
                    "id": "c",
                    "type": "conditional",
                    "condition": "$a.ok",
                    "ifTrue": [tool("b"), tool("d")],
                    "ifFalse": [tool("e")],
                },
                {"id": "p", "type": "parallel", "branches": [[tool("f")], [tool("g")]]},
                {"id": "q", "type": "sequence", "body": [tool("h")]},
                edges=[{"from": "a", "to": "c"}, {"from": "c", "to": "p"}],
            ),
        )

    @pytest.mark.parametrize(
        ("operation", "body"),
        [
            ({"type": "expression", "expression": "item.price * 2"}, {"type": "value", "value": "${$item.price * 2}"}),
            ({"type": "tool", "tool": "score"}, {"type": "tool", "toolId": "score", "inputs": "$item"}),
            (
                {"type": "tool", "tool": "score", "args": {"a": 1}},
                {"type": "tool", "toolId": "score", "inputs": {"a": 1}},
            ),
            ({"type": "llm", "prompt": "About ${$item.x}"}, {"type": "llm", "prompt": "About ${$item.x}"}),
            ({"type": "llm", "prompt": "Sum up"}, {"type": "llm", "prompt": "Sum up\n\n${$item}"}),
        ],
    )
    @pytest.mark.parametrize("type_", ["map", "forEach", "flatMap"])
    def test_the_operation_of_a_map(self, type_: str, operation: Any, body: Any) -> None:
        given = {"over": "$input.xs", "operation": operation, "concurrency": 3, "usePool": False}

        same(
            plan({"id": "m", "type": type_, "operation": given}),
            plan({"id": "m", "type": type_, "over": "$input.xs", "body": [{"id": "m_body", **body}], "concurrency": 3}),
        )

    def test_the_operation_of_a_filter_is_its_condition(self) -> None:
        same(
            plan({"id": "f", "type": "filter", "operation": {"over": "$input", "operation": _EXPRESSION}}),
            plan({"id": "f", "type": "filter", "over": "$input", "condition": "$item.a > 0.7"}),
        )

    def test_the_operation_of_a_reduce(self) -> None:
        operation = {"type": "expression", "expression": "acc + item", "initialValue": 5}
        same(
            plan({"id": "r", "type": "reduce", "operation": {"over": "$input", "operation": operation}}),
            plan(
                {
                    "id": "r",
                    "type": "reduce",
                    "over": "$input",
                    "initial": 5,
                    "body": [{"id": "r_body", "type": "value", "value": "${$acc + $item}"}],
                }
            ),
        )

    def test_config_moves_up(self) -> None:
        config = {"timeout": "5s", "retries": 2, "retryDelay": 500, "cache": False, "emitTokens": True}
        same(
            plan(tool("a", config=config), each(config={"maxConcurrency": 4})),
            plan(tool("a", timeout=5000, retry={"maxAttempts": 3, "initialDelay": 500}), each(concurrency=4)),
        )

    def test_parallel_false_is_one_at_a_time(self) -> None:
        assert node(each(config={"parallel": False}))["concurrency"] == 1
        assert "concurrency" not in node(each(config={"parallel": True}))

    def test_what_has_no_effect_is_said(self) -> None:
        loaded = load(tool("a", config={"cache": True}))

        assert [(one.code, one.path) for one in loaded.warnings] == [("NOT_SUPPORTED_YET", "/nodes/0/config/cache")]


_EXPRESSION = {"type": "expression", "expression": "item.a > 0.7"}


class TestDialectC:
    """Steps in ``flow``, one after the other, with types that go without saying."""

    def test_a_chain_of_steps(self) -> None:
        same(
            {
                "flow": [
                    {"id": "a", "tool": "t", "args": {"x": "$input.x"}, "output": "found", "retry": 2},
                    {"id": "f", "filter": "$found.items", "condition": "item.n > 1"},
                    {"id": "m", "map": "$f", "with": {"tool": "t", "args": {"y": "$item"}}},
                    {
                        "id": "r",
                        "reduce": "$m",
                        "initial": 0,
                        "with": {"type": "expression", "expression": "acc + item"},
                    },
                    {"id": "c", "condition": "$found.ok", "if_true": [{"tool": "t"}], "if_false": [{"tool": "t"}]},
                    {"id": "l", "loop": "for", "over": "$m", "body": [{"tool": "t"}]},
                    {"id": "p", "parallel": [{"id": "p1", "tool": "t"}, {"tool": "t"}]},
                ]
            },
            plan(
                tool("a", inputs={"x": "$input.x"}, retry={"maxAttempts": 3}),
                {"id": "f", "type": "filter", "over": "$a.items", "condition": "$item.n > 1"},
                {"id": "m", "type": "map", "over": "$f", "body": [tool("m_body", inputs={"y": "$item"})]},
                {"id": "r", "type": "reduce", "over": "$m", "initial": 0, "body": [value("r_body", "${$acc + $item}")]},
                {
                    "id": "c",
                    "type": "conditional",
                    "condition": "$a.ok",
                    "ifTrue": [tool("c_ifTrue")],
                    "ifFalse": [tool("c_ifFalse")],
                },
                {"id": "l", "type": "loop", "loop": "for", "over": "$m", "body": [tool("l_body")]},
                {"id": "p", "type": "parallel", "branches": [[tool("p1")], [tool("p_1")]]},
                edges=[{"from": one, "to": other} for one, other in zip("afmrcl", "fmrclp", strict=True)],
            ),
        )

    def test_a_model_picks_the_branch_of_a_switch(self) -> None:
        loaded = load_plan(
            {
                "flow": [
                    {
                        "id": "s",
                        "switch": "What is it about?",
                        "options": [{"id": "refund", "name": "Refund", "description": "money back"}, {"id": "other"}],
                        "branches": {"refund": [{"tool": "t"}], "other": []},
                    }
                ]
            }
        )

        assert loaded.problems == () and loaded.canonical is not None
        (switch,) = loaded.canonical["nodes"]
        (asked,) = switch["test"]
        assert switch["on"] == "$s_test.choice"
        assert switch["cases"] == {"refund": [tool("s_refund")], "other": []}
        assert (asked["id"], asked["type"]) == ("s_test", "llm")
        assert asked["schema"]["properties"] == {"choice": {"enum": ["refund", "other"]}}
        assert asked["prompt"].startswith("What is it about?") and "- refund: Refund: money back" in asked["prompt"]

    def test_nothing_is_inferred_elsewhere(self) -> None:
        assert ("MISSING_NODE_TYPE", "/nodes/0") in faults(plan({"id": "a", "tool": "t"}))


class TestDialectD:
    """Flat steps, ids in branches, nulls in unused fields."""

    def test_flat_steps(self) -> None:
        same(
            {
                "version": "1.0",
                "steps": [
                    {"id": "s1", "type": "tool", "tool": "t", "args": {}, "condition": None, "bodyIds": None},
                    {"id": "p1", "type": "parallel", "parallelIds": ["s2", "s3"]},
                    {"id": "s2", "type": "tool", "tool": "t"},
                    {"id": "s3", "type": "tool", "tool": "t"},
                    {"id": "c1", "type": "conditional", "condition": "$p1", "ifTrueIds": ["m1"], "ifFalseIds": []},
                    {"id": "m1", "type": "map", "map": "$s1.xs", "withId": "s4"},
                    {"id": "s4", "type": "tool", "tool": "t", "output": None},
                    {"id": "l1", "type": "loop", "loop": "while", "condition": "$s5.more", "bodyIds": ["s5"]},
                    {"id": "s5", "type": "tool", "tool": "t"},
                ],
                "rootIds": ["s1", "p1", "c1", "l1"],
            },
            plan(
                tool("s1"),
                {"id": "p1", "type": "parallel", "branches": [[tool("s2")], [tool("s3")]]},
                {
                    "id": "c1",
                    "type": "conditional",
                    "condition": "$p1",
                    "ifTrue": [{"id": "m1", "type": "map", "over": "$s1.xs", "body": [tool("s4")]}],
                },
                {"id": "l1", "type": "loop", "loop": "while", "condition": "$s5.more", "body": [tool("s5")]},
                edges=[{"from": "s1", "to": "p1"}, {"from": "p1", "to": "c1"}, {"from": "c1", "to": "l1"}],
            ),
        )

    def test_nulls_are_absent_where_they_are_no_value(self) -> None:
        unused = dict.fromkeys(("tool", "args", "on", "initial", "condition", "config", "timeout", "loop", "onError"))
        asked = {"id": "s", "type": "switch", "switch": "which?", "options": [{"id": "x"}], "branchIds": {"x": ["v"]}}

        loaded = load_plan({"steps": [{**unused, **asked, "value": None}, {**unused, **value("v", None)}]})

        assert loaded.problems == () and loaded.canonical is not None
        assert loaded.canonical["nodes"][0]["cases"] == {"x": [value("v", None)]}

    def test_the_order_is_that_of_root_ids(self) -> None:
        loaded = load_plan({"steps": [tool("b"), tool("a")], "rootIds": ["a", "b"]})

        assert loaded.canonical is not None
        assert loaded.canonical["edges"] == [{"from": "a", "to": "b"}]

    def test_edges_given_take_the_place_of_the_chain(self) -> None:
        loaded = load_plan({"steps": [tool("a"), tool("b"), tool("c")], "edges": [{"from": "a", "to": "c"}]})

        assert loaded.canonical is not None
        assert loaded.canonical["edges"] == [{"from": "a", "to": "c"}]

    def test_a_step_that_would_never_run_is_refused(self) -> None:
        assert faults({"steps": [tool("a"), tool("b")], "rootIds": ["a"]}) == [("INVALID_SHAPE", "/steps/1")]

    def test_an_unknown_root_is_refused(self) -> None:
        assert faults({"steps": [tool("a")], "rootIds": ["a", "z"]}) == [("UNRESOLVED_REFERENCE", "/rootIds/1")]


class TestTheDocumentationsForm:
    def test_lists_in_edges_and_start_and_end(self) -> None:
        same(
            {
                "nodes": [tool("a"), tool("b"), tool("c"), tool("d"), {"id": "fin", "type": "end"}],
                "edges": [
                    {"from": "START", "to": "a"},
                    {"from": "a", "to": ["b", "c"]},
                    {"from": ["b", "c"], "to": "d"},
                    {"from": "d", "to": ["END", "fin"]},
                ],
            },
            plan(
                *map(tool, "abcd"),
                edges=[{"from": one, "to": other} for one, other in ("ab", "ac", "bd", "cd")],
            ),
        )


class TestOnlyOneDialectAtATime:
    def test_two_lists_of_nodes(self) -> None:
        assert ("DIALECT_AMBIGUOUS", "/steps") in faults({"version": "1.0", "nodes": [tool("a")], "steps": [tool("b")]})

    def test_two_names_of_one_field(self) -> None:
        assert faults(plan(tool("a", tool="u"))) == [("DIALECT_AMBIGUOUS", "/nodes/0/tool")]

    def test_a_compiled_plan_is_no_plan(self) -> None:
        found = faults({"version": "1.0", "graph": {}, "registry": {}})

        assert found == [("EMPTY_NODES", ""), ("UNKNOWN_FIELD", "/graph"), ("UNKNOWN_FIELD", "/registry")]
