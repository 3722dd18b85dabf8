"""TEMPLATEs: any JSON whose strings may refer (canonical.md §3, "Strings in templates")."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.expressions import Bound, ExpressionFailed, Finding, Named
from dynamicflow.planner.templates import parse_template
from dynamicflow.planner.types import NUMBER, STRING, UNKNOWN
from tests.language.language_support import exact, template

NAMES: dict[str, Any] = {"n": 5, "user": {"name": "Ann", "tags": ["x"]}, "none": None, "count": 3, "input": {"a b": 1}}


def findings(given: Any, known: Any = tuple(NAMES)) -> list[Finding]:
    return list(parse_template(given, known).findings)


class TestWholeValue:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("$n", 5),
            ("$user", NAMES["user"]),
            ("$user.tags[0]", "x"),
            ("$user.tags[-1]", "x"),
            ("$user.tags.0", "x"),
            ("$user.tags[*].length", [1]),
            ("$input['a b']", 1),
            ("$none", None),
            ("$user.missing.deeper", None),
            ("${$n}", 5),
            ("${$n * 2}", 10),
            ("${ [$n, 'a'] }", [5, "a"]),
            ("${{a: $n}}", {"a": 5}),
            ("${'}'}", "}"),
            ("${{a: '}', b: {c: \"}\"}}.b.c}", "}"),
            ("${'$'}", "$"),
        ],
    )
    def test_keeps_its_type(self, given: str, expected: Any) -> None:
        assert exact(template(given, **NAMES)) == exact(expected)

    def test_is_known_where_it_is_one_reference(self) -> None:
        whole = parse_template("$user.tags[0]", NAMES).whole
        assert whole is not None and (whole.name, whole.path) == ("user", ("tags", 0))
        assert parse_template("${$user.name}", NAMES).whole is not None
        for other in ("$n!", "<${$n}>", "${$n + 1}", ["$n"], {"a": "$n"}, "text", 5):
            assert parse_template(other, NAMES).whole is None


class TestText:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("Dear ${$user.name}, you have ${$n + 1}.", "Dear Ann, you have 6."),
            ("${$n}${$n}", "55"),
            ("<${$none}>", "<>"),
            ("${$user} ", '{"name":"Ann","tags":["x"]} '),
            ("a ${'b ${c} }'} d", "a b ${c} } d"),
            (" $n", " $n"),
            ("é ${$n}\n${$n}", "é 5\n5"),
        ],
    )
    def test_has_the_values_text_forms_in_it(self, given: str, expected: str) -> None:
        read = parse_template(given, NAMES)
        made = read.compile(lambda name: Bound(lambda c: c[name]))(NAMES)
        assert made == expected

    @pytest.mark.parametrize(
        "given",
        ["$19.99", "$", "costs $5 or 5$", "$$", "$$$", "a $ b", "${", "$ {x}", "$-1", "plain", "", "{x}", "100 $us"],
    )
    def test_all_else_is_text(self, given: str) -> None:
        if given == "${":
            assert [finding.code for finding in findings(given)] == ["EXPRESSION_SYNTAX"]
        else:
            assert template(given, **NAMES) == given

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("$$n", "$n"),
            ("$${x}", "${x}"),
            ("$$unknown", "$unknown"),
            ("$$$n", "$$n"),
            ("$$$${x}", "$$${x}"),
            ("a $$n b $${$x} c", "a $n b ${$x} c"),
            ("${'$'}${$n}", "$5"),
            ("$$5", "$$5"),
            ("$$n.x and ${$n}", "$n.x and 5"),
        ],
    )
    def test_two_dollars_are_one(self, given: str, expected: str) -> None:
        read = parse_template(given, NAMES)
        assert read.compile(lambda name: Bound(lambda c: c[name]))(NAMES) == expected


class TestJson:
    def test_strings_refer_at_every_depth_and_keys_never_do(self) -> None:
        given = {"$n": "$n", "list": [1, "$n", {"x": "<${$n}>"}], "b": True, "z": None, "f": 1.5}
        assert exact(template(given, **NAMES)) == exact(
            {"$n": 5, "list": [1, 5, {"x": "<5>"}], "b": True, "z": None, "f": 1.5}
        )

    def test_a_literal_stands_for_itself(self) -> None:
        given = {"a": [1, "text", "$5"]}
        assert parse_template(given, NAMES).literal
        assert template(given) == given
        assert not parse_template({"a": ["$n"]}, NAMES).literal

    def test_its_names_come_with_the_pointer_of_their_string(self) -> None:
        given = {"a/b": ["$n", "${$user.name} ${$count}"], "~": "$input.x"}
        found = [(at, name.name, name.path) for at, name in parse_template(given, NAMES).names]
        assert found == [
            ("/a~1b/0", "n", ()),
            ("/a~1b/1", "user", ("name",)),
            ("/a~1b/1", "count", ()),
            ("/~0", "input", ("x",)),
        ]

    def test_findings_have_the_pointer_of_their_string(self) -> None:
        assert [finding.pointer for finding in findings({"a": ["ok", "$nowhere"]})] == ["/a/1"]

    def test_may_be_as_deep_as_a_plan(self) -> None:
        deep: Any = "$n"
        for level in range(248):
            deep = [deep] if level % 2 else {"k": deep}
        read = parse_template(deep, NAMES)
        made = read.compile(lambda name: Bound(lambda c: c[name]))(NAMES)
        assert exact(made) == exact(deep).replace('"$n"', "5")
        kind, found = read.infer(lambda name: Named(NUMBER))
        assert kind.kind in ("list", "object", "unknown") and found == []

    def test_a_failure_is_the_expressions(self) -> None:
        with pytest.raises(ExpressionFailed):
            template({"a": "${$none + 1}"}, **NAMES)


class TestFindings:
    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("$count * 2", "${$count * 2}"),
            ("$user.name!", "${$user.name}"),
            ("$count, $n", "${$count}"),
            ("$n ", "${$n}"),
            ("$n-", "${$n}"),
        ],
    )
    def test_a_known_name_that_goes_on_is_refused_and_the_form_shown(self, given: str, shown: str) -> None:
        (found,) = findings(given)
        assert found.code == "EXPRESSION_SYNTAX" and not found.warning
        assert shown in found.message

    @pytest.mark.parametrize("given", ["$nowhere", "$nowhere.x[0]", "$usr.name", "$n-1"])
    def test_one_reference_with_an_unknown_root_is_unresolved(self, given: str) -> None:
        (found,) = findings(given)
        assert found.code == "UNRESOLVED_REFERENCE" and not found.warning

    def test_an_unknown_root_is_answered_with_the_nearest_name(self) -> None:
        assert "$user" in findings("$usr.name")[0].suggestion
        assert "$count - 1" in findings("$count-1")[0].suggestion

    @pytest.mark.parametrize("given", ["by $n items", "costs $user.name", "a $$ $n", "$5 and $n", "$nowhere and $n"])
    def test_a_known_name_later_in_a_text_is_a_warning(self, given: str) -> None:
        (found,) = findings(given)
        assert found.code == "POSSIBLE_REFERENCE" and found.warning

    def test_so_is_a_dollar_before_a_value(self) -> None:
        (found,) = findings("total $${$n}")
        assert found.code == "POSSIBLE_REFERENCE" and found.warning
        assert "${'$'}" in found.suggestion

    @pytest.mark.parametrize("given", ["by $nowhere items", "$19.99", "$$n", "a $$n", "$${x}", "$nowhere!"])
    def test_what_is_text_has_none(self, given: str) -> None:
        assert findings(given) == []

    @pytest.mark.parametrize("given", ["${", "a ${$n", "${}", "${$n +}", "${'a}", "x ${1 2} y", "$n.", "${\"a'}"])
    def test_a_broken_expression_is_refused(self, given: str) -> None:
        (found,) = findings(given)
        assert found.code == "EXPRESSION_SYNTAX" and not found.warning and found.line >= 1

    def test_the_place_is_that_in_the_string(self) -> None:
        (found,) = findings("ab ${1 + * 2}")
        assert (found.line, found.column) == (1, 10)

    def test_every_broken_string_is_found(self) -> None:
        assert [finding.pointer for finding in findings(["${", "$nowhere", {"x": "${1 +}"}])] == ["/0", "/1", "/2/x"]


class TestTypes:
    def test_a_whole_value_has_its_type_and_a_text_is_a_string(self) -> None:
        types = {"n": Named(NUMBER)}
        for given, kind in (
            ("$n", "number"),
            ("${$n + 1}", "number"),
            ("<${$n}>", "string"),
            ("text", "string"),
            (5, "number"),
            (None, "null"),
        ):
            made, found = parse_template(given, types).infer(lambda name: types[name])
            assert (made.kind, found) == (kind, []), given

    def test_of_json_are_those_of_its_parts(self) -> None:
        made, found = parse_template({"a": ["$n", 1], "b": "x"}, {"n"}).infer(lambda name: Named(NUMBER))
        item = made.fields["a"].item
        assert found == [] and item is not None and item.kind == "number"
        assert made.fields["b"] == STRING

    def test_errors_have_the_pointer_of_their_string(self) -> None:
        read = parse_template({"a": ["${$n + null}"]}, {"n"})
        _, found = read.infer(lambda name: Named(UNKNOWN))
        assert [(one.code, one.pointer, one.line) for one in found] == [("EXPRESSION_TYPE_ERROR", "/a/0", 1)]
