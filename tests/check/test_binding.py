"""Binding by name: a required field bound by nothing (canonical.md §2, "Normalising")."""

from __future__ import annotations

from typing import Any

from dynamicflow.planner.check import Check
from tests.check.check_kit import (
    NUMBER,
    TEXT,
    TOOLS,
    call,
    check,
    codes,
    fields,
    only,
    plan,
    spec,
    value,
)

LEADS = call("leads", "findLeads")
VALIDATED = call("v", "validateEmail", email="$input.email")


def inputs(checked: Check, node_id: str) -> Any:
    assert checked.valid and checked.plan is not None, [str(problem) for problem in checked.problems]
    todo: list[Any] = list(checked.plan.to_json()["nodes"])
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            if part.get("id") == node_id:
                return part.get("inputs", {})
            todo.extend(part.values())
        elif isinstance(part, list):
            todo.extend(part)
    raise LookupError(node_id)


class TestWhatAFieldIsBoundTo:
    def test_the_field_of_that_name_of_the_predecessor(self) -> None:
        checked = check(plan(VALIDATED, call("s", "sendEmail"), edges=[("v", "s")]))
        assert inputs(checked, "s") == {"email": "$v.email"}

    def test_of_an_entry_node_the_input(self) -> None:
        assert inputs(check(plan(call("v", "validateEmail"))), "v") == {"email": "$input.email"}

    def test_what_was_given_stays_first(self) -> None:
        checked = check(plan(VALIDATED, call("s", "sendEmail", subject="Hi"), edges=[("v", "s")]))
        assert inputs(checked, "s") == {"subject": "Hi", "email": "$v.email"}

    def test_optional_fields_stay_unbound(self) -> None:
        tools = {**TOOLS, "give": spec("give", None, fields(amount=NUMBER, note=TEXT))}
        checked = check(plan(call("g", "give"), call("r", "refund"), edges=[("g", "r")]), tools=tools)
        assert inputs(checked, "r") == {"amount": "$g.amount"}

    def test_integer_and_number_are_one_and_null_aside(self) -> None:
        tools = {**TOOLS, "give": spec("give", None, fields(amount={"type": ["integer", "null"]}))}
        assert check(plan(call("g", "give"), call("r", "refund"), edges=[("g", "r")]), tools=tools).valid

    def test_a_schema_without_a_type_fits_all(self) -> None:
        tools = {**TOOLS, "give": spec("give", None, fields(amount={}))}
        assert check(plan(call("g", "give"), call("r", "refund"), edges=[("g", "r")]), tools=tools).valid

    def test_an_odd_name_is_written_in_brackets(self) -> None:
        odd = {"type": "object", "properties": {"Exchange Rate": NUMBER, "output": TEXT}}
        needs = {**odd, "required": ["Exchange Rate", "output"]}
        tools = {"give": spec("give", None, odd), "take": spec("take", needs)}
        checked = check(plan(call("g", "give"), call("t", "take"), edges=[("g", "t")]), tools=tools)
        assert inputs(checked, "t") == {"Exchange Rate": '$g["Exchange Rate"]', "output": '$g["output"]'}

    def test_the_hash_is_that_of_the_bound_plan(self) -> None:
        named = check(plan(VALIDATED, call("s", "sendEmail", email="$v.email"), edges=[("v", "s")]))
        bound = check(plan(VALIDATED, call("s", "sendEmail"), edges=[("v", "s")]))
        assert named.plan_hash == bound.plan_hash is not None


class TestWhatIsMissing:
    def test_none_has_it(self) -> None:
        problem = only(check(plan(VALIDATED, call("r", "refund"), edges=[("v", "r")])))
        assert (problem.code, problem.path) == ("MISSING_REQUIRED_INPUT", "/nodes/1/inputs/amount")
        assert "'v'" in problem.message
        assert problem.available == ("$v.email", "$v.valid")

    def test_several_have_it(self) -> None:
        other = call("w", "validateEmail", email="$input.other")
        problem = only(check(plan(VALIDATED, other, call("s", "sendEmail"), edges=[("v", "s"), ("w", "s")])))
        assert problem.available == ("$v.email", "$w.email")
        assert "$v.email, $w.email" in problem.message

    def test_one_of_another_type_does_not_count(self) -> None:
        tools = {**TOOLS, "give": spec("give", None, fields(amount=TEXT))}
        given = plan(call("g", "give"), call("r", "refund"), edges=[("g", "r")])
        assert codes(check(given, tools=tools)) == ["MISSING_REQUIRED_INPUT"]

    def test_a_near_name_is_suggested(self) -> None:
        tools = {**TOOLS, "give": spec("give", None, fields(amounts=NUMBER))}
        problem = only(check(plan(call("g", "give"), call("r", "refund"), edges=[("g", "r")]), tools=tools))
        assert "'amounts'" in problem.suggestion

    def test_an_output_without_declared_fields_binds_nothing(self) -> None:
        for source in (value("g", {"amount": 1}), call("g", "anything")):
            assert codes(check(plan(source, call("r", "refund"), edges=[("g", "r")]))) == ["MISSING_REQUIRED_INPUT"]


class TestDirectPredecessors:
    def test_sources_of_its_references_are(self) -> None:
        given = plan(VALIDATED, call("s", "sendEmail", subject="Valid: ${$v.valid}"))
        assert inputs(check(given), "s")["email"] == "$v.email"

    def test_a_reference_to_the_input_is_none(self) -> None:
        assert inputs(check(plan(call("s", "sendEmail", subject="$input.x"))), "s")["email"] == "$input.email"

    def test_in_a_body_the_node_before_it(self) -> None:
        body = [VALIDATED, call("s", "sendEmail")]
        assert inputs(check(plan({"id": "q", "type": "sequence", "body": body})), "s") == {"email": "$v.email"}

    def test_of_a_branch_the_owners_predecessors(self) -> None:
        gate = {"id": "c", "type": "conditional", "condition": "$v.valid", "ifTrue": [call("s", "sendEmail")]}
        assert inputs(check(plan(VALIDATED, gate)), "s") == {"email": "$v.email"}

    def test_references_of_inner_nodes_are_not_the_owners(self) -> None:
        body = [value("x", "$v.valid"), call("y", "poll")]
        late = {"id": "p", "type": "parallel", "branches": [body, [call("s", "sendEmail")]]}
        assert inputs(check(plan(VALIDATED, late)), "s") == {"email": "$input.email"}

    def test_references_to_inner_nodes_are_not_the_owners(self) -> None:
        gate = {
            "id": "c",
            "type": "conditional",
            "test": [VALIDATED],
            "condition": "$v.valid",
            "ifTrue": [call("s", "sendEmail")],
        }
        assert inputs(check(plan(gate)), "s") == {"email": "$input.email"}

    def test_of_an_item_body_the_item(self) -> None:
        each = {"id": "m", "type": "map", "over": "$leads.leads", "as": "lead", "body": [call("x", "score")]}
        assert inputs(check(plan(LEADS, each)), "x") == {"name": "$item.name"}

    def test_an_item_of_unknown_fields_binds_nothing(self) -> None:
        each = {"id": "m", "type": "map", "over": "$input.leads", "body": [call("x", "score")]}
        assert codes(check(plan(each))) == ["MISSING_REQUIRED_INPUT"]

    def test_of_a_loop_without_items_the_owners_predecessors(self) -> None:
        loop = {"id": "n", "type": "loop", "loop": "times", "times": 2, "body": [call("s", "sendEmail")]}
        assert inputs(check(plan(VALIDATED, loop, edges=[("v", "n")])), "s") == {"email": "$v.email"}

    def test_of_an_on_error_the_owners_predecessors(self) -> None:
        caught = {**call("p", "poll"), "onError": {"nodes": [call("s", "sendEmail")]}}
        assert inputs(check(plan(VALIDATED, caught, edges=[("v", "p")])), "s") == {"email": "$v.email"}


class TestTransformsOfEdges:
    def test_their_keys_count_as_bound(self) -> None:
        edge = {"from": "v", "to": "s", "transform": {"email": "$v.email"}}
        assert inputs(check(plan(VALIDATED, call("s", "sendEmail"), edges=[edge])), "s") == {}

    def test_one_whole_reference_may_give_any(self) -> None:
        edge = {"from": "v", "to": "r", "transform": "$input.base"}
        assert check(plan(VALIDATED, call("r", "refund"), edges=[edge])).valid
