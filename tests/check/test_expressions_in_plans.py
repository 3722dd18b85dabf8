"""Expressions and templates checked with the types of the tools (canonical.md §3, "Check")."""

from __future__ import annotations

from dynamicflow.planner.check import Check
from tests.check.check_kit import (
    FLAG,
    NUMBER,
    TEXT,
    TOOLS,
    call,
    check,
    codes,
    fields,
    only,
    only_warning,
    plan,
    spec,
    value,
    warned,
)

VALIDATED = call("v", "validateEmail", email="$input.email")
LEADS = call("l", "findLeads")


def gate(condition: str, *before: object) -> Check:
    node = {"id": "c", "type": "conditional", "condition": condition, "ifTrue": [value("x")]}
    return check(plan(*before, node))


class TestConditionsAreTypedByTheToolsSchemas:
    def test_the_seeds_example(self) -> None:
        assert gate("$v.valid === true", VALIDATED).valid

    def test_equality_of_two_known_types_has_a_column(self) -> None:
        problem = only(gate("$v.valid == 'true'", VALIDATED))
        assert (problem.code, problem.path) == ("EXPRESSION_TYPE_ERROR", "/nodes/1/condition")
        assert "column" in problem.message

    def test_ordering_on_a_boolean(self) -> None:
        assert only(gate("$v.valid > 0.7", VALIDATED)).code == "EXPRESSION_TYPE_ERROR"

    def test_an_undeclared_field_names_the_nearest(self) -> None:
        problem = only(gate("$v.vald", VALIDATED))
        assert problem.code == "UNKNOWN_OUTPUT_FIELD"
        assert "valid" in problem.suggestion

    def test_an_unknown_function(self) -> None:
        problem = only(gate("startWith($v.email, 'a')", VALIDATED))
        assert problem.code == "UNKNOWN_FUNCTION"
        assert "startsWith" in problem.suggestion

    def test_syntax_with_line_and_column(self) -> None:
        problem = only(gate("$v.valid =\n true", VALIDATED))
        assert problem.code == "EXPRESSION_SYNTAX"
        assert "line 1, column 10" in problem.message

    def test_a_pattern_that_re2_refuses(self) -> None:
        assert only(gate("$v.email matches '(?=x)'", VALIDATED)).code == "EXPRESSION_SYNTAX"


class TestTypesThroughOwners:
    def test_items_of_a_list_that_is_one_reference(self) -> None:
        kept = {"id": "f", "type": "filter", "over": "$l.leads", "condition": "$item.scor > 0.7"}
        problem = only(check(plan(LEADS, kept)))
        assert (problem.code, problem.path) == ("UNKNOWN_OUTPUT_FIELD", "/nodes/1/condition")

    def test_what_a_filter_keeps_are_its_items(self) -> None:
        kept = {"id": "f", "type": "filter", "over": "$l.leads", "as": "lead", "condition": "$lead.score > 0.7"}
        assert codes(check(plan(LEADS, kept, value("v", "$f[0].nam")))) == ["UNKNOWN_OUTPUT_FIELD"]

    def test_what_a_map_gives_is_a_list_of_its_last_node(self) -> None:
        each = {"id": "m", "type": "map", "over": "$l.leads", "body": [call("s", "score", name="$item.name")]}
        assert check(plan(LEADS, each, value("v", "$m[*].score"))).valid
        assert codes(check(plan(LEADS, each, value("v", "$m[*].scores")))) == ["UNKNOWN_OUTPUT_FIELD"]

    def test_a_sequence_gives_its_last(self) -> None:
        both = {"id": "q", "type": "sequence", "body": [value("a"), VALIDATED]}
        assert codes(check(plan(both, value("x", "$q.vald")))) == ["UNKNOWN_OUTPUT_FIELD"]

    def test_the_answer_of_a_model_by_its_schema(self) -> None:
        asked = {"id": "g", "type": "llm", "prompt": "Hi", "schema": fields(kind=TEXT)}
        assert codes(check(plan(asked, value("x", "$g.kin")))) == ["UNKNOWN_OUTPUT_FIELD"]

    def test_dot_output_is_the_whole_output(self) -> None:
        assert check(plan(VALIDATED, value("x", "$v.output.valid"))).valid

    def test_through_items_and_local_refs(self) -> None:
        schema = {
            "type": "object",
            "properties": {"all": {"type": "array", "items": {"$ref": "#/$defs/One"}}},
            "$defs": {"One": fields(name=TEXT)},
        }
        tools = {"t": spec("t", None, schema)}
        assert codes(check(plan(call("a", "t"), value("x", "$a.all[0].nme")), tools=tools)) == ["UNKNOWN_OUTPUT_FIELD"]

    def test_every_other_node_is_unknown(self) -> None:
        assert check(plan(value("a", {"x": 1}), value("b", "$a.y.z"))).valid

    def test_an_output_that_on_error_replaces_is_unknown(self) -> None:
        caught = {**VALIDATED, "onError": {"value": {"score": 0}}}
        assert check(plan(caught, value("x", "$v.score"))).valid
        assert codes(check(plan({**VALIDATED, "onError": "continue"}, value("x", "$v.score")))) == [
            "UNKNOWN_OUTPUT_FIELD"
        ]


class TestAWhileConditionBeforeItsFirstIteration:
    def loop(self, condition: str) -> Check:
        loop = {"id": "w", "type": "loop", "loop": "while", "condition": condition, "body": [call("p", "poll")]}
        return check(plan(loop))

    def test_equality_with_null_is_fine(self) -> None:
        assert self.loop("$p.status != 'done'").valid

    def test_ordering_or_arithmetic_without_coalesce_is_an_error(self) -> None:
        problem = only(self.loop("$p.tries < 3"))
        assert (problem.code, problem.path) == ("EXPRESSION_TYPE_ERROR", "/nodes/0/condition")
        assert "coalesce" in problem.suggestion

    def test_a_guard_or_coalesce_makes_it_right(self) -> None:
        for condition in (
            "coalesce($p.tries, 0) < 3",
            "$index == 0 || $p.tries < 3",
            "$index > 0 ? $p.tries < 3 : true",
        ):
            assert self.loop(condition).valid, condition


class TestStringsInTemplates:
    def test_a_text_that_begins_with_a_known_name_and_goes_on(self) -> None:
        problem = only(check(plan(value("count"), value("x", "$count * 2"))))
        assert (problem.code, problem.path) == ("EXPRESSION_SYNTAX", "/nodes/1/value")
        assert "${$count * 2}" in problem.suggestion

    def test_a_known_name_later_in_a_text_is_a_warning(self) -> None:
        given = plan(value("count"), value("x", "Total: $count"))
        assert only_warning(check(given)).code == "POSSIBLE_REFERENCE"

    def test_and_an_error_in_a_plan_that_a_model_made(self) -> None:
        given = plan(value("count"), value("x", "Total: $count"))
        assert codes(check(given, planned=True, tools={})) == ["POSSIBLE_REFERENCE"]

    def test_so_is_the_other_name_of_an_output(self) -> None:
        given = plan({**value("a"), "outputVar": "total"}, value("x", "Sum: $total"))
        assert warned(check(given)) == ["POSSIBLE_REFERENCE"]
        assert codes(check(given, planned=True, tools={})) == ["POSSIBLE_REFERENCE"]

    def test_money_and_escapes_are_text(self) -> None:
        assert check(plan(value("count"), value("x", ["$19.99", "$", "$$count"]))).warnings == ()

    def test_the_path_leads_to_the_string(self) -> None:
        problem = only(check(plan(value("x", {"a/b": [1, "$nobody"]}))))
        assert problem.path == "/nodes/0/value/a~1b/1"

    def test_variables_are_taken_as_they_are(self) -> None:
        assert check(plan(value("x", "$limit"), variables={"limit": "$nobody"})).valid


class TestValidationWarnOfTheSource:
    def test_an_undeclared_field_of_it_is_a_warning(self) -> None:
        loose = {**VALIDATED, "validation": "warn"}
        assert warned(check(plan(loose, value("x", "$v.score")))) == ["UNKNOWN_OUTPUT_FIELD"]

    def test_of_another_node_in_the_same_expression_it_stays_an_error(self) -> None:
        loose = {**VALIDATED, "validation": "warn"}
        checked = check(plan(loose, LEADS, value("x", "${[$v.score, $l.lead]}")))
        assert codes(checked) == warned(checked) == ["UNKNOWN_OUTPUT_FIELD"]


class TestWarningsAboutConditions:
    def test_a_constant_one(self) -> None:
        warning = only_warning(gate("1 < 2"))
        assert (warning.code, warning.path) == ("CONSTANT_CONDITION", "/nodes/0/condition")
        assert "always true" in warning.message

    def test_a_switch_without_default(self) -> None:
        node = {"id": "s", "type": "switch", "on": "$input.kind", "cases": {"a": [value("x")]}}
        warning = only_warning(check(plan(node)))
        assert (warning.code, warning.path) == ("MISSING_DEFAULT_CASE", "/nodes/0")

    def test_not_where_a_model_must_pick_one_of_the_cases(self) -> None:
        options = [{"id": "a", "description": "A"}, {"id": "b", "description": "B"}]
        cases = {"a": [value("x")], "b": [value("y")]}
        node = {"id": "s", "type": "switch", "prompt": "Which?", "options": options, "cases": cases}
        assert check(plan(node)).warnings == ()


class TestFieldsOfClosedOutputsOnly:
    def test_an_open_object_may_have_more(self) -> None:
        tools = {**TOOLS, "open": spec("open", None, {**fields(ok=FLAG, n=NUMBER), "additionalProperties": True})}
        assert check(plan(call("a", "open"), value("x", "$a.more")), tools=tools).valid
