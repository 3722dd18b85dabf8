"""The same start again is the same run, whoever asks and when; other content under the id is refused (design §3)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dynamicflow.errors import RunExists
from tests.fault.fault_kit import check_journal
from tests.fault.fault_process import noting, one_step
from tests.fault.flow_process import Place, engine_of

PLAN = one_step("note")
OTHER = one_step("note", inputs={"x": 2})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestTheSameStartAgain:
    async def test_is_the_same_run_at_once_later_and_after_reopening(self, place: Place) -> None:
        tools = [noting(place, "note", "noted")]
        async with engine_of(place, tools) as engine:
            runs = await asyncio.gather(*(engine.start(PLAN, run_id="a") for _ in range(20)))
            results = await asyncio.gather(*(run.result() for run in runs))
            again = await (await engine.start(PLAN, run_id="a")).result()
        async with engine_of(place, tools) as engine:
            reopened = await asyncio.gather(*(engine.start(PLAN, run_id="a") for _ in range(5)))
            results += [again, *[await run.result() for run in reopened]]

        assert all(result == results[0] for result in results)
        assert len(place.lines()) == 1
        check_journal(place)

    async def test_survives_a_caller_that_gave_up(self, place: Place) -> None:
        async with engine_of(place, [noting(place, "note", "noted")]) as engine:
            task = asyncio.ensure_future(engine.start(PLAN, run_id="a"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            result = await asyncio.wait_for((await engine.start(PLAN, run_id="a")).result(), 10)

        assert result["status"] == "completed"
        assert len(place.lines()) == 1


class TestOtherContentUnderATakenId:
    @pytest.mark.parametrize("reopened", [False, True])
    async def test_is_refused_however_many_ask(self, place: Place, reopened: bool) -> None:
        tools = [noting(place, "note", "noted")]
        async with engine_of(place, tools) as engine:
            first = await (await engine.start(PLAN, run_id="a")).result()
            if not reopened:
                await self.refused(engine)
        if reopened:
            async with engine_of(place, tools) as engine:
                await self.refused(engine)
                assert await (await engine.start(PLAN, run_id="a")).result() == first
        assert len(place.lines()) == 1

    async def refused(self, engine: Any) -> None:
        for given in ({"input": 1}, {"options": {"maxConcurrency": 2}}, {}):
            plan = PLAN if given else OTHER
            asked = [engine.start(plan, run_id="a", **given) for _ in range(5)]
            answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)
            assert [type(answer) for answer in answers] == [RunExists] * 5
            assert {answer.code for answer in answers if isinstance(answer, RunExists)} == {"RUN_EXISTS"}

    async def test_by_a_caller_that_gave_up_leaves_the_run_as_it_is(self, place: Place) -> None:
        async with engine_of(place, [noting(place, "note", "noted")]) as engine:
            first = await (await engine.start(PLAN, run_id="a")).result()
            task = asyncio.ensure_future(engine.start(OTHER, run_id="a"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await asyncio.wait_for((await engine.start(PLAN, run_id="a")).result(), 10) == first
