"""Users' joins and exceptions in a worker: whatever they do, steps have outcomes and the others go on."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dynamicflow import Join, tool
from tests.engine.engine_kit import call, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site


@tool
async def one(n: int) -> int:
    """One."""
    return n


@tool
async def two(m: int) -> int:
    """Two."""
    return m


class Limited(Exception):
    @property
    def retry_after(self) -> float:
        headers: dict[str, str] = {}
        return float(headers["Retry-After"])


@tool
async def limited(n: int) -> int:
    """Raises what cannot be asked anything."""
    raise Limited("429")


JOINED = plan(call("a", "one", {"n": 1}), call("b", "two", {}), edges=[{"from": "a", "to": "b"}])


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix) as own:
        yield own


async def test_a_join_runs_off_the_loop_that_talks_to_kafka(site: Site) -> None:
    seen: list[threading.Thread] = []

    def decode(value: Any) -> Any:
        seen.append(threading.current_thread())
        return {"m": value}

    async with site.engine(tools=[one, two], joins=[Join("one", "two", decode)]) as engine:
        result = await (await engine.start(JOINED, run_id="r")).result()

    assert (result["status"], result["output"]) == ("completed", 1)
    assert seen and threading.main_thread() not in seen


async def test_a_join_that_does_not_end_ends_its_step_in_time(site: Site) -> None:
    never = threading.Event()
    stuck = plan(call("a", "one", {"n": 1}), call("b", "two", {}, timeout=300), edges=[{"from": "a", "to": "b"}])

    def decode(value: Any) -> Any:
        never.wait()

    async with site.engine(tools=[one, two], joins=[Join("one", "two", decode)]) as engine:
        result = await (await engine.start(stuck, run_id="r")).result()
        other = await (await engine.start(plan(call("a", "one", {"n": 1})), run_id="other")).result()
        never.set()

    assert (result["status"], result["error"]["code"]) == ("failed", "JOIN_FAILED")
    assert other["status"] == "completed"


async def test_a_join_that_another_worker_has_is_known_to_whoever_checks_the_plan(site: Site) -> None:
    join = Join("one", "two", lambda value: {"m": value})
    async with (
        site.worker(roles=("executor",), tools=[one, two], joins=[join]),
        site.worker(roles=("intake", "planner", "scheduler")),
    ):
        await site.request({"plan": JOINED}, key="r")
        result = await site.result("r")

    assert (result["status"], result["error"]) == ("completed", None)


async def test_an_exception_whose_attributes_fail_is_a_failure_like_any_other(site: Site) -> None:
    async with site.engine(tools=[limited, one]) as engine:
        run = await engine.start(plan(call("a", "limited", {"n": 1})), run_id="r")
        result = await run.result()

    assert (result["status"], result["error"]["message"]) == ("failed", "429")
