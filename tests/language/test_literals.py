"""Literals, keywords, blanks and the limits of a source (canonical.md §3, the grammar)."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.expressions import parse
from tests.language.language_support import exact, refusal, value


class TestString:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("'a'", "a"),
            ('"a"', "a"),
            ("''", ""),
            ("'say \"hi\"'", 'say "hi"'),
            ('"it\'s"', "it's"),
            (r"'it\'s'", "it's"),
            (r'"\""', '"'),
            (r'"\'"', "'"),
            (r"'\\ \/ \b\f\n\r\t'", "\\ / \b\f\n\r\t"),
            (r"'\u00e9\u20AC'", "é€"),
            (r"'\ud83d\ude00'", "😀"),
            ("'😀 é'", "😀 é"),
            (r"'a\u0000b' == 'a'", False),
            ("'${$x}'", "${$x}"),
        ],
    )
    def test_is_json_in_either_quote(self, source: str, expected: Any) -> None:
        assert exact(value(source)) == exact(expected)

    @pytest.mark.parametrize(
        "source",
        [
            r"'\d'",
            r"'\x41'",
            r"'\u12'",
            r"'\u12g4'",
            r"'\ '",
            r"'\0'",
            r"'\ud83d'",
            r"'\ude00\ud83d'",
            "'open",
            "\"open'",
            "'\\'",
            "'\ud83d'",
        ],
    )
    def test_with_another_escape_is_refused(self, source: str) -> None:
        refusal(source)


class TestNumber:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("0", 0),
            ("42", 42),
            ("0.5", 0.5),
            ("1.0", 1),
            ("1e3", 1000),
            ("1E+2", 100),
            ("25e-1", 2.5),
            ("9223372036854775807", 9223372036854775807),
            ("1e30", 1e30),
            ("9007199254740993", 9007199254740993),
            ("1e-400", 0),
            ("-5", -5),
        ],
    )
    def test_is_spelled_as_in_json(self, source: str, expected: Any) -> None:
        assert exact(value(source)) == exact(expected)

    @pytest.mark.parametrize(
        "source",
        [
            "01",
            "00",
            ".5",
            "5.",
            "1e",
            "0x10",
            "1_000",
            "+1",
            "9223372036854775808",
            "1" * 30,
            "1e400",
            "12abc",
            "NaN",
            "Infinity",
        ],
    )
    def test_of_another_spelling_or_size_is_refused(self, source: str) -> None:
        refusal(source)


class TestShapes:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("true", True),
            ("false", False),
            ("null", None),
            ("undefined", None),
            ("[]", []),
            ("[1, 'a', [true]]", [1, "a", [True]]),
            ("{}", {}),
            ("{a: 1, 'b c': [2], \"d\": {e: null}}", {"a": 1, "b c": [2], "d": {"e": None}}),
            ("{null: 1, in: 2, true: 3, not: 4, and: 5}", {"null": 1, "in": 2, "true": 3, "not": 4, "and": 5}),
            ("{a: 1}.a", 1),
            ("[10, 20][1]", 20),
            ("'abc'.length", 3),
            ("[1,2].length", 2),
        ],
    )
    def test_are_those_of_json(self, source: str, expected: Any) -> None:
        assert exact(value(source)) == exact(expected)

    @pytest.mark.parametrize(
        "source", ["[1,]", "{a: 1,}", "{a}", "{1: 2}", "{$a: 1}", "[,]", "(1", "1)", "[1", "{a: 1", "()", ""]
    )
    def test_of_another_spelling_are_refused(self, source: str) -> None:
        refusal(source)


class TestKeywords:
    @pytest.mark.parametrize(
        "source", ["1 in2", "1in [1]2", "not1", "true1", "$a andb", "1 or2", "'a' matchesb", "nullx", "trueish"]
    )
    def test_are_whole_words(self, source: str) -> None:
        refusal(source)

    @pytest.mark.parametrize("blanks", [" ", "  ", "\n", "\t \r\n"])
    def test_any_blanks_may_stand_between_not_and_in(self, blanks: str) -> None:
        assert value(f"1 not{blanks}in [2]") is True

    def test_not_in_is_two_words(self) -> None:
        refusal("1 notin [2]")

    @pytest.mark.parametrize(
        "source",
        ["eval('1')", "__import__('os')", "$a = 1", "$a; $b", "$a, $b", "x => x", "`a`", "$a?.b", "$a ?? 1", "$a ** 2"],
    )
    def test_there_is_nothing_else(self, source: str) -> None:
        try:
            tree = parse(source)
        except Exception as error:
            assert type(error).__name__ == "ExpressionSyntax"
        else:
            assert source.startswith(("eval", "__import__"))
            _, found = tree.infer(lambda name: pytest.fail("no name stands here"))
            assert [finding.code for finding in found] == ["UNKNOWN_FUNCTION"]


class TestSourceLimits:
    def test_a_source_has_at_most_4_kib(self) -> None:
        assert value("1" + " " * 4095) == 1
        assert "4096" in refusal("1" + " " * 4096).message

    def test_bytes_are_counted(self) -> None:
        assert value("'" + "é" * 2047 + "'") == "é" * 2047
        refusal("'" + "é" * 2048 + "'")

    @pytest.mark.parametrize(
        ("opens", "closes"),
        [
            ("(", ")"),
            ("[", "]"),
            ("{a:", "}"),
            ("!", ""),
            ("-", ""),
            ("not ", ""),
            ("1 ? ", " : 1"),
            ("1 ? 1 : ", ""),
            ("abs(", ")"),
            ("$a[", "]"),
        ],
    )
    def test_nesting_is_at_most_64(self, opens: str, closes: str) -> None:
        parse(opens * 64 + "1" + closes * 64)
        assert "64" in refusal(opens * 65 + "1" + closes * 65).message

    def test_all_of_it_counts_together(self) -> None:
        parse("-[!(" * 16 + "1" + ")]" * 16)
        refusal("-[!(" * 16 + "-1" + ")]" * 16)

    def test_brackets_beside_one_another_do_not_count(self) -> None:
        assert value("(1)" + " + (1)" * 500) == 501

    @pytest.mark.parametrize("depth", [100, 1000, 4000])
    @pytest.mark.parametrize("opens", ["(", "[", "{a:", "!", "-", "f(", "1?", "$a["])
    def test_deeper_is_an_answer_and_no_crash(self, opens: str, depth: int) -> None:
        refusal(opens * depth)

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("1" + "+1" * 2000, 2001),
            ("1" + "*1" * 2000, 1),
            ("1" + "&&1" * 1300, 1),
            ("0" + "||0" * 1300, 0),
            ("$a" + ".b" * 2000, None),
            ("$a" + "[0]" * 1300, None),
            ("$a" + "[*]" * 1300, None),
            ("'a'" + ".trim()" * 500, "a"),
            ("[" + ",".join(["1"] * 2000) + "].length", 2000),
        ],
    )
    def test_flat_chains_have_no_nesting_and_run(self, source: str, expected: Any) -> None:
        assert exact(value(source, a=None)) == exact(expected)

    def test_long_paths_run_on_values_as_deep_as_they_may_be(self) -> None:
        deep: Any = 1
        for _ in range(249):
            deep = [deep]
        assert value("$a" + "[0]" * 249, a=deep) == 1
        assert exact(value("$a" + "[*]" * 249, a=deep)) == exact(deep)
        assert value("$a == $b", a=deep, b=[deep]) is False
        assert value("unique([$a, $a]).length", a=deep) == 1

    @pytest.mark.parametrize(
        ("opens", "closes"),
        [
            ("(0||1&&0!=1+1*", ")"),
            ("[1].map(0||1&&1<1+1*", ")"),
            ("[1].filter(1&&1<1+1*", ")"),
            ("coalesce(null,0||1&&'a' in 'a'+", ")"),
            ("0||1&&0==1+1*$a[*].b[", "]"),
            ("[0||1&&0==1+1*", ",1][*].x"),
            ("{a:0||1&&0==1+1*", "}.a"),
        ],
    )
    def test_the_deepest_expressions_run(self, opens: str, closes: str) -> None:
        source = opens * 64 + "1" + closes * 64
        expression = parse(source)
        assert not expression.names or expression.names[0].name == "a"
        try:
            value(source, a=[{"b": [1]}])
        except Exception as error:
            assert type(error).__name__ == "ExpressionFailed"


class TestPlace:
    @pytest.mark.parametrize(
        ("source", "line", "column"),
        [("1 +", 1, 4), ("1 + * 2", 1, 5), ("$a ==\n  == 2", 2, 3), ("'a\\q'", 1, 1), ("1\n+ 01", 2, 3)],
    )
    def test_of_a_syntax_error_is_line_and_column(self, source: str, line: int, column: int) -> None:
        found = refusal(source)
        assert (found.line, found.column) == (line, column)
