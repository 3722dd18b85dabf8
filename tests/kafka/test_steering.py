"""What is asked of a run that is there, by any client or through the handle, and what time does to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dynamicflow import RunNotFound, ToolContext, UsageError
from dynamicflow.values import Json
from tests.engine.engine_kit import WAIT_S, Gate, call, double, echo, flaky, made, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, until

ONE = plan(call("a", "gate", {"x": 1}))


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix, partitions=2) as own:
        yield own


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.wait, WAIT_S)


class TestCancel:
    async def test_ends_the_run_and_reaches_the_tool(self, site: Site) -> None:
        gate = Gate()
        async with site.worker(tools=[gate.tool]):
            await site.request({"plan": ONE}, key="r")
            await entered(gate)
            await site.request({"type": "cancel", "by": "ada", "reason": "enough"}, key="r")
            result = await site.result("r")
            assert await asyncio.to_thread(gate.stopped.wait, WAIT_S)
            asked = await site.said("r", "cancel-requested")

        assert (result["status"], result["error"]["message"]) == ("cancelled", "enough")
        assert asked["control"]["by"] == "ada"
        assert asked["control"]["at"].keys() == {"topic", "partition", "offset"}

    async def test_twice_under_one_id_is_once(self, site: Site) -> None:
        gate = Gate()
        async with site.worker(tools=[gate.tool]):
            await site.request({"plan": ONE}, key="r")
            await entered(gate)
            for _ in range(2):
                await site.request({"type": "cancel", "id": "c-1"}, key="r")
            await site.result("r")
            log = await site.log("r")

        first, second = [event["id"] for event in log if event["type"] == "cancel-requested"]
        assert first == second

    async def test_of_a_run_that_has_ended_is_refused(self, site: Site) -> None:
        async with site.engine(tools=[double]) as engine:
            await site.request({"plan": plan(call("a", "double", {"n": 1}))}, key="r")
            await site.result("r")
            await site.request({"type": "cancel"}, key="r")
            refusal = await site.said("r", "control-refused")
            with pytest.raises(UsageError) as refused:
                await (await engine.find("r")).cancel()

        assert (refusal["code"], refused.value.code) == ("RUN_ENDED", "RUN_ENDED")

    async def test_of_a_run_that_nobody_started_is_refused_and_starts_none(self, site: Site) -> None:
        async with site.engine(tools=[double]) as engine:
            await site.request({"type": "cancel", "runId": "nobody", "id": "c-1"})
            refusal = await site.said("nobody", "control-refused")
            with pytest.raises(RunNotFound):
                await engine.run("nobody-else").cancel()
            started = await engine.start(plan(call("a", "double", {"n": 1})), run_id="nobody")
            result = await started.result()

        assert (refusal["code"], refusal["control"]["id"]) == ("RUN_NOT_FOUND", "c-1")
        assert result["status"] == "completed", "the id is free"


class TestPause:
    async def test_starts_nothing_new_until_resume(self, site: Site) -> None:
        gate, calls = Gate(), list[str]()
        note = made("note", lambda inputs, context: calls.append(context.node_id))
        one = plan(call("a", "gate"), call("b", "note"), edges=[{"from": "a", "to": "b"}])
        async with site.engine(tools=[gate.tool, note]) as engine:
            run = await engine.start(one, run_id="r")
            await entered(gate)
            await site.request({"type": "pause", "reason": "lunch"}, key="r")
            await site.said("r", "pause-requested")
            gate.open()
            await site.said("r", "tool-output")
            standing = await asyncio.wait_for(run.result(), WAIT_S)
            calls_when_paused = list(calls)
            await site.request({"type": "resume"}, key="r")
            result = await site.result("r")

        assert (standing["status"], calls_when_paused) == ("paused", [])
        assert (result["status"], calls) == ("completed", ["b"])

    async def test_through_the_handle(self, site: Site) -> None:
        gate = Gate()
        async with site.engine(tools=[gate.tool]) as engine:
            run = await engine.start(ONE, run_id="r")
            await entered(gate)
            await run.pause("lunch", by="ada")
            assert (await run.standing())["status"] == "paused"
            await run.resume()
            gate.open()
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert result["output"] == {"x": 1}


class TestAToolThatNoWorkerHas:
    async def test_parks_the_run_and_with_it_resume_goes_on(self, site: Site) -> None:
        gate = Gate()
        async with site.engine(tools=[gate.tool], drain_s=0) as engine:
            await engine.start(ONE, run_id="r")
            await entered(gate)
        async with site.engine() as engine:
            parked = await asyncio.wait_for(engine.run("r").result(), WAIT_S)
        gate.open()
        async with site.engine(tools=[gate.tool]) as engine:
            run = await engine.find("r")
            assert (await run.standing())["status"] == "parked"
            await run.resume()
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert (parked["status"], parked["error"]["code"]) == ("parked", "PARKED")
        assert "gate" in parked["error"]["message"]
        assert result["output"] == {"x": 1}


class TestResolve:
    """A step that must not run twice, and whose executor went away in the middle of it."""

    @pytest.mark.parametrize(
        ("request_fields", "status", "output", "calls"),
        [
            ({"resolution": "done", "output": {"paid": True}}, "completed", {"paid": True}, 1),
            ({"resolution": "fail", "reason": "the bank says no"}, "failed", None, 1),
            ({"resolution": "retry"}, "completed", {"x": 1}, 2),
        ],
        ids=["done", "fail", "retry"],
    )
    async def test_settles_it(
        self, site: Site, request_fields: dict[str, Json], status: str, output: Json, calls: int
    ) -> None:
        gate = Gate(config={"sideEffect": "non_idempotent"})
        async with site.worker(tools=[gate.tool], drain_s=0):
            await site.request({"plan": ONE}, key="r")
            await entered(gate)
        gate.open()
        async with site.engine(tools=[gate.tool]) as engine:
            asked = await site.said("r", "input-requested")
            standing = await (await engine.find("r")).standing()
            await site.request({"type": "resolve", "nodeId": "a", "by": "ada", **request_fields}, key="r")
            result = await site.result("r")

        assert (standing["status"], standing["metadata"]["uncertain"]) == ("suspended", ["a"])
        assert asked["nodeId"] == "a"
        assert (result["status"], result["output"], gate.calls) == (status, output, calls)

    async def test_of_a_step_whose_outcome_is_known_is_refused(self, site: Site) -> None:
        gate = Gate()
        async with site.engine(tools=[gate.tool]) as engine:
            run = await engine.start(ONE, run_id="r")
            await entered(gate)
            await site.request({"type": "resolve", "nodeId": "a", "resolution": "fail"}, key="r")
            refusal = await site.said("r", "control-refused")
            with pytest.raises(UsageError) as refused:
                await run.resolve("a", "fail")
            gate.open()
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert (refusal["code"], refused.value.code) == ("NOT_UNCERTAIN", "NOT_UNCERTAIN")
        assert result["status"] == "completed"

    async def test_through_the_handle(self, site: Site) -> None:
        gate = Gate(config={"sideEffect": "non_idempotent"})
        async with site.worker(tools=[gate.tool], drain_s=0):
            await site.request({"plan": ONE}, key="r")
            await entered(gate)
        async with site.engine(tools=[gate.tool]) as engine:
            run = await engine.find("r")
            standing = await asyncio.wait_for(run.result(), WAIT_S)
            await run.resolve("a", "done", output="paid", by="ada", control_id="once")
            await run.resolve("a", "done", output="paid", by="ada", control_id="once")
            result = await asyncio.wait_for(run.result(), WAIT_S)

        assert (standing["status"], result["output"]) == ("suspended", "paid")


class TestTime:
    async def test_a_wait_ends_by_itself_and_not_before(self, site: Site) -> None:
        one = plan({"id": "w", "type": "wait", "duration": 700}, call("a", "double", {"n": 1}, description="$w"))
        async with site.worker(tools=[double]):
            await site.request({"plan": one}, key="r")
            result = await site.result("r")
            fired = await site.said("r", "timer-fired")

        assert result["status"] == "completed"
        assert result["metadata"]["duration"] >= 700
        assert fired["kind"] == "wait"

    async def test_a_wait_that_ends_while_no_worker_is_there_ends_when_one_comes(self, site: Site) -> None:
        async with site.worker():
            await site.request({"plan": plan({"id": "w", "type": "wait", "duration": 500})}, key="r")
            await site.said("r", "flow-start")
        await asyncio.sleep(0.6)
        async with site.worker():
            result = await site.result("r")

        assert result["status"] == "completed"

    async def test_a_step_is_tried_again_after_its_pause(self, site: Site) -> None:
        retry = {"maxAttempts": 3, "initialDelay": 200, "backoff": "fixed"}
        async with site.worker(tools=[flaky(2)]):
            await site.request({"plan": plan(call("a", "flaky", retry=retry))}, key="r")
            result = await site.result("r")
            log = await site.log("r")

        assert result["output"] == 3
        assert [event["attempt"] for event in log if event["type"] in ("tool-error", "tool-output")] == [1, 2, 3]
        assert result["metadata"]["duration"] >= 400

    async def test_a_tool_that_takes_too_long_is_stopped_and_fails(self, site: Site) -> None:
        gate = Gate()
        async with site.worker(tools=[gate.tool]):
            await site.request({"plan": plan(call("a", "gate", timeout=300))}, key="r")
            result = await site.result("r")
            assert await asyncio.to_thread(gate.stopped.wait, WAIT_S)

        assert (result["status"], result["error"]["code"]) == ("failed", "TIMEOUT")

    async def test_a_step_that_runs_for_long_is_held_and_ends(self, site: Site) -> None:
        gate = Gate()
        async with site.worker(tools=[gate.tool], hold_after_s=0.3, lease_s=1.0):
            await site.request({"plan": ONE}, key="r")
            start = await site.said("r", "tool-start")
            await until(lambda: _renewed(site), "the hold is renewed")
            gate.open()
            result = await site.result("r")

        assert start["claim"] and start["lease"] > start["timestamp"]
        assert (result["output"], gate.calls) == ({"x": 1}, 1)

    async def test_a_reader_of_another_day_is_told_the_time(self, site: Site) -> None:
        """A client that has written nothing has heard of no time yet."""
        async with site.worker():
            await site.request({"plan": plan({"id": "w", "type": "wait", "duration": "2d"})}, key="r")
            await site.said("r", "flow-start")
            async with site.client() as engine:
                run = await engine.find("r")
                standing = await asyncio.wait_for(run.result(max_wait=60), WAIT_S)

        assert standing["status"] == "suspended"
        assert 0 <= standing["metadata"]["duration"] < 60_000


class TestEvents:
    async def test_of_a_map_come_with_their_items(self, site: Site) -> None:
        def tell(inputs: Any, context: ToolContext) -> Any:
            return list(context.item)

        one = plan({"id": "m", "type": "map", "over": "$input", "body": [call("a", "tell")]})
        async with site.engine(tools=[made("tell", tell), echo]) as engine:
            run = await engine.start(one, input=["x", "y", "z"])
            result = await run.result()
            keys = {record.key.decode() for record in await site.records(site.topics.node_ready())}

        assert result["output"] == [[0], [1], [2]]
        assert keys == {f"{run.id}/a/{index}" for index in range(3)}


async def _renewed(site: Site) -> bool:
    return len([event for event in await site.log("r") if event["type"] == "tool-start"]) >= 2
