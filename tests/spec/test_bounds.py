"""How much runs at once, how much is held, and what one fact costs (design §3, Cost). Counted, never timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest

from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.fold import apply
from tests.spec.given import Given, edge, node, step, value


def work_of(call: Callable[[], object]) -> int:
    """Lines of Python carried out by a call: a loop over the whole run shows, however fast the machine is."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


class TestStepsInFlight:
    @pytest.mark.parametrize("most", [1, 3, 10])
    def test_of_one_run_are_at_most_max_concurrency(self, most: int) -> None:
        run = Given(*(step(f"s{index}") for index in range(20)), options={"maxConcurrency": most})
        seen = [len(run.state.in_flight)]

        for index in range(20):
            run.output(f"s{index}")
            seen.append(len(run.state.in_flight))

        assert max(seen) == most
        assert run.ended == "completed"

    def test_are_ten_unless_said_otherwise(self) -> None:
        run = Given(*(step(f"s{index}") for index in range(20)))

        assert len(run.dispatched) == 10

    def test_the_queue_is_first_in_first_out(self) -> None:
        run = Given(*(step(f"s{index}") for index in range(4)), options={"maxConcurrency": 1})
        order = [*run.dispatched]

        for index in range(3):
            run.output(f"s{index}")
            order += run.dispatched

        assert [name for name, _, _ in order] == ["s0", "s1", "s2", "s3"]

    def test_a_step_between_attempts_leaves_its_place_to_another(self) -> None:
        run = Given(step("a", retry={"maxAttempts": 2}), step("b"), options={"maxConcurrency": 1})

        run.error("a")

        assert run.dispatched == [("b", (), 1)]


class TestItemsSideBySide:
    @pytest.mark.parametrize("kind", ["map", "forEach", "flatMap", "filter"])
    @pytest.mark.parametrize("most", [1, 3])
    def test_are_at_most_the_node_s_concurrency(self, kind: str, most: int) -> None:
        condition = {"condition": "$s"} if kind == "filter" else {}
        run = Given(node("m", kind, over="$input", body=[step("s")], concurrency=most, **condition), input=[0] * 7)
        assert [item for _, item, _ in run.dispatched] == [(index,) for index in range(most)]

        for index in range(7):
            run.output("s", [1], item=(index,))
            assert len(run.state.in_flight) <= most

        assert run.ended == "completed"

    def test_the_run_s_bound_is_above_the_node_s(self) -> None:
        run = Given(
            node("m", "map", over="$input", body=[step("s")], concurrency=50),
            input=[0] * 60,
            options={"maxConcurrency": 4},
        )

        assert len(run.dispatched) == 4

    def test_a_map_within_a_map_multiplies(self) -> None:
        inner = node("inner", "map", over="$item", body=[step("s")], concurrency=3)
        run = Given(
            node("outer", "map", over="$input", body=[inner], concurrency=2),
            input=[[0] * 5] * 5,
            options={"maxConcurrency": 100},
        )

        assert [item for _, item, _ in run.dispatched] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


class TestBranchesSideBySide:
    @pytest.mark.parametrize("strategy", ["all", "settled", "any"])
    def test_are_at_most_the_node_s_concurrency(self, strategy: str) -> None:
        branches = [[step(f"s{index}")] for index in range(6)]
        run = Given(node("p", "parallel", branches=branches, joinStrategy=strategy, concurrency=2))
        assert run.dispatched == [("s0", (), 1), ("s1", (), 1)]

        run.error("s0") if strategy != "all" else run.output("s0")

        assert run.dispatched == [("s2", (), 1)]


class TestWhatIsHeld:
    def test_of_a_map_over_many_items_no_more_frames_than_its_concurrency(self) -> None:
        items, most = 10_000, 5
        plan = node("m", "map", over="$input", body=[step("s")], concurrency=most, maxItems=items)
        run = Given(plan, input=list(range(items)))
        frames = []

        for index in range(items):
            frames.append(len(run.state.frames))
            run.all.clear()
            run.facts.clear()
            run.output("s", index, item=(index,))

        assert max(frames) == most + 1
        assert len(run.state.frames) == 1
        assert run.result["output"] == list(range(items))

    def test_of_a_loop_one_frame(self) -> None:
        run = Given(node("l", "loop", loop="times", times=50, body=[step("s")]))
        frames = []

        for index in range(50):
            frames.append(len(run.state.frames))
            run.output("s", index, item=(index,))

        assert set(frames) == {2}

    def test_after_the_end_nothing_waits(self) -> None:
        run = Given(
            node("m", "map", over="$input", body=[step("s"), node("w", "wait", duration=10)], timeout=99), input=[1, 2]
        )

        run.control("cancel")

        state = run.state
        assert (state.in_flight, state.timers, list(state.ready), list(state.frames)) == ({}, {}, [], [("", ())])
        assert state.top.live == {}


def chain(length: int) -> Given:
    nodes = [step("s0"), *(step(f"s{index}", inputs={"x": f"$s{index - 1}"}) for index in range(1, length))]
    return Given(*nodes)


def fan(width: int) -> Given:
    """Many steps side by side that one node waits for, by edges and by a reference each."""
    nodes = [step(f"s{index}") for index in range(width)]
    edges = [edge(f"s{index}", "end") for index in range(width)]
    return Given(*nodes, step("end"), edges=edges, options={"maxConcurrency": width})


def wide(items: int) -> Given:
    plan = node("m", "map", over="$input", body=[step("s0", inputs={"x": "$item"})], concurrency=5, maxItems=items)
    return Given(plan, input=list(range(items)))


def looped(times: int) -> Given:
    body = [step("s0", inputs={"x": "$last"})]
    return Given(node("l", "loop", loop="times", times=times, body=body, maxIterations=times))


class TestWhatOneFactCosts:
    """The same in a small run and in a large one."""

    @pytest.mark.parametrize(
        ("made", "item"), [(chain, ()), (fan, ()), (wide, (3,)), (looped, (3,))], ids=["chain", "fan", "map", "loop"]
    )
    def test_of_an_output_does_not_depend_on_the_size_of_the_run(
        self, made: Callable[[int], Given], item: tuple[int, ...]
    ) -> None:
        costs = []

        for size in (10, 10, 3000):
            run = made(size)
            for before in range(item[0] if item else 3):
                run.output("s0" if item else f"s{before}", 1, item=(before,) if item else ())
            costs.append(self._cost(run, "s0" if item else "s3", item))

        assert costs[1] == costs[2], "the first one warms what is worked out once for a process"

    def test_of_an_error_and_of_a_timer_does_not_either(self) -> None:
        costs = []

        for size in (10, 10, 3000):
            policy = {"maxAttempts": 2, "initialDelay": 10}
            run = Given(*(step(f"s{index}", retry=policy) for index in range(size)), options={"maxConcurrency": size})
            error = work_of(partial(run.error, "s3"))
            timer = work_of(partial(run.timer, "retry/s3/-/2"))
            costs.append((error, timer))

        assert costs[1] == costs[2]

    def test_of_skipping_is_that_of_what_is_skipped(self) -> None:
        costs = []

        for size in (10, 10, 3000):
            others = [step(f"o{index}") for index in range(size)]
            run = Given(
                step("s3"), step("b"), *others, edges=[edge("s3", "b", "$s3 == 2")], options={"maxConcurrency": 1}
            )
            costs.append(self._cost(run, "s3", ()))

        assert costs[1] == costs[2]

    def test_a_chain_of_instant_nodes_is_linear(self) -> None:
        def cost(length: int) -> int:
            nodes = [value("v0", 1), *(value(f"v{index}", f"$v{index - 1}") for index in range(1, length))]
            event = decode_event(Given(*nodes, step("s")).facts[1])
            fresh = Given(planned=False)
            fresh.requested(plan="given")
            return work_of(lambda: apply(fresh.state, event, {}))

        cost(10)
        assert cost(1000) < 110 * cost(10)

    @staticmethod
    def _cost(run: Given, name: str, item: tuple[int, ...]) -> int:
        return work_of(lambda: run.output(name, 1, item=item))
