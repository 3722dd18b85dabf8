"""Taking a partition over costs what lives in it, not what ever happened there (design §6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from benchmarks.kafka_synthetic import log_of, marks_of
from benchmarks.workloads import chain_plan
from dynamicflow.planner.ir import Plan
from dynamicflow.streams.core.fold import outstanding
from dynamicflow.streams.kafka.broker_clock import BrokerClock
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.reader import Reader
from dynamicflow.streams.kafka.takeover import Replay, TakeOver
from dynamicflow.streams.kafka.values import ValueStore
from dynamicflow.streams.kafka.writer import Writer
from dynamicflow.values import Json
from tests.engine.engine_kit import call, double, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, until

FINISHED, LIVE, EVENTS_OF_ONE = 100_000, 10, 8
"""Of a live run in these logs: its request, its plan, flow-start, and five outcomes."""


@asynccontextmanager
async def partition(site: Site, live: int, done: int) -> AsyncIterator[TakeOver]:
    """A take-over of a partition that holds the log of ``live`` runs and ``done`` marks."""
    await site.make_topics()
    connection = Connection(site.bootstrap)
    writer, reader = Writer(connection, BrokerClock()), Reader(connection)
    await writer.start()
    steps = Plan.model_validate(chain_plan(6))
    for record in (*log_of(live, steps, 5, site.topics, 0), *marks_of(done, site.topics, 0)):
        writer.append(record)
        if writer.unacknowledged > 20_000:
            await writer.below(1000)
    await writer.below(1)
    values = ValueStore(writer, reader, site.topics)
    try:
        yield TakeOver(0, reader, values, site.topics)
    finally:
        await reader.close()
        await writer.stop()


class TestATakeOver:
    @pytest.mark.slow
    async def test_reads_one_mark_for_each_finished_run_and_the_log_of_the_live_ones(
        self, broker: SharedBroker, prefix: str
    ) -> None:
        async with partition(Site(broker.bootstrap, prefix), LIVE, FINISHED) as taking:
            ledger = await taking.run(None)

        assert (taking.replay.marks, taking.replay.records) == (FINISHED, LIVE * EVENTS_OF_ONE)
        assert (len(ledger.done), len(ledger.runs)) == (FINISHED, LIVE)

    async def test_knows_what_is_outstanding_of_every_live_run(self, broker: SharedBroker, prefix: str) -> None:
        async with partition(Site(broker.bootstrap, prefix), LIVE, 0) as taking:
            ledger = await taking.run(None)

        asked: list[Any] = [command for run in ledger.runs.values() for command in outstanding(run.state)]
        assert [(command.node_id, command.inputs) for command in asked] == [("s5", {"n": 5})] * LIVE

    async def test_begins_where_the_mark_says(self, broker: SharedBroker, prefix: str) -> None:
        site = Site(broker.bootstrap, prefix)
        async with partition(site, LIVE, 0) as taking:
            first = await taking.run(None)
            again = TakeOver(0, taking._reader, taking._values, site.topics)
            ledger = await again.run(first.position - EVENTS_OF_ONE)

        assert list(ledger.runs) == [f"live-{LIVE - 1}"]
        assert again.replay.records == EVENTS_OF_ONE


def waiting() -> dict[str, Json]:
    """A plan that waits for a day between two steps."""
    nodes = (
        call("a", "double", {"n": 1}),
        {"id": "w", "type": "wait", "duration": "1d"},
        call("b", "double", {"n": 2}),
    )
    return plan(*nodes, edges=[{"from": "a", "to": "w"}, {"from": "w", "to": "b"}])


class TestRunsThatWaitLong:
    async def test_hold_the_mark_back_no_further_than_their_snapshot(self, broker: SharedBroker, prefix: str) -> None:
        """Three runs wait from the beginning; a hundred others pass by. Then another worker takes over."""
        site, snapshots = Site(broker.bootstrap, prefix), 40
        async with site.worker(tools=[double], snapshot_records=snapshots) as app, site.client() as engine:
            for number in range(3):
                await engine.start(waiting(), run_id=f"long-{number}")
            for _ in range(4):
                runs = [await engine.start(plan(call("a", "double", {"n": 1}))) for _ in range(25)]
                await asyncio.gather(*(run.result() for run in runs))
            (owned,) = app.parts.roles["scheduler"].owned.values()

            async def snapshotted() -> bool:
                ledger = owned.ledger
                return len(ledger.done) == 100 and owned.committed >= ledger.position - snapshots

            await until(snapshotted, "the mark follows the log")
            before = {name: run.state.to_json() for name, run in owned.ledger.runs.items()}

        async with site.worker(tools=[double], snapshot_records=snapshots) as app:
            scheduler = app.parts.roles["scheduler"]

            async def taken() -> list[Replay]:
                replays: list[Replay] = scheduler.replays
                return replays

            (replay,) = await until(taken, "the partition is taken over")
            (owned,) = scheduler.owned.values()
            after = {name: run.state.to_json() for name, run in owned.ledger.runs.items()}
            timers = {name: run.state.timers for name, run in owned.ledger.runs.items()}

        assert after == before
        assert sorted(after) == ["long-0", "long-1", "long-2"]
        assert all(len(of_one) == 1 for of_one in timers.values())
        assert (replay.marks, replay.snapshots) == (100, 3)
        assert replay.records <= 2 * snapshots, "the log has ten times as many"


def long_text() -> dict[str, Json]:
    """A plan that waits, and then looks at an input that does not fit into a record."""
    nodes = ({"id": "w", "type": "wait", "duration": "6s"}, call("b", "double", {"n": "${length($input.text)}"}))
    return plan(*nodes, edges=[{"from": "w", "to": "b"}])


class TestWhatLiesBesideASnapshot:
    async def test_is_written_anew_before_its_retention_ends(self, broker: SharedBroker, prefix: str) -> None:
        """The run waits; what its events and its first snapshot name has expired; another worker takes over."""
        site = Site(broker.bootstrap, prefix)
        await site.make_topics()
        async with site.client() as engine:
            async with site.worker(tools=[double], snapshot_age_s=0.3, refresh_s=1.0) as app:
                run = await engine.start(long_text(), input={"text": "x" * 400_000})
                (owned,) = app.parts.roles["scheduler"].owned.values()

                async def snapshotted(after: float) -> float:
                    runs = owned.ledger.runs.values()
                    return max((one.beside_ms for one in runs if one.beside_ms > after), default=0.0)

                first = await until(lambda: snapshotted(0.0), "a snapshot")
                gone = await site.ends(site.topics.values)
                await until(lambda: snapshotted(first), "it is written anew")
            await site.delete_before(site.topics.values, gone)

            async with site.worker(tools=[double]):
                result = await asyncio.wait_for(run.result(), 30)

        assert result["output"] == {"n": 800_000}

    async def test_counts_as_stored_for_a_while_only(self, broker: SharedBroker, prefix: str) -> None:
        site = Site(broker.bootstrap, prefix)
        await site.make_topics()
        writer, reader = Writer(site.connection, BrokerClock()), Reader(site.connection)
        await writer.start()
        values = ValueStore(writer, reader, site.topics, stored_s=0.5)
        appended = []
        for pause in (0.0, 0.0, 0.6):
            await asyncio.sleep(pause)
            await values.store({"a" * 64: b"[1]"})
            appended.append(sum((await site.ends(site.topics.values)).values()))
        await reader.close()
        await writer.stop()

        assert appended == [1, 1, 2]
