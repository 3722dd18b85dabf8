"""What a step is given against the schema of its tool (canonical.md §1 and §2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from dynamicflow.planner.check import check_input
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

ADDRESS = fields(city=TEXT, zip_={"type": "string", "pattern": "^[0-9]{5}$"})
ORDER = spec(
    "order",
    {
        **fields(
            to={"$ref": "#/$defs/Address"},
            lines={"type": "array", "items": fields(sku=TEXT, count={"type": "integer", "minimum": 1})},
            gift_=FLAG,
            note_=TEXT,
        ),
        "$defs": {"Address": ADDRESS},
    },
)
SHOP = {**TOOLS, "order": ORDER}
GOOD: dict[str, Any] = {"to": {"city": "Bonn", "zip": "53111"}, "lines": [{"sku": "a", "count": 2}]}


def order(**changed: Any) -> dict[str, Any]:
    return plan(value("a"), call("o", "order", **{**GOOD, **changed}))


class TestFieldsThatTheSchemaDoesNotDeclare:
    def test_at_the_top(self) -> None:
        problem = only(check(plan(call("s", "sendEmail", email="a", subjet="x"))))
        assert (problem.code, problem.path) == ("UNKNOWN_INPUT_FIELD", "/nodes/0/inputs/subjet")
        assert "'subject'" in problem.suggestion
        assert problem.available == ("email", "subject")

    def test_at_every_depth_through_items_and_local_refs(self) -> None:
        to = {"city": "Bonn", "street": "$a"}
        lines = [{"sku": "a", "count": 1, "colour": "red"}]
        checked = check(order(to=to, lines=lines), tools=SHOP)
        assert [(p.code, p.path) for p in checked.problems] == [
            ("UNKNOWN_INPUT_FIELD", "/nodes/1/inputs/lines/0/colour"),
            ("UNKNOWN_INPUT_FIELD", "/nodes/1/inputs/to/street"),
        ]

    def test_open_objects_take_any(self) -> None:
        tools = {"t": spec("t", {**fields(a_=TEXT), "additionalProperties": True})}
        assert check(plan(call("x", "t", b=1)), tools=tools).valid
        assert check(plan(call("x", "anything", b=1))).valid


class TestLiterals:
    def test_a_wrong_type_names_what_was_expected(self) -> None:
        problem = only(check(plan(call("r", "refund", amount="ten"))))
        assert (problem.code, problem.path) == ("INPUT_TYPE_MISMATCH", "/nodes/0/inputs/amount")
        assert (problem.expected, problem.actual) == ("a number", "string")

    def test_every_part_without_a_reference_beside_one_with(self) -> None:
        to = {"city": "$a", "zip": "x"}
        lines = [{"sku": "$a", "count": 0}, {"sku": "b", "count": 1}]
        checked = check(order(to=to, lines=lines), tools=SHOP)
        assert [(p.code, p.path) for p in checked.problems] == [
            ("INPUT_TYPE_MISMATCH", "/nodes/1/inputs/to/zip"),
            ("INPUT_TYPE_MISMATCH", "/nodes/1/inputs/lines/0/count"),
        ]

    def test_against_the_whole_subschema_of_their_place(self) -> None:
        checked = check(order(to={"city": "Bonn", "zip": "5"}, lines=[{"sku": "a", "count": 1.5}]), tools=SHOP)
        assert [p.path for p in checked.problems] == ["/nodes/1/inputs/to/zip", "/nodes/1/inputs/lines/0/count"]

    def test_three_point_zero_is_an_integer(self) -> None:
        assert check(order(lines=[{"sku": "a", "count": 3.0}]), tools=SHOP).valid

    def test_an_escaped_dollar_is_checked_as_it_will_be(self) -> None:
        tools = {"t": spec("t", fields(price={"type": "string", "maxLength": 4}))}
        assert check(plan(value("cost"), call("x", "t", price="$$cost")), tools=tools).problems != ()
        assert check(plan(call("x", "t", price="$$id")), tools=tools).valid

    def test_a_null_is_left_out_where_it_is_optional_and_wrong_where_not(self) -> None:
        assert check(order(note=None), tools=SHOP).valid
        problem = only(check(plan(call("r", "refund", amount=None))))
        assert (problem.code, problem.path) == ("INPUT_TYPE_MISMATCH", "/nodes/0/inputs/amount")

    def test_a_missing_field_of_an_inner_object(self) -> None:
        problem = only(check(order(to={"zip": "$a"}), tools=SHOP))
        assert (problem.code, problem.path) == ("MISSING_REQUIRED_INPUT", "/nodes/1/inputs/to/city")

    def test_transforms_of_edges_too(self) -> None:
        edge = {"from": "a", "to": "r", "transform": {"amount": "ten", "nte": "x"}}
        checked = check(plan(value("a"), call("r", "refund"), edges=[edge]))
        assert [(p.code, p.path) for p in checked.problems] == [
            ("UNKNOWN_INPUT_FIELD", "/edges/0/transform/nte"),
            ("INPUT_TYPE_MISMATCH", "/edges/0/transform/amount"),
        ]


class TestReferencesByTheirInferredType:
    def test_a_certain_mismatch_is_one(self) -> None:
        given = plan(call("v", "validateEmail", email="a"), call("r", "refund", amount="$v.valid"))
        problem = only(check(given))
        assert (problem.code, problem.path) == ("INPUT_TYPE_MISMATCH", "/nodes/1/inputs/amount")
        assert (problem.expected, problem.actual) == ("a number", "a boolean")

    def test_a_text_with_a_value_in_it_is_a_string(self) -> None:
        given = plan(value("a"), call("r", "refund", amount="${$a} EUR"))
        assert only(check(given)).code == "INPUT_TYPE_MISMATCH"

    def test_what_is_not_known_is_given_the_benefit_of_the_doubt(self) -> None:
        assert check(plan(value("a"), call("r", "refund", amount="$a", note="$input.x"))).valid

    def test_inner_fields_that_are_always_there_are_compared(self) -> None:
        tools = {
            "give": spec("give", None, fields(who=fields(age=TEXT))),
            "take": spec("take", fields(who=fields(age=NUMBER))),
        }
        problem = only(check(plan(call("g", "give"), call("t", "take", who="$g.who")), tools=tools))
        assert "'age'" in problem.message


class TestInputsThatAreOneReference:
    tools: ClassVar = {
        "give": spec("give", None, fields(email=TEXT, age=NUMBER)),
        "take": spec("take", fields(email=NUMBER, name=TEXT)),
        "text": spec("text", None, TEXT),
    }

    def test_types_are_compared_as_objects(self) -> None:
        checked = check(plan(call("g", "give"), {**call("t", "take"), "inputs": "$g"}), tools=self.tools)
        assert sorted(codes(checked)) == ["INPUT_TYPE_MISMATCH", "MISSING_REQUIRED_INPUT", "UNKNOWN_INPUT_FIELD"]
        assert {p.path for p in checked.problems} == {"/nodes/1/inputs"}

    def test_what_is_certainly_no_object_is_refused(self) -> None:
        problem = only(check(plan(call("g", "text"), {**call("t", "take"), "inputs": "$g"}), tools=self.tools))
        assert (problem.code, problem.actual) == ("INPUT_TYPE_MISMATCH", "a string")

    def test_an_unknown_one_may_fit(self) -> None:
        assert check(plan({**call("t", "take"), "inputs": "$input"}), tools=self.tools).valid


class TestValidationWarn:
    wrong = plan(call("r", "refund", amount="ten", nte=1))

    @pytest.mark.parametrize("by", ["node", "tool", "options"])
    def test_the_node_the_tool_or_the_options_may_say_so(self, by: str) -> None:
        tools = {**TOOLS, "refund": replace(TOOLS["refund"], validation="warn" if by == "tool" else "strict")}
        node = {**self.wrong["nodes"][0], **({"validation": "warn"} if by == "node" else {})}
        options = {"validation": "warn"} if by == "options" else {}
        checked = check(plan(node), tools=tools, options=options)
        assert checked.valid
        assert sorted(warned(checked)) == ["INPUT_TYPE_MISMATCH", "UNKNOWN_INPUT_FIELD"]

    def test_a_strict_node_stays_strict(self) -> None:
        node = {**self.wrong["nodes"][0], "validation": "strict"}
        assert not check(plan(node), options={"validation": "warn"}).valid

    def test_missing_inputs_are_warnings_too(self) -> None:
        node = {**call("r", "refund"), "validation": "warn"}
        assert only_warning(check(plan(value("a"), node, edges=[("a", "r")]))).code == "MISSING_REQUIRED_INPUT"

    def test_a_null_for_a_required_field_is_left_out(self) -> None:
        assert warned(check(plan({**call("r", "refund", amount=None), "validation": "warn"}))) == []


class TestTheInputOfARun:
    given = plan(call("v", "validateEmail", email="$input.user.email"), call("r", "refund", amount="$v.score"))
    given_ok = plan(call("v", "validateEmail", email="$input.user.email"))

    def test_a_name_that_it_lacks_is_found_before_anything_runs(self) -> None:
        checked = check(self.given_ok)
        (problem,) = check_input(checked, {"usr": 1}, TOOLS)
        assert (problem.code, problem.path) == ("MISSING_REQUIRED_INPUT", "/nodes/0/inputs/email")
        assert "'user'" in problem.message and "'usr'" in problem.suggestion

    def test_what_it_has_is_enough_whatever_it_is(self) -> None:
        assert check_input(check(self.given_ok), {"user": None}, TOOLS) == ()

    @pytest.mark.parametrize("value_", [None, [], "text", 3])
    def test_an_input_that_is_no_object_has_no_names(self, value_: object) -> None:
        assert len(check_input(check(self.given_ok), value_, TOOLS)) == 1

    def test_optional_fields_gated_nodes_and_inner_nodes_fail_when_they_run(self) -> None:
        optional = call("s", "sendEmail", email="a", subject="$input.x")
        gated = call("g", "refund", amount="$input.x")
        inner = {"id": "q", "type": "sequence", "body": [call("i", "refund", amount="$input.x")]}
        checked = check(plan(value("a"), optional, gated, inner, edges=[("a", "g")]))
        assert checked.valid
        assert check_input(checked, {}, TOOLS) == ()

    def test_a_name_bound_by_itself_counts(self) -> None:
        checked = check(plan(call("v", "validateEmail")))
        (problem,) = check_input(checked, {}, TOOLS)
        assert problem.path == "/nodes/0/inputs/email"

    def test_a_part_of_a_text_is_no_reason_to_refuse(self) -> None:
        assert check_input(check(plan(call("v", "validateEmail", email="${$input.x}@b.c"))), {}, TOOLS) == ()
