"""Operators: truthiness, equality, ordering, arithmetic, membership, patterns (canonical.md §3)."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.expressions import truthy
from tests.language.language_support import exact, failure, refusal, value

BIG = 2**63


class TestTruthiness:
    @pytest.mark.parametrize("given", [False, None, 0, 0.0, -0.0, "", [], {}])
    def test_these_are_false(self, given: Any) -> None:
        assert not truthy(given)
        assert value("!$v", v=given) is True
        assert value("$v ? 1 : 2", v=given) == 2

    @pytest.mark.parametrize("given", [True, 1, -1, 0.1, "0", "false", " ", [None], [[]], {"a": None}])
    def test_all_else_is_true(self, given: Any) -> None:
        assert truthy(given)
        assert value("not $v", v=given) is False
        assert value("$v ? 1 : 2", v=given) == 1


class TestLogic:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("0 || 'x'", "x"),
            ("'a' || 'x'", "a"),
            ("0 || ''", ""),
            ("1 && 'x'", "x"),
            ("'' && 'x'", ""),
            ("null && 1", None),
            ("0 or 'x'", "x"),
            ("1 and 'x'", "x"),
            ("0 || null || [] || 5 || 6", 5),
            ("1 && 2 && 0 && 3", 0),
            ("!0", True),
            ("not 'a'", False),
            ("!!'a'", True),
            ("not not 'a'", True),
        ],
    )
    def test_gives_the_operand_that_decided(self, source: str, expected: Any) -> None:
        assert exact(value(source)) == exact(expected)

    @pytest.mark.parametrize(
        "source", ["0 && 1 / 0", "1 || 1 / 0", "1 ? 2 : 1 / 0", "0 ? 1 / 0 : 2", "coalesce(1, 1 / 0)"]
    )
    def test_stops_where_it_is_decided(self, source: str) -> None:
        value(source)

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("1 || 0 && 0", 1),
            ("(1 || 0) && 0", 0),
            ("not 1 == 2", True),
            ("!1 == 2", False),
            ("not 0 && 0", 0),
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("-2 * -3", 6),
            ("10 - 2 - 3", 5),
            ("2 * 10 % 6 / 2", 1),
            ("1 + 1 == 2 && 'y' || 'n'", "y"),
            ("0 ? 1 : 0 ? 2 : 3", 3),
            ("1 ? 0 ? 1 : 2 : 3", 2),
            ("1 == 1 ? 'a' : 'b'", "a"),
            ("-$a.b", -5),
            ("--5", 5),
            ("3 - -2", 5),
            ("1 in [1] == false ? 1 : 2", None),
        ],
    )
    def test_precedence_is_javascripts(self, source: str, expected: Any) -> None:
        if expected is None:
            refusal(source)  # comparisons do not chain
        else:
            assert exact(value(source, a={"b": 5})) == exact(expected)

    @pytest.mark.parametrize("source", ["1 < 2 < 3", "1 == 1 == 1", "! not 1", "- not 1", "1 == not 1", "1 not 2"])
    def test_what_the_grammar_does_not_have_is_refused(self, source: str) -> None:
        refusal(source)


class TestEquality:
    @pytest.mark.parametrize(
        ("left", "right"),
        [
            (1, 1.0),
            (0, -0.0),
            (2**53, 2.0**53),
            ("a", "a"),
            (None, None),
            (True, True),
            ([1, [2.0]], [1.0, [2]]),
            ({"a": 1, "b": [None]}, {"b": [None], "a": 1.0}),
        ],
    )
    def test_is_by_type_and_value(self, left: Any, right: Any) -> None:
        assert value("$l == $r && $l === $r", l=left, r=right) is True
        assert value("$l != $r || $l !== $r", l=left, r=right) is False

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            (1, "1"),
            (1, True),
            (0, False),
            (1.0, True),
            (None, 0),
            (None, False),
            (None, ""),
            ("", []),
            ([], {}),
            ([1], [True]),
            ({"a": 1}, {"a": True}),
            ({"a": 1}, {"a": 1, "b": None}),
            ([1, 2], [2, 1]),
            ("true", True),
            (2**53 + 1, 2.0**53),
            ("é", "e\u0301"),
        ],
    )
    def test_different_types_or_values_are_unequal(self, left: Any, right: Any) -> None:
        assert value("$l == $r || $l === $r", l=left, r=right) is False
        assert value("$l != $r && $l !== $r", l=left, r=right) is True
        assert value("$l == $r", l=right, r=left) is False

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("$v == 1", False),
            ("$v == true", True),
            ("$v == 'true'", False),
            ("1 == $v", False),
            ("[true] == [$v]", True),
        ],
    )
    def test_with_a_literal_is_the_same(self, source: str, expected: bool) -> None:
        assert value(source, v=True) is expected

    def test_the_traps_of_the_seed(self) -> None:
        """A boolean is compared with a boolean, a missing name is null, a quoted text may hold blanks."""
        assert value("$validate.valid === true", validate={"valid": True}) is True
        assert value("$a.missing == null && !$a.missing", a={}) is True
        assert value("$a == 'x y'", a="x z") is False
        assert value("'1' == 1") is False


class TestOrdering:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("1 < 2", True),
            ("2 <= 2.0", True),
            ("3 > 10", False),
            ("1.5 >= 1", True),
            ("'a' < 'b'", True),
            ("'Z' < 'a'", True),
            ("'10' < '9'", True),
            ("'' < 'a'", True),
            ("'\uffff' < '😀'", True),
            ("'2024-01-15' < '2024-02-01'", True),
        ],
    )
    def test_of_two_numbers_or_two_strings(self, source: str, expected: bool) -> None:
        assert value(source) is expected

    @pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
    @pytest.mark.parametrize(
        ("left", "right"),
        [(1, "1"), (None, 1), (1, None), (None, None), (True, False), (1, True), ([1], [2]), ({}, {}), ("a", ["a"])],
    )
    def test_of_anything_else_fails(self, operator: str, left: Any, right: Any) -> None:
        found = failure(f"$l {operator} $r", l=left, r=right)
        assert (found.line, found.column) == (1, 4)


class TestArithmetic:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("2 + 3", 5),
            ("2 - 3", -1),
            ("6 / 3", 2),
            ("7 / 2", 3.5),
            ("1 / 3", 1 / 3),
            ("0.1 + 0.2", 0.1 + 0.2),
            ("0.5 + 0.5", 1),
            ("2.5 * 2", 5),
            ("9007199254740993 + 0", 9007199254740993),
            ("9223372036854775806 + 1", BIG - 1),
            ("3037000500 * 3037000499", 3037000500 * 3037000499),
            ("1e30 * 2", 2e30),
            ("1e300 / 1e10", 1e290),
            ("7 % 3", 1),
            ("-7 % 3", -1),
            ("7 % -3", 1),
            ("-7 % -3", -1),
            ("7.5 % 2", 1.5),
            ("-7.5 % 2", -1.5),
            ("5 % 2.5", 0),
            ("-(3)", -3),
            ("-0.5", -0.5),
            ("0 * -1.5", 0),
        ],
    )
    def test_of_numbers(self, source: str, expected: Any) -> None:
        assert exact(value(source)) == exact(expected)

    def test_a_large_float_stays_a_float(self) -> None:
        assert exact(value("9.3e18 + 0")) == "9.3e+18"
        assert exact(value("9.2e18 + 0")) == "9200000000000000000"
        assert exact(value("1e19")) == "1e+19"

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("[1] + [2, 3]", [1, 2, 3]),
            ("[] + []", []),
            ("'a' + 'b'", "ab"),
            ("'n: ' + 5", "n: 5"),
            ("'n: ' + 2.0", "n: 2"),
            ("'n: ' + 2.5", "n: 2.5"),
            ("'v: ' + true", "v: true"),
            ("5 + ' items'", "5 items"),
            ("false + ''", "false"),
            ("1 + 2 + 'a'", "3a"),
            ("'a' + 1 + 2", "a12"),
        ],
    )
    def test_plus_joins_lists_and_texts(self, source: str, expected: Any) -> None:
        assert value(source) == expected

    @pytest.mark.parametrize(
        "source",
        [
            "null + 1",
            "1 + null",
            "'a' + null",
            "null + 'a'",
            "[1] + null",
            "true + 1",
            "true + true",
            "[1] + 2",
            "'a' + [1]",
            "[1] + 'a'",
            "{} + {}",
            "'a' - 'b'",
            "'2' * 3",
            "null * 0",
            "-'a'",
            "-null",
            "-true",
            "[1] * 2",
            "5 / '1'",
            "1 % null",
        ],
    )
    def test_of_another_type_or_null_fails(self, source: str) -> None:
        failure(source)

    @pytest.mark.parametrize("source", ["1 / 0", "1 % 0", "0 / 0", "1.5 % 0", "1 / 0.0", "1 / -0.0"])
    def test_by_zero_fails(self, source: str) -> None:
        assert "zero" in failure(source).message

    @pytest.mark.parametrize(
        "source",
        [
            "9223372036854775807 + 1",
            "-9223372036854775807 - 2",
            "4611686018427387904 * 2",
            "9223372036854775807 * 9223372036854775807",
        ],
    )
    def test_integers_beyond_63_bits_fail(self, source: str) -> None:
        failure(source)

    @pytest.mark.parametrize(
        "source", ["1e308 * 10", "1e308 + 1e308", "-1e308 - 1e308", "1e-300 / 1e-310 * 1e300", "1 / 1e-320"]
    )
    def test_there_is_no_infinity_and_no_nan(self, source: str) -> None:
        failure(source)

    @pytest.mark.parametrize("given", [2**70, -(2**80), 10**300])
    def test_integers_of_the_input_beyond_63_bits_are_exact_or_fail(self, given: int) -> None:
        assert value("$v == $v && $v != $v.x", v=given) is True
        failure("$v * 10000000000", v=given)
        failure("$v + 1", v=given)

    def test_the_place_is_the_operators(self) -> None:
        found = failure("1 + 2 +\n  null * 3")
        assert (found.line, found.column) == (2, 8)

    def test_null_is_answered_with_coalesce(self) -> None:
        assert "coalesce" in failure("$a.x + 1", a={}).message


class TestIn:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("1 in [1, 2]", True),
            ("1.0 in [1]", True),
            ("'1' in [1]", False),
            ("true in [1]", False),
            ("null in [1, null]", True),
            ("null in []", False),
            ("[1] in [[1]]", True),
            ("'a' in {a: null}", True),
            ("'b' in {a: 1}", False),
            ("null in {a: 1}", False),
            ("'bc' in 'abcd'", True),
            ("'' in 'a'", True),
            ("null in 'null'", False),
            ("1 in null", False),
            ("null in null", False),
            ("1 not in [1]", False),
            ("1 not in [2]", True),
            ("1 not in null", True),
        ],
    )
    def test_is_member_key_or_part(self, source: str, expected: bool) -> None:
        assert value(source) is expected

    @pytest.mark.parametrize("source", ["1 in 1", "1 in true", "1 in '1'", "1 in {a: 1}", "1 not in 5", "[] in 'a'"])
    def test_of_a_wrong_type_fails(self, source: str) -> None:
        failure(source)


class TestMatches:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("'abc' matches 'b'", True),
            ("'abc' matches '^b'", False),
            ("'abc' matches '^a.c$'", True),
            (r"'a1' matches '\\d'", True),
            ("'ABC' matches '(?i)b'", True),
            ("'a' matches ''", True),
            ("'é' matches '^.$'", True),
            ("null matches 'a'", False),
            ("$t matches $p", True),
        ],
    )
    def test_finds_a_pattern_anywhere(self, source: str, expected: bool) -> None:
        assert value(source, t="order-42", p="[0-9]+$") is expected

    @pytest.mark.parametrize(
        "source", ["1 matches '1'", "'a' matches null", "'a' matches 1", "null matches null", "['a'] matches 'a'"]
    )
    def test_of_a_wrong_type_fails(self, source: str) -> None:
        failure(source)

    @pytest.mark.parametrize("pattern", ["(", "(a)\\1", "(?=a)", "[z-a]", "a{1001}"])
    def test_what_re2_refuses_fails(self, pattern: str) -> None:
        failure("'a' matches $p", p=pattern)

    def test_takes_linear_time(self) -> None:
        assert value("$t matches '^(a+)+$'", t="a" * 50_000 + "b") is False
