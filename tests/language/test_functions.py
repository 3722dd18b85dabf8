"""The functions of expressions, each with what it takes, gives, and does with null (canonical.md §3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.language.language_support import exact, failure, value

GIVES: list[tuple[str, Any]] = [
    # contains: part of a text, member of a list, key of an object, else its text form
    ("contains('unclear case', 'clear')", True),
    ("contains('a', 'b')", False),
    ("contains([1, 2], 2.0)", True),
    ("contains([1], '1')", False),
    ("contains([null], null)", True),
    ("contains({a: 1}, 'a')", True),
    ("contains({verdict: 'it is unclear'}, 'unclear')", True),
    ("contains({verdict: 'fine'}, 'unclear')", False),
    ("contains(null, 'a')", False),
    ("contains(null, null)", False),
    ("contains([1], null)", False),
    ("contains('null', null)", False),
    ("startsWith('order-1', 'order')", True),
    ("startsWith('a', 'b')", False),
    ("startsWith(null, 'a')", False),
    ("endsWith('a.pdf', '.pdf')", True),
    ("endsWith(null, 'a')", False),
    ("lower('ÀB')", "àb"),
    ("upper('àb')", "ÀB"),
    ("trim('  a b \\n')", "a b"),
    ("length('héé')", 3),
    ("length([1, 2])", 2),
    ("length({a: 1})", 1),
    ("size('')", 0),
    ("size({})", 0),
    ("split('a,b,,c', ',')", ["a", "b", "", "c"]),
    ("split('abc', '')", ["a", "b", "c"]),
    ("split('', '')", []),
    ("split('', ',')", [""]),
    ("split('a.b', '.')", ["a", "b"]),
    ("join(['a', 'b'], ', ')", "a, b"),
    ("join([1, 2.0, null, true, [1]])", "12true[1]"),
    ("join([], ',')", ""),
    ("replace('a.b.c', '.', '-')", "a-b-c"),
    ("replace('aaa', 'aa', 'b')", "ba"),
    ("replace('a+b', '+', '$1')", "a$1b"),
    ("coalesce(null, 0, 1)", 0),
    ("coalesce(null)", None),
    ("coalesce(null, null)", None),
    ("coalesce(false, 1)", False),
    ("[null, true, 1.5, 'a', [], {}].map(typeOf($item))", ["null", "boolean", "number", "string", "list", "object"]),
    ("number('42')", 42),
    ("number('-2.50')", -2.5),
    ("number('007')", 7),
    ("number('-01.5e1')", -15),
    ("number('1e3')", 1000),
    ("number('0.0')", 0),
    ("number(true)", 1),
    ("number(false)", 0),
    ("number(5)", 5),
    ("number(2.0)", 2),
    ("string(null)", ""),
    ("string(2.0)", "2"),
    ("string(true)", "true"),
    ("string({b: 1, a: [null]})", '{"a":[null],"b":1}'),
    ("boolean('')", False),
    ("boolean('false')", True),
    ("boolean(null)", False),
    ("boolean([0])", True),
    ("keys({b: 1, a: 2})", ["a", "b"]),
    ("values({b: 1, a: 2})", [2, 1]),
    ("keys({})", []),
    ("first([1, 2])", 1),
    ("first([])", None),
    ("last([1, 2])", 2),
    ("last([])", None),
    ("slice([1, 2, 3], 1)", [2, 3]),
    ("slice([1, 2, 3], 1, 2)", [2]),
    ("slice([1, 2, 3])", [1, 2, 3]),
    ("slice([1, 2, 3], -2)", [2, 3]),
    ("slice([1, 2, 3], 0, -1)", [1, 2]),
    ("slice([1, 2, 3], 5)", []),
    ("slice([1, 2, 3], -9, 99)", [1, 2, 3]),
    ("slice([1, 2, 3], 2, 1)", []),
    ("slice('héllo', 1, 3)", "él"),
    ("slice('abc', -1)", "c"),
    ("unique([1, 1.0, '1', true, 1, null, null, [1], [1.0], {a: 1}, {a: 1}])", [1, "1", True, None, [1], {"a": 1}]),
    ("sort([3, 1.5, 2])", [1.5, 2, 3]),
    ("sort(['b', 'B', 'a'])", ["B", "a", "b"]),
    ("sort([])", []),
    ("flatten([[1], [2, [3]], 4, []])", [1, 2, [3], 4]),
    ("sum([1, 2.5])", 3.5),
    ("sum([])", 0),
    ("sum([0.1, 0.2, 0.3])", 0.1 + 0.2 + 0.3),
    ("sum([1e100, 1, -1e100])", 0),
    ("min([3, 1, 2])", 1),
    ("max([3, 1, 2])", 3),
    ("min(['b', 'a'])", "a"),
    ("min(3, 1)", 1),
    ("max(3, 1, 7)", 7),
    ("min([])", None),
    ("max([])", None),
    ("avg([1, 2])", 1.5),
    ("avg([2, 4])", 3),
    ("avg([])", None),
    ("count([1, null])", 2),
    ("round(2.5)", 3),
    ("round(-2.5)", -2),
    ("round(-2.51)", -3),
    ("round(1.005, 2)", 1.01),
    ("round(2.675, 2)", 2.68),
    ("round(0.285, 2)", 0.29),
    ("round(1234, -2)", 1200),
    ("round(1250, -2)", 1300),
    ("round(-1250, -2)", -1200),
    ("round(5)", 5),
    ("round(1e300)", 1e300),
    ("round(0.1, 30)", 0.1),
    ("floor(-1.5)", -2),
    ("floor(1.9)", 1),
    ("floor(7)", 7),
    ("ceil(1.1)", 2),
    ("ceil(-1.9)", -1),
    ("abs(-3)", 3),
    ("abs(2.5)", 2.5),
    ("has({a: null}, 'a')", True),
    ("has({a: 1}, 'b')", False),
    ("has(null, 'a')", False),
    ("any([0, 1])", True),
    ("any([])", False),
    ("[{a: 1}, {a: 0}][*].a.any($item)", True),
    ("count([{a: [1, 2]}, {a: []}][*].a, length($item) > 0)", 1),
    ("[[1, 2], [3]][*].map(length($item))", [2, 1]),
    ("all([1, 0])", False),
    ("all([])", True),
]

FAILS = [
    "contains(1, 1)", "contains(true, 'a')", "contains('a', 1)",
    "startsWith(1, '1')", "startsWith('a', null)", "endsWith('a', 1)",
    "lower(null)", "upper(1)", "trim([])", "length(null)", "length(5)", "size(true)",
    "split(null, ',')", "split('a', null)", "split(['a'], ',')", "join(null)", "join('abc', ',')", "join(['a'], null)",
    "replace('a', null, 'b')", "replace(null, 'a', 'b')", "replace('a', 'a', 1)",
    "number(null)", "number('')", "number(' 1')", "number('1 ')", "number('0x1')", "number('abc')", "number('+1')",
    "number('1.')",
    "number('.5')", "number('NaN')", "number('Infinity')", "number('1e999')", "number('٣')", "number([])",
    "number({})",
    "number('9223372036854775808')", "number('1_000')", "number('1\\n')",
    "keys(null)", "keys([1])", "values('a')", "first(null)", "first('abc')", "last({})",
    "slice(null)", "slice({})", "slice([1], 'a')", "slice([1], 0.5)", "slice([1], null)",
    "unique(null)", "unique('aa')", "sort([1, 'a'])", "sort([null, 1])", "sort([true])", "sort([[1]])", "sort('ba')",
    "flatten(null)", "flatten('a')", "sum(null)", "sum(['a'])", "sum([1, null])", "sum([true])", "sum(5)",
    "min(null)", "min(1)", "min(1, null)", "min(1, 'a')", "max([1, null])", "max([true])", "avg([null])",
    "avg('a')", "count(null)",
    "count('abc')", "count({})",
    "round(null)", "round('1')", "round(1, 0.5)", "round(1, null)", "floor(true)", "ceil(null)", "abs('1')",
    "abs(null)",
    "has([1], 0)", "has({}, 1)", "has({}, null)", "has('a', 'a')",
    "any(null)", "all('a')", "any(null, $item)", "filter(null, $item)", "map(null, $item)", "map('abc', $item)",
    "sum(null, $item)",
]  # fmt: skip


class TestFunction:
    @pytest.mark.parametrize(("source", "expected"), GIVES)
    def test_gives(self, source: str, expected: Any) -> None:
        assert exact(value(source)) == exact(expected)

    @pytest.mark.parametrize("source", FAILS)
    def test_fails_on_null_and_on_a_wrong_type(self, source: str) -> None:
        failure(source)

    @pytest.mark.parametrize(
        ("called", "method"),
        [
            ("contains($s, 'b')", "$s.contains('b')"),
            ("size($l)", "$l.size()"),
            ("slice($l, 1, 2)", "$l.slice(1, 2)"),
            ("map($l, $item * 2)", "$l.map($item * 2)"),
            ("join(sort(unique($l)), '-')", "$l.unique().sort().join('-')"),
            ("first($l).x", "$l.first().x"),
        ],
    )
    def test_may_be_called_as_a_method(self, called: str, method: str) -> None:
        names = {"s": "abc", "l": [3, 1, 3]}
        assert exact(value(called, **names)) == exact(value(method, **names))

    def test_a_failure_has_its_place(self) -> None:
        found = failure("1 +\n lower(null)")
        assert (found.line, found.column) == (2, 2)


class TestPerElement:
    PEOPLE = ({"n": "a", "age": 3}, {"n": "b", "age": 20}, {"n": "c", "age": 40})

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("$p.any($item.age > 30)", True),
            ("$p.all($item.age > 30)", False),
            ("$p.filter($item.age > 10).map($item.n)", ["b", "c"]),
            ("$p.map($index)", [0, 1, 2]),
            ("$p.count($item.age > 10)", 2),
            ("$p.sum($item.age)", 63),
            ("$p.map($item.n + $suffix)", ["a!", "b!", "c!"]),
            ("[].any(1 / 0)", False),
            ("[].sum($item)", 0),
            ("[[1, 2], [3]].map($item.map($item * 10))", [[10, 20], [30]]),
            ("[[5, 6], [7]].map($item.map($index))", [[0, 1], [0]]),
            ("[[1], [2]].map($item.filter($item > 1).size() + $item[0] + $index)", [1, 4]),
            ("map([1, 2], $item).map($item + 1)", [2, 3]),
            ("[1, 2].filter('yes')", [1, 2]),
            ("[0, 1, '', 'a'].count($item)", 2),
            ("$item + [1].map($item)[0]", 8),
        ],
    )
    def test_evaluates_its_second_argument_under_item_and_index(self, source: str, expected: Any) -> None:
        assert exact(value(source, p=list(self.PEOPLE), suffix="!", item=7)) == exact(expected)

    def test_any_and_all_stop_where_they_are_decided(self) -> None:
        assert value("[1, 0].any(1 / $item)") is True
        assert value("[0, 'a'].all($item > 0)") is False

    def test_a_failing_element_fails_the_whole(self) -> None:
        failure("[1, null].map($item + 1)")
        failure("['a'].sum($item)")
