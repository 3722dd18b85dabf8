"""Work records that an executor or planner meets together, again, or too late: each step is done, and done once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dynamicflow import tool
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.codec import encode_event
from dynamicflow.streams.core.events import Event, envelope
from dynamicflow.streams.kafka import planner_worker
from dynamicflow.streams.kafka.cancels import Cancels
from dynamicflow.streams.planning import plan_run
from dynamicflow.tools.spec import ToolSpec
from dynamicflow.values import encode, stamp
from tests.engine.engine_kit import call, double, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, header, until


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix) as own:
        yield own


async def offered(site: Site, spec: ToolSpec) -> None:
    """A worker that has the tool was there, and is gone."""
    await site.make_topics()
    await site.send(site.topics.catalog, encode(spec.to_json()), key=f"tool/{spec.id}", partition=0)


async def appended(site: Site, fact: Event) -> None:
    """An executor wrote this and died before it committed."""
    headers = [("ce_type", fact.type.encode())]
    await site.send(site.topics.events, encode_event(fact).record, key=fact.run_id, headers=headers)


async def lies_there(site: Site, count: int) -> None:
    async def works() -> bool:
        return len(await site.records(site.topics.node_ready())) == count

    await until(works, f"{count} work records")


def about(kind: str) -> dict[str, Any]:
    at = stamp(time.time() * 1000)
    return envelope(f"r/a/-/1/{kind}", "r", at) | {
        **{"node_id": "a", "attempt": 1, "delivery": 1, "tool_id": "double", "inputs_digest": ""}
    }


async def test_two_deliveries_met_together(site: Site) -> None:
    """The first was held by an executor that died; nobody was there for the length of its lease."""
    await offered(site, double.spec)
    async with site.worker(roles=("intake", "scheduler"), lease_s=1.5):
        await site.request({"plan": plan(call("a", "double", {"n": 1}))}, key="r")
        await lies_there(site, 1)
        lease = stamp(time.time() * 1000 + 300)
        await appended(site, e.ToolStart.model_validate(about("tool-start") | {"claim": "dead", "lease": lease}))
        await lies_there(site, 2)
        async with site.worker(roles=("executor",), tools=[double]):
            result = await site.result("r")

    assert result["status"] == "completed"


async def test_two_attempts_met_together(site: Site) -> None:
    """The first failed in an executor that died before it committed; the second was asked for meanwhile."""
    retry = {"maxAttempts": 2, "initialDelay": 1, "retryableErrors": ["*"]}
    await offered(site, double.spec)
    async with site.worker(roles=("intake", "scheduler")):
        await site.request({"plan": plan(call("a", "double", {"n": 1}, retry=retry))}, key="r")
        await lies_there(site, 1)
        error = {"code": "X", "message": "", "retryable": True}
        times = {"started_at": stamp(time.time() * 1000), "execution_time": 0.0}
        await appended(site, e.ToolError.model_validate(about("tool-error") | times | {"error": error}))
        await lies_there(site, 2)
        async with site.worker(roles=("executor",), tools=[double]) as app:
            result = await site.result("r")
            executor = app.parts.roles["executor"]
            assert not executor.calls.running

    assert result["status"] == "completed"


async def test_an_outcome_that_comes_after_the_log_was_away_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who called the step lives; while the log had no leader the group gave its work to another executor."""
    called: list[int] = []

    @tool(side_effect="idempotent")
    async def work(n: int) -> dict[str, int]:
        """Says that it was called."""
        called.append(n)
        return {"n": 0}

    async def claimed() -> bool:
        return any(header(one, "ce_type") == "tool-start" for one in await site.records(site.topics.events))

    monkeypatch.setattr("dynamicflow.streams.kafka.gate.SLOW_S", 0.0)  # every log counts as one that was away
    monkeypatch.setattr("dynamicflow.streams.kafka.gate.GRACE_S", 3.0)
    await offered(site, work.spec)
    async with site.worker(roles=("intake", "scheduler")):
        await site.request({"plan": plan(call("a", "work", {"n": 1}))}, key="r")
        await lies_there(site, 1)
        async with site.worker(roles=("executor",), tools=[work]) as app:
            await until(claimed, "another executor has claimed it")
            output = {"output": {"n": 7}, "started_at": stamp(time.time() * 1000), "execution_time": 0.0}
            await appended(site, e.ToolOutput.model_validate(about("tool-output") | output))
            result = await site.result("r")
            await until(lambda: nothing_pending(app.parts.roles["executor"]), "its record needs nothing more")

    assert result["output"] == {"n": 7}
    assert called == []


async def test_a_step_that_was_cancelled_before_anybody_took_it_is_not_called(site: Site) -> None:
    called: list[int] = []

    @tool(side_effect="non_idempotent")
    async def charge(n: int) -> int:
        """Must not run for nothing."""
        called.append(n)
        return n

    await offered(site, charge.spec)
    pays = {"id": "t", "type": "parallel", "timeout": 800, "onError": "continue"}
    pays["branches"] = {"pays": [call("a", "charge", {"n": 1})]}
    made = plan(pays, {"id": "z", "type": "wait", "duration": "1h"}, edges=[{"from": "t", "to": "z"}])
    async with site.worker(roles=("intake", "scheduler")):
        await site.request({"plan": made}, key="r")
        await site.said("r", "timer-fired")

        async def cancelled() -> bool:
            return any(b"cancel-step" in one.value for one in await site.records(site.topics.control))

        await until(cancelled, "its cancel")
        async with site.worker(roles=("executor",), tools=[charge]) as app:
            executor = app.parts.roles["executor"]
            await until(lambda: nothing_pending(executor), "the record needs nothing more")

    assert called == []


async def nothing_pending(executor: Any) -> bool:
    committed = [feed._committed for feed in executor._feeds]
    return any(committed) and not any(feed.pending for feed in executor._feeds)


async def test_an_executor_that_is_started_again_ends_no_step(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, fail = threading.Event(), asyncio.Event()
    calls: list[int] = []
    real = Cancels.run

    @tool
    async def slow(n: int) -> int:
        """Takes its time, once."""
        calls.append(n)
        entered.set()
        await asyncio.sleep(3 if len(calls) == 1 else 0)
        return n

    async def run(self: Cancels) -> None:
        if fail.is_set():
            await real(self)
        await fail.wait()
        raise OSError("whatever makes the role fail")

    async def is_called() -> bool:
        return entered.is_set()

    monkeypatch.setattr(Cancels, "run", run)
    async with site.worker(tools=[slow], lease_s=4.0):
        await site.request({"plan": plan(call("a", "slow", {"n": 1}))}, key="r")
        await until(is_called, "the first call")
        fail.set()
        result = await site.result("r")

    assert (result["status"], result["error"]) == ("completed", None)
    assert calls == [1, 1]


async def test_a_prompt_that_is_being_planned_when_the_group_is_formed_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record comes again to the worker that plans it; when that one dies, another has to plan it."""
    planning: list[str] = []

    async def slow(command: Any, *more: Any) -> Any:
        planning.append(command.run_id)
        if len(planning) == 1:
            await asyncio.sleep(3600)  # a model that takes its time
        return await plan_run(command, *more)

    async def begun() -> bool:
        return bool(planning)

    monkeypatch.setattr(planner_worker, "plan_run", slow)
    async with (
        site.worker(roles=("intake", "scheduler", "executor"), tools=[double]),
        site.worker(roles=("planner",), drain_s=0.5) as first,
    ):
        await site.request({"prompt": "Double the number.", "input": {"n": 2}}, key="asked")
        await until(begun, "it is being planned")
        async with site.worker(roles=("planner",)) as second:
            both = [first.parts.roles["planner"], second.parts.roles["planner"]]

            async def settled() -> bool:
                return sum(len(places) for one in both for _, places in one.reading()) == 1

            await until(settled, "one of the two has the partition")
            await asyncio.sleep(1.5)  # commits come every now and then
            await first.stop()
            result = await site.result("asked")

    assert result["status"] == "completed"
