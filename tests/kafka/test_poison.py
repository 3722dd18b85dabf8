"""What nobody can understand is put aside with its reason and its place, and what comes after it is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError

from dynamicflow import Tool
from dynamicflow.streams.core.events import SEMANTICS, VERSION, known_types
from dynamicflow.streams.kafka.records import ANNOUNCEMENTS, partition_of
from dynamicflow.values import Json
from tests.engine.engine_kit import CHAIN, WAIT_S, Gate, call, double, made, plan, types_of
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import Appended, Site, header, until

START: dict[str, Any] = {"plan": CHAIN, "input": {"n": 1}}
DEEP = b'{"plan": ' + b"[" * 300 + b"]" * 300 + b"}"

NO_REQUESTS: list[tuple[str, bytes | None, bytes | None, str]] = [
    ("not JSON", b"r", b"not json", "INVALID_JSON"),
    ("cut off", b"r", b'{"prompt": "Send', "INVALID_JSON"),
    ("not UTF-8", b"r", b'{"prompt": "\xff\xfe"}', "INVALID_JSON"),
    ("a key twice", b"r", b'{"prompt": "a", "prompt": "b"}', "INVALID_JSON"),
    ("NaN", b"r", b'{"prompt": "a", "input": NaN}', "INVALID_JSON"),
    ("infinite", b"r", b'{"prompt": "a", "input": 1e999}', "INVALID_JSON"),
    ("half a character", b"r", b'{"prompt": "\\ud800"}', "INVALID_JSON"),
    ("too deep", b"r", DEEP, "INVALID_JSON"),
    ("nothing", b"r", b"", "REQUEST_EMPTY"),
    ("null", b"r", None, "REQUEST_EMPTY"),
    ("null without a key", None, None, "REQUEST_EMPTY"),
    ("a list", b"r", b"[]", "REQUEST_INVALID"),
    ("a text", b"r", b'"prompt"', "REQUEST_INVALID"),
    ("the word null", b"r", b"null", "REQUEST_INVALID"),
    ("an empty object", b"r", b"{}", "REQUEST_INVALID"),
    ("wrong types", b"r", b'{"prompt": 5, "tools": "all", "labels": {"a": 1}}', "REQUEST_INVALID"),
    ("an unknown field", b"r", b'{"promt": "x"}', "REQUEST_INVALID"),
    ("an unknown type", b"r", b'{"type": "stop"}', "UNKNOWN_REQUEST_TYPE"),
    ("a type that is no text", b"r", b'{"type": {"a": 1}}', "UNKNOWN_REQUEST_TYPE"),
    ("a control without a run", None, b'{"type": "cancel"}', "REQUEST_INVALID"),
    ("a key that is no id", "ä b".encode(), b'{"prompt": "x"}', "INVALID_RUN_ID"),
    ("a key of bytes", b"\xff\x00", b'{"prompt": "x"}', "INVALID_RUN_ID"),
    ("an id that is none", None, b'{"runId": "a/b", "prompt": "x"}', "INVALID_RUN_ID"),
    ("two ids", b"r", b'{"runId": "s", "prompt": "x"}', "RUN_ID_MISMATCH"),
    ("what later releases do", b"r", b'{"type": "signal", "name": "paid"}', "NOT_SUPPORTED_YET"),
    ("a template", b"r", b'{"template": "t"}', "NOT_SUPPORTED_YET"),
]
"""What it is, key, value, code of its dead letter."""


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix, partitions=1) as own:
        yield own


async def served(site: Site, run_id: str) -> None:
    """Whoever comes now gets their result: of a plan, of a prompt, and of a run that is cancelled while it works."""
    await site.request(START, key=run_id)
    await site.request({"prompt": "Double the number.", "input": {"n": 1}}, key=f"{run_id}-asked")
    assert (await site.result(run_id))["output"] == {"n": 4}
    assert (await site.result(f"{run_id}-asked"))["output"] == {"n": 2}


class TestWhatIsNoRequest:
    async def test_is_a_dead_letter_with_reason_and_place_and_the_next_is_served(self, site: Site) -> None:
        await site.make_topics()
        sent = {}
        for name, key, value, code in NO_REQUESTS:
            _, offset = await site.request(value, key=key)
            sent[offset] = (name, key, value, code)
        async with site.worker(tools=[double]):
            await served(site, "next")
            letters = {letter["offset"]: letter for letter in await site.letters(len(NO_REQUESTS))}
            records = await site.records(site.topics.dead_letter)
            events = await site.records(site.topics.events)

        found = {offset: (sent[offset][0], letter["code"]) for offset, letter in letters.items()}
        assert found == {offset: (name, code) for offset, (name, _, _, code) in sent.items()}
        for offset, letter in letters.items():
            _, _, value, _ = sent[offset]
            assert (letter["topic"], letter["partition"]) == (site.topics.requests, 0)
            assert letter["bytes"] == len(value or b"") and letter["isNull"] == (value is None)
            assert letter["message"] and letter["timestamp"] > 0
        assert {header(record, "reason") for record in records} == {code for _, _, _, code in NO_REQUESTS}
        assert {record.key for record in events} == {b"next", b"next-asked"}, "they start and end nothing"

    async def test_of_two_megabytes_is_refused_by_the_broker(self, site: Site) -> None:
        await site.make_topics()
        with pytest.raises(MessageSizeTooLargeError):
            await site.request({**START, "input": {"n": 1, "more": "x" * 2_000_000}}, key="r")

    async def test_of_two_megabytes_that_a_broker_takes_is_a_dead_letter(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await raise_limit(site, site.topics.requests, 4_000_000)
            big = json.dumps({**START, "input": {"n": 1, "more": "x" * 2_000_000}}).encode()

            async def taken() -> tuple[int, int] | None:
                with suppress(MessageSizeTooLargeError):  # a broker answers before it goes by its new limit
                    return await site.request(big, key="big")
                return None

            _, offset = await until(taken, "the broker goes by the new limit")
            await served(site, "next")
            (letter,) = await site.letters()

        assert (letter["code"], letter["offset"], letter["bytes"]) == ("REQUEST_TOO_LARGE", offset, len(big))
        assert big.startswith(letter["text"].encode()) and len(letter["text"]) == 16 * 1024

    async def test_as_large_as_a_broker_takes_it_is_served(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            frame = 200  # of the batch and its record: the topic's limit counts them, 1 MiB is that of the request
            more = "x" * (1024 * 1024 - frame - len(json.dumps({**START, "input": {"n": 1, "more": ""}})))
            await site.request({**START, "input": {"n": 1, "more": more}}, key="r")
            assert (await site.result("r"))["output"] == {"n": 4}

    async def test_labels_that_no_record_can_hold_are_a_dead_letter(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await site.request({**START, "labels": {f"l{n}": "x" * 1000 for n in range(950)}}, key="r")
            await served(site, "next")
            (letter,) = await site.letters()

        assert letter["code"] == "REQUEST_TOO_LARGE"


GARBAGE: list[tuple[bytes | None, bytes | None]] = [
    (b"r", b"not json"),
    (b"r", None),
    (None, b"{}"),
    (None, None),
    (b"\xff\x00", b'{"type": "\xff"}'),
    (b"r", b"[]"),
    (b"r", b"5"),
    (b"r", b'{"type": {}, "runId": 1, "id": []}'),
    (b"r", b'{"type": "tool-output", "runId": "r", "id": "x"}'),
    (b"r", b'{"type": "node-ready", "runId": "r", "nodeId": 5, "item": 5, "attempt": "x"}'),
    (b"r", b'{"type": "plan-ready", "runId": "r", "request": 5}'),
    (b"r", b'{"type": "cancel-step", "runId": "r"}'),
    (b"r@5", b'{"runId": "r", "offset": 5, "state": 5, "shell": 5}'),
    (b"r@x", b'{"runId": "r", "status": 5, "first": "x"}'),
    (b"tool/x", b'{"id": 5}'),
    (b"tool/double", b'{"id": "double", "description": 5, "inputSchema": {"type": 5}}'),
    (b"join/a/b", b'{"fromTool": 5}'),
    (b"plan/x", b"[]"),
    (b"plan/y", b'{"version": "1.0", "nodes": 5}'),
]
"""Key, value."""
HEADERS = [kind.encode() for kind in sorted(known_types() - {"flow-start"})]
READ = ("events", "node_ready", "plan_ready", "control", "catalog", "done", "snapshots", "values", "complete")


class TestGarbage:
    @pytest.mark.parametrize("name", READ)
    async def test_in_a_topic_of_ours_stops_nobody(self, site: Site, name: str) -> None:
        await site.make_topics()
        topic: str = site.topics.node_ready() if name == "node_ready" else getattr(site.topics, name)
        compacted = name in ("snapshots", "catalog", "complete")  # there every record has a key
        keyed = [(key or b"-" if compacted else key, value) for key, value in GARBAGE]

        garbage: list[Appended] = [(key, value, ()) for key, value in keyed]
        await site.send_all(topic, garbage)
        async with site.worker(tools=[double]):
            await served(site, "found")  # it was there when the worker came
            await site.send_all(topic, garbage)
            await served(site, "came")  # it came while the worker was there
            if name in ("events", "node_ready", "plan_ready"):
                letters = await site.letters()
                assert {letter["topic"] for letter in letters} == {topic}
                assert all(letter["code"] and letter["offset"] >= 0 for letter in letters)
        async with site.worker(tools=[double]):
            await served(site, "after")  # and when another one came

    async def test_in_the_log_of_a_run_changes_nothing_of_it(self, site: Site) -> None:
        """A copy gone wrong: key and headers say what it is, the value is something else."""
        gate = Gate()
        values = [
            b"not json",
            None,
            b"[]",
            b'{"type": "flow-complete", "runId": "r"}',
            _event("other", "cancel-requested", control={}),
        ]
        async with site.engine(tools=[gate.tool, double], drain_s=0) as engine:
            run = await engine.start(plan(call("g", "gate", {"x": 1})), run_id="r")
            await asyncio.to_thread(gate.entered.wait, WAIT_S)
            for kind in HEADERS:
                headers = [("ce_type", kind), ("ce_id", b"\xff"), ("traceparent", b"\xff"), ("df-large", b"5")]
                await site.send_all(site.topics.events, [(b"r", value, headers) for value in values])
            await site.letters(len(values) * len([kind for kind in HEADERS if kind not in ANNOUNCEMENTS]))
            headers = [("ce_type", b"flow-start")]  # nobody looks into what follows from facts
            await site.send_all(site.topics.events, [(b"r", _event("r", "cancel-requested", control={}), headers)])
            await served(site, "next")
            seen = [event.type async for event in run.events(derived=False, follow=False)]
            status = (await run.standing())["status"]
        gate.open()
        async with site.engine(tools=[gate.tool]) as engine:
            run = await engine.find("r")
            result = await asyncio.wait_for(run.result(), WAIT_S)
            events = [event async for event in run.events(derived=False)]

        assert (status, result["output"], gate.calls) == ("running", {"x": 1}, 2)
        assert set(seen) <= {"flow-requested", "plan-published", "flow-start", "tool-start"}
        assert types_of(events)[-2:] == ["tool-output", "flow-complete"]


class TestWorkThatIsNone:
    """Records as a scheduler makes them, but for one field."""

    @pytest.mark.parametrize("wrong", [5, -1, 10**30, "x", None, [], {}, [{}], True], ids=repr)
    async def test_stops_no_executor(self, site: Site, wrong: Json) -> None:
        async with site.worker(tools=[double]):
            await served(site, "model")
            topics = (site.topics.node_ready(), site.topics.plan_ready)
            models = {topic: json.loads((await site.records(topic))[0].value) for topic in topics}
            for topic, model in models.items():
                model["runId"] = "r"
                made = [{**model, field: wrong} for field in model]
                await site.send_all(topic, [(b"r", json.dumps(one).encode(), []) for one in made])
            await served(site, "next")
        async with site.worker(tools=[double]):
            await served(site, "after")


class TestEventsOfANewerRelease:
    @pytest.mark.parametrize(
        "newer",
        [
            {"type": "tool-paused", "nodeId": "g"},
            {"type": "tool-output", "nodeId": "g", "toolId": "gate", "output": 1, "semantics": SEMANTICS + 1},
            {"type": "tool-output", "nodeId": "g", "toolId": "gate", "output": 1, "v": VERSION + 1},
            {"type": "tool-output", "nodeId": "g", "outcome": 1},
        ],
        ids=["type", "semantics", "form", "shape"],
    )
    async def test_park_their_run_and_no_other(self, site: Site, newer: dict[str, Any]) -> None:
        gate = Gate("gate")
        tools = [double, gate.tool]
        event = json.loads(_event("r", **{"kind": newer["type"], **newer}))
        async with site.engine(tools=tools, drain_s=0.2) as engine:
            run = await engine.start(plan(call("g", "gate", {"x": 1})), run_id="r")
            await site.send(site.topics.events, event, key="r", headers=[("ce_type", newer["type"].encode())])
            parked = await site.said("r", "run-parked")
            await served(site, "next")
            standing = await run.result()
            gate.open()
        async with site.engine(tools=tools) as engine:
            await served(site, "after")
            still = await (await engine.find("r")).result()
            log = await site.log("r")

        assert parked["reason"]
        assert standing["status"] == still["status"] == "parked"
        assert [one for one in log if one["id"] == event["id"]] == [event], "it is kept as it is"
        assert await site.records(site.topics.dead_letter) == []

    async def test_of_a_snapshot_park_it_until_that_release_is_here(self, site: Site) -> None:
        waits = plan({"id": "w", "type": "wait", "duration": "2d"})
        async with site.engine(tools=[double], snapshot_records=0) as engine:
            await engine.start(waits, run_id="r")
            (snapshot,) = await until(lambda: site.records(site.topics.snapshots), "a snapshot")
        newer = json.loads(snapshot.value)
        newer["state"]["semantics"] = SEMANTICS + 1
        await site.send(site.topics.snapshots, newer, key=snapshot.key)
        async with site.engine(tools=[double]) as engine:
            parked = await site.said("r", "run-parked")
            await served(site, "next")
            await engine.start(waits, run_id="r")  # the same start again is not refused
        await site.send(site.topics.snapshots, snapshot.value, key=snapshot.key)
        async with site.engine(tools=[double]) as engine:
            run = await engine.find("r")
            await run.cancel()
            result = await run.result()

        assert "snapshot" in parked["reason"]
        assert result["status"] == "cancelled"


class TestRecordsThatComeTwice:
    async def test_in_the_log_change_nothing(self, site: Site) -> None:
        gate = Gate()
        one = plan(call("a", "double", {"n": 1}), call("g", "gate", {"x": "$a.n"}), call("b", "double", {"n": "$g.x"}))
        async with site.engine(tools=[double, gate.tool]) as engine:
            run = await engine.start(one, run_id="r")
            await site.said("r", "tool-output")
            await again(site, site.topics.events)  # while it goes on
            gate.open()
            result = await run.result()
            await again(site, site.topics.events)  # after its end
            await served(site, "next")
            state = await (await engine.find("r")).state()
        async with site.engine(tools=[double, gate.tool]) as engine:
            await served(site, "after")
            found = await (await engine.find("r")).result()

        assert result == found == state.result
        assert (result["output"], gate.calls) == ({"n": 4}, 1)
        assert len([one for one in await site.records(site.topics.done) if one.key == b"r"]) == 1

    async def test_as_work_run_no_step_twice(self, site: Site) -> None:
        calls: list[str] = []
        gate = Gate()

        async with site.engine(tools=[counting(calls), gate.tool]) as engine:
            run = await engine.start(plan(call("a", "count"), call("g", "gate", {"x": "$a"})), run_id="r")
            await site.said("r", "tool-output")
            await again(site, site.topics.node_ready())  # a has ended, g runs
            gate.open()
            await run.result()
            await again(site, site.topics.node_ready())  # the run has ended
            await engine.start(plan(call("b", "count")), run_id="next")
            await site.result("next")
        async with site.engine(tools=[counting(calls), gate.tool]) as engine:
            await (await engine.start(plan(call("c", "count")), run_id="after")).result()

        assert (calls, gate.calls) == (["a", "b", "c"], 1)


class TestOrder:
    async def test_a_cancel_that_overtakes_its_start_finds_no_run(self, broker: SharedBroker, prefix: str) -> None:
        async with Site(broker.bootstrap, prefix, partitions=2) as site, site.worker(tools=[double]):
            await site.request({"type": "cancel"}, key="r", partition=0)
            refusal = await site.said("r", "control-refused")
            await site.request(START, key="r", partition=1)
            result = await site.result("r")

        assert refusal["code"] == "RUN_NOT_FOUND"
        assert result["status"] == "completed"

    async def test_requests_in_any_partition_come_to_the_same(self, broker: SharedBroker, prefix: str) -> None:
        async with Site(broker.bootstrap, prefix, partitions=3) as site, site.worker(tools=[double]):
            for partition in (2, 0, 1):
                for number in range(10):
                    await site.request(START, key=f"r{number}", partition=partition)
            for number in range(10):
                assert (await site.result(f"r{number}"))["output"] == {"n": 4}
            events = await site.records(site.topics.events)

        assert all(record.partition == partition_of(record.key, 3) for record in events)
        assert "control-refused" not in {header(record, "ce_type") for record in events}


def _event(run_id: str, kind: str, **fields: Any) -> bytes:
    common = {"id": f"{run_id}/-/-/-/{kind}", "type": kind, "runId": run_id, "timestamp": "2030-01-01T00:00:00.000000Z"}
    return json.dumps({**common, "v": VERSION, "semantics": SEMANTICS, **fields}).encode()


def counting(calls: list[str]) -> Tool:
    return made("count", lambda inputs, context: calls.append(context.node_id))


async def again(site: Site, topic: str) -> None:
    """Every record of a topic stands in it once more."""
    await site.send_all(topic, [(one.key, one.value, one.headers) for one in await site.records(topic)])


async def raise_limit(site: Site, topic: str, most: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.bootstrap)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(most)})])
    finally:
        await admin.close()
