"""Which names are in sight where (canonical.md §3, "Names" and "In sight")."""

from __future__ import annotations

import pytest

from tests.check.check_kit import call, check, codes, only, only_warning, plan, value


def sequence(node_id: str, *nodes: object) -> dict[str, object]:
    return {"id": node_id, "type": "sequence", "body": list(nodes)}


def mapped(node_id: str, *nodes: object, over: object = "$input.all") -> dict[str, object]:
    return {"id": node_id, "type": "map", "over": over, "body": list(nodes)}


def either(node_id: str, yes: object, no: object = None) -> dict[str, object]:
    made: dict[str, object] = {"id": node_id, "type": "conditional", "condition": "$input.x", "ifTrue": [yes]}
    return made if no is None else {**made, "ifFalse": [no]}


class TestNamesThatMeanNothing:
    def test_the_nearest_name_in_sight_is_suggested(self) -> None:
        problem = only(check(plan(value("customer"), value("v", "$custmer"))))
        assert (problem.code, problem.path) == ("UNRESOLVED_REFERENCE", "/nodes/1/value")
        assert "$customer?" in problem.suggestion
        assert "customer" in problem.available and "v" not in problem.available

    def test_in_an_expression_line_and_column_are_told(self) -> None:
        problem = only(check(plan(value("v", "${1 + $nothing}"))))
        assert "column 5" in problem.message

    def test_a_hyphen_belongs_to_the_name(self) -> None:
        given = plan(value("a"), {"id": "c", "type": "conditional", "condition": "$a-b > 1", "ifTrue": [value("v")]})
        assert "$a - b" in only(check(given)).suggestion

    @pytest.mark.parametrize("name", ["item", "index", "acc", "last", "error", "signal"])
    def test_names_of_bodies_say_where_they_exist(self, name: str) -> None:
        problem = only(check(plan(value("v", f"${name}"))))
        assert problem.code == "UNRESOLVED_REFERENCE"
        assert "only in" in problem.message

    def test_they_mean_something_there(self) -> None:
        body = {"id": "r", "type": "reduce", "over": [1], "body": [value("x", "${$acc + $item + $index}")]}
        loop = {"id": "n", "type": "loop", "loop": "times", "times": 2, "body": [value("y", "$last")]}
        wait = {"id": "w", "type": "wait", "signal": "paid", "match": "$signal.ok"}
        caught = {**call("t", "poll"), "onError": {"value": "$error.message"}}
        assert check(plan(body, loop, wait, caught, value("z", ["$run.id", "$vars", "$input"]))).valid

    def test_the_error_of_a_node_is_seen_in_its_on_error_only(self) -> None:
        caught = {**call("t", "poll"), "onError": {"nodes": [value("x", "$error.code")]}}
        assert check(plan(caught)).valid
        assert codes(check(plan(caught, value("y", "$error")))) == ["UNRESOLVED_REFERENCE"]


class TestNodesInSight:
    def test_earlier_nodes_of_the_same_body_but_not_later_ones(self) -> None:
        assert check(plan(sequence("q", value("a"), value("b", "$a")))).valid
        problem = only(check(plan(sequence("q", value("a", "$b"), value("b")))))
        assert (problem.code, problem.path) == ("REFERENCE_NOT_REACHABLE", "/nodes/0/body/0/value")
        assert "later in the same body of 'q'" in problem.message

    def test_what_stands_around_at_any_depth(self) -> None:
        assert check(plan(value("a"), mapped("m", value("b"), sequence("q", value("c", ["$a", "$b"]))))).valid

    def test_never_the_owner_itself(self) -> None:
        assert "the node around 'a'" in only(check(plan(sequence("q", value("a", "$q"))))).message

    def test_never_another_branch(self) -> None:
        problem = only(check(plan(either("c", value("yes"), value("no", "$yes")))))
        assert "another branch of 'c'" in problem.message
        both = {"id": "p", "type": "parallel", "branches": [[value("a")], [value("b", "$a")]]}
        assert codes(check(plan(both))) == ["REFERENCE_NOT_REACHABLE"]

    def test_never_into_an_item_body_from_outside(self) -> None:
        problem = only(check(plan(mapped("m", sequence("q", value("i"))), value("v", "$i"))))
        assert "the body of 'm'" in problem.message
        assert "$m" in problem.suggestion

    def test_never_into_an_on_error_from_outside(self) -> None:
        caught = {**call("t", "poll"), "onError": {"nodes": [value("x")]}}
        assert "the onError of 't'" in only(check(plan(caught, value("v", "$x")))).message

    def test_nodes_of_a_test_from_the_condition_and_the_branches(self) -> None:
        given = {**either("c", value("v", "$t.status")), "test": [call("t", "poll")], "condition": "$t.status == 'x'"}
        assert check(plan(given)).valid

    def test_the_body_of_a_filter_or_while_from_its_condition(self) -> None:
        kept = {"id": "f", "type": "filter", "over": [1], "body": [value("b", "$item")], "condition": "$b > 0"}
        loop = {"id": "w", "type": "loop", "loop": "while", "condition": "$x != 1", "body": [value("x")]}
        assert check(plan(kept, loop)).valid

    def test_what_completed_before_a_failure_from_its_on_error(self) -> None:
        undone = {**sequence("q", value("a"), value("b")), "onError": {"nodes": [value("undo", "$a")]}}
        assert only_warning(check(plan(undone))).code == "REFERENCE_TO_CONDITIONAL_NODE"

    def test_the_output_sees_the_top_and_into_open_bodies(self) -> None:
        assert check(plan(sequence("q", value("a")), output={"x": "$a", "y": "$q"})).valid
        assert codes(check(plan(mapped("m", value("a")), output="$a"))) == ["REFERENCE_NOT_REACHABLE"]


class TestNodesThatMayNotHaveRun:
    def test_after_a_conditional_its_nodes_may_be_null(self) -> None:
        warning = only_warning(check(plan(either("c", value("a")), value("v", "$a"))))
        assert (warning.code, warning.path) == ("REFERENCE_TO_CONDITIONAL_NODE", "/nodes/1/value")

    def test_so_may_the_branches_of_a_race(self) -> None:
        race = {"id": "p", "type": "parallel", "joinStrategy": "race", "branches": [[value("a")], [value("b")]]}
        assert only_warning(check(plan(race, value("v", "$a")))).code == "REFERENCE_TO_CONDITIONAL_NODE"

    def test_a_sequence_that_completed_ran_all_its_nodes(self) -> None:
        assert check(plan(sequence("q", value("a")), value("v", "$a"))).warnings == ()

    def test_within_the_same_branch_it_has_run(self) -> None:
        both = {**either("c", value("a")), "ifTrue": [value("a"), value("b", "$a")]}
        assert check(plan(both)).warnings == ()

    def test_behind_an_edge_from_that_node_it_has_run(self) -> None:
        assert check(plan(either("c", value("a")), value("v", "$a"), edges=[("a", "v")])).warnings == ()

    def test_the_condition_of_an_edge_from_that_node_reads_it_when_it_ran(self) -> None:
        edge = {"from": "a", "to": "v", "condition": "$a > 1"}
        assert check(plan(either("c", value("a")), value("v"), edges=[edge])).warnings == ()
