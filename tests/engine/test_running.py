"""Runs under way: time, cancelling, bounds, large values, going on after a restart (design §5)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from dynamicflow import ToolContext, UsageError, VirtualClock
from tests.engine.engine_kit import (
    CHAIN,
    WAIT_S,
    Crowd,
    Gate,
    Open,
    call,
    double,
    echo,
    flaky,
    listed,
    made,
    plan,
    recorded,
)

DAY_S = 86_400


class TestVirtualTime:
    async def test_a_wait_of_days_takes_none(self, make: Open) -> None:
        clock = VirtualClock(datetime(2024, 1, 1, tzinfo=UTC))
        async with make(tools=[double], clock=clock) as engine:
            waits = plan(
                {"id": "w", "type": "wait", "duration": "30d"}, call("a", "double", {"n": 1}, description="$w")
            )
            result = await asyncio.wait_for((await engine.start(waits)).result(), WAIT_S)

        assert result["status"] == "completed"
        assert clock.now >= datetime(2024, 1, 31, tzinfo=UTC)
        assert result["metadata"]["duration"] >= 30 * DAY_S * 1000

    async def test_timers_of_many_runs_go_off_in_their_order(self, make: Open) -> None:
        order: list[str] = []
        tell = made("tell", lambda inputs, context: order.append(inputs["x"]))
        async with make(tools=[tell], clock=VirtualClock()) as engine:
            started = (
                engine.start(
                    plan(
                        {"id": "w", "type": "wait", "duration": f"{days}d"},
                        call("t", "tell", {"x": f"{days}"}),
                        edges=[{"from": "w", "to": "t"}],
                    )
                )
                for days in (9, 2, 5)
            )
            for run in await asyncio.gather(*started):  # at once: time moves when nothing else is left to do
                await asyncio.wait_for(run.result(), WAIT_S)

        assert order == ["2", "5", "9"]

    async def test_the_waits_between_attempts_take_none_either(self, make: Open) -> None:
        retry = {"maxAttempts": 4, "initialDelay": "1h", "maxDelay": "1d"}
        async with make(tools=[flaky(3)], clock=VirtualClock()) as engine:
            run = await engine.start(plan(call("a", "flaky", retry=retry)))
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert result["output"] == 4
        assert result["metadata"]["duration"] >= 7 * 3600 * 1000

    async def test_may_be_moved_by_hand(self, make: Open) -> None:
        clock = VirtualClock()
        gate = Gate()
        async with make(tools=[gate.tool], clock=clock) as engine:
            run = await engine.start(plan(call("a", "gate")))
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            clock.advance(timedelta(hours=2))
            gate.open()
            result = await run.result()

        assert result["metadata"]["duration"] >= 2 * 3600 * 1000


class TestWaitingForAResult:
    async def test_no_longer_than_the_wait_a_caller_puts_up_with(self, make: Open) -> None:
        async with make() as engine:
            run = await engine.start(plan({"id": "w", "type": "wait", "duration": "2d"}))
            standing = await asyncio.wait_for(run.result(max_wait=60), WAIT_S)

        assert standing["status"] == "suspended"
        assert standing["metadata"]["waitsUntil"] > standing["metadata"]["startedAt"]
        assert standing["metadata"]["completedAt"] is None

    async def test_a_short_wait_is_waited_out(self, make: Open) -> None:
        async with make() as engine:
            run = await engine.start(plan({"id": "w", "type": "wait", "duration": 30}))
            result = await asyncio.wait_for(run.result(max_wait=60), WAIT_S)

        assert result["status"] == "completed"

    async def test_giving_up_waiting_takes_nothing_back(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("a", "gate", {"x": 1})))
            waiting = asyncio.ensure_future(run.result())
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            waiting.cancel()
            gate.open()

            assert (await run.result())["output"] == {"x": 1}


class TestCancelling:
    async def test_reaches_the_tool_that_runs(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("a", "gate")))
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            await run.cancel("enough", by="ada")
            result = await asyncio.wait_for(run.result(), WAIT_S)
            assert await asyncio.to_thread(gate.stopped.wait, WAIT_S)

        assert (result["status"], result["error"]["message"]) == ("cancelled", "enough")

    async def test_reaches_a_tool_on_a_thread(self, make: Open) -> None:
        seen: list[bool] = []
        entered = asyncio.Event()
        loop = asyncio.get_running_loop()

        def patient(inputs: Any, context: ToolContext) -> None:
            loop.call_soon_threadsafe(entered.set)
            seen.append(context.wait(WAIT_S))

        async with make(tools=[made("patient", patient)]) as engine:
            run = await engine.start(plan(call("a", "patient")))
            await asyncio.wait_for(entered.wait(), WAIT_S)
            await run.cancel()
            await run.result()

        assert seen == [True]

    async def test_tells_everybody_who_follows(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("a", "gate")))
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            await run.cancel()
            types = [event.type async for event in run.events()]

        assert types[-3:] == ["state-change", "flow-cancelled", "flow-complete"]

    async def test_says_which_came_first_the_cancel_or_the_end(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            for number in range(10):
                run = await engine.start(plan({"id": "v", "type": "value", "value": 1}), run_id=f"r{number}")
                try:
                    await run.cancel()
                    told = "cancelled"
                except UsageError as refused:
                    assert refused.code == "RUN_ENDED"
                    told = "completed"
                assert (await run.result())["status"] == told

    async def test_a_run_that_has_ended_is_said_to_have(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1})
            await run.result()

            with pytest.raises(UsageError) as refused:
                await run.cancel()

        assert refused.value.code == "RUN_ENDED"


class TestTimeouts:
    async def test_of_the_run_end_it_as_timed_out(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("a", "gate")), options={"timeout": 700})
            result = await asyncio.wait_for(run.result(), WAIT_S)
            assert await asyncio.to_thread(gate.stopped.wait, WAIT_S)

        assert (result["status"], result["error"]["code"]) == ("timed_out", "TIMEOUT")

    async def test_of_a_step_is_an_error_that_may_be_retried(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            retry = {"maxAttempts": 2, "initialDelay": 1}
            run = await engine.start(
                plan(call("a", "gate", timeout=100, retry=retry, onError={"value": "$error.code"}))
            )
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert gate.calls == 2
        assert result["output"] == {}, "the end of its first call opens the gate for the second"

    async def test_of_an_owner_cancels_what_runs_in_it(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            body = {"id": "s", "type": "sequence", "timeout": 500, "body": [call("a", "gate")], "onError": "continue"}
            result = await asyncio.wait_for((await engine.start(plan(body))).result(), WAIT_S)
            assert await asyncio.to_thread(gate.stopped.wait, WAIT_S)

        assert result["status"] == "completed"


class TestHowManyToolsRunAtOnce:
    @pytest.mark.parametrize("most", [1, 3])
    async def test_is_max_concurrency_and_no_less(self, make: Open, most: int) -> None:
        crowd = Crowd(most)
        async with make(tools=[crowd.tool]) as engine:
            nodes = [call(f"c{index}", "crowd") for index in range(3 * most)]
            run = await engine.start(plan(*nodes), options={"maxConcurrency": most})
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert result["status"] == "completed"
        assert crowd.most == most

    async def test_of_a_map_is_its_concurrency_and_no_less(self, make: Open) -> None:
        crowd = Crowd(4)
        body = [call("c", "crowd", {"x": "$item"})]
        async with make(tools=[crowd.tool]) as engine:
            one = plan({"id": "m", "type": "map", "over": "$input", "body": body, "concurrency": 4})
            run = await engine.start(one, input=list(range(20)))
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert result["output"] == [{"x": index} for index in range(20)]
        assert crowd.most == 4

    async def test_runs_do_not_wait_for_one_another(self, make: Open) -> None:
        crowd = Crowd(6)
        async with make(tools=[crowd.tool]) as engine:
            runs = [
                await engine.start(plan(call("c", "crowd", {"x": index})), options={"maxConcurrency": 1})
                for index in range(6)
            ]
            results = [await asyncio.wait_for(run.result(), WAIT_S) for run in runs]

        assert {result["status"] for result in results} == {"completed"}
        assert crowd.most == 6


class TestLargeValues:
    async def test_go_through_inputs_outputs_results_and_a_restart(self, make: Open) -> None:
        text = "ä" * 400_000
        one = plan(call("a", "echo", {"x": "$input.x"}), call("b", "echo", {"y": "$a.x"}))
        async with make(tools=[echo]) as engine:
            run = await engine.start(one, input={"x": text}, run_id="r")
            result = await run.result()
            events = [event async for event in run.events(derived=False)]

        async with make() as engine:
            again = await engine.run("r").result()

        assert result["output"] == {"y": text}
        assert again == result
        assert all(len(event.model_dump_json()) < 10_000 for event in events), "they lie beside the log"
        assert any(event.large for event in events)

    async def test_may_be_had_by_a_step_after_a_restart(self, make: Open) -> None:
        gate = Gate(config={"sideEffect": "idempotent"})
        one = plan(call("a", "echo", {"x": "$input"}), call("g", "gate", {"x": "$a.x"}))
        async with make(tools=[echo, gate.tool], drain_s=0) as engine:
            await engine.start(one, input="z" * 500_000, run_id="r")
            await asyncio.to_thread(gate.entered.wait, WAIT_S)

        gate.open()
        async with make(tools=[echo, gate.tool]) as engine:
            result = await asyncio.wait_for(engine.run("r").result(), WAIT_S)

        assert result["output"] == {"x": "z" * 500_000}


class TestGoingOn:
    async def test_what_was_done_is_not_done_again(self, make: Open) -> None:
        done: list[str] = []
        gate = Gate()
        note = made("note", lambda inputs, context: done.append(context.node_id))
        one = plan(call("n", "note"), call("g", "gate"), call("m", "note"), edges=_edges("n", "g", "m"))
        async with make(tools=[note, gate.tool], drain_s=0) as engine:
            await engine.start(one, run_id="r")
            await asyncio.to_thread(gate.entered.wait, WAIT_S)

        gate.open()
        async with make(tools=[note, gate.tool]) as engine:
            result = await asyncio.wait_for(engine.run("r").result(), WAIT_S)

        assert result["status"] == "completed"
        assert done == ["n", "m"]

    async def test_without_the_tools_it_is_parked_and_with_them_it_goes_on(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool], drain_s=0) as engine:
            await engine.start(plan(call("g", "gate", {"x": 1})), run_id="r")
            await asyncio.to_thread(gate.entered.wait, WAIT_S)

        async with make() as engine:
            parked = await asyncio.wait_for(engine.run("r").result(), WAIT_S)
        gate.open()
        async with make(tools=[gate.tool]) as engine:
            result = await asyncio.wait_for(engine.run("r").result(), WAIT_S)

        assert (parked["status"], parked["error"]["code"]) == ("parked", "PARKED")
        assert "gate" in parked["error"]["message"]
        assert result["output"] == {"x": 1}

    async def test_only_the_runs_that_are_named(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool], drain_s=0) as engine:
            for ident in ("r1", "r2"):
                await engine.start(plan(call("g", "gate")), run_id=ident)
            await asyncio.to_thread(gate.entered.wait, WAIT_S)

        gate.open()
        async with make(tools=[gate.tool], resume=["r1"]) as engine:
            await asyncio.wait_for(recorded(engine.run("r1")), WAIT_S)
            statuses = await listed(engine)

        assert statuses == {"r1": "completed", "r2": "running"}


def _edges(*names: str) -> list[dict[str, str]]:
    return [{"from": source, "to": target} for source, target in pairwise(names)]
