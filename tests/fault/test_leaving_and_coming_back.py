"""Leaving cleanly records what runs; what comes back goes on with the tools it has (design §3, §5)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dynamicflow.tools import Tool, ToolContext, create_tool
from tests.fault.fault_kit import check_journal, log_of, steps, until
from tests.fault.fault_process import chain, held_back, made, noting, one_step
from tests.fault.flow_process import Place, engine_of


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def seen(place: Place, calls: int) -> None:
    await asyncio.to_thread(until, lambda: len(place.lines()) >= calls, f"{calls} calls")


class TestLeaving:
    async def test_records_the_steps_that_run_and_begins_no_other(self, place: Place) -> None:
        tools = [held_back(place, "wait"), noting(place, "note", "noted")]
        async with engine_of(place, tools) as engine:
            await engine.start(chain("wait", "note"), run_id="run")
            await seen(place, 1)
            asyncio.get_running_loop().call_later(0.05, (place.folder / "release").touch)

        assert steps(log_of(place), "tool-output") == {("run", "t0", (), 1)}
        assert [line.tool for line in place.lines()] == ["wait"]
        async with engine_of(place, tools) as engine:
            result = await engine.run("run").result()
        assert (result["status"], result["output"]) == ("completed", "noted")
        assert [line.tool for line in place.lines()] == ["wait", "note"]
        check_journal(place)

    async def test_before_a_step_has_ended_runs_it_again_under_its_key(self, place: Place) -> None:
        async with engine_of(place, [held_back(place, "wait")], drain_s=0.05) as engine:
            await engine.start(one_step("wait"), run_id="run")
            await seen(place, 1)

        assert not steps(log_of(place), "tool-output", "tool-error")
        (place.folder / "release").touch()
        async with engine_of(place, [held_back(place, "wait")]) as engine:
            result = await engine.run("run").result()
        assert result["status"] == "completed"
        assert [line.key for line in place.lines()] == ["run/t/-"] * 2

    async def test_before_one_that_must_not_run_twice_has_ended_asks(self, place: Place) -> None:
        tools = [held_back(place, "charge", "non_idempotent")]
        async with engine_of(place, tools, drain_s=0.05) as engine:
            await engine.start(one_step("charge"), run_id="run")
            await seen(place, 1)

        (place.folder / "release").touch()
        async with engine_of(place, tools) as engine:
            run = engine.run("run")
            assert (await run.result())["status"] == "suspended"
            await run.resolve("t", "done", output={"by": "hand"})
            assert (await run.result())["output"] == {"by": "hand"}
        assert len(place.lines()) == 1
        check_journal(place)

    async def test_with_a_declared_failure_takes_that_instead_of_asking(self, place: Place) -> None:
        tools = [held_back(place, "charge", "non_idempotent")]
        plan = one_step("charge", onError={"value": {"why": "$error.code"}})
        async with engine_of(place, tools, drain_s=0) as engine:
            await engine.start(plan, run_id="run")
            await seen(place, 1)

        async with engine_of(place, tools) as engine:
            assert (await engine.run("run").result())["output"] == {"why": "UNCERTAIN_OUTCOME"}
        assert len(place.lines()) == 1

    async def test_again_and_again_each_time_is_asked_and_answered_anew(self, place: Place) -> None:
        tools = [held_back(place, "charge", "non_idempotent")]
        async with engine_of(place, tools, drain_s=0) as engine:
            await engine.start(one_step("charge"), run_id="run")
            await seen(place, 1)
        for calls in (2, 3):  # every engine of one process numbers its requests from one
            async with engine_of(place, tools, drain_s=0) as engine:
                run = engine.run("run")
                assert (await run.result())["status"] == "suspended"
                await run.resolve("t", "retry")
                await seen(place, calls)
        async with engine_of(place, tools) as engine:
            run = engine.run("run")
            assert (await run.result())["status"] == "suspended"
            await run.resolve("t", "fail", reason="the bank says no")
            result = await run.result()

        assert (result["status"], result["error"]["code"]) == ("failed", "UNCERTAIN_OUTCOME")
        assert result["error"]["message"] == "the bank says no"
        assert len(place.lines()) == 3
        check_journal(place)

    async def test_while_a_run_waits_keeps_its_moment(self, place: Place) -> None:
        plan: dict[str, Any] = {"version": "1.0", "nodes": [{"id": "w", "type": "wait", "duration": 300}]}
        async with engine_of(place, []) as engine:
            await engine.start(plan, run_id="run")
        async with engine_of(place, []) as engine:
            result = await engine.run("run").result()

        assert result["status"] == "completed"
        assert 300 <= result["metadata"]["duration"] < 5_000


def versioned(place: Place, properties: dict[str, Any], required: list[str]) -> Tool:
    """A tool ``note`` with this input schema."""

    def execute(inputs: Any, context: ToolContext) -> Any:
        place.note(context, "note")
        return {"got": inputs}

    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return create_tool({"id": "note", "description": "note", "inputSchema": schema, "execute": execute})


class TestARunWhoseTools:
    async def begin(self, place: Place, after: Tool) -> None:
        """A run that stands before its second step."""
        async with engine_of(place, [held_back(place, "wait"), after], drain_s=0) as engine:
            plan = chain("wait", "note")
            plan["nodes"][1]["inputs"] = {"x": 1}
            await engine.start(plan, run_id="run")
            await seen(place, 1)
        (place.folder / "release").touch()

    async def test_are_not_loaded_waits_and_goes_on_when_they_are_back(self, place: Place) -> None:
        note = versioned(place, {"x": {"type": "integer"}}, [])
        await self.begin(place, note)

        for _ in range(2):
            async with engine_of(place, [held_back(place, "wait"), noting(place, "other")]) as engine:
                result = await engine.run("run").result()
                assert (result["status"], result["error"]["code"]) == ("parked", "PARKED")
                assert "note" in result["error"]["message"]
                assert (await (await engine.start(one_step("other"))).result())["status"] == "completed"
            assert {row.run_id: row.status for row in await rows(place)}["run"] == "parked"

        async with engine_of(place, [held_back(place, "wait"), note, noting(place, "other")]) as engine:
            result = await engine.run("run").result()
        assert (result["status"], result["output"]) == ("completed", {"got": {"x": 1}})
        assert [event.type for event in log_of(place)["run"]].count("run-parked") == 1
        check_journal(place)

    async def test_changed_so_that_the_plan_no_longer_fits_waits(self, place: Place) -> None:
        await self.begin(place, versioned(place, {"x": {"type": "integer"}}, []))

        changed = versioned(place, {"y": {"type": "integer"}}, ["y"])
        async with engine_of(place, [held_back(place, "wait"), changed]) as engine:
            result = await engine.run("run").result()

        assert (result["status"], result["error"]["code"]) == ("parked", "PARKED")
        assert "note" in result["error"]["message"]

    async def test_changed_and_still_fit_goes_on(self, place: Place) -> None:
        await self.begin(place, versioned(place, {"x": {"type": "integer"}}, []))

        changed = versioned(place, {"x": {"type": "integer"}, "new": {"type": "string"}}, ["x"])
        async with engine_of(place, [held_back(place, "wait"), changed]) as engine:
            result = await engine.run("run").result()

        assert (result["status"], result["output"]) == ("completed", {"got": {"x": 1}})

    async def test_are_not_loaded_can_be_cancelled(self, place: Place) -> None:
        await self.begin(place, versioned(place, {"x": {"type": "integer"}}, []))

        async with engine_of(place, []) as engine:
            run = engine.run("run")
            assert (await run.result())["status"] == "parked"
            await run.cancel("no longer wanted")
            assert (await run.result())["status"] == "cancelled"
        check_journal(place)


async def rows(place: Place) -> list[Any]:
    async with engine_of(place, [], resume=False) as engine:
        return list(engine.runs())


class TestARunThatIsAtRestIsListedAsWhatItIs:
    async def test_when_it_is_parked_no_longer(self, place: Place) -> None:
        tools = [made("charge", lambda inputs, context: None, config={"sideEffect": "non_idempotent"})]
        plan: dict[str, Any] = {
            "version": "1.0",
            "nodes": [
                {"id": "w", "type": "wait", "duration": 3_600_000},
                {"id": "t", "type": "tool", "toolId": "charge"},
            ],
            "edges": [{"from": "w", "to": "t"}],
        }
        async with engine_of(place, tools) as engine:
            await engine.start(plan, run_id="run")
        async with engine_of(place, []):
            pass
        assert [row.status for row in await rows(place)] == ["parked"]
        async with engine_of(place, tools):
            pass
        assert [(row.status, row.error_code) for row in await rows(place)] == [("suspended", None)]
