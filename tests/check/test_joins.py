"""When a join feeds a node, and what its mapping may say (canonical.md §2 "Joins")."""

from __future__ import annotations

from typing import Any

from dynamicflow.tools.joins import Join
from tests.check.check_kit import TOOLS, call, check, codes, only, plan

LEFT = call("v", "validateEmail", email="$input.email")


def decode(value: Any) -> dict[str, Any]:
    return {"amount": 1}


TYPED = Join("validateEmail", "refund", decode)


def joined(**mapping: Any) -> dict[str, Any]:
    return {"fromTool": "validateEmail", "toTool": "refund", "mapping": mapping}


class TestWhenAJoinIsCalled:
    def test_where_inputs_leave_a_required_field_unbound(self) -> None:
        checked = check(plan(LEFT, call("r", "refund"), edges=[("v", "r")]), joins=[TYPED])
        assert checked.valid
        assert checked.joined == {"r": ("v",)}

    def test_not_where_all_are_bound(self) -> None:
        checked = check(plan(LEFT, call("r", "refund", amount=3), edges=[("v", "r")]), joins=[TYPED])
        assert checked.joined == {}

    def test_where_inputs_are_the_whole_output_of_a_predecessor(self) -> None:
        for whole in ("$v", "$v.output"):
            checked = check(plan(LEFT, {**call("r", "refund"), "inputs": whole}), joins=[TYPED])
            assert checked.valid, checked.problems
            assert checked.joined == {"r": ("v",)}

    def test_not_where_they_are_a_part_of_it(self) -> None:
        checked = check(plan(LEFT, {**call("r", "refund"), "inputs": "$v.email"}), joins=[TYPED])
        assert checked.joined == {}
        assert codes(checked) == ["INPUT_TYPE_MISMATCH"]

    def test_only_from_a_direct_predecessor(self) -> None:
        far = plan(LEFT, call("p", "poll"), call("r", "refund"), edges=[("v", "p"), ("p", "r")])
        checked = check(far, joins=[TYPED])
        assert checked.joined == {}
        assert codes(checked) == ["MISSING_REQUIRED_INPUT"]

    def test_a_joined_node_is_not_bound_by_name(self) -> None:
        join = Join("validateEmail", "sendEmail", decode)
        checked = check(plan(LEFT, call("s", "sendEmail"), edges=[("v", "s")]), joins=[join])
        assert checked.plan is not None
        assert "inputs" not in checked.plan.to_json()["nodes"][1]

    def test_several_merge_in_topological_then_id_order(self) -> None:
        late = call("a", "validateEmail", email="$v.email")
        other = call("u", "validateEmail", email="x")
        edges = [("v", "r"), ("a", "r"), ("u", "r")]
        checked = check(plan(LEFT, late, other, call("r", "refund"), edges=edges), joins=[TYPED])
        assert checked.joined == {"r": ("u", "v", "a")}


class TestDeclarativeJoins:
    def test_the_plan_may_carry_one(self) -> None:
        given = plan(LEFT, call("r", "refund"), edges=[("v", "r")], joins=[joined(amount=3, note="$source.email")])
        assert check(given).joined == {"r": ("v",)}

    def test_what_it_leaves_out_is_missing(self) -> None:
        given = plan(LEFT, call("r", "refund"), edges=[("v", "r")], joins=[joined(note="$source.email")])
        problem = only(check(given))
        assert (problem.code, problem.path) == ("MISSING_REQUIRED_INPUT", "/nodes/1/inputs/amount")
        assert "'v'" in problem.message

    def test_one_given_beside_the_tools_is_written_into_the_plan_that_uses_it(self) -> None:
        join = Join("validateEmail", "refund", mapping={"amount": 3})
        checked = check(plan(LEFT, call("r", "refund"), edges=[("v", "r")]), joins=[join])
        assert checked.valid and checked.plan is not None
        assert [spec.mapping for spec in checked.plan.joins] == [{"amount": 3}]
        unused = check(plan(LEFT), joins=[join])
        assert unused.plan is not None and unused.plan.joins == []

    def test_source_is_the_only_name(self) -> None:
        for mapping in ({"amount": "$input.x"}, {"amount": "${$source.valid ? 1 : $v.n}"}):
            problem = only(check(plan(LEFT, joins=[joined(**mapping)])))
            assert (problem.code, problem.path) == ("UNRESOLVED_REFERENCE", "/joins/0/mapping/amount")
            assert "$source" in problem.message

    def test_source_means_nothing_elsewhere(self) -> None:
        assert codes(check(plan(call("v", "validateEmail", email="$source.email")))) == ["UNRESOLVED_REFERENCE"]

    def test_types_on_both_sides(self) -> None:
        wrong = joined(amount="$source.valid", nte="x", note="$source.emial")
        checked = check(plan(LEFT, joins=[wrong]))
        assert sorted((p.code, p.path) for p in checked.problems) == [
            ("INPUT_TYPE_MISMATCH", "/joins/0/mapping/amount"),
            ("UNKNOWN_INPUT_FIELD", "/joins/0/mapping/nte"),
            ("UNKNOWN_OUTPUT_FIELD", "/joins/0/mapping/note"),
        ]

    def test_unknown_tools(self) -> None:
        problem = only(check(plan(LEFT, joins=[{"fromTool": "validatEmail", "toTool": "refund", "mapping": {}}])))
        assert (problem.code, problem.path) == ("UNKNOWN_TOOL", "/joins/0/fromTool")
        assert "'validateEmail'" in problem.suggestion


class TestWhatARunPins:
    def test_of_each_tool_that_is_used(self) -> None:
        checked = check(plan(LEFT))
        tool = TOOLS["validateEmail"]
        assert checked.policies == {
            "validateEmail": {
                "digest": tool.digest,
                "timeout": 60_000,
                "retry": None,
                "sideEffect": "idempotent",
                "validation": "strict",
            }
        }
