"""References: names, paths, projections, ``.length``, ``.output`` (canonical.md §3)."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.expressions import add_dollars, parse
from tests.language.language_support import exact, refusal, value, value_of_nodes

ORDER: dict[str, Any] = {
    "id": 7,
    "Exchange Rate": 1.25,
    "it's": "quoted",
    "lines": [{"sku": "a", "tags": ["x", "y"]}, {"sku": "b"}, {"sku": None, "tags": []}],
    "0": "key zero",
    "length": "own length",
    "nothing": None,
    "not": 1,
    "true": 2,
    "matches": 3,
    "a-b": 4,
}


class TestPath:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("$o", ORDER),
            ("$o.id", 7),
            ("$o.lines[0].sku", "a"),
            ("$o.lines.0.sku", "a"),
            ("$o.lines[-1].sku", None),
            ("$o.lines[-2].sku", "b"),
            ("$o.lines[ -2 ].sku", "b"),
            ("$o['Exchange Rate']", 1.25),
            ('$o["Exchange Rate"]', 1.25),
            ("$o['it\\'s']", "quoted"),
            ('$o["it\'s"]', "quoted"),
            ("$o.a-b", 4),
        ],
    )
    def test_leads_to_a_value(self, source: str, expected: Any) -> None:
        assert exact(value(source, o=ORDER)) == exact(expected)

    @pytest.mark.parametrize(
        "source",
        [
            "$o.missing",
            "$o.missing.deeper[3].still",
            "$o.nothing.x",
            "$o.id.x",
            "$o.id[0]",
            "$o.lines[3]",
            "$o.lines[-4]",
            "$o.lines.3",
            "$o.lines.99999999999999999999",
            "$o.lines.sku",
        ],
    )
    def test_that_leads_nowhere_is_null(self, source: str) -> None:
        assert value(source, o=ORDER) is None

    def test_digits_are_an_index_of_a_list_and_a_key_of_an_object(self) -> None:
        assert value("$o.0", o=ORDER) == "key zero"
        assert value("$o.0", o=["first"]) == "first"

    @pytest.mark.parametrize(
        ("source", "name", "given"),
        [
            ("$v[0]", "an integer key on an object", {"0": 1}),
            ("$v['0']", "a string key on a list", [1]),
            ("$v['length']", "the same for length", [1]),
            ("$v[0]", "an integer key on a string", "abc"),
            ("$v[true]", "a boolean key on a list", [1, 2]),
            ("$v[null]", "a null key", {"null": 1}),
            ("$v[0.5]", "a broken index", [1, 2]),
            ("$v[[0]]", "a list as key", [1, 2]),
        ],
    )
    def test_a_key_that_does_not_go_with_the_value_is_null(self, source: str, name: str, given: Any) -> None:
        assert value(source, v=given) is None, name

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("$o.lines[$i].sku", "b"),
            ("$o.lines[$i - 1].sku", "a"),
            ("$o[$k]", 7),
            ("$o['i' + 'd']", 7),
            ("$l[2 / 2]", 20),
        ],
    )
    def test_a_computed_key_is_an_index_or_a_key(self, source: str, expected: Any) -> None:
        assert value(source, o=ORDER, i=1, k="id", l=[10, 20]) == expected

    def test_keywords_are_names_after_a_dot(self) -> None:
        assert [value(f"$o.{word}", o=ORDER) for word in ("not", "true", "matches", "in")] == [1, 2, 3, None]


class TestName:
    def test_a_hyphen_without_blanks_belongs_to_the_name(self) -> None:
        assert value("$step-1.x", **{"step-1": {"x": 5}}) == 5
        assert [name.name for name in parse("$step-1.x").names] == ["step-1"]

    def test_subtraction_has_blanks(self) -> None:
        assert value("$a - 1", a=5) == 4
        assert value("$a -1", a=5) == 4

    @pytest.mark.parametrize(
        "source", ["$", "$ a", "$1", "$a-", "$a--b", "$-a", "$.x", "$$a", "$a b", "a", "a.b", "a == 1"]
    )
    def test_what_is_no_name_is_refused(self, source: str) -> None:
        refusal(source)

    @pytest.mark.parametrize("source", ["$a .b", "$a. b", "$a [0]", "$a.b .c", "$a.b (1)", "$a.map ($item)", "$a\n.b"])
    def test_a_path_holds_no_blanks(self, source: str) -> None:
        refusal(source)

    def test_blanks_inside_brackets_are_free(self) -> None:
        assert value("$a[ 0 ]", a=[1]) == 1
        assert value("$a[\n'k' ]", a={"k": 1}) == 1

    def test_a_bare_name_is_answered_with_the_dollar(self) -> None:
        assert "$count" in refusal("count > 3").suggestion


class TestLength:
    @pytest.mark.parametrize(
        ("given", "expected"), [("", 0), ("héé", 3), ([], 0), ([1, 2], 2), ({"a": 1}, None), (5, None)]
    )
    def test_is_that_of_strings_and_lists(self, given: Any, expected: int | None) -> None:
        assert value("$v.length", v=given) == expected

    def test_is_an_ordinary_key_of_an_object(self) -> None:
        assert value("$o.length", o=ORDER) == "own length"

    def test_of_null_is_null(self) -> None:
        assert value("$o.missing.length", o=ORDER) is None


class TestProjection:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("$o.lines[*].sku", ["a", "b", None]),
            ("$o.lines[*].tags[0]", ["x", None, None]),
            ("$o.lines[*].tags[*]", [["x", "y"], None, []]),
            ("$o.lines[*].tags.length", [2, None, 0]),
            ("$o.lines[*]['sku']", ["a", "b", None]),
            ("$o.lines[*]", ORDER["lines"]),
            ("($o.lines[*].tags)[0]", ["x", "y"]),
            ("($o.lines[*].sku).length", 3),
            ("$o.lines[*].sku.length", [1, 1, None]),
            ("$o.lines[*].sku.size()", 3),
            ("$o.lines[*].sku.first()", "a"),
            ("$o.lines[*].tags.first()[0]", "x"),
        ],
    )
    def test_applies_the_rest_of_the_path_to_every_element(self, source: str, expected: Any) -> None:
        assert value(source, o=ORDER) == expected

    def test_nested_projections_give_nested_lists(self) -> None:
        assert value("$g[*][*].x", g=[[{"x": 1}, {"x": 2}], [], [{}]]) == [[1, 2], [], [None]]

    @pytest.mark.parametrize("given", [None, {"a": 1}, "text", 5, True])
    def test_of_anything_but_a_list_is_null(self, given: Any) -> None:
        assert value("$v[*].x", v=given) is None

    def test_a_key_inside_is_evaluated_for_every_element(self) -> None:
        assert value("$g[*][$k]", g=[{"a": 1}, {"a": 2}], k="a") == [1, 2]


class TestOutput:
    """``.output`` of a node means its whole output, unless that has a field of the name."""

    @pytest.mark.parametrize(
        ("source", "given", "expected"),
        [
            ("$n.output", {"x": 1}, {"x": 1}),
            ("$n.output.x", {"x": 1}, 1),
            ("$n.output", [1, 2], [1, 2]),
            ("$n.output[1]", [1, 2], 2),
            ("$n.output", "text", "text"),
            ("$n.output.length", "text", 4),
            ("$n.output", None, None),
            ("$n.output", {"output": 5}, 5),
            ("$n.output", {"output": None}, None),
            ("$n.output.output", {"x": 1}, None),
            ("$n.x.output", {"x": {"y": 1}}, None),
            ("$n.output[*].a", [{"a": 1}], [1]),
        ],
    )
    def test_of_a_node(self, source: str, given: Any, expected: Any) -> None:
        assert value_of_nodes(source, n=given) == expected

    def test_of_anything_else_is_a_field(self) -> None:
        assert value("$v.output", v={"x": 1}) is None
        assert value_of_nodes("$l.map($item.output)", l=[{"x": 1}]) == [None]


class TestFreeNames:
    def test_come_left_to_right_with_path_and_place(self) -> None:
        found = parse("$a.b[0].c +\n $d['e f'][$i]").names
        assert [(name.name, name.path, name.line, name.column) for name in found] == [
            ("a", ("b", 0, "c"), 1, 1),
            ("d", ("e f",), 2, 2),
            ("i", (), 2, 12),
        ]

    def test_a_path_is_static_up_to_a_projection(self) -> None:
        assert parse("$a.b[*].c").names[0].path == ("b",)

    def test_item_and_index_of_a_function_are_not_free(self) -> None:
        assert [name.name for name in parse("$l.map($item.x + $index + $y)").names] == ["l", "y"]
        assert [name.name for name in parse("$item + $l.any($item) + $index").names] == ["item", "l", "index"]
        assert [name.name for name in parse("$l.sum() + $item").names] == ["l", "item"]

    @pytest.mark.parametrize(
        ("source", "guarded"),
        [
            ("$a && $b", [False, True]),
            ("$a || $b || $c", [False, True, True]),
            ("$a ? $b : $c", [False, True, True]),
            ("($a + $b) && 1", [False, False]),
        ],
    )
    def test_say_whether_they_may_stay_unread(self, source: str, guarded: list[bool]) -> None:
        assert [name.guarded for name in parse(source).names] == guarded

    def test_of_a_constant_there_are_none(self) -> None:
        assert parse("1 + 2 == 3").constant
        assert parse("[1].map($item)").constant
        assert not parse("$a").constant

    @pytest.mark.parametrize(
        ("source", "name"),
        [
            ("$a", "a"),
            ("$a.b[0]['c']", "a"),
            ("$a[*].b", "a"),
            ("$a + 1", None),
            ("($a).b", None),
            ("$a.size()", None),
            ("1", None),
        ],
    )
    def test_one_reference_alone_is_known_as_such(self, source: str, name: str | None) -> None:
        whole = parse(source).whole_reference
        assert (whole.name if whole is not None else None) == name


class TestBareNames:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("item.importance > 0.7", "$item.importance > 0.7"),
            ("acc + item * index", "$acc + $item * $index"),
            ("$item.item + 'item'", "$item.item + 'item'"),
            ("{item: item}", "{item: $item}"),
            ("items + $my.acc", "items + $my.acc"),
            ("[index,item][0]", "[$index,$item][0]"),
        ],
    )
    def test_of_loops_gain_their_dollar(self, source: str, expected: str) -> None:
        assert add_dollars(source) == expected
