"""Starting runs: results, ids, the same start again, refusals (design §5, canonical.md §5)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from dynamicflow import RunExists, RunNotFound, UsageError
from tests.engine.engine_kit import (
    CHAIN,
    WAIT_S,
    Gate,
    Open,
    call,
    double,
    echo,
    listed,
    made,
    plan,
    recorded,
    types_of,
)


class TestAResult:
    async def test_is_the_record_of_the_letter(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 5}, run_id="order-42")
            result = await run.result()

        assert list(result) == ["runId", "status", "output", "nodes", "error", "metadata"]
        assert (result["runId"], result["status"], result["error"]) == ("order-42", "completed", None)
        assert (result["output"], result["nodes"]) == ({"n": 20}, {"a": {"n": 10}, "b": {"n": 20}})
        metadata = result["metadata"]
        assert (metadata["stepCount"], metadata["toolsExecuted"]) == (2, ["double"])
        assert metadata["startedAt"] <= metadata["completedAt"]

    async def test_is_there_for_everybody_who_waits_and_afterwards(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("a", "gate", {"x": 1})), run_id="r")
            waiting = [asyncio.ensure_future(engine.run("r").result()) for _ in range(5)]
            gate.open()
            results = [await one for one in waiting]

            assert results == [await run.result()] * 5

    async def test_of_a_run_before_is_in_the_journal(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 5}, run_id="r")
            before = await run.result()

        async with make() as engine:
            assert await engine.run("r").result() == before

    async def test_is_json(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 0.5})
            result = await run.result()

        assert json.loads(json.dumps(result, allow_nan=False)) == result


class TestARunId:
    async def test_is_made_when_none_is_given_and_sorts_by_time(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            ids = [(await engine.start(CHAIN, input={"n": 1})).id for _ in range(5)]

        assert len(set(ids)) == 5
        assert ids == sorted(ids)

    async def test_of_another_alphabet_is_refused(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            for ident in ("ä", "é1", "日本", "a b", "-a", ".a", "a/b", "a\n", "x" * 129, "a\x00", "\ud800"):
                with pytest.raises(UsageError) as refused:
                    await engine.start(CHAIN, input={"n": 1}, run_id=ident)
                assert refused.value.code == "INVALID_RUN_ID", ident
            assert await listed(engine) == {}

    async def test_may_be_the_option_workflow_id(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1}, options={"workflowId": "nightly"})

        assert run.id == "nightly"

    async def test_that_no_run_has_is_said(self, make: Open) -> None:
        async with make() as engine:
            with pytest.raises(RunNotFound):
                await engine.run("nobody").result()


class TestLabels:
    async def test_are_seen_by_the_plan_and_the_tools_and_the_tenant_stands_in_every_event(self, make: Open) -> None:
        tell = made("tell", lambda inputs, context: {**inputs, "label": context.labels["team"]})
        async with make(tools=[tell, double]) as engine:
            labels = {"team": "blue", "tenant": "acme"}
            run = await engine.start(plan(call("a", "tell", {"x": "$run.labels.team"})), labels=labels)
            result = await run.result()
            rejected = await engine.start("Translate the letter into Finnish.", labels=labels)
            await rejected.result()
            log = [*await recorded(run), *await recorded(rejected)]

        assert result["output"] == {"x": "blue", "label": "blue"}
        assert {(event.type, event.tenant) for event in log} == {(event.type, "acme") for event in log}


class TestTheSameStartAgain:
    async def test_is_the_same_run(self, make: Open) -> None:
        gate = Gate()
        gate.open()
        async with make(tools=[gate.tool]) as engine:
            one = plan(call("a", "gate", {"x": "$input"}))
            for _ in range(3):
                run = await engine.start(one, input=1, run_id="r")
                assert (await run.result())["output"] == {"x": 1}

        assert gate.calls == 1

    async def test_at_the_same_moment_is_one_run_too(self, make: Open) -> None:
        gate = Gate()
        gate.open()
        async with make(tools=[gate.tool]) as engine:
            one = plan(call("a", "gate", {"x": 1}))
            runs = await asyncio.gather(*(engine.start(one, run_id="r") for _ in range(20)))
            results = await asyncio.gather(*(run.result() for run in runs))
            assert list(await listed(engine)) == ["r"]

        assert gate.calls == 1
        assert all(result == results[0] for result in results)

    async def test_in_another_process_s_turn_is_one_run_too(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            first = await (await engine.start(CHAIN, input={"n": 1}, run_id="r")).result()

        async with make(tools=[double]) as engine:
            again = await (await engine.start(CHAIN, input={"n": 1}, run_id="r")).result()

        assert again == first

    @pytest.mark.parametrize(
        "other",
        [
            {"input": {"n": 2}},
            {"plan_or_prompt": plan(call("b", "double", {"n": 1}))},
            {"options": {"maxConcurrency": 3}},
            {"labels": {"tenant": "acme"}},
        ],
        ids=lambda other: next(iter(other)),
    )
    async def test_with_other_content_is_refused(self, make: Open, other: dict[str, Any]) -> None:
        given: dict[str, Any] = {"plan_or_prompt": CHAIN, "input": {"n": 1}, "run_id": "r"}
        async with make(tools=[double]) as engine:
            await engine.start(**given)
            with pytest.raises(RunExists) as refused:
                await engine.start(**{**given, **other})

        assert refused.value.code == "RUN_EXISTS"

    async def test_spelled_differently_is_the_same(self, make: Open) -> None:
        """A plan is what it means: order of keys and defaults written out do not count."""
        async with make(tools=[double]) as engine:
            await engine.start({"nodes": CHAIN["nodes"], "version": "1.0", "edges": []}, input={"n": 1}, run_id="r")
            run = await engine.start(json.dumps(CHAIN), input={"n": 1}, run_id="r")

            assert (await run.result())["status"] == "completed"


class TestARefusedStart:
    @pytest.mark.parametrize(
        ("bad", "code"),
        [
            (plan(call("a", "nonesuch")), "PLAN_INVALID"),
            ("{", "PLAN_INVALID"),
            ({}, "PLAN_INVALID"),
            (plan(call("a", "double", {"n": "$input.n"})), "INPUT_INVALID"),
        ],
    )
    async def test_is_a_result_and_leaves_the_id_free(self, make: Open, bad: Any, code: str) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(bad, input={}, run_id="r")
            result = await run.result()
            assert await listed(engine) == {}
            assert [event async for event in run.events()] == []

            mended = await (await engine.start(CHAIN, input={"n": 1}, run_id="r")).result()

        assert (run.status, result["status"], result["error"]["code"]) == ("rejected", "rejected", code)
        assert result["error"]["details"]["problems"]
        assert mended["status"] == "completed"

    async def test_for_an_input_that_is_no_json(self, make: Open) -> None:
        bad: tuple[Any, ...] = (float("nan"), {"x": float("inf")}, {"x": "\ud800"}, object())
        async with make(tools=[echo]) as engine:
            for given in bad:
                run = await engine.start(plan(call("a", "echo", {"x": "$input"})), input=given)
                assert (await run.result())["error"]["code"] == "INPUT_INVALID", given

    async def test_for_options_that_are_none_names_them(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            with pytest.raises(UsageError) as refused:
                await engine.start(CHAIN, options={"maxConcurrency": 0, "speed": "fast"})

        assert {problem.path for problem in refused.value.problems} == {"/options/maxConcurrency", "/options/speed"}


class TestManyRuns:
    async def test_two_hundred_at_once_all_end(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            runs = await asyncio.gather(*(engine.start(CHAIN, input={"n": n}, run_id=f"r{n}") for n in range(200)))
            results = await asyncio.gather(*(run.result() for run in runs))
            for run in runs:
                await recorded(run)

            assert [result["output"]["n"] for result in results] == [4 * n for n in range(200)]
            assert len(await listed(engine, statuses={"completed"})) == 200
            assert len(await listed(engine, limit=7)) == 7

    async def test_a_failing_one_leaves_the_others_alone(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            half = plan(call("a", "double", {"n": "${10 / $input.n}"}))
            runs = [await engine.start(half, input={"n": n}) for n in (1, 0, 2)]
            results = [await run.result() for run in runs]

        assert [result["status"] for result in results] == ["completed", "failed", "completed"]


class TestAPrompt:
    async def test_becomes_a_plan_and_runs_without_a_model(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start("Double the number.", input={"n": 21}, run_id="r")
            result = await run.result()
            events = {event.type: event async for event in run.events(derived=False)}

        assert (result["status"], result["output"]) == ("completed", {"n": 42})
        assert events["plan-published"]["source"] != "given"

    async def test_that_no_tool_fits_is_a_rejected_run_with_problems(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start("Translate the letter into Finnish.", run_id="r")
            result = await asyncio.wait_for(run.result(), WAIT_S)
            types = types_of(await recorded(run))
            assert await listed(engine) == {"r": "rejected"}

        assert result["status"] == "rejected"
        assert result["error"]["code"] in ("PLANNING_FAILED", "NEEDS_CLARIFICATION", "PLAN_INVALID")
        assert result["error"]["details"]
        assert types == ["flow-requested", "planning-failed", "flow-complete"]
