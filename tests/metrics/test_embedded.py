"""What an embedded engine counts, when it is opened with metrics."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dynamicflow import Engine, VirtualClock
from dynamicflow.streams.metrics import Metrics
from tests.engine.engine_kit import CHAIN, WAIT_S, Gate, call, double, echo, flaky, made, on_file, plan, recorded

QUICK_RETRY = {"maxAttempts": 3, "initialDelay": 1, "maxDelay": 1}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DYNAMICFLOW_MODEL"):
        monkeypatch.delenv(name, raising=False)


class Counted:
    """Metrics on a registry of their own, read by name."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)

    def __call__(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"dynamicflow_{name}", labels) or 0.0

    def steps(self, tool: str, outcome: str) -> float:
        return self("node_duration_seconds_count", type="tool", tool=tool, outcome=outcome)

    def open(self, *tools: Any, **settings: Any) -> Engine:
        return Engine.in_memory(tools=tools, metrics=self.metrics, **settings)


@pytest.fixture
def counted() -> Counted:
    return Counted()


async def ended(engine: Engine, flow: Any, **request: Any) -> dict[str, Any]:
    """The result of a run whose end is in the log."""
    run = await engine.start(flow, **request)
    result = await asyncio.wait_for(run.result(), WAIT_S)
    await recorded(run)
    return result


class TestARun:
    async def test_is_accepted_started_and_ended_once(self, counted: Counted) -> None:
        async with counted.open(double) as engine:
            for _ in range(2):
                await ended(engine, CHAIN, input={"n": 1}, run_id="same")

        assert (counted("runs_accepted_total"), counted("runs_started_total")) == (1, 1)
        assert counted("runs_total", status="completed") == 1

    async def test_that_fails_is_told_as_failed(self, counted: Counted) -> None:
        async with counted.open(flaky(9)) as engine:
            await ended(engine, plan(call("a", "flaky", retry={"maxAttempts": 1})))

        assert counted("runs_total", status="failed") == 1

    async def test_of_a_bad_plan_is_rejected_and_never_accepted(self, counted: Counted) -> None:
        async with counted.open() as engine:
            await (await engine.start(CHAIN, input={"n": 1})).result()

        assert (counted("runs_total", status="rejected"), counted("runs_accepted_total")) == (1, 0)

    async def test_is_live_until_it_ends(self, counted: Counted) -> None:
        gate = Gate()
        async with counted.open(gate.tool) as engine:
            run = await engine.start(plan(call("a", "gate")))
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            during = counted("active_runs"), counted("steps_in_flight")
            gate.open()
            await recorded(run)
            after = counted("active_runs"), counted("steps_in_flight")

        assert (during, after) == ((1, 1), (0, 0))

    async def test_is_not_live_here_after_the_engine_is_left(self, counted: Counted) -> None:
        async with counted.open() as engine:
            await engine.start(plan({"id": "w", "type": "wait", "duration": "1d"}))
            during = counted("active_runs")

        assert (during, counted("active_runs")) == (1, 0)


class TestAStep:
    async def test_is_counted_by_tool_and_outcome(self, counted: Counted) -> None:
        async with counted.open(double) as engine:
            await ended(engine, CHAIN, input={"n": 1})

        assert counted.steps("double", "completed") == 2
        assert counted("node_queue_seconds_count", tool="double") == 2

    async def test_takes_the_time_it_spends_in_the_tool(self, counted: Counted) -> None:
        async def nap(inputs: Any, context: Any) -> None:
            await asyncio.sleep(0.1)

        async with counted.open(made("nap", nap)) as engine:
            await ended(engine, plan(call("a", "nap")))

        took = counted("node_duration_seconds_sum", type="tool", tool="nap", outcome="completed")
        assert 0.09 < took < WAIT_S
        assert counted("node_queue_seconds_sum", tool="nap") < took

    async def test_queues_while_another_has_its_place(self, counted: Counted) -> None:
        async def nap(inputs: Any, context: Any) -> None:
            await asyncio.sleep(0.1)

        async with counted.open(made("nap", nap, config={"concurrencyLimit": 1})) as engine:
            await ended(engine, plan(call("a", "nap"), call("b", "nap")))

        assert counted("node_queue_seconds_count", tool="nap") == 2
        assert 0.09 < counted("node_queue_seconds_sum", tool="nap") < WAIT_S

    async def test_is_one_for_each_attempt(self, counted: Counted) -> None:
        async with counted.open(flaky(2)) as engine:
            await ended(engine, plan(call("a", "flaky", retry=QUICK_RETRY)))

        assert (counted.steps("flaky", "failed"), counted.steps("flaky", "completed")) == (2, 1)
        assert counted("tool_retries_total", tool="flaky") == 2
        assert counted("timers_fired_total", kind="retry") == 2

    async def test_that_takes_too_long_is_timed_out(self, counted: Counted) -> None:
        gate = Gate()
        async with counted.open(gate.tool) as engine:
            await ended(engine, plan(call("a", "gate", timeout=50, retry={"maxAttempts": 1})))

        assert counted.steps("gate", "timed_out") == 1

    async def test_whose_inputs_do_not_fit_is_refused(self, counted: Counted) -> None:
        flow = plan(call("a", "echo", {"n": "no number"}), call("b", "double", {"n": "$a.n"}))
        async with counted.open(double, echo) as engine:
            await ended(engine, flow)

        assert (counted.steps("double", "refused"), counted("node_queue_seconds_count", tool="double")) == (1, 0)

    async def test_of_a_run_that_is_cancelled_is_cancelled(self, counted: Counted) -> None:
        gate = Gate()
        async with counted.open(gate.tool) as engine:
            run = await engine.start(plan(call("a", "gate")))
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            await run.cancel()
            await recorded(run)

        assert (counted.steps("gate", "cancelled"), counted("runs_total", status="cancelled")) == (1, 1)

    async def test_in_virtual_time_takes_real_time(self, counted: Counted) -> None:
        flow = plan({"id": "w", "type": "wait", "duration": "30d"}, call("a", "double", {"n": 1}, description="$w"))
        async with counted.open(double, clock=VirtualClock()) as engine:
            await ended(engine, flow)

        assert counted("timers_fired_total", kind="wait") == 1
        assert counted("node_queue_seconds_sum", tool="double") < WAIT_S


class TestGoingOn:
    async def test_tells_what_was_replayed_and_what_was_lost(self, counted: Counted, tmp_path: Path) -> None:
        open_ = on_file(tmp_path)
        gate = Gate(config={"sideEffect": "non_idempotent"})
        async with open_(tools=[gate.tool], metrics=counted.metrics, drain_s=0.0) as engine:
            await engine.start(plan(call("a", "gate")), run_id="r")
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
        held = counted("steps_held_total")

        async with open_(tools=[gate.tool], metrics=counted.metrics) as engine:
            run = engine.run("r")
            async for event in run.events():
                if event.type == "tool-lost":
                    break
            live = counted("active_runs")

        assert (held, counted("steps_lost_total"), live) == (1, 1, 1)
        assert (counted("replay_seconds_count"), counted("replay_records_count")) == (1, 1)
        assert counted("replay_records_sum") >= 3


class TestPlanning:
    async def test_that_brings_a_plan(self, counted: Counted) -> None:
        async with counted.open(double) as engine:
            await ended(engine, "Double a number.", input={"n": 2})

        assert counted("plans_total", result="published") == 1
        assert counted("plan_duration_seconds_count") == 1
        assert counted("plan_attempts_count") == 1

    async def test_that_brings_none(self, counted: Counted) -> None:
        async with counted.open(double) as engine:
            await ended(engine, "Fly to the moon and back.", input={})

        assert (counted("plans_total", result="failed"), counted("plan_duration_seconds_count")) == (1, 1)


class TestWithoutMetrics:
    def test_prometheus_client_is_not_even_loaded(self) -> None:
        code = "import sys; from dynamicflow import Engine; print('prometheus_client' in sys.modules)"

        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert loaded.stdout == "False\n"
