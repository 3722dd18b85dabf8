"""The roles of a worker: one that fails is started again, which is told meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from dynamicflow import tool
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, until

PLAN: Final[dict[str, Any]] = {
    "version": "1.0",
    "nodes": [{"id": "a", "type": "tool", "toolId": "double", "inputs": {"number": "$input.number"}}],
}


@tool(side_effect="none")
async def double(number: int) -> dict[str, int]:
    """Double a number."""
    return {"doubled": number * 2}


class TestARoleThatFails:
    async def test_is_started_again_and_told_meanwhile(self, broker: SharedBroker, prefix: str) -> None:
        site = Site(broker.bootstrap, prefix)
        async with site.worker(tools=[double]) as app, site.client(tools=[double]) as engine:
            await until(lambda: reason(app, "None"), "the worker is ready")
            for role in app.roles._services:
                role._running.cancel()
            await until(lambda: reason(app, "executor failed: RuntimeError('it ended by itself')"), "it says so")
            await until(lambda: reason(app, "None"), "the roles run again")

            run = await engine.start(PLAN, input={"number": 4})

            assert (await asyncio.wait_for(run.result(), 20))["output"] == {"doubled": 8}
            assert app.parts.pulse.stuck() is None

    async def test_keeps_no_other_from_leaving(self, broker: SharedBroker, prefix: str) -> None:
        async with Site(broker.bootstrap, prefix).worker(tools=[double]) as app:
            app.roles._services[0]._running.cancel()
            await until(lambda: reason(app, "it ended by itself"), "it says so")

        assert app.parts.watch.not_ready() == "the worker is leaving"

    async def test_is_waited_for_where_the_worker_leaves_while_it_is_started(
        self, broker: SharedBroker, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Site(broker.bootstrap, prefix).worker(tools=[double]) as app:
            service, make, made = app.roles._services[-1], app.parts.make, asyncio.Event()

            def noted(name: str) -> Any:
                made.set()
                return make(name)

            monkeypatch.setattr(app.parts, "make", noted)
            service._running.cancel()
            await asyncio.wait_for(made.wait(), 20)
            assert not service._half_way.done()

        assert service._half_way.exception() is None
        assert service._running.done()

    async def test_is_not_started_again_while_the_worker_leaves(
        self, broker: SharedBroker, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dynamicflow.streams.kafka.worker.RESTART_S", 30)
        async with Site(broker.bootstrap, prefix).worker(tools=[double]) as app:
            made: list[str] = []
            monkeypatch.setattr(app.parts, "make", made.append)
            app.roles._services[-1]._running.cancel()
            await until(lambda: reason(app, "it ended by itself"), "it waits a moment")

        assert made == []


async def reason(app: Any, wanted: str) -> bool:
    return wanted in str(app.parts.watch.not_ready())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamicflow.streams.kafka.worker.RESTART_S", 0.2)
