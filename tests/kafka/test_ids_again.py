"""Runs that have ended and what is asked under their ids afterwards, as somebody who takes over reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.engine.engine_kit import Gate, call, double, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, until

QUICK = plan(call("a", "double", {"n": 1}))
SLOW = plan({"id": "w", "type": "wait", "duration": "4s"})
WAITS = plan({"id": "w", "type": "wait", "duration": "2h"})


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix) as own:
        yield own


async def said_twice(site: Site, kind: str) -> bool:
    return [one["type"] for one in await site.log("r")].count(kind) == 2


@pytest.mark.parametrize("snapshots", [False, True], ids=["from its log", "from its snapshot"])
async def test_an_id_that_is_used_again_after_its_window_is_another_run_for_whoever_takes_over(
    site: Site, snapshots: bool
) -> None:
    changes: dict[str, Any] = {"window_s": 1.0} | ({"snapshot_records": 0} if snapshots else {})
    async with site.worker(tools=[double], **changes):
        await site.request({"plan": QUICK}, key="r")
        await site.result("r")
        await until(lambda: site.records(site.topics.done), "its mark")
        await asyncio.sleep(2.0)  # its window is over; the mark lies there for some time yet
        await site.request({"plan": SLOW}, key="r")
        await until(lambda: said_twice(site, "flow-start"), "the second run")
        if snapshots:
            await until(lambda: site.records(site.topics.snapshots), "its snapshot")
    async with site.worker(tools=[double], **changes):
        await until(lambda: said_twice(site, "flow-complete"), "its end")


async def test_an_id_that_is_used_again_within_its_window_is_the_same_run_for_whoever_takes_over(site: Site) -> None:
    async with site.worker(tools=[double]):
        await site.request({"plan": WAITS}, key="holds")  # so that the log is read from here
        await site.said("holds", "flow-start")
        await site.request({"plan": QUICK}, key="r")
        await site.result("r")
        await until(lambda: site.records(site.topics.done), "its mark")
        await site.request({"plan": QUICK}, key="r")
        await until(lambda: said_twice(site, "flow-requested"), "the request again")
    async with site.worker(tools=[double]) as app:
        await site.request({"plan": QUICK}, key="after")
        await site.result("after")
        assert set(app.parts.roles["scheduler"].owned[0].ledger.runs) <= {"holds", "after"}

    assert not await said_twice(site, "flow-start")


async def test_a_cancel_that_ended_a_run_is_not_refused_by_whoever_takes_over(site: Site) -> None:
    gate = Gate("gate")
    async with site.worker(tools=[gate.tool], drain_s=0.5):
        await site.request({"plan": WAITS}, key="holds")
        await site.said("holds", "flow-start")
        await site.request({"plan": plan(call("a", "gate", {"x": 1}))}, key="r")
        await site.said("r", "flow-start")
        await site.request({"type": "cancel", "id": "c"}, key="r")
        await site.result("r")
        await until(lambda: site.records(site.topics.done), "its mark")
        gate.open()
    async with site.worker(tools=[gate.tool]):
        await site.request({"type": "cancel", "id": "d"}, key="r")  # this one comes after its end
        refused = await site.said("r", "control-refused")

    assert refused["code"] == "RUN_ENDED"
    assert [one["control"]["id"] for one in await site.log("r") if one["type"] == "control-refused"] == ["d"]
