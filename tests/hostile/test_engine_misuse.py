"""An engine used the wrong way says so; it never hangs and never raises what is not documented."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dynamicflow import DynamicFlow, DynamicFlowError, Engine

PLAN = {"version": "1.0", "nodes": [{"id": "a", "type": "value", "value": 1}]}


class TestAnEngineIsEnteredOnceAtATime:
    async def test_inside_itself_it_is_refused(self) -> None:
        async with Engine.in_memory() as engine:
            with pytest.raises(DynamicFlowError, match="ENGINE_OPEN"):
                await engine.__aenter__()
            run = await engine.start(PLAN)

            assert (await run.result())["status"] == "completed", "the first use goes on"

    async def test_one_after_the_other_is_fine(self) -> None:
        engine = Engine.in_memory()
        async with engine:
            pass
        async with engine:
            run = await engine.start(PLAN)

            assert (await run.result())["status"] == "completed"


class TestAnEngineBelongsToItsLoop:
    async def test_another_threads_loop_is_refused_and_does_not_hang(self) -> None:
        async with Engine.in_memory() as engine:

            def elsewhere() -> Any:
                return asyncio.run(engine.start(PLAN))

            with pytest.raises(DynamicFlowError, match="ENGINE_OTHER_LOOP"):
                await asyncio.to_thread(elsewhere)


class TestAStartThatIsNoJson:
    @pytest.mark.parametrize(
        "asked",
        [
            {"plan_or_prompt": "add \ud800"},
            {"plan_or_prompt": PLAN, "labels": {"a": "\ud800"}},
            {"plan_or_prompt": PLAN, "labels": {"a": object()}},
            {"plan_or_prompt": PLAN, "run_id": ""},
        ],
    )
    async def test_is_refused_as_usage(self, asked: dict[str, Any]) -> None:
        async with Engine.in_memory() as engine:
            with pytest.raises(DynamicFlowError):
                await engine.start(**asked)


class TestACheckTellsAndNeverRaises:
    @pytest.mark.parametrize("value", [float("nan"), "\ud800", object(), {1, 2}, b"x"])
    def test_of_a_plan_with_values_that_are_no_json(self, value: Any) -> None:
        plan = {"version": "1.0", "nodes": [{"id": "a", "type": "value", "value": value}]}

        check = DynamicFlow.check(plan)

        assert not check.valid
        assert check.problems

    def test_of_something_that_is_no_plan(self) -> None:
        assert not DynamicFlow.check(object()).valid
