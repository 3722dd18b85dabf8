"""A run that is paused starts nothing new until it is resumed; what runs is let end."""

from __future__ import annotations

import asyncio

import pytest

from dynamicflow import UsageError
from tests.engine.engine_kit import CHAIN, WAIT_S, Gate, Open, call, double, plan

GATED = plan(call("a", "gate", {"n": 1}), call("b", "double", {"n": "$a.n"}))


class TestPausing:
    async def test_what_runs_ends_and_nothing_new_begins_until_it_is_resumed(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool, double]) as engine:
            run = await engine.start(GATED, run_id="r")
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            await run.pause("lunch", by="ada")
            gate.open()
            async for event in run.events():
                if event.type == "node-complete":
                    break
            for _ in range(500):  # what is in the log is folded a moment later
                if (paused := await run.result())["nodes"]:
                    break
                await asyncio.sleep(0.01)
            await run.resume("back", by="ada")
            result = await asyncio.wait_for(run.result(), WAIT_S)
            asked = [event async for event in run.events() if event.type in ("pause-requested", "resume-requested")]

        assert (paused["status"], paused["nodes"]) == ("paused", {"a": {"n": 1}})
        assert (result["status"], result["output"]) == ("completed", {"n": 2})
        assert [(event["reason"], event["control"]["by"]) for event in asked] == [("lunch", "ada"), ("back", "ada")]

    async def test_a_paused_run_can_be_cancelled(self, make: Open) -> None:
        async with make() as engine:
            run = await engine.start(plan({"id": "w", "type": "wait", "duration": 3_600_000}))
            await run.pause()
            await run.cancel()

            assert (await run.result())["status"] == "cancelled"

    async def test_a_run_that_has_ended_is_said_to_have(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1})
            await run.result()
            codes = []
            for ask in (run.pause, run.resume):
                with pytest.raises(UsageError) as refused:
                    await ask()
                codes.append(refused.value.code)

        assert codes == ["RUN_ENDED", "RUN_ENDED"]


class TestGoingOn:
    async def test_a_paused_run_is_paused_after_a_restart(self, make: Open) -> None:
        async with make() as engine:
            run = await engine.start(plan({"id": "w", "type": "wait", "duration": 1500}), run_id="r")
            await run.pause()
        async with make() as engine:
            run = engine.run("r")
            paused = await run.result()
            await run.resume()
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert (paused["status"], result["status"]) == ("paused", "completed")
