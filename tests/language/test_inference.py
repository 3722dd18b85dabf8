"""What is certain to be wrong in an expression before anything runs (canonical.md §3, "Check")."""

from __future__ import annotations

import pytest

from dynamicflow.planner.expressions import Finding, Named, parse
from dynamicflow.planner.types import (
    BOOLEAN,
    NULL,
    NUMBER,
    STRING,
    UNKNOWN,
    Type,
    describe,
    from_schema,
    list_of,
    nullable,
    object_of,
)

LINE = object_of({"sku": STRING, "price": NUMBER}, closed=True, required=["sku", "price"])
ORDER = from_schema(
    {
        "type": "object",
        "properties": {
            "valid": {"type": "boolean"},
            "id": {"type": "string"},
            "total": {"type": "number"},
            "note": {"type": ["string", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "lines": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"sku": {"type": "string"}, "price": {"type": "number"}},
                    "required": ["sku", "price"],
                },
            },
            "open": {"type": "object"},
            "any": {},
            "output": {"type": "object", "properties": {"x": {"type": "number"}}},
        },
        "required": ["valid", "id", "total", "note", "tags", "lines", "open", "output"],
    }
)
NAMES: dict[str, Named] = {
    "o": Named(ORDER),
    "out": Named(ORDER, node=True),
    "n": Named(NUMBER),
    "s": Named(STRING),
    "b": Named(BOOLEAN),
    "maybe": Named(nullable(NUMBER)),
    "maybes": Named(nullable(STRING)),
    "null": Named(NULL),
    "l": Named(list_of(NUMBER)),
    "texts": Named(list_of(STRING)),
    "u": Named(UNKNOWN),
    "line": Named(LINE, node=True),
    "text": Named(STRING, node=True),
    "free": Named(object_of({}), node=True),
    "lines": Named(list_of(LINE), node=True),
}


def check(source: str, unset: str = "") -> tuple[Type, list[Finding]]:
    return parse(source).infer(lambda name: NAMES[name], unset=frozenset(unset.split()))


def codes(source: str, unset: str = "") -> list[str]:
    return [finding.code for finding in check(source, unset)[1]]


class TestResult:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("1", "a number"), ("'a'", "a string"), ("true", "a boolean"), ("null", "null"),
            ("[1]", "a list of numbers"),
            ("$o.total", "a number"), ("$o.note", "a string or null"), ("$o.tags", "a list of strings"),
            ("$o.tags[0]", "a string or null"),
            ("$o.lines[0].price", "a number or null"), ("$o.lines[*].price", "a list of numbers"),
            ("$o.lines.0.price", "a number or null"),
            ("$o.lines[$n].sku", "a string or null"), ("$o['id']", "a string"), ("$o.id.length", "a number"),
            ("$o.lines.length", "a number"),
            ("$o.id.x", "null"), ("$o.lines.x", "null"), ("$o.id[0]", "null"), ("$o.lines['x']", "null"),
            ("$o.id[*].x.length", "null"), ("$u[*][null]", "a list or null"),
            ("$o.open.x", "of unknown type"), ("$o[$s]", "of unknown type"), ("$u.a[*].b", "a list or null"),
            ("$o[0]", "null"),
            ("$o.any.length", "of unknown type"), ("$o.note.length", "a number or null"),
            ("$n + 1", "a number"), ("$s + 1", "a string"), ("$l + [1]", "a list of numbers"),
            ("$u + 1", "a number or a string"),
            ("$u - 1", "a number"), ("-$n", "a number"), ("!$u", "a boolean"), ("$u == 1", "a boolean"),
            ("$u in [1]", "a boolean"),
            ("$maybe || 0", "a number"), ("$maybe && $maybe > 1", "a boolean or a number or null"),
            ("$s || $n", "a number or a string"),
            ("$n || $n", "a number"), ("$u ? 1 : 2", "a number"), ("$u ? 1 : null", "a number or null"),
            ("$u ? 1 : 'a'", "a number or a string"),
            ("coalesce($maybe, 0)", "a number"), ("coalesce($maybe, null)", "a number or null"),
            ("coalesce($maybe, 'x')", "a number or a string"),
            ("$l.map($item > 1)", "a list of booleans"), ("$o.lines.map($item.sku)", "a list of strings"),
            ("$l.map($index)", "a list of numbers"),
            ("$l.filter($item > 1)", "a list of numbers"),
            ("$o.lines.filter($item.price > 1)[0].sku", "a string or null"),
            ("first($l)", "a number or null"), ("last($texts)", "a string or null"), ("sum($l)", "a number"),
            ("$o.lines.sum($item.price)", "a number"),
            ("avg($l)", "a number or null"), ("min($l)", "a number or null"), ("max(1, 2)", "a number"),
            ("keys($o)", "a list of strings"),
            ("values($o)", "a list"), ("split('a', ',')", "a list of strings"), ("join($l)", "a string"),
            ("slice($l, 1)", "a list of numbers"),
            ("slice($s, 1)", "a string"), ("unique($texts)", "a list of strings"), ("sort($l)", "a list of numbers"),
            ("flatten([[1], [2]])", "a list of numbers"), ("typeOf($u)", "a string"), ("number($s)", "a number"),
            ("string($u)", "a string"),
            ("boolean($u)", "a boolean"), ("count($l)", "a number"), ("any($l)", "a boolean"),
            ("has($o, 'id')", "a boolean"), ("round(1.5)", "a number"),
            ("{a: 1, b: 'x'}.b", "a string"),
            ("[[1], [2]].map($item.map($item + $index))[0]", "a list of numbers or null"),
        ],
    )  # fmt: skip
    def test_has_a_type(self, source: str, expected: str) -> None:
        made, found = check(source)
        assert (describe(made), found) == (expected, [])


class TestOutputAlias:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("$out.output.x", "a number or null"),
            ("$line.output.price", "a number"),
            ("$line.output", "an object with 'price', 'sku'"),
            ("$text.output", "a string"),
            ("$text.output.length", "a number"),
            ("$lines.output[*].sku", "a list of strings"),
            ("$free.output", "of unknown type"),
            ("$u.output.x", "of unknown type"),
        ],
    )
    def test_means_the_whole_output_of_a_node_without_such_a_field(self, source: str, expected: str) -> None:
        made, found = check(source)
        assert (describe(made), found) == (expected, [])

    def test_checks_what_follows(self) -> None:
        assert codes("$line.output.amount") == ["UNKNOWN_OUTPUT_FIELD"]
        assert codes("$out.output.y") == ["UNKNOWN_OUTPUT_FIELD"]
        assert codes("$l.map($item.output)") == []


class TestCertainErrors:
    @pytest.mark.parametrize(
        "source",
        [
            "$s > 1", "1 < 'a'", "$b >= true", "$l < $l", "$o > 1", "null < 1", "$n <= null", "$u > null",
            "$o.tags[0] > 1", "$o.missing2.x > null",
            "$s - 1", "$b + 1", "$n + null", "$s + null", "$l + 1", "$s + $l", "$o * 2", "-$s", "-null", "$n % 'a'",
            "$maybes * 2", "1 + 2 + $o",
            "$s == 1", "$b === 'true'", "$n != 'x'", "$l == 'a'", "$o == 1", "$maybe == 'x'",
            "$o.lines.length == '3'", "$s == true",
            "1 in 5", "$n in $s", "$n in $o", "$s in $n", "$n matches 'a'", "$s matches 5", "$s matches null",
            "lower($n)", "$n.upper()", "length(5)", "join($s, ',')", "sum($texts)", "avg($texts)", "first($s)",
            "keys($l)", "split($s, 1)",
            "round('1')", "round(1, 'a')", "number($l)", "number(null)", "lower(null)", "sort([[1]])",
            "min('a', 'b')", "max(true, 1)", "has($o, 1)",
            "startsWith($n, 'a')", "contains(5, 5)", "flatten('a')", "$s.map($item)", "$s.filter(1)", "any(5)",
            "$l.map($item + null)", "$texts.filter($item > 1)", "$u || null + 1", "$b ? 1 : $s > 2", "[$s > 1]",
            "{a: -$s}", "$o[$s > 1]",
        ],
    )  # fmt: skip
    def test_are_found(self, source: str) -> None:
        found = codes(source)
        assert "EXPRESSION_TYPE_ERROR" in found

    @pytest.mark.parametrize(
        "source",
        [
            "$maybe > 1", "$maybe + 1", "$u > 1", "$u.x.y - 1", "$maybes + 'a'", "$o.note > 'a'", "$o.open.x * 2",
            "$l[0] + 1",
            "$s == null", "null == $n", "$o != null", "$maybe == null", "$maybe == $maybes", "$u == 1",
            "$u.x === 'a'", "1 == 1.5",
            "[] == [1]", "[1] == ['a']", "{a: 1} == {a: 'x'}", "$l == [1]", "coalesce($maybe, 'x') == 'x'",
            "null in [1]", "1 in null", "$n in $l", "$s in $o", "$s in $s", "null in 'a'", "'a' in $u",
            "null matches 'a'", "$maybes matches 'a'",
            "contains(null, 1)", "contains($o, 5)", "startsWith($maybes, 'a')", "has(null, 'a')", "lower($maybes)",
            "sum([])", "sum($u)", "min([])",
            "sort($u)", "typeOf(null)", "string($l)", "boolean(null)", "coalesce(null)", "($u ? 1 : 'a') + 1",
            "5 + 'a'", "true + 'a'", "slice($l, 1, $maybe)",
            "$o.lines[0].sku.length > 1", "$b && $n", "!$l && -$n", "$o.id.x == 1",
        ],
    )  # fmt: skip
    def test_of_what_may_work_are_none(self, source: str) -> None:
        assert codes(source) == []

    def test_have_line_and_column(self) -> None:
        (found,) = check("$n > 1 &&\n   $s - 1")[1]
        assert (found.line, found.column) == (2, 7)

    def test_are_all_found_in_the_order_of_the_text(self) -> None:
        found = check("$o.zz + lower(1) + foo($s > 1)")[1]
        assert [one.code for one in found] == [
            "UNKNOWN_OUTPUT_FIELD",
            "EXPRESSION_TYPE_ERROR",
            "UNKNOWN_FUNCTION",
            "EXPRESSION_TYPE_ERROR",
        ]
        assert [one.column for one in found] == sorted(one.column for one in found)

    def test_say_what_was_expected(self) -> None:
        (found,) = check("$o.valid === 'true'")[1]
        assert "boolean" in found.message and "string" in found.message
        assert "quotes" in found.suggestion
        assert "coalesce" in check("$n + null")[1][0].suggestion


class TestFields:
    @pytest.mark.parametrize(
        "source",
        [
            "$o.totl",
            "$o['totl']",
            "$o.lines[0].pric",
            "$o.lines[*].pric",
            "$o.lines.map($item.pric)",
            "$o.lines.0.pric",
            "first($o.lines).pric",
            "$o.output.y",
            "$line.amount",
            "$o.lines[$n].x",
        ],
    )
    def test_that_a_closed_object_does_not_declare_are_unknown(self, source: str) -> None:
        assert codes(source) == ["UNKNOWN_OUTPUT_FIELD"]

    @pytest.mark.parametrize(
        "source",
        ["$o.open.x", "$o.any.x", "$u.x", "$o.id.x", "$o.tags.x", "$o[$s]", "{a: 1}.b", "$free.x.y", "$o.lines.length"],
    )
    def test_of_anything_else_are_not(self, source: str) -> None:
        assert codes(source) == []

    def test_come_with_the_nearest_names_and_all_there_are(self) -> None:
        (found,) = check("$o.lines[*].pric")[1]
        assert "'price'" in found.suggestion and found.available == ("price", "sku")
        assert "$o.lines[*]" in found.message and "pric" in found.message

    @pytest.mark.parametrize(
        ("source", "shown"), [("$o.total-1", "$o.total - 1"), ("$o.lines[0].price-10 > 5", ".price - 10")]
    )
    def test_that_look_like_a_subtraction_are_answered_with_one(self, source: str, shown: str) -> None:
        (found,) = check(source)[1]
        assert found.code == "UNKNOWN_OUTPUT_FIELD" and shown in found.suggestion


class TestFunctions:
    def test_that_do_not_exist_are_answered_with_the_nearest(self) -> None:
        (found,) = check("$s.startWith('a')")[1]
        assert found.code == "UNKNOWN_FUNCTION" and "startsWith" in found.suggestion and "sort" in found.available
        assert (found.line, found.column) == (1, 3)

    @pytest.mark.parametrize(
        "source",
        [
            "lower()",
            "lower('a', 'b')",
            "$s.lower('x')",
            "contains('a')",
            "replace('a', 'b')",
            "slice($l, 1, 2, 3)",
            "$l.map()",
            "filter($l)",
            "coalesce()",
            "min()",
            "round(1, 2, 3)",
            "any()",
        ],
    )
    def test_with_a_wrong_number_of_arguments_are_errors(self, source: str) -> None:
        (found,) = check(source)[1]
        assert found.code == "EXPRESSION_TYPE_ERROR" and "argument" in found.message

    @pytest.mark.parametrize("pattern", ["(", "(a)\\\\1", "(?=a)", "[z-a]"])
    def test_a_literal_pattern_that_re2_refuses_is_a_syntax_error(self, pattern: str) -> None:
        (found,) = check(f"$s matches '{pattern}'")[1]
        assert found.code == "EXPRESSION_SYNTAX" and (found.line, found.column) == (1, 12)

    def test_item_and_index_are_those_of_the_innermost_function(self) -> None:
        assert codes("$o.lines.map($o.tags.filter($item > 'a').size() + $item.price + $index)") == []
        assert codes("$o.lines.map($o.tags.map($item.x)[0] + $item.sku > 1)") == ["EXPRESSION_TYPE_ERROR"]


class TestBeforeTheFirstIteration:
    """Nodes of a while body, seen from its condition, are certainly null at first."""

    @pytest.mark.parametrize(
        "source",
        [
            "$u > 1",
            "$u.n < 5",
            "$n + 1 > 2",
            "-$u",
            "1 + $u.a[0]",
            "($u.n) * 2 > 1",
            "$u.n > 1 && $b",
            "!($u > 1)",
            "[$u + 1]",
            "($u && 1) + 1",
        ],
    )
    def test_ordering_and_arithmetic_need_coalesce(self, source: str) -> None:
        (found,) = check(source, unset="u n")[1]
        assert found.code == "EXPRESSION_TYPE_ERROR" and "coalesce" in found.suggestion

    @pytest.mark.parametrize(
        "source",
        [
            "coalesce($u, 0) > 1", "coalesce($u.n, $n, 0) + 1 > 1", "$u != 'done'", "$u == null", "!$u",
            "$u in [1]", "$u.n matches 'a'",
            "$u && $u > 1", "$b || $u > 1", "$b && ($u.n + 1) > 2", "$u ? $u + 1 : 0", "$b ? 1 : $n * 2",
            "($u || 0) > 1", "contains($u, 'a')",
            "$l.any($item > $n)", "typeOf($u)",
        ],
    )  # fmt: skip
    def test_what_stands_behind_a_guard_does_not(self, source: str) -> None:
        assert codes(source, unset="u n") == []

    def test_their_types_are_checked_all_the_same(self) -> None:
        assert codes("$o.status != 'done'", unset="o") == ["UNKNOWN_OUTPUT_FIELD"]
        assert codes("$o.total != 'done'", unset="o") == ["EXPRESSION_TYPE_ERROR"]

    def test_item_of_a_function_is_not_the_name(self) -> None:
        assert codes("$l.map($item + 1)", unset="item") == []


class TestDepth:
    @pytest.mark.parametrize(
        ("opens", "closes"),
        [("(0||1&&0!=1+1*", ")"), ("[1].map(0||1&&1<1+1*", ")"), ("{a:1+1*", "}.a"), ("1?1:", ""), ("!", "")],
    )
    def test_the_deepest_expressions_are_checked(self, opens: str, closes: str) -> None:
        check(opens * 64 + "1" + closes * 64)

    @pytest.mark.parametrize(
        "source",
        ["1" + "+1" * 2000, "$o" + ".b" * 2000, "'a'" + ".trim()" * 500, "1" + "&&1" * 1300, "$u" + "[*]" * 1300],
    )
    def test_so_are_the_longest(self, source: str) -> None:
        check(source)
