"""Who waits for whom; cycles; nodes that can never run (canonical.md §2, "Edges")."""

from __future__ import annotations

from dynamicflow.planner.checks.graph import top_level_edges
from dynamicflow.planner.ir import Plan
from dynamicflow.planner.scope import lay_out
from tests.check.check_kit import call, check, codes, only, plan, value, warned


def conditional(node_id: str, condition: str, *nodes: object) -> dict[str, object]:
    return {"id": node_id, "type": "conditional", "condition": condition, "ifTrue": list(nodes)}


class TestEdgesAtTheTop:
    given = plan(
        value("a"),
        conditional("c", "$a", value("inner", "$b.x")),
        value("b"),
        call("t", "anything"),
        value("late", "$inner"),
        edges=[("c", "t"), {"from": "inner", "to": "t", "condition": "$late"}],
    )

    def test_references_of_inner_nodes_make_the_top_level_node_wait(self) -> None:
        graph = top_level_edges(lay_out(_plan(self.given)))
        assert graph.data["c"] == ("a", "b")

    def test_a_reference_into_a_body_waits_for_its_owner(self) -> None:
        graph = top_level_edges(lay_out(_plan(self.given)))
        assert graph.data["late"] == ("c",)

    def test_conditions_of_edges_count_for_their_target(self) -> None:
        graph = top_level_edges(lay_out(_plan(self.given)))
        assert graph.control["t"] == (0, 1)
        assert graph.before["t"] == ("c", "late")

    def test_the_order_follows_them(self) -> None:
        graph = top_level_edges(lay_out(_plan(self.given)))
        assert graph.order == ("a", "b", "c", "late", "t")
        assert graph.level["t"] == 3


def _plan(given: dict[str, object]) -> Plan:
    made = check(given).plan
    assert made is not None
    return made


class TestACycleCanNeverStart:
    def test_over_edges_it_is_named_from_its_first_node(self) -> None:
        problem = only(check(plan(value("a"), value("b"), value("c"), edges=[("a", "b"), ("b", "c"), ("c", "a")])))
        assert (problem.code, problem.path) == ("CYCLIC_FLOW", "/nodes/0")
        assert "a → b → c → a" in problem.message
        assert problem.actual == ["a", "b", "c", "a"]
        assert "edge from 'c' to 'a'" in problem.suggestion

    def test_over_references_and_edges_together(self) -> None:
        problem = only(check(plan(value("a", "$b"), value("b"), edges=[("a", "b")])))
        assert problem.code == "CYCLIC_FLOW"

    def test_through_the_body_of_a_node(self) -> None:
        given = plan({"id": "q", "type": "sequence", "body": [value("i", "$b")]}, value("b", "$q"))
        assert "q → b → q" in only(check(given)).message

    def test_through_the_condition_of_an_edge(self) -> None:
        given = plan(value("a"), value("b"), value("c", "$b"), edges=[{"from": "a", "to": "b", "condition": "$c"}])
        assert "b → c → b" in only(check(given)).message

    def test_every_group_is_reported_once(self) -> None:
        given = plan(value("a", "$b"), value("b", "$a"), value("x", "$y"), value("y", "$x"), value("z", "$x"))
        assert codes(check(given)) == ["CYCLIC_FLOW", "CYCLIC_FLOW"]

    def test_a_node_that_refers_to_itself_is_not_in_its_own_sight(self) -> None:
        assert codes(check(plan(value("a", "$a")))) == ["REFERENCE_NOT_REACHABLE"]


class TestANodeThatCanNeverRun:
    def test_all_edges_into_it_are_constant_and_false(self) -> None:
        given = plan(value("a"), value("b"), edges=[{"from": "a", "to": "b", "condition": "1 > 2"}])
        problem = only(check(given))
        assert (problem.code, problem.path) == ("UNREACHABLE_NODES", "/nodes/1")

    def test_one_edge_that_may_open_is_enough(self) -> None:
        shut = {"from": "a", "to": "b", "condition": "false"}
        checked = check(plan(value("a"), value("b"), edges=[shut, {"from": "a", "to": "b", "condition": "$a"}]))
        assert checked.valid
        assert warned(checked) == ["CONSTANT_CONDITION"]


class TestTransformsGiveInputs:
    def test_into_a_tool_they_are_allowed(self) -> None:
        edge = {"from": "a", "to": "r", "transform": {"amount": "$a"}}
        assert check(plan(value("a"), call("r", "refund"), edges=[edge])).valid

    def test_into_another_node_they_are_not(self) -> None:
        problem = only(check(plan(value("a"), value("b"), edges=[{"from": "a", "to": "b", "transform": {"x": 1}}])))
        assert (problem.code, problem.path) == ("OPERATION_NOT_ALLOWED", "/edges/0/transform")
