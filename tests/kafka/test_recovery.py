"""Records that come late, stay behind or are gone: the run ends all the same, and nothing is done twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from dynamicflow import tool
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.codec import encode_event
from dynamicflow.streams.core.events import envelope
from dynamicflow.streams.kafka.log_check import LogView, Wanted
from dynamicflow.values import Json
from tests.engine.engine_kit import Gate, call, double, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, until

AT = "2030-01-01T00:00:00.000000Z"
WAITS = plan({"id": "w", "type": "wait", "duration": "700ms"}, call("b", "double", {"n": 2}))
LARGE = "x" * 300_000


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix, partitions=1) as own:
        yield own


class TestWorkOfAnEarlierAttempt:
    async def test_that_comes_late_leaves_the_attempt_under_way_alone(self, site: Site) -> None:
        calls: list[int] = []
        entered, opened = threading.Event(), threading.Event()

        @tool
        def flaky(x: int) -> int:
            """Fails once, then waits until it is told to end."""
            calls.append(x)
            if len(calls) == 1:
                raise OSError("not yet")
            entered.set()
            opened.wait(20)
            return x

        again = {"maxAttempts": 2, "initialDelay": 1, "retryableErrors": ["*"]}
        async with site.engine(tools=[flaky]) as engine:
            run = await engine.start(plan(call("a", "flaky", {"x": 1}, retry=again)))
            works = await until(lambda: two(site), "the second attempt")
            await until(lambda: is_set(entered), "it is called again")
            await site.send(works[0].topic, works[0].value, key=works[0].key, headers=works[0].headers, partition=0)
            await asyncio.sleep(0.5)
            opened.set()
            result = await asyncio.wait_for(run.result(), 20)

        assert (result["status"], len(calls)) == ("completed", 2)


async def is_set(event: threading.Event) -> bool:
    return event.is_set()


async def two(site: Site) -> list[Any]:
    found = await site.records(site.topics.node_ready())
    return found if len(found) == 2 else []


class TestASnapshotThatIsLeftBehind:
    """Its run has ended, and somebody who stood still wrote it after that: it must be gone before the mark is."""

    async def test_is_deleted_by_whoever_takes_the_partition_over(self, site: Site) -> None:
        snapshot = await self.left_behind(site)
        async with site.worker(tools=[double]):
            await until(lambda: deleted(site, snapshot.key), "the snapshot is deleted")

    async def test_is_found_by_the_owner_itself(self, site: Site) -> None:
        async with site.worker(tools=[double], snapshot_records=0, refresh_s=1.0):
            snapshot = await self.left_behind(site)
            await until(lambda: deleted(site, snapshot.key), "the snapshot is deleted")

    async def left_behind(self, site: Site) -> Any:
        async with site.engine(tools=[double], snapshot_records=0) as engine:
            run = await engine.start(WAITS, run_id="r")
            (snapshot,) = await until(lambda: snapshots(site), "a snapshot")
            await run.result()
            await until(lambda: deleted(site, snapshot.key), "it is deleted with its run")
        await site.send(site.topics.snapshots, snapshot.value, key=snapshot.key, headers=snapshot.headers, partition=0)
        return snapshot


async def snapshots(site: Site) -> list[Any]:
    return [one for one in await site.records(site.topics.snapshots) if one.value is not None][:1]


async def deleted(site: Site, key: bytes) -> bool:
    last = [one for one in await site.records(site.topics.snapshots) if one.key == key][-1]
    return last.value is None


class TestARunThatCannotBeFolded:
    async def test_is_cancelled_like_any_other_and_holds_nothing_back(self, site: Site) -> None:
        gate = Gate("gate")
        wire = {"id": "r/newer", "runId": "r", "timestamp": AT, "v": 1, "semantics": 1, "type": "tool-paused"}
        async with site.engine(tools=[gate.tool], drain_s=0.2) as engine:
            run = await engine.start(plan(call("g", "gate", {"x": 1})), run_id="r")
            await site.send(site.topics.events, wire, key="r", headers=[("ce_type", b"tool-paused")])
            await site.said("r", "run-parked")
            await run.cancel("it is of no use")
            published = await site.result("r")
            marks = await until(lambda: site.records(site.topics.done), "its mark")
            state = await run.state()
            gate.open()

        assert published["status"] == state.end == "cancelled"
        assert [one.key for one in marks] == [b"r"]


class TestAResultOfManySmallOutputs:
    async def test_that_together_fit_into_no_record_is_published(self, site: Site) -> None:
        nodes = [{"id": f"v{n}", "type": "value", "value": "$input.text"} for n in range(1100)]
        async with site.engine(tools=[double]) as engine:
            run = await engine.start(plan(*nodes), input={"text": "y" * 1000}, run_id="r")
            result = await asyncio.wait_for(run.result(), 30)
            published = await site.result("r")

        assert len(result["nodes"]) == 1100
        assert all(value == "y" * 1000 for value in result["nodes"].values())
        assert (published["status"], sorted(published["large"])) == ("completed", ["/nodes", "/output"])


class TestAPromptWhoseRequestIsGone:
    async def test_ends_with_what_is_missing(self, site: Site) -> None:
        """Its work record names a value that is in no topic any more."""
        place = {"sha256": "0" * 64, "bytes": 300_000}
        work = {"type": "plan-ready", "runId": "r", "request": None, "readyAt": AT, "logPartition": 0, "since": 0}
        async with site.worker(tools=[double]):
            made = {**work, "seen": 0, "again": False, "large": {"/request": place}}
            await site.send(site.topics.plan_ready, made, key="r", partition=0)
            failed = await site.said("r", "planning-failed")

        assert failed["code"] == "VALUE_MISSING"


class TestToolsThatComeLater:
    async def test_are_waited_for_by_requests_that_were_there_before(self, site: Site) -> None:
        await site.make_topics()
        await site.request({"plan": plan(call("a", "double", {"n": 1}))}, key="planned")
        await site.request({"prompt": "Double the number.", "input": {"n": 2}}, key="asked")
        async with site.worker(roles=("intake", "planner", "scheduler"), tools_wait_s=20.0):
            await asyncio.sleep(1)
            async with site.worker(roles=("executor",), tools=[double]):
                results = [await site.result("planned"), await site.result("asked")]

        assert [result["output"] for result in results] == [{"n": 2}, {"n": 4}]


class TestStepsWithLargeInputs:
    async def test_count_as_running_while_their_inputs_are_fetched(self, site: Site) -> None:
        running, most = 0, 0

        @tool
        async def measure(text: str) -> int:
            """Is there with others, at most as many as allowed."""
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.1)
            running -= 1
            return len(text)

        nodes = [call(f"m{n}", "measure", {"text": f"${{$input.text + '{n}'}}"}) for n in range(10)]
        async with site.engine(tools=[measure], concurrency=2) as engine:
            run = await engine.start(plan(*nodes), input={"text": LARGE}, options={"maxConcurrency": 10})
            result = await asyncio.wait_for(run.result(), 30)

        assert set(result["nodes"].values()) == {len(LARGE) + 1}
        assert most <= 2


class _Logged:
    """A record of the log, as a reader sees it."""

    def __init__(self, fact: e.Event, offset: int) -> None:
        self.value, self.key, self.offset = encode_event(fact).record, fact.run_id.encode(), offset
        self.headers = [("ce_type", fact.type.encode())]


class TestAnIdThatIsUsedAgain:
    def test_is_not_taken_for_ended_because_it_had_ended_before(self) -> None:
        """A stretch of the log that begins before the end of the old run, for the sake of another step."""
        result: dict[str, Json] = {"runId": "r", "status": "completed"}
        end = e.FlowComplete.model_validate(
            envelope("r/end", "r", AT) | {"status": "completed", "result": result, "total_execution_time": 1.0}
        )
        step = Wanted(("r", "a", ()), 1, 1, since=10)
        view = LogView([step])
        view.feed([_Logged(end, 5)])
        assert not view.settled(step)
        view.feed([_Logged(end, 20)])
        assert view.settled(step)


class TestClaimsOfAStep:
    """Two executors that were given it; the first claim in the log has it, as for the fold."""

    STEP: Final = Wanted(("r", "a", ()), 1, 1, since=0)

    def view(self, *told: tuple[str, str]) -> LogView:
        about = {"node_id": "a", "attempt": 1, "delivery": 1, "tool_id": "t", "inputs_digest": "", "lease": AT}
        view = LogView([self.STEP])
        for offset, (kind, claim) in enumerate(told):
            fields = envelope(f"r/a/-/1/{kind}/{claim}", "r", AT) | about | {"claim": claim}
            view.feed([_Logged(e.EVENT.validate_python({**fields, "type": kind}), offset)])
        return view

    def test_one_that_came_second_and_gave_up_leaves_it_to_the_first(self) -> None:
        view = self.view(("tool-start", "first"), ("tool-start", "second"), ("tool-lost", "second"))

        assert (view.settled(self.STEP), view.holder(self.STEP)) == (False, "first")

    def test_one_that_came_second_has_nothing_when_the_first_gives_up(self) -> None:
        """What follows is another delivery, for whoever takes that."""
        view = self.view(("tool-start", "first"), ("tool-start", "second"), ("tool-lost", "first"))

        assert view.settled(self.STEP)
