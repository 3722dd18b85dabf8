"""What loading settles: ids of inline nodes, names of outputs, conditions, references, edges (canonical.md §2)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dynamicflow.planner.loading import load_plan
from tests.loading.loading_kit import canonical, each, faults, load, node, plan, tool, value


def cond(condition: Any = "$input.ok", **more: Any) -> dict[str, Any]:
    """A conditional ``c`` with one node in its first branch."""
    return {"id": "c", "type": "conditional", "condition": condition, "ifTrue": [value("yes")], **more}


NAMELESS = {"type": "value", "value": 1}


class TestInlineNodesGetIdsFromTheirOwner:
    @pytest.mark.parametrize(
        ("owner", "ids"),
        [
            (
                {"id": "c", "type": "conditional", "condition": "$input", "ifTrue": 1, "ifFalse": 1},
                "c_ifTrue c_ifFalse",
            ),
            ({"id": "c", "type": "conditional", "condition": "$input", "test": 1, "ifTrue": 1}, "c_test c_ifTrue"),
            ({"id": "s", "type": "switch", "on": "$input", "cases": {"x-y": 1}, "default": 1}, "s_x_y s_default"),
            ({"id": "p", "type": "parallel", "branches": [1, 1]}, "p_0 p_1"),
            ({"id": "p", "type": "parallel", "branches": {"stock": 1}}, "p_stock"),
            ({"id": "q", "type": "sequence", "body": 1}, "q_body"),
            ({"id": "v", "type": "value", "value": 1, "onError": {"nodes": 1}}, "v_onError"),
        ],
    )
    def test_after_the_body_they_stand_in(self, owner: Any, ids: str) -> None:
        assert _ids_inside(canonical(_filled(owner, NAMELESS))["nodes"][0]) == ids.split()

    def test_from_the_second_on_they_are_numbered(self) -> None:
        body = [NAMELESS, value("given"), NAMELESS]

        assert _ids_inside(node({"id": "q", "type": "sequence", "body": body})) == ["q_body", "given", "q_body_3"]

    def test_a_clash_counts_on(self) -> None:
        body = [NAMELESS, NAMELESS]
        nodes = ({"id": "q", "type": "sequence", "body": body}, value("q_body"), value("q_body_2"))

        assert _ids_inside(node(*nodes)) == ["q_body_3", "q_body_4"]

    def test_odd_characters_and_length(self) -> None:
        made = node({"id": "a-" + "b" * 120, "type": "sequence", "body": [NAMELESS, NAMELESS]})

        assert _ids_inside(made) == ["a_" + "b" * 118, "a_" + "b" * 118 + "_2"]

    def test_owners_come_before_what_they_own(self) -> None:
        inner = {"type": "sequence", "body": NAMELESS}

        assert _ids_inside(node({"id": "q", "type": "sequence", "body": inner})) == ["q_body", "q_body_body"]


class TestNamesOfOutputsBecomeIds:
    @pytest.mark.parametrize("field", ["output", "outputVar", "outputAs"])
    @pytest.mark.parametrize(
        ("given", "made"),
        [
            ("$res", "$a"),
            ("$res.x[0]['k']", "$a.x[0]['k']"),
            ("${$res.x > 1 ? $res : 'a $res'}", "${$a.x > 1 ? $a : 'a $res'}"),
            ("Dear ${$res.name}, $$res", "Dear ${$a.name}, $$res"),
            ("$${$res}", "$${$res}"),
            ("$res-2.x", "$res-2.x"),
            ("$results", "$results"),
            ("${$x.res + {res: $res}.res}", "${$x.res + {res: $a}.res}"),
            ("$res * 2", "$a * 2"),
        ],
    )
    def test_in_templates(self, field: str, given: str, made: str) -> None:
        assert node(tool("a", **{field: "res"}), value("b", {"res": [given]}), at=1)["value"] == {"res": [made]}

    def test_in_conditions_edges_and_the_output(self) -> None:
        made = canonical(
            tool("a", outputVar="res"),
            cond("$res.ok && 'res' != \"$res\""),
            edges=[{"from": "a", "to": "c", "condition": "$res.n > 1"}],
            output="$res",
        )

        assert made["nodes"][1]["condition"] == "$a.ok && 'res' != \"$res\""
        assert made["edges"][0]["condition"] == "$a.n > 1"
        assert made["output"] == "$a"

    def test_the_item_of_a_body_hides_them(self) -> None:
        made = canonical(
            tool("a", outputVar="lead"), each(**{"as": "lead", "over": "$lead", "body": [value("b", "$lead")]})
        )

        assert made["nodes"][1]["over"] == "$a"
        assert made["nodes"][1]["body"][0]["value"] == "$lead"

    def test_in_the_middle_of_a_text_they_are_text(self) -> None:
        loaded = load(tool("a", outputVar="res"), value("b", "see $res"))

        assert [(one.code, one.path) for one in loaded.warnings] == [("POSSIBLE_REFERENCE", "/nodes/1/value")]

    def test_one_name_means_one_thing(self) -> None:
        found = faults(
            plan(
                tool("a", outputVar="r"),
                tool("b", outputVar="r"),
                tool("c", outputVar="a"),
                tool("d", outputVar="input"),
                tool("e", outputVar="v"),
                tool("f", outputVar="1x"),
                variables={"v": 1},
            )
        )

        assert found == [
            ("DUPLICATE_NODE_ID", "/nodes/1/outputVar"),
            ("RESERVED_ID", "/nodes/2/outputVar"),
            ("RESERVED_ID", "/nodes/3/outputVar"),
            ("RESERVED_ID", "/nodes/4/outputVar"),
            ("INVALID_ID", "/nodes/5/outputVar"),
        ]


class TestBareScopeNamesGainTheirDollar:
    @pytest.mark.parametrize(
        ("given", "made"),
        [
            ("item.importance > 0.7", "$item.importance > 0.7"),
            ("$item.a == item.b", "$item.a == $item.b"),
            ("acc + index", "$acc + $index"),
            ("'item' in $x.item", "'item' in $x.item"),
            ("has({item: item}, 'item')", "has({item: $item}, 'item')"),
            ("{a: 1, index: index}", "{a: 1, index: $index}"),
            ("$x ? item : index", "$x ? $item : $index"),
            ("{a: $x ? item : 1}", "{a: $x ? $item : 1}"),
            ("items + item_id", "items + item_id"),
            ("item(1)", "item(1)"),
            ('"a\\" item" == item', '"a\\" item" == $item'),
            ("'unfinished item", "'unfinished item"),
        ],
    )
    def test_in_expressions(self, given: str, made: str) -> None:
        filtered = {"id": "f", "type": "filter", "over": "$input", "condition": given}

        assert node(filtered)["condition"] == made
        assert node(value("v", "item ${" + given + "}"))["value"] == (
            "item ${" + made + "}" if "unfinished" not in given else "item ${" + given + "}"
        )

    def test_not_in_texts(self) -> None:
        assert node(value("v", "item"))["value"] == "item"


class TestWhatCameBeforeGetsItsName:
    """``$previousOutput`` and ``$.x`` become references to the only predecessor."""

    def test_the_run_input_for_an_entry_node(self) -> None:
        assert node(value("a", "$.x"))["value"] == "$input.x"

    def test_the_source_of_the_only_edge(self) -> None:
        made = node(value("a"), value("b", ["$previousOutput", "${$.x + 1}", "$.50"]), at=1, edges=[_edge("a", "b")])

        assert made["value"] == ["$a", "${$a.x + 1}", "$.50"]

    def test_the_node_it_refers_to(self) -> None:
        assert node(value("a"), value("b", {"x": "$a.x", "y": "$.y"}), at=1)["value"]["y"] == "$a.y"

    def test_the_item_then_the_node_before(self) -> None:
        body = node(each(body=[value("x", "$.a"), value("y", "$.b")]))["body"]

        assert [one["value"] for one in body] == ["$item.a", "$x.b"]

    def test_what_is_before_the_owner_in_a_branch(self) -> None:
        made = node(value("a"), cond("$.ok", ifTrue=[value("b", "$previousOutput")]), at=1, edges=[_edge("a", "c")])

        assert (made["condition"], made["ifTrue"][0]["value"]) == ("$a.ok", "$a")

    def test_the_item_in_a_filter_and_the_body_in_a_while(self) -> None:
        assert node({"id": "f", "type": "filter", "over": [], "condition": "$.a > 1"})["condition"] == "$item.a > 1"
        loop = {"id": "w", "type": "loop", "loop": "while", "condition": "$.more", "body": [value("b")]}
        assert node(loop)["condition"] == "$b.more"

    def test_the_source_on_an_edge_and_the_last_node_in_the_output(self) -> None:
        edges = [{**_edge("a", "b"), "condition": "$.ok"}]

        made = canonical(value("a"), value("b"), edges=edges, output="$.total")

        assert made["edges"][0]["condition"] == "$a.ok"
        assert made["output"] == "$b.total"

    def test_several_are_an_error(self) -> None:
        edges = [_edge("a", "c"), _edge("b", "c")]

        found = faults(plan(value("a"), value("b"), value("c", {"x": ["$.y"]}), edges=edges))

        assert found == [("UNRESOLVED_REFERENCE", "/nodes/2/value/x/0")]


class TestSourcesBecomeReferences:
    def test_of_nodes_of_the_plan(self) -> None:
        inputs = {"x": {"source": "b.y"}, "y": {"source": "book"}, "z": {"source": "b", "n": 1}, "q": {"source": "$b"}}

        made = node(tool("a", inputs=inputs), value("b"))["inputs"]

        assert made == {"x": "$b.y", "y": {"source": "book"}, "z": {"source": "b", "n": 1}, "q": "$b"}

    def test_never_the_inputs_as_a_whole(self) -> None:
        assert node(tool("a", inputs={"source": "b"}), value("b"))["inputs"] == {"source": "b"}


REFERENCE = {"type": "reference", "nodeId": "a"}


class TestConditionObjects:
    @pytest.mark.parametrize(
        ("given", "made"),
        [
            ({"type": "expression", "expression": "$a.x > 1"}, "$a.x > 1"),
            ({"type": "expression", "value": "$a.x > 1"}, "$a.x > 1"),
            ({"type": "variable", "value": "a.ok"}, "$a.ok"),
            ({"type": "variable", "value": "$a.n", "operator": "gte", "operands": [80]}, "$a.n >= 80"),
            ({"type": "variable", "value": "a.n", "operator": "neq", "operands": ["x'y"]}, '$a.n != "x\'y"'),
            ({"type": "variable", "value": "a.n", "operator": "in", "operands": [1, "b"]}, '$a.n in [1, "b"]'),
            ({"type": "variable", "value": "a.n", "operator": "not-in", "operands": [[1]]}, "$a.n not in [1]"),
            ({"type": "variable", "value": "a.n", "operator": "in", "operands": ["$input.l"]}, "$a.n in $input.l"),
            ({"type": "literal", "value": True}, "true"),
            ({"type": "literal", "value": "x", "operator": "eq", "operands": ["$a.k"]}, '"x" == $a.k'),
            (
                {
                    "type": "variable",
                    "value": "a",
                    "operator": "lt",
                    "operands": [{"type": "reference", "nodeId": "a"}],
                },
                "$a < $a",
            ),
        ],
    )
    def test_become_expressions(self, given: Any, made: str) -> None:
        assert node(value("a"), cond(given), at=1)["condition"] == made
        assert (
            canonical(value("a"), value("b"), edges=[{**_edge("a", "b"), "condition": given}])["edges"][0]["condition"]
            == made
        )

    @pytest.mark.parametrize(
        ("schema", "expression"),
        [
            ({"type": "object", "properties": {"result": {"type": "boolean"}}}, "$c_test.result == true"),
            ({"$ref": "#/$defs/o", "$defs": {"o": {"type": "object"}}}, "$c_test.result == true"),
            ({"type": "boolean"}, "$c_test == true"),
            ({}, "$c_test == true"),
        ],
    )
    def test_a_tool_is_asked_in_test(self, schema: Any, expression: str) -> None:
        given = cond({"type": "tool", "toolId": "ask", "inputs": {"a": "$input"}})

        loaded = load_plan(plan(given), tools={"ask": SimpleNamespace(output_schema=schema)})

        assert loaded.problems == () and loaded.canonical is not None
        made = loaded.canonical["nodes"][0]
        assert made["test"] == [{"id": "c_test", "type": "tool", "toolId": "ask", "inputs": {"a": "$input"}}]
        assert made["condition"] == expression

    def test_a_model_is_asked_in_test(self) -> None:
        made = node(cond({"type": "llm", "prompt": "Is ${$input.text} rude?"}))

        assert made["condition"] == "$c_test.answer == true"
        assert (made["test"][0]["id"], made["test"][0]["type"]) == ("c_test", "llm")
        assert made["test"][0]["schema"]["properties"]["answer"] == {"type": "boolean"}

    def test_in_a_filter_the_node_goes_into_the_body(self) -> None:
        made = node({"id": "f", "type": "filter", "over": "$input", "condition": {"type": "tool", "tool": "ask"}})

        assert made["body"] == [{"id": "f_test", "type": "tool", "toolId": "ask", "inputs": "$item"}]
        assert made["condition"] == "$f_test == true"

    @pytest.mark.parametrize("type_", ["tool", "llm"])
    def test_on_edges_and_in_while_they_are_refused(self, type_: str) -> None:
        asked = {"type": type_, "toolId": "t"} if type_ == "tool" else {"type": type_, "prompt": "p"}
        loop = {"id": "w", "type": "loop", "loop": "while", "condition": asked, "body": [value("x")]}

        assert faults(plan(loop)) == [("OPERATION_NOT_ALLOWED", "/nodes/0/condition")]
        assert faults(plan(value("a"), value("b"), edges=[{**_edge("a", "b"), "condition": asked}])) == [
            ("OPERATION_NOT_ALLOWED", "/edges/0/condition")
        ]


class TestEdgesAndBodies:
    NODES = (
        value("a"),
        cond(ifTrue=[value("x"), value("y")], ifFalse=[value("z")]),
        each(body=[value("i"), value("j")]),
        value("b", 1) | {"onError": {"nodes": [value("e")]}},
    )

    def edges(self, *given: dict[str, Any]) -> Any:
        return canonical(*self.NODES, edges=list(given)).get("edges", [])

    def test_order_inside_a_body_is_dropped(self) -> None:
        assert self.edges(_edge("x", "y"), _edge("i", "j")) == []

    def test_from_the_owner_into_its_own_body_is_dropped(self) -> None:
        assert self.edges(_edge("c", "x"), _edge("m", "j"), _edge("b", "e")) == []

    def test_into_the_body_of_another_leads_to_its_owner_once(self) -> None:
        assert self.edges(_edge("a", "x"), _edge("a", "z"), _edge("a", "c"), _edge("a", "i")) == [
            _edge("a", "c"),
            _edge("a", "m"),
        ]

    def test_out_of_a_branch_stays(self) -> None:
        assert self.edges(_edge("x", "b"), {**_edge("z", "b"), "condition": "$z > 1"}) == [
            _edge("x", "b"),
            {**_edge("z", "b"), "condition": "$z > 1"},
        ]

    @pytest.mark.parametrize(
        "edge",
        [
            {"from": "y", "to": "x"},
            {"from": "x", "to": "z"},
            {"from": "x", "to": "i"},
            {"from": "x", "to": "c"},
            {"from": "i", "to": "b"},
            {"from": "e", "to": "a"},
            {"from": "x", "to": "y", "condition": "$x > 1"},
            {"from": "a", "to": "x", "condition": "$a > 1"},
            {"from": "a", "to": "x", "transform": {"q": 1}},
        ],
        ids=str,
    )
    def test_anything_else_crosses(self, edge: Any) -> None:
        assert faults(plan(*self.NODES, edges=[edge])) == [("EDGE_CROSSES_SCOPE", "/edges/0")]

    def test_a_gate_at_the_start_is_not_lost(self) -> None:
        edge = {"from": "START", "to": "a", "condition": "$input.x"}

        assert faults(plan(value("a"), edges=[edge])) == [("OPERATION_NOT_ALLOWED", "/edges/0/from")]

    def test_labels_and_transforms_stay(self) -> None:
        edge = {**_edge("a", "b"), "transform": {"x": "$a.y"}, "label": "then"}

        assert canonical(value("a"), tool("b"), edges=[edge])["edges"] == [edge]


class TestEveryPlaceLeadsBackToTheOneGiven:
    def test_through_aliases_and_ids(self) -> None:
        loaded = load_plan(
            {
                "steps": [
                    {
                        "id": "c",
                        "type": "conditional",
                        "condition": "$input",
                        "ifTrueIds": ["a"],
                        "if_false": {"tool": "t"},
                    },
                    {"id": "a", "type": "tool", "tool": "t", "args": {"email": "$input.e"}},
                ],
                "rootIds": ["c"],
            }
        )

        assert loaded.given_pointer("/nodes/0/ifTrue/0/inputs/email") == "/steps/1/args/email"
        assert loaded.given_pointer("/nodes/0/ifTrue/0/toolId") == "/steps/1/tool"
        assert loaded.given_pointer("/nodes/0/ifFalse/0/toolId") == "/steps/0/if_false/tool"
        assert loaded.given_pointer("/nodes/0/condition") == "/steps/0/condition"
        assert loaded.given_pointer("/output/x") == "/output/x"

    def test_of_edges_and_joins(self) -> None:
        loaded = load(
            *map(value, "abc"),
            edges=[{"from": "START", "to": "a"}, {"from": "a", "to": ["b", "c"]}],
            joins=[{"from": "x", "to": "y", "mapping": {}}],
        )

        assert loaded.origins["/edges/1"] == "/edges/1"
        assert loaded.origins["/edges/0"] == "/edges/1"
        assert loaded.origins["/joins/0"] == "/joins/0"

    def test_of_config_and_operation(self) -> None:
        operation = {"over": "$input", "operation": {"type": "tool", "tool": "t"}}

        loaded = load_plan(plan({"id": "m", "type": "map", "operation": operation, "config": {"timeout": 5}}))

        assert loaded.given_pointer("/nodes/0/over") == "/nodes/0/operation/over"
        assert loaded.given_pointer("/nodes/0/body/0/toolId") == "/nodes/0/operation/operation/tool"
        assert loaded.given_pointer("/nodes/0/timeout") == "/nodes/0/config/timeout"


def _edge(source: str, target: str) -> dict[str, Any]:
    return {"from": source, "to": target}


def _filled(owner: Any, inner: Any) -> Any:
    """The owner with ``inner`` in the place of each 1 that stands for a body."""
    if isinstance(owner, dict):
        return {key: part if key in ("value", "id") else _filled(part, inner) for key, part in owner.items()}
    if isinstance(owner, list):
        return [_filled(part, inner) for part in owner]
    return inner if owner == 1 else owner


def _ids_inside(owner: Any) -> list[str]:
    """Ids of all nodes inside, in document order."""
    found: list[str] = []
    parts = owner.values() if isinstance(owner, dict) else owner if isinstance(owner, list) else ()
    for part in parts:
        if isinstance(part, dict) and "id" in part and "type" in part:
            found.append(part["id"])
        found += _ids_inside(part)
    return found
