"""From a request of any Kafka client to a result on ``flow-complete`` (docs/requests.md): starts."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from dynamicflow import PlanInvalid, RunExists, ToolContext
from dynamicflow.streams.kafka.records import partition_of
from tests.engine.engine_kit import CHAIN, call, double, echo, made, plan
from tests.kafka.broker import SharedBroker
from tests.kafka.kafka_kit import WAIT_S, Site, header, until

DOUBLED = plan(call("a", "double", {"n": "$input.n"}))


@pytest.fixture
async def site(broker: SharedBroker, prefix: str) -> AsyncIterator[Site]:
    async with Site(broker.bootstrap, prefix, partitions=2) as own:
        yield own


def types_in(log: list[Any]) -> list[str]:
    """Types of events, without holds: a worker that has just come holds what it is not sure to be the first to run."""
    return [event["type"] for event in log if event["type"] != "tool-start"]


class TestWhatIsToBeRun:
    async def test_a_prompt_is_planned(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await site.request({"prompt": "Double the number.", "input": {"n": 21}}, key="order-42")
            result = await site.result("order-42")
            published = await site.said("order-42", "plan-published")

        assert (result["status"], result["output"]) == ("completed", {"n": 42})
        assert published["source"] == "offline"

    async def test_a_prompt_that_no_tool_fits_ends_as_rejected(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await site.request({"prompt": "Translate the letter into Finnish."}, key="r")
            result = await site.result("r")

        assert result["status"] == "rejected"
        assert result["error"]["details"]

    async def test_a_ready_plan_is_run_as_it_is(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await site.request({"plan": CHAIN, "input": {"n": 5}}, key="r")
            result = await site.result("r")
            log = await site.log("r")

        assert list(result) == ["runId", "status", "output", "nodes", "error", "metadata"]
        assert (result["runId"], result["output"], result["nodes"]) == (
            "r",
            {"n": 20},
            {"a": {"n": 10}, "b": {"n": 20}},
        )
        steps = ["tool-output", "tool-output"]
        assert types_in(log) == ["flow-requested", "plan-published", "flow-start", *steps, "flow-complete"]

    async def test_a_registered_plan_is_found_by_its_name(self, site: Site) -> None:
        async with site.engine(tools=[double]) as engine:
            check = await engine.register("twice", DOUBLED)
            await site.request({"plan": "twice", "input": {"n": 4}}, key="r")
            result = await site.result("r")

        assert result["output"] == {"n": 8}
        assert result["metadata"]["planHash"] == check.plan_hash

    async def test_a_name_stands_for_the_plan_registered_last(self, site: Site) -> None:
        async with site.engine(tools=[double]) as engine:
            await engine.register("p", DOUBLED)
            await site.request({"plan": "p", "input": {"n": 1}}, key="r1")
            await site.result("r1")
            await engine.register("p", CHAIN)
            await asyncio.sleep(1)  # what is promised: known within a second
            await site.request({"plan": "p", "input": {"n": 1}}, key="r2")
            result = await site.result("r2")

        assert result["output"] == {"n": 4}

    async def test_a_plan_that_is_invalid_cannot_be_registered(self, site: Site) -> None:
        async with site.engine(tools=[double]) as engine:
            with pytest.raises(PlanInvalid) as refused:
                await engine.register("p", plan(call("a", "nonesuch")))

        assert refused.value.problems

    async def test_a_name_that_nobody_registered_ends_as_rejected(self, site: Site) -> None:
        async with site.worker():
            await site.request({"plan": "nonesuch"}, key="r")
            result = await site.result("r")

        (problem,) = result["error"]["details"]["problems"]
        assert (result["status"], problem["code"]) == ("rejected", "PLAN_NOT_FOUND")

    async def test_an_invalid_plan_ends_as_rejected_with_all_problems(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await site.request({"plan": plan(call("a", "nonesuch"), call("b", "double", {"n": "x"}))}, key="r")
            result = await site.result("r")
            log = await site.log("r")

        assert (result["status"], result["error"]["code"]) == ("rejected", "PLAN_INVALID")
        assert {one["code"] for one in result["error"]["details"]["problems"]} == {
            "UNKNOWN_TOOL",
            "INPUT_TYPE_MISMATCH",
        }
        assert types_in(log) == ["flow-requested", "planning-failed", "flow-complete"]

    async def test_tools_that_are_not_allowed_are_not_there(self, site: Site) -> None:
        async with site.worker(tools=[double, echo]):
            await site.request({"plan": DOUBLED, "input": {"n": 1}, "tools": ["echo"]}, key="r")
            result = await site.result("r")

        assert result["status"] == "rejected"

    async def test_labels_are_seen_by_the_plan_and_the_tools(self, site: Site) -> None:
        def tell(inputs: Any, context: ToolContext) -> Any:
            return {**inputs, "label": context.labels["team"]}

        one = plan(call("a", "tell", {"x": "$run.labels.team"}))
        async with site.worker(tools=[made("tell", tell)]):
            await site.request({"plan": one, "labels": {"team": "blue", "tenant": "acme"}}, key="r")
            result = await site.result("r")
            log = await site.log("r")

        assert result["output"] == {"x": "blue", "label": "blue"}
        assert {event["tenant"] for event in log} == {"acme"}

    async def test_joins_turn_one_tool_s_output_into_another_s_input(self, site: Site) -> None:
        one = plan(call("a", "source"), call("b", "double"), edges=[{"from": "a", "to": "b"}])
        join = {"fromTool": "source", "toTool": "double", "mapping": {"n": "$source.count"}}
        source = made(
            "source",
            lambda inputs, context: {"count": 21},
            outputSchema={"type": "object", "properties": {"count": {"type": "number"}}},
        )
        async with site.worker(tools=[source, double]):
            await site.request({"plan": one, "joins": [join]}, key="r")
            result = await site.result("r")

        assert result["output"] == {"n": 42}


class TestToolsOfAWorkerThatHasJustComeUp:
    async def test_are_known_to_a_client_that_was_there_before(self, broker: SharedBroker, prefix: str) -> None:
        async with Site(broker.bootstrap, prefix) as site:
            await site.make_topics()
            async with site.client() as engine, site.worker(tools=[double]):
                run = await engine.start(plan(call("a", "double", {"n": 1})))
                asked = await engine.request({"plan": plan(call("a", "double", {"n": 2}))})
                results = [await run.result(), await asked.result()]

        assert [result["output"] for result in results] == [{"n": 2}, {"n": 4}]


class TestTheRunsId:
    async def test_is_the_body_s(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await site.request({"runId": "of-the-body", "plan": DOUBLED, "input": {"n": 1}})
            assert (await site.result("of-the-body"))["status"] == "completed"

    async def test_of_key_and_body_that_differ_is_a_dead_letter(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            await site.request({"runId": "a", "plan": DOUBLED, "input": {"n": 1}}, key="b")
            (letter,) = await site.letters()

        assert letter["code"] == "RUN_ID_MISMATCH"

    async def test_is_made_of_the_place_when_none_is_given_and_a_redelivery_makes_the_same(self, site: Site) -> None:
        calls: list[str] = []
        tool = made("note", lambda inputs, context: calls.append(context.run_id))
        async with site.worker(tools=[tool]):
            partition, offset = await site.request({"plan": plan(call("a", "note"))})
            await until(lambda: _true(calls), "the tool is called")
            (run_id,) = calls
            await site.result(run_id)
        await rewind(site, partition, offset)
        async with site.worker(tools=[tool]):
            again = await until(lambda: requested_twice(site, run_id), "the request is admitted again")
            await site.request({"plan": plan(call("a", "note"))}, key="after", partition=partition)
            await site.result("after")

        assert uuid.UUID(run_id).version == 7
        assert calls == [run_id, "after"]
        assert len(again) == 2
        assert again[0].value == again[1].value, "the same bytes"
        assert [one for one in await site.log(run_id) if one["type"] == "control-refused"] == []

    async def test_decides_where_its_log_lies_whatever_partition_the_request_lay_in(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            for number in (0, 1):
                await site.request({"plan": DOUBLED, "input": {"n": 1}}, key=f"r{number}", partition=1 - number)
                await site.result(f"r{number}")
        for record in await site.records(site.topics.events, site.topics.complete, site.topics.done):
            assert record.partition == partition_of(record.key, 2)


class TestTheSameStartAgain:
    async def test_is_the_same_run_while_it_goes_on_and_after(self, site: Site) -> None:
        calls: list[str] = []
        request: dict[str, Any] = {"plan": plan(call("a", "note", {"x": "$input"})), "input": 1}
        async with site.worker(tools=[made("note", lambda inputs, context: calls.append(context.run_id))]):
            for _ in range(3):
                await site.request(request, key="r")
            first = await site.result("r")
            await site.request({"input": 1, "plan": {**request["plan"], "edges": []}, "type": "start"}, key="r")
            await site.request({"plan": DOUBLED, "input": {"n": 1}, "tools": []}, key="after")
            await site.result("after")
            log = await site.log("r")

        assert calls == ["r"]
        assert first["status"] == "completed"
        assert types_in(log).count("flow-requested") == 4
        assert "control-refused" not in types_in(log)

    @pytest.mark.parametrize("other", [{"input": {"n": 2}}, {"labels": {"a": "b"}}, {"plan": CHAIN}])
    async def test_with_other_content_is_refused_and_changes_nothing(self, site: Site, other: dict[str, Any]) -> None:
        given: dict[str, Any] = {"plan": DOUBLED, "input": {"n": 1}}
        async with site.engine(tools=[double]) as engine:
            await site.request(given, key="r")
            await site.request({**given, **other}, key="r")  # it may be under way
            first = await site.said("r", "control-refused")
            result = await site.result("r")
            with pytest.raises(RunExists):  # it has ended
                await engine.start(CHAIN, input={"n": 3}, run_id="r")
            await until(lambda: site.records(site.topics.done), "its mark")
            with pytest.raises(RunExists):  # nobody waits for the answer of a worker
                await engine.request({**given, **other, "runId": "r"}, wait=False)

        assert first["code"] == "RUN_EXISTS"
        assert first["control"]["type"] == "start"
        assert result["output"] == {"n": 2}

    @pytest.mark.parametrize("size", [1, 300_000])
    async def test_once_more_and_without_waiting_is_not_refused(self, site: Site, size: int) -> None:
        given: dict[str, Any] = {"plan": plan(call("a", "echo", {"x": "$input.x"})), "input": {"x": "x" * size}}
        async with site.engine(tools=[echo]) as engine:
            first = await engine.request({**given, "runId": "r"})
            assert (await first.result())["status"] == "completed"
            await until(lambda: site.records(site.topics.done), "its mark")
            again = await engine.request({**given, "runId": "r"}, wait=False)
            assert (await again.result())["output"] == {"x": "x" * size}


class TestQueues:
    async def test_a_step_goes_to_the_workers_of_its_tool_s_queue(self, site: Site) -> None:
        site.queues = ("gpu",)
        where: list[str] = []

        def told(place: str) -> list[Any]:
            def run(inputs: Any, context: ToolContext) -> Any:
                where.append(f"{context.node_id} on {place}")

            return [made("small", run), made("big", run, config={"queue": "gpu"})]

        one = plan(call("a", "small"), call("b", "big"), edges=[{"from": "a", "to": "b"}])
        async with (
            site.worker(tools=told("default")),
            site.worker(tools=told("gpu"), roles=("executor",), queues=("gpu",)),
        ):
            await site.request({"plan": one}, key="r")
            result = await site.result("r")

        assert result["status"] == "completed"
        assert where == ["a on default", "b on gpu"]

    async def test_a_queue_without_a_topic_fails_the_node_and_says_what_to_do(self, site: Site) -> None:
        far = made("far", lambda inputs, context: 1, config={"queue": "nonesuch"})
        async with site.worker(tools=[far, double]):
            await site.request({"plan": plan(call("a", "far", onError={"value": "$error.code"}))}, key="r")
            await site.request({"plan": plan(call("a", "far"))}, key="fails")
            result, failed = await site.result("r"), await site.result("fails")

        assert result["output"] == "QUEUE_NOT_FOUND"
        assert "dynamicflow topics create" in failed["error"]["message"]


class TestLargeValues:
    async def test_go_beside_the_log_and_are_whole_again_for_a_reader(self, site: Site) -> None:
        text = "ä" * 200_000
        one = plan(call("a", "echo", {"x": "$input.x"}), call("b", "echo", {"y": "$a.x"}))
        async with site.engine(tools=[echo]) as engine:
            await site.request({"plan": one, "input": {"x": text}}, key="r")
            raw = await site.result("r")
            run = await engine.find("r")
            result, state = await run.result(), await run.state()
            records = await site.records(site.topics.events, site.topics.complete, site.topics.node_ready())

        assert raw["output"] is None and set(raw["large"]) == {"/output", "/nodes/a", "/nodes/b"}
        assert result["output"] == {"y": text}
        assert result["nodes"] == {"a": {"x": text}, "b": {"y": text}}
        assert state.result == result
        assert all(len(record.value) < 10_000 for record in records)

    async def test_of_five_megabytes_are_read_from_their_pieces(self, site: Site) -> None:
        big = made("big", lambda inputs, context: {"text": "0123456789" * 500_000})
        one = plan(call("a", "big"), call("b", "echo", {"length": "${$a.text.length}"}))
        async with site.engine(tools=[big, echo]) as engine:
            await site.request({"plan": one}, key="r")
            await site.result("r")
            result = await (await engine.find("r")).result()
            chunks = await site.records(site.topics.values)

        assert len(result["nodes"]["a"]["text"]) == 5_000_000
        assert result["output"] == {"length": 5_000_000}
        assert len(chunks) >= 6 and all(len(chunk.value) < 1_000_000 for chunk in chunks)


class TestOnTheWire:
    async def test_every_record_has_the_headers_of_cloudevents_and_the_trace_of_the_request(self, site: Site) -> None:
        trace = "0af7651916cd43dd8448eb211c80319c"
        sent = [("traceparent", f"00-{trace}-b7ad6b7169203331-01".encode())]
        async with site.worker(tools=[double]):
            await site.request({"plan": CHAIN, "input": {"n": 1}}, key="traced", headers=sent)
            await site.request({"prompt": "Double the number.", "input": {"n": 1}}, key="untraced")
            await site.result("traced"), await site.result("untraced")
        topics = site.topics
        records = await site.records(topics.events, topics.node_ready(), topics.plan_ready, topics.complete)

        assert {header(record, "ce_type") for record in records} >= {"node-ready", "plan-ready", "flow-complete"}
        for record in records:
            value = json.loads(record.value)
            assert header(record, "ce_specversion") == "1.0"
            assert header(record, "content-type") == "application/json"
            assert header(record, "ce_source") == f"dynamicflow/{site.prefix}"
            assert header(record, "ce_subject") == value["runId"]
            assert header(record, "ce_time")
            if record.topic == topics.events:
                assert (header(record, "ce_id"), header(record, "ce_type")) == (value["id"], value["type"])
            parent = header(record, "traceparent") or ""
            assert len(parent) == 55 and parent.startswith("00-") and parent.endswith("-01")
            assert (parent[3:35] == trace) == (value["runId"] == "traced")
        for run_id in ("traced", "untraced"):
            mine = [header(one, "traceparent") or "" for one in records if header(one, "ce_subject") == run_id]
            assert len({parent[3:35] for parent in mine}) == 1, "one trace a run"

    async def test_any_group_of_anybody_reads_everything_and_disturbs_nobody(self, site: Site) -> None:
        topics = site.topics
        await site.make_topics()
        names = (topics.requests, topics.events, topics.node_ready(), topics.complete, topics.done)
        foreign = AIOKafkaConsumer(
            *names, bootstrap_servers=site.bootstrap, group_id=f"{site.prefix}foreign", auto_offset_reset="earliest"
        )
        await foreign.start()
        try:
            async with site.worker(tools=[double]):
                for number in range(20):
                    await site.request({"plan": CHAIN, "input": {"n": number}}, key=f"r{number}")
                seen: dict[str, set[str]] = {name: set() for name in names}
                async with asyncio.timeout(WAIT_S):
                    while any(len(found) < (40 if name == topics.node_ready() else 20) for name, found in seen.items()):
                        for place, batch in (await foreign.getmany(timeout_ms=500)).items():
                            assert all(json.loads(record.value) for record in batch)
                            seen[place.topic] |= {record.key.decode() for record in batch}
        finally:
            await foreign.stop()

        assert {f"r{number}" for number in range(20)} == seen[topics.complete] == seen[topics.events]

    async def test_kcat_is_client_enough(self, site: Site) -> None:
        async with site.worker(tools=[double]):
            request = json.dumps({"prompt": "Double the number.", "input": {"n": 21}})
            await kcat(site, "-P", "-t", site.topics.requests, "-k", "order-42", given=request)
            await site.result("order-42")
            told = await kcat(site, "-C", "-q", "-t", site.topics.complete, "-o", "beginning", "-e", "-f", "%k\t%s\n")

        key, _, value = told.strip().partition("\t")
        assert (key, json.loads(value)["output"]) == ("order-42", {"n": 42})


async def kcat(site: Site, *arguments: str, given: str = "") -> str:
    """kcat's output."""
    process = await asyncio.create_subprocess_exec(
        "kcat", "-b", site.bootstrap, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(given.encode()), WAIT_S)
    assert process.returncode == 0
    return out.decode()


async def rewind(site: Site, partition: int, offset: int) -> None:
    """The intake group has read up to ``offset`` and no further. Nobody may be in the group."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=site.bootstrap, group_id=site.settings().group("intake"), enable_auto_commit=False
    )
    await consumer.start()
    try:
        place = TopicPartition(site.topics.requests, partition)
        consumer.assign([place])
        await consumer.commit({place: offset})
    finally:
        await consumer.stop()


async def requested_twice(site: Site, run_id: str) -> list[Any]:
    """The records of the two requests for a run, once there are two."""
    records = await site.records(site.topics.events)
    mine = [one for one in records if one.key == run_id.encode() and header(one, "ce_type") == "flow-requested"]
    return mine if len(mine) == 2 else []


async def _true(value: Any) -> Any:
    return value
