"""What a run must not forget when it goes on from a snapshot (design §6). ``reloaded`` compares the two states as well.

That any run at any prefix goes on as if nothing had been is in ``tests/property/test_snapshots.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.streams.core import commands as c
from dynamicflow.streams.core.fold import claimed, outstanding
from dynamicflow.values import Json
from tests.property.same_state import reloaded
from tests.spec.given import Given, edge, node, step, value

ONCE = {"work": {"sideEffect": "non_idempotent"}}
ONE_AT_A_TIME: dict[str, Json] = {"maxConcurrency": 1}
PARTIAL: dict[str, Json] = {"fallbackBehavior": {"onExecutionFailure": "partial-results"}}


class TestTheQueue:
    def test_keeps_its_order(self) -> None:
        run = Given(step("a", retry={"maxAttempts": 2}), step("b"), step("c"), options=ONE_AT_A_TIME)
        run.error("a")
        run.timer("retry/a/-/2")  # a stands behind c now

        reloaded(run)

        assert run.output("b") and run.dispatched == [("c", (), 1)]
        assert run.output("c") and run.dispatched == [("a", (), 2)]

    def test_forgets_what_was_cancelled_in_it(self) -> None:
        race = node("p", "parallel", branches=[[step("x")], [step("y")]], joinStrategy="race")
        run = Given(race, step("after", inputs={"won": "$p"}), options=ONE_AT_A_TIME)
        run.control("pause", 1)
        run.output("x", "X")
        assert [live.step.id for live in run.state.ready] == ["y", "after"]  # nobody has looked at it yet

        reloaded(run)

        assert [live.step.id for live in run.state.ready] == ["after"]
        assert run.control("resume", 2) == [run.dispatch("after")]

    def test_waits_as_long_as_the_run_is_paused(self) -> None:
        run = Given(step("a"), step("b"), options=ONE_AT_A_TIME)
        run.control("pause", 1)

        reloaded(run).output("a")

        assert (run.dispatched, run.state.public_status) == ([], "paused")
        assert run.control("resume", 2) and run.dispatched == [("b", (), 1)]

    def test_waits_as_long_as_the_run_is_parked(self) -> None:
        run = Given(step("a"))
        run.refused("a", "no tool work here")

        reloaded(run)

        assert (run.state.public_status, run.state.parked) == ("parked", "no tool work here")
        assert [(one.node_id, one.delivery) for one in run.control("resume") if isinstance(one, c.Dispatch)] == [
            ("a", 2)
        ]


class TestWhatIsInFlight:
    def test_is_asked_for_again_in_the_order_it_was(self) -> None:
        run = Given(step("a"), step("b"), step("c"))
        run.start("a", "c1")
        run.lost("a", "c1")  # a is dispatched again, after c

        again = [one for one in outstanding(reloaded(run).state) if isinstance(one, c.Dispatch)]

        assert [(one.node_id, one.delivery) for one in again] == [("b", 1), ("c", 1), ("a", 2)]

    def test_is_held_by_whom_it_was(self) -> None:
        run = Given(step("a"), step("b"), policies=ONCE)
        run.start("b", "c2")
        run.start("a", "c1")

        reloaded(run)

        assert [(live.step.id, live.claim) for live in claimed(run.state)] == [("a", "c1"), ("b", "c2")]
        assert run.start("a", "c3") == [] and run.state.late == 1

    def test_counts_the_holders_it_has_lost(self) -> None:
        run = Given(step("a"))
        for claim in ("c1", "c2", "c3"):
            reloaded(run).start("a", claim)
            reloaded(run).lost("a", claim)

        assert run.result["error"]["code"] == "EXECUTOR_LOST"

    def test_has_the_inputs_of_its_joins(self) -> None:
        joins = [{"fromTool": "from", "toTool": "to", "mapping": {"x": "$source.y"}}]
        run = Given(step("a", "from"), step("b", "to", inputs="$a"), joins=joins, joined={"b": ["a"]})
        run.output("a", {"y": 1})
        asked = run.dispatch("b")

        assert outstanding(reloaded(run).state) == [asked]
        assert asked.joins == (c.JoinInput("from", {"y": 1}, {"x": "$source.y"}),)

    def test_has_the_key_of_the_run_it_was_forked_from(self) -> None:
        run = Given(step("a"), planned=False)
        run.requested(plan="-", rootRunId="first")

        reloaded(run).planned()

        assert run.dispatch("a").idempotency_key == "first/a/-"


class TestWhatWaits:
    def test_for_another_attempt_makes_it_at_the_same_moment(self) -> None:
        retry = {"maxAttempts": 3, "backoff": "linear", "initialDelay": 100}
        run = Given(step("a", retry=retry))
        (first,) = [one for one in run.error("a") if isinstance(one, c.StartTimer)]

        assert outstanding(reloaded(run).state) == [first]
        assert run.next_timer() and run.dispatched == [("a", (), 2)]
        assert reloaded(run).error("a", attempt=2) and list(run.state.timers) == ["retry/a/-/3"]

    def test_has_the_run_s_own_retries(self) -> None:
        run = Given(step("a"), options={"retryStrategy": {"maxAttempts": 2}})

        reloaded(run).error("a")

        assert list(run.state.timers) == ["retry/a/-/2"]

    def test_for_a_time_has_its_timers_in_their_order(self) -> None:
        body = [node("w", "wait", duration="$item")]
        run = Given(node("m", "map", over=[500, 100, 0.5], body=body, timeout=900), options={"timeout": "1h"})

        timers = outstanding(reloaded(run).state)

        names = ["deadline/-/-", "timeout/m/-", "wait/w/0", "wait/w/1", "wait/w/2"]
        assert [one.timer for one in timers if isinstance(one, c.StartTimer)] == names
        assert run.timer("wait/w/2") == [] and run.timer("timeout/m/-") and run.ended == "failed"

    def test_for_a_person_is_resolved_by_one(self) -> None:
        run = Given(step("a"), value("b", "$a"), policies=ONCE)
        run.start("a", "c1")
        run.lost("a", "c1")

        reloaded(run).control("resolve", node="a", resolution="done", output={"paid": 1.0})

        assert repr(run.result["output"]) == "{'paid': 1.0}"

    def test_for_other_nodes_is_started_by_the_last_of_them(self) -> None:
        edges = [edge("a", "d", "$b > 1"), edge("c", "d")]
        run = Given(step("a"), step("b"), step("c"), step("d", inputs={"x": "$c"}), edges=edges)

        for name, output in (("a", 1), ("c", 2)):
            reloaded(run).output(name, output)
            assert run.dispatched == []
        reloaded(run).output("b", 3)

        assert run.dispatch("d").inputs == {"x": 2}

    def test_for_a_failed_node_is_skipped(self) -> None:
        run = Given(step("a"), step("b"), step("c", inputs={"x": "$a", "y": "$b"}), options=PARTIAL)
        run.error("a")
        assert run.state.poisoned == {"c"}

        reloaded(run).output("b", 1)

        assert (run.ended, run.phases["c"]) == ("partial", "skipped")
        assert run.result["error"]["nodeId"] == "a"


BRANCHES: list[list[dict[str, Any]]] = [[step("x")], [step("y")], [step("z")]]


class TestBranches:
    def test_run_in_the_frame_of_their_owner(self) -> None:
        run = Given(node("p", "parallel", branches=BRANCHES))

        live = reloaded(run).state.top.live["p"]

        assert {index: frame is live.frame for index, frame in live.active.items()} == dict.fromkeys(range(3), True)
        assert run.state.top.live["x"].frame is live.frame

    @pytest.mark.parametrize("concurrency", [1, 2, 10])
    @pytest.mark.parametrize(
        ("strategy", "output"),
        [
            ("all", ["X", "Y", "Z"]),
            ("race", "X"),
            ("any", "X"),
            ("settled", [{"status": "fulfilled", "value": name} for name in "XYZ"]),
        ],
    )
    def test_are_brought_together_as_they_would_have_been(self, strategy: str, output: Json, concurrency: int) -> None:
        run = Given(node("p", "parallel", branches=BRANCHES, joinStrategy=strategy, concurrency=concurrency))

        for name in ("x", "y", "z"):
            if run.ended is None:
                reloaded(run).output(name, name.upper())

        assert run.result["output"] == output

    def test_that_failed_are_known_by_their_failures(self) -> None:
        run = Given(node("p", "parallel", branches=BRANCHES, joinStrategy="settled"))
        for name, code in (("z", "TIMEOUT"), ("x", "TOOL_REFUSED")):
            reloaded(run).error(name, code)
        reloaded(run).output("y", 2.0)

        told = [one.get("error", {}).get("code") for one in run.result["output"]]
        assert told == ["TOOL_REFUSED", None, "TIMEOUT"]

    def test_of_any_fail_with_the_first_failure(self) -> None:
        run = Given(node("p", "parallel", branches=BRANCHES, joinStrategy="any"))

        for name in ("y", "x", "z"):
            reloaded(run).error(name)

        assert run.result["error"]["nodeId"] == "y"

    def test_that_lost_a_race_are_cancelled(self) -> None:
        run = Given(node("p", "parallel", branches=BRANCHES, joinStrategy="race"))

        reloaded(run).output("y")

        assert run.cancelled == [("x", ()), ("z", ())]


class TestItems:
    @pytest.mark.parametrize(
        ("kind", "fields", "output"),
        [
            ("map", {}, [[1, 0], [2.0, 1], ["c", 2]]),
            ("forEach", {}, [[1, 0], [2.0, 1], ["c", 2]]),
            ("flatMap", {}, [1, 0, 2.0, 1, "c", 2]),
            ("filter", {"condition": "$s[1] > 0"}, [2.0, "c"]),
            ("reduce", {"initial": 0}, ["c", 2]),
            ("loop", {"loop": "for"}, [[1, 0], [2.0, 1], ["c", 2]]),
        ],
    )
    def test_of_every_kind_go_on(self, kind: str, fields: dict[str, Any], output: Json) -> None:
        run = Given(
            node("m", kind, over="$input", body=[step("s", inputs={"x": "$item", "i": "$index"})], **fields),
            input=[1, 2.0, "c"],
        )

        while run.ended is None:
            (asked,) = [one for one in outstanding(reloaded(run).state) if isinstance(one, c.Dispatch)][-1:]
            run.output("s", [asked.inputs["x"], asked.inputs["i"]], item=asked.item)

        assert repr(run.result["output"]) == repr(output)

    def test_in_items_hold_on_to_the_ones_around_them(self) -> None:
        told = step("s", inputs={"x": "$x", "y": "$y", "k": "$k"})
        inner = node("inner", "map", over="$x.ys", **{"as": "y"}, body=[told])
        outer = node("outer", "map", over="$input", **{"as": "x"}, body=[step("k"), inner])
        run = Given(outer, input=[{"ys": [1, 2]}, {"ys": [3]}])
        run.output("k", "K1", item=(1,))

        reloaded(run).output("k", "K0", item=(0,))

        assert [(one.item, one.inputs["y"]) for one in run.asked_for(c.Dispatch)] == [((0, 0), 1), ((0, 1), 2)]
        assert run.dispatch("s").inputs == {"x": {"ys": [1, 2]}, "y": 1, "k": "K0"}
        for item in ((0, 1), (1, 0), (0, 0)):
            reloaded(run).output("s", list(item), item=item)
        assert run.result["output"] == [[[0, 0], [0, 1]], [[1, 0]]]

    def test_go_when_their_owner_does(self) -> None:
        body = [node("inner", "map", over=[1, 2], body=[step("s")])]
        run = Given(node("outer", "map", over=[1, 2], body=body, timeout=50, onError="continue"), step("after"))

        reloaded(run).timer("timeout/outer/-")

        assert run.cancelled == [("s", (0, 0)), ("s", (0, 1)), ("s", (1, 0)), ("s", (1, 1))]
        assert list(run.state.frames) == [("", ())]

    @pytest.mark.parametrize(
        "loop", [{"loop": "times", "times": 3}, {"loop": "while", "condition": "$index < 3"}], ids=["times", "while"]
    )
    def test_of_a_loop_see_what_the_last_one_gave(self, loop: dict[str, Any]) -> None:
        run = Given(node("l", "loop", body=[step("s", inputs={"last": "$last", "i": "$index"})], **loop))

        reloaded(run).output("s", {"n": 1.0}, item=(0,))

        assert repr(run.dispatch("s").inputs) == "{'last': {'n': 1.0}, 'i': 1}"
        assert repr(reloaded(run).state.frames["l", (1,)].last) == "{'n': 1.0}"


class TestRecovery:
    def test_under_way_goes_on_and_sees_its_error(self) -> None:
        mend = [step("m1"), step("m2", inputs={"why": "$error.code", "of": "$m1"})]
        run = Given(step("a", onError={"nodes": mend}), value("after", "$a"))
        run.error("a", "TIMEOUT")

        reloaded(run).output("m1", 1)
        assert run.dispatch("m2").inputs == {"why": "TIMEOUT", "of": 1}
        reloaded(run).output("m2", "mended")

        assert run.result["output"] == "mended"

    def test_is_made_once(self) -> None:
        run = Given(node("q", "sequence", body=[step("a")], onError={"nodes": [step("m")]}))
        run.error("a")

        reloaded(run).error("m")

        assert (run.ended, run.result["error"]["nodeId"]) == ("failed", "m")

    def test_an_output_after_it_took_over_is_late(self) -> None:
        run = Given(step("a", onError={"nodes": [step("m")]}))
        run.error("a")

        assert reloaded(run).output("a", 1) == []
        assert run.state.late == 1
