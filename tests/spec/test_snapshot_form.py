"""A run at its beginning and its end in a snapshot; the values in one, its size, and what cannot be read."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable

import pytest

from dynamicflow.streams.core import commands as c
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core import program
from dynamicflow.streams.core.events import SEMANTICS
from dynamicflow.streams.core.fold import CannotFold, outstanding
from dynamicflow.streams.core.snapshot import FORM, from_snapshot, to_snapshot
from dynamicflow.values import MAX_RECORD_NESTING, Json, decode, encode
from tests.property.same_state import reloaded, restored
from tests.spec.given import Given, edge, node, step, value

PARTIAL: dict[str, Json] = {"fallbackBehavior": {"onExecutionFailure": "partial-results"}}


def pending() -> Given:
    return Given(planned=False)


def planning() -> Given:
    run = Given(step("a"), planned=False, input={"n": 1})
    run.requested(prompt="p")
    return run


def rejected() -> Given:
    run = planning()
    run.planning_failed(problems=[{"code": "X"}])
    return run


def completed() -> Given:
    run = Given(node("m", "map", over=[1], body=[step("s")]), value("v", {"all": "$m"}))
    run.output("s", {"x": 1.0}, item=(0,))
    return run


def failed() -> Given:
    run = Given(node("m", "map", over=[1, 2], body=[step("s")]), step("other"))
    run.error("s", item=(1,), details={"why": ["x"]})
    return run


def partial() -> Given:
    run = Given(step("a"), step("b", inputs="$a"), options=PARTIAL)
    run.error("a")
    return run


def cancelled() -> Given:
    run = Given(node("m", "map", over=[1, 2], body=[step("s")]), node("w", "wait", duration=5))
    run.control("cancel", reason="enough")
    return run


def timed_out() -> Given:
    run = Given(node("m", "map", over=[1, 2], body=[step("s")]), options={"timeout": 10})
    run.timer("deadline/-/-")
    return run


class TestARun:
    @pytest.mark.parametrize("made", [rejected, completed, failed, partial, cancelled, timed_out])
    def test_that_has_ended_stays_ended(self, made: Callable[[], Given]) -> None:
        run = made()
        result = json.dumps(run.result)

        reloaded(run)

        assert (run.ended, json.dumps(run.result)) == (made.__name__, result)
        assert run.control("cancel", "late") == [] and outstanding(run.state) == []
        assert reloaded(run).state.late == 1

    def test_that_has_not_begun_begins(self) -> None:
        run = reloaded(pending())
        run.plan = Given(value("a", 1)).plan

        run.requested(plan="-")
        reloaded(run).planned()

        assert run.result["output"] == 1

    def test_that_waits_for_a_plan_asks_for_it_and_takes_it(self) -> None:
        run = planning()

        assert outstanding(reloaded(run).state) == run.asked_for(c.Plan)
        assert run.planned() and run.dispatched == [("a", (), 1)]

    def test_knows_the_controls_it_has_had(self) -> None:
        run = Given(step("a"))
        run.control("pause", 1)
        run.control("resume", 2)

        assert reloaded(run).control("pause", 1) == []
        assert (run.state.paused, run.state.late) == (False, 1)

    def test_knows_what_it_has_spent_and_whose_it_is(self) -> None:
        run = Given(step("a"), step("b", "other"), planned=False)
        assert run.plan is not None
        run.fact(e.FlowRequested(**{**run.envelope("flow-requested"), "tenant": "acme"}, request={"plan": "-"}))
        run.planned()
        run.output("b", usage={"totalTokens": 7})

        reloaded(run).output("a", usage={"totalTokens": 5})

        about = run.result["metadata"]
        assert (about["stepCount"], about["toolsExecuted"], about["tokensUsed"]) == (2, ["other", "work"], 12)
        assert [event.tenant for event in run.told("flow-complete")] == ["acme"]


class TestValues:
    @pytest.mark.parametrize(
        "given",
        [2, 2.0, -0.0, 1e300, 10**40, True, None, "", "ä" * 200, [], {}, [[]], {"b": 1, "a": {"d": 2.0, "c": [None]}}],
        ids=repr,
    )
    def test_are_what_they_were(self, given: Json) -> None:
        run = Given(step("a"), step("b", inputs={"x": "$a", "y": "$input"}), input=given)
        run.output("a", given)

        reloaded(run)

        assert repr(run.state.top.outputs["a"]) == repr(run.state.values.input) == repr(given)
        assert repr(outstanding(run.state)) == repr(run.asked_for(c.Dispatch))

    def test_of_the_run_can_be_read(self) -> None:
        run = Given(
            step("a"), value("b", ["$input", "$n", "$vars", "$run.labels.team"]), variables={"n": 1.0}, planned=False
        )
        run.requested(plan="-", labels={"team": "ä"}, input={"k": 2})
        reloaded(run).planned()
        reloaded(run).output("a")

        assert repr(run.result["nodes"]["b"]) == repr([{"k": 2}, 1.0, {"n": 1.0}, "ä"])

    def test_held_by_several_are_written_once(self) -> None:
        items = list(range(1000))
        owners = node("q", "sequence", body=[node("q2", "sequence", body=[step("a")])])
        copied = [value(f"v{index}", "$q") for index in range(10)]
        run = Given(owners, *copied, node("m", "map", over="$input.items", body=[step("s")], maxItems=1000), input=None)
        run.requested()
        plain = len(encode(to_snapshot(run.state)))

        run = Given(
            owners,
            *copied,
            node("m", "map", over="$input.items", body=[step("s", inputs={"of": "$item"})], maxItems=1000),
            input={"items": items},
        )
        run.output("a", {"long": "x" * 50_000})
        made = to_snapshot(run.state)

        assert made["values"].count({"items": items}) == 1 and items not in made["values"]
        assert len(encode(made)) < plain + 50_000 + len(encode(items)) + 15_000
        state = reloaded(run).state
        assert state.top.live["m"].items is state.values.input["items"]
        assert state.top.outputs["v9"] is state.top.outputs["a"]

    def test_as_deep_as_they_may_be_are_read_by_the_door(self) -> None:
        deep: Json = None
        for _ in range(250):
            deep = [deep]
        body = [step("s", onError="continue")]
        run = Given(
            node("p", "parallel", branches=[[step("x")], [step("y")]], joinStrategy="settled"),
            node("m", "map", over=[1, 2], body=body),
            step("a"),
            input=deep,
        )
        run.output("a", deep)
        run.output("s", deep, item=(1,))
        run.error("x", details=deep)

        body_of_it = encode(to_snapshot(run.state))

        assert restored(from_snapshot(decode(body_of_it, max_nesting=MAX_RECORD_NESTING))).seq == run.state.seq


def busy() -> Given:
    """A run in the middle of everything whose parts the fold changes in place."""
    branches = [[step("x")], [step("y")], [step("z")]]
    run = Given(
        node("m", "map", over=[1, 2, 3], body=[step("s")], concurrency=1),
        node("p", "parallel", branches=branches, joinStrategy="settled"),
        step("a"),
        step("b", inputs={"of": "$m", "and": "$p"}),
        step("c"),
        edges=[edge("m", "b"), edge("a", "c"), edge("p", "c", "$a > 0")],
    )
    run.output("s", 1, item=(0,))
    run.error("y")
    return run


def goes_on(run: Given) -> None:
    """Everything of a busy run moves, and then it ends."""
    run.control("pause", 1)
    run.control("resume", 2)
    run.output("x", 1)
    run.output("s", 2, item=(1,))
    run.output("a", 1)
    run.output("z", 1)
    run.output("s", 3, item=(2,))
    run.output("b", 4)
    run.output("c", 5)
    assert run.ended == "completed"


class TestASnapshot:
    def test_stays_as_it_is_when_the_run_goes_on(self) -> None:
        run = busy()
        made = to_snapshot(run.state)
        text = json.dumps(made)

        goes_on(run)

        assert json.dumps(made) == text

    def test_can_be_read_more_than_once(self) -> None:
        run = busy()
        made = json.loads(json.dumps(to_snapshot(run.state)))
        text = json.dumps(made)

        run.state = from_snapshot(made)
        goes_on(run)

        assert json.dumps(made) == text
        assert to_snapshot(from_snapshot(made)) == made

    def test_is_read_where_nobody_has_seen_its_plan(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = busy()
        before = run.state.program

        monkeypatch.setattr(program, "_COMPILED", OrderedDict())
        reloaded(run)

        assert run.state.program is not before
        goes_on(run)

    def test_of_a_larger_run_is_larger_by_what_it_holds_and_no_more(self) -> None:
        def size(results: int) -> int:
            plan = node("m", "map", over="$input", body=[step("s")], maxItems=10_000)
            run = Given(plan, input=[f"item {index:05}" for index in range(results + 5)])
            for index in range(results):
                run.output("s", {"of": f"{index:05}"}, item=(index,))
            return len(encode(to_snapshot(run.state)))

        small, more, most = size(200), size(300), size(400)

        assert most - more == more - small
        assert more - small < 100 * len('"item 00000",{"of":"00000"},') + 10


class TestASnapshotThatCannotBeRead:
    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"v": FORM + 1}, f"has form {FORM + 1}, this version knows {FORM}"),
            ({"semantics": SEMANTICS + 1}, f"made under semantics {SEMANTICS + 1}, this version knows {SEMANTICS}"),
            ({"v": None}, "has form None, which is none"),
            ({"semantics": True}, "semantics True, which is none"),
            ({"plan": {"version": "9"}, "planHash": "sha256:0"}, "the plan in the snapshot of r cannot be read"),
            ({"plan": "text"}, "the plan in the snapshot of r cannot be read"),
            ({"plan": None}, "the plan in the snapshot of r cannot be read"),
            ({"planHash": "sha256:1"}, "not sha256:1"),
            ({"values": []}, "is damaged, its log can be folded instead"),
            ({"frames": None}, "is damaged"),
            ({"ready": [["nobody", []]]}, "is damaged"),
        ],
    )
    def test_says_why(self, changed: dict[str, Json], told: str) -> None:
        made = to_snapshot(Given(step("a"), input={"x": 1}).state) | changed

        with pytest.raises(CannotFold, match="snapshot of r") as caught:
            from_snapshot(made)

        assert told in str(caught.value)

    def test_leaves_nothing_behind_under_another_plan_s_name(self) -> None:
        other = Given(value("b", 1))
        made = to_snapshot(Given(step("a")).state) | {"planHash": other.plan.hash if other.plan else None}

        with pytest.raises(CannotFold, match="its hash is"):
            from_snapshot(made)

        assert Given(value("b", 1)).result["output"] == 1

    @pytest.mark.parametrize("name", sorted(to_snapshot(Given(step("a")).state)))
    def test_says_so_whatever_is_missing(self, name: str) -> None:
        made = to_snapshot(Given(step("a"), input={"x": 1}).state)
        del made[name]

        with pytest.raises(CannotFold):
            from_snapshot(made)
