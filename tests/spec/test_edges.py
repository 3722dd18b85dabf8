"""When a top-level node runs, and when it is skipped (canonical.md §2, Edges)."""

from __future__ import annotations

from tests.spec.given import Given, edge, node, step, value


class TestANodeWithControlEdges:
    def test_waits_until_all_are_resolved(self) -> None:
        run = Given(step("a"), step("b"), step("c"), edges=[edge("a", "c"), edge("b", "c")])

        run.output("a")
        assert run.dispatched == []
        run.output("b")

        assert run.dispatched == [("c", (), 1)]

    def test_runs_when_one_is_satisfied_and_the_others_are_dead(self) -> None:
        run = Given(
            step("a"), step("b"), step("c"), edges=[edge("a", "c", "$a.go == true"), edge("b", "c", "$b.go == true")]
        )

        run.output("a", {"go": False})
        run.output("b", {"go": True})

        assert run.dispatched == [("c", (), 1)]

    def test_is_skipped_when_all_are_dead(self) -> None:
        run = Given(
            step("a"), step("b"), step("c"), edges=[edge("a", "c", "$a.go == true"), edge("b", "c", "$b.go == true")]
        )

        run.output("a", {"go": False})
        run.output("b", {"go": False})

        assert run.dispatched == []
        assert run.phases["c"] == "skipped"
        assert [event.node_id for event in run.told("node-skipped")] == ["c"]
        assert run.ended == "completed"

    def test_dead_edges_do_not_start_it_before_the_open_question_is_answered(self) -> None:
        run = Given(step("a"), step("b"), step("c"), edges=[edge("a", "c", "$a.go == true"), edge("b", "c")])

        run.output("a", {"go": False})

        assert run.dispatched == []
        assert "c" not in run.phases


class TestSkippingSpreads:
    def test_along_control_edges_through_a_chain(self) -> None:
        run = Given(
            step("a"), step("b"), step("c"), step("d"), edges=[edge("a", "b", "$a.go"), edge("b", "c"), edge("c", "d")]
        )

        run.output("a", {"go": False})

        assert run.phases == {"a": "completed", "b": "skipped", "c": "skipped", "d": "skipped"}
        assert run.result["metadata"]["skipped"] == ["b", "c", "d"]

    def test_not_along_references(self) -> None:
        run = Given(step("a"), step("b"), step("c", inputs={"x": "$b.x"}), edges=[edge("a", "b", "$a.go")])

        run.output("a", {"go": False})

        assert run.dispatched == [("c", (), 1)]
        assert run.dispatch("c").inputs == {"x": None}

    def test_into_the_bodies_of_a_skipped_owner(self) -> None:
        run = Given(
            step("a"),
            node("s", "sequence", body=[step("inner")]),
            step("c", inputs={"x": "$inner"}),
            edges=[edge("a", "s", "$a.go"), edge("inner", "c")],
        )

        run.output("a", {"go": False})

        assert run.phases == {"a": "completed", "s": "skipped", "inner": "skipped", "c": "skipped"}


class TestAConditionOfAnEdge:
    def test_waits_for_other_nodes_it_refers_to(self) -> None:
        run = Given(step("a"), step("other"), step("b"), edges=[edge("a", "b", "$other.go == true")])

        run.output("a")
        assert run.dispatched == []
        run.output("other", {"go": True})

        assert run.dispatched == [("b", (), 1)]

    def test_reads_null_of_a_node_that_was_skipped(self) -> None:
        run = Given(
            step("a"), step("gone"), step("b"), edges=[edge("a", "gone", "false"), edge("a", "b", "$gone == null")]
        )

        run.output("a")

        assert run.dispatched == [("b", (), 1)]

    def test_is_not_asked_when_the_source_is_dead(self) -> None:
        run = Given(step("a"), step("b"), step("c"), edges=[edge("a", "b", "$a.go"), edge("b", "c", "$b.count > 3")])

        run.output("a", {"go": False})

        assert run.phases["c"] == "skipped"
        assert run.ended == "completed"

    def test_tells_how_it_was_decided_and_what_it_read(self) -> None:
        run = Given(step("a"), step("b"), edges=[edge("a", "b", "$a.count > 3")])

        run.output("a", {"count": 5})
        (told,) = run.told("edge-taken")

        assert (told["from"], told["to"], told["open"], told["operands"]) == ("a", "b", True, {"$a.count": 5})

    def test_that_fails_is_the_failure_of_the_target(self) -> None:
        run = Given(step("a"), step("b", onError={"value": "$error.code"}), edges=[edge("a", "b", "$a.count > 3")])

        run.output("a", {"count": "many"})

        assert run.result["output"] == "EXPRESSION_FAILED"

    def test_an_edge_without_one_is_not_announced(self) -> None:
        run = Given(step("a"), step("b"), edges=[edge("a", "b")])

        run.output("a")

        assert run.told("edge-taken", ever=True) == []


class TestAnEdgeFromInsideABody:
    PLAN = (
        step("a"),
        node("c", "conditional", condition="$a.go", ifTrue=[step("yes")], ifFalse=[step("no")]),
        step("after"),
    )

    def test_is_satisfied_as_soon_as_its_source_completed(self) -> None:
        run = Given(
            node("s", "sequence", body=[step("first"), step("second")]), step("after"), edges=[edge("first", "after")]
        )

        run.output("first")

        assert sorted(run.dispatched) == [("after", (), 1), ("second", (), 1)]

    def test_is_dead_when_its_branch_was_not_taken(self) -> None:
        run = Given(*self.PLAN, edges=[edge("yes", "after")])

        run.output("a", {"go": False})
        run.output("no")

        assert run.phases["after"] == "skipped"
        assert run.ended == "completed"

    def test_is_dead_when_the_owner_ended_before_its_source_began(self) -> None:
        run = Given(
            node("s", "sequence", body=[step("first"), step("second")], onError="continue"),
            step("after"),
            edges=[edge("second", "after")],
        )

        run.error("first")

        assert run.phases["after"] == "skipped"
        assert run.ended == "completed"

    def test_is_dead_when_its_source_was_cancelled(self) -> None:
        race = node("p", "parallel", branches=[[step("x")], [step("y")]], joinStrategy="race")
        run = Given(race, step("after"), edges=[edge("y", "after")])

        run.output("x")

        assert run.cancelled == [("y", ())]
        assert run.phases["after"] == "skipped"


class TestANodeWithoutControlEdges:
    def test_waits_for_what_it_refers_to(self) -> None:
        run = Given(step("a"), step("b", inputs={"x": "$a.x"}))

        assert run.dispatched == [("a", (), 1)]
        run.output("a", {"x": 7})

        assert run.dispatch("b").inputs == {"x": 7}

    def test_that_refers_to_nothing_starts_at_once_in_document_order(self) -> None:
        run = Given(step("b"), step("a"), value("v", 1))

        assert run.dispatched == [("b", (), 1), ("a", (), 1)]

    def test_waits_for_the_owner_of_an_inner_node_it_refers_to(self) -> None:
        run = Given(node("s", "sequence", body=[step("first"), step("second")]), step("b", inputs={"x": "$first"}))

        run.output("first", 1)
        assert run.dispatched == [("second", (), 1)]
        run.output("second", 2)

        assert run.dispatch("b").inputs == {"x": 1}


class TestATransform:
    def test_gives_base_inputs_under_the_explicit_ones_the_later_source_first(self) -> None:
        run = Given(
            step("a"),
            step("b"),
            step("c", inputs={"z": 3}),
            edges=[
                edge("b", "c", transform={"x": "$b", "y": "$b", "z": "$b"}),
                edge("a", "c", transform={"x": "$a", "y": "$a"}),
            ],
        )

        run.output("b", "B")
        run.output("a", "A")

        assert run.dispatch("c").inputs == {"x": "B", "y": "B", "z": 3}

    def test_of_a_dead_edge_gives_nothing(self) -> None:
        run = Given(
            step("a"),
            step("c"),
            edges=[edge("a", "c", "$a.go", transform={"x": 1}), edge("a", "c", transform={"y": 2})],
        )

        run.output("a", {"go": False})

        assert run.dispatch("c").inputs == {"y": 2}

    def test_that_is_no_object_fails_the_step_before_it_is_called(self) -> None:
        run = Given(step("a"), step("c"), edges=[edge("a", "c", transform="$a")])

        run.output("a", 5)

        assert run.dispatched == []
        assert run.result["error"]["code"] == "TOOL_INPUT_INVALID"
