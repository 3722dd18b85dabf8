"""One log, one state: whoever folds it, the embedded engine, a scheduler, a reader or a rebuild (design §3)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dynamicflow import Engine
from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.state import RunState
from dynamicflow.streams.embedded.journal import Log, RunRow, Write
from dynamicflow.streams.embedded.memory import MemoryJournal
from dynamicflow.streams.embedded.sqlite import SqliteJournal
from dynamicflow.streams.kafka.broker_clock import BrokerClock
from dynamicflow.streams.kafka.reader import Reader
from dynamicflow.streams.kafka.records import HeaderMaker, Record, partition_of, trace_of
from dynamicflow.streams.kafka.values import ValueStore
from dynamicflow.streams.kafka.writer import Writer
from dynamicflow.streams.replay import rebuild
from dynamicflow.values import Json, digest
from tests.engine.engine_kit import CHAIN, WAIT_S, AnyEngine, call, double, echo, flaky, made, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Site, until

pay = made("pay", lambda inputs, context: {"paid": True}, config={"sideEffect": "non_idempotent"})
TOOLS = [double, echo, flaky(1), pay]

RETRY = {"maxAttempts": 3, "initialDelay": 10, "backoff": "fixed"}
ITEMS = call("i", "double", {"n": "$item"}, onError={"value": -1})
PLANS: dict[str, tuple[dict[str, Any], Json]] = {
    "chain": (CHAIN, {"n": 1}),
    "retry": (plan(call("a", "flaky", retry=RETRY)), None),
    "fails": (plan(call("a", "flaky"), call("b", "echo", {"x": "$a"})), None),
    "map": (plan({"id": "m", "type": "map", "over": "$input", "body": [ITEMS], "concurrency": 3}), [1, "x", 3, 4]),
    "branch": (
        plan(
            {
                "id": "c",
                "type": "conditional",
                "condition": "$input.n > 1",
                "ifTrue": [call("yes", "double", {"n": "$input.n"})],
                "ifFalse": [{"id": "no", "type": "value", "value": 0}],
            }
        ),
        {"n": 2},
    ),
    "loop": (
        plan({"id": "l", "type": "loop", "loop": "times", "times": 3, "body": [call("d", "double", {"n": "$index"})]}),
        None,
    ),
    "wait": (plan({"id": "w", "type": "wait", "duration": 20}, call("a", "double", {"n": 1}, description="$w")), None),
    "held": (plan(call("p", "pay"), call("e", "echo", {"x": "$p.paid"})), None),
    "large": (plan(call("a", "echo", {"x": "$input"}), call("b", "echo", {"y": "$a.x"})), "ä" * 200_000),
    "suspended": (plan(call("a", "double", {"n": 2}), {"id": "w", "type": "wait", "duration": "2d"}), None),
}
"""Name -> (plan, input)."""
ENDED = sorted(PLANS.keys() - {"suspended"})
TIMED = {"retry", "wait"}


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix, partitions=2) as own:
        yield own


def same(*states: RunState) -> str:
    """The digest that all these states have."""
    (found,) = {digest(state.to_json()) for state in states}
    return found


async def run_all(engine: AnyEngine) -> None:
    """Every plan has ended, or waits for what takes days."""
    for name, (one, given) in PLANS.items():
        run = await engine.start(one, input=given, run_id=name)
        result = await asyncio.wait_for(run.result(max_wait=60), WAIT_S)
        assert result["status"] == {"fails": "failed", "suspended": "suspended"}.get(name, "completed"), name


def journal_of(run_id: str, records: Sequence[bytes], values: Mapping[str, bytes]) -> list[Write]:
    at = "2030-01-01T00:00:00.000000Z"
    row = RunRow(run_id, "running", "", None, "", at, at, run_id)
    return [Write(run_id, records, values, row, create=True)]


class TestALogOfTheTopicsIsRebuiltAnywhere:
    async def test_to_the_state_that_the_scheduler_and_every_reader_have(self, site: Site, tmp_path: Path) -> None:
        memory = MemoryJournal().attach(on_durable=_ignore, on_failure=_ignore)
        file = SqliteJournal.open(tmp_path / "runs.db", on_durable=_ignore, on_failure=_ignore)
        live: dict[str, RunState] = {}
        read: dict[str, RunState] = {}
        async with site.worker(tools=TOOLS) as app, site.client(tools=TOOLS) as engine:
            await run_all(engine)
            for name in PLANS:
                run = await engine.find(name)
                read[name] = await run.state()
                records = [one.value for one in await run.records()]
                for journal in (memory, file):
                    journal.submit(journal_of(name, records, await run.load()))
            await until(lambda: _settled(app, {"suspended"}), "all others are put aside")
            live |= _live(app)
        file.flush(WAIT_S)

        for name in PLANS:
            made_again = [rebuild(journal, name, verify=True) for journal in (memory, file)]
            same(read[name], *(one.state for one in made_again), *([live[name]] if name in live else []))
            assert [one.problems for one in made_again] == [[], []], name
            assert [one.stopped for one in made_again] == [None, None]
        assert read["chain"].end == "completed" and read["suspended"].end is None
        file.close(WAIT_S)

    async def test_at_every_record_of_it(self, site: Site) -> None:
        async with site.engine(tools=TOOLS) as engine:
            one, given = PLANS["map"]
            run = await engine.start(one, input=given, run_id="r")
            await run.result()
            records = [record.value for record in await run.records()]
        memory = MemoryJournal().attach(on_durable=_ignore, on_failure=_ignore)
        memory.submit(journal_of("r", records, {}))

        facts = [rebuild(memory, "r", at=count).state.seq for count in range(1, len(records) + 1)]
        assert facts == sorted(facts) and facts[-1] == await _seq(run)

    async def test_with_what_was_asked_in_vain(self, site: Site) -> None:
        memory = MemoryJournal().attach(on_durable=_ignore, on_failure=_ignore)
        gone = plan({"id": "w", "type": "wait", "duration": "2d"})
        async with site.worker(tools=TOOLS) as app, site.client(tools=TOOLS) as engine:
            run = await engine.start(gone, run_id="r")
            await site.request({"plan": CHAIN, "input": {"n": 1}}, key="r")  # RUN_EXISTS
            await site.request({"type": "resolve", "nodeId": "w", "resolution": "fail"}, key="r")  # NOT_UNCERTAIN
            await site.request({"type": "pause"}, key="r")
            await site.request({"type": "resume"}, key="r")
            await site.request({"plan": gone}, key="r")  # the same again
            await until(lambda: _told(site, {"resume-requested": 1, "control-refused": 2, "flow-requested": 3}), "all")
            facts = 3 * 2 + 3  # two of each start, and what is asked of the run
            await until(lambda: _folded(app, "r", facts), "the scheduler has folded all of it")
            memory.submit(journal_of("r", [one.value for one in await run.records()], {}))
            same(_live(app)["r"], await run.state(), rebuild(memory, "r").state)
            await run.cancel()
            await site.request({"type": "cancel"}, key="r")  # RUN_ENDED
            await until(lambda: _told(site, {"control-refused": 3}), "the third refusal")
            records = [one.value for one in await run.records()]
        ended = MemoryJournal().attach(on_durable=_ignore, on_failure=_ignore)
        ended.submit(journal_of("r", records, {}))

        assert rebuild(memory, "r", verify=True).problems == []
        assert rebuild(ended, "r", verify=True).problems == []


class TestALogOfTheEmbeddedEngineIsFoldedByWorkers:
    @pytest.mark.parametrize("when", ["before they come", "while they are there"])
    async def test_to_the_same_state_and_result(self, site: Site, when: str) -> None:
        journal = MemoryJournal()
        async with Engine.in_memory(journal=journal, tools=TOOLS) as engine:
            await run_all(engine)
            results = {name: await engine.run(name).result(max_wait=60) for name in ENDED}
        await site.make_topics()
        if when == "before they come":
            await publish(site, journal)
        async with site.worker(roles=("scheduler",)) as app, site.client() as reader:
            if when == "while they are there":
                await publish(site, journal)
            for name in ENDED:
                await site.result(name)
            await until(lambda: _settled(app, {"suspended"}), "all others are put aside")
            for name in PLANS:
                run = await reader.find(name)
                state = await run.state()
                if when == "before they come" or name not in TIMED:
                    same(state, rebuild(journal, name).state)
                    assert name not in ENDED or await run.result() == results[name]
                else:  # the timer went off there once more, and first: it is another log
                    again = MemoryJournal().attach(on_durable=_ignore, on_failure=_ignore)
                    again.submit(journal_of(name, [one.value for one in await run.records()], {}))
                    same(state, rebuild(again, name).state)
            same(_live(app)["suspended"], rebuild(journal, "suspended").state)
            told = {name: json.loads(value) for name, value in await _complete(site)}

        for name in set(ENDED) - {"large"} - TIMED:
            assert told[name] == results[name]


async def publish(site: Site, log: Log) -> None:
    """Append a journal's runs to the log as a worker would."""
    writer = Writer(site.connection, BrokerClock())
    await writer.start()
    values = ValueStore(writer, Reader(site.connection), site.topics)
    headers = HeaderMaker(site.topics)
    try:
        for row in log.runs():
            key = row.run_id.encode()
            for _, body in log.read(row.run_id):
                event = decode_event(body)
                wanted = [str(place["sha256"]) for place in (event.large or {}).values()]
                beside = await values.store({sha.removeprefix("sha256:"): log.load([sha])[sha] for sha in wanted})
                made = [*headers.of(event, trace_of(row.run_id)), *beside]
                await writer.put([Record(site.topics.events, partition_of(key, 2), key, body, made)])
    finally:
        await values.close()
        await writer.stop()


def _live(app: Any) -> dict[str, RunState]:
    """The runs that the worker's scheduler has in memory."""
    owned = app.parts.roles["scheduler"].owned.values()
    return {run_id: tracked.state for one in owned for run_id, tracked in one.ledger.runs.items()}


async def _settled(app: Any, left: set[str]) -> bool:
    return set(_live(app)) == left


async def _folded(app: Any, run_id: str, facts: int) -> bool:
    state = _live(app)[run_id]
    return state.seq + state.late >= facts


async def _told(site: Site, counts: Mapping[str, int]) -> bool:
    types = [event["type"] for event in await site.log("r")]
    return all(types.count(kind) >= count for kind, count in counts.items())


async def _seq(run: Any) -> int:
    return int((await run.state()).seq)


async def _complete(site: Site) -> list[tuple[str, bytes]]:
    return [(one.key.decode(), one.value) for one in await site.records(site.topics.complete)]


def _ignore(_: object) -> None:
    """Nobody waits for it here."""
