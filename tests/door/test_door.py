"""The door: generate, execute, run_collect, check, builder, and the flow they give (design.md §8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from dynamicflow import (
    DynamicFlow,
    DynamicFlowError,
    Engine,
    Event,
    Flow,
    InputInvalid,
    PlanInvalid,
    PlanningFailed,
    Result,
    UsageError,
    VirtualClock,
    blocking,
    create_tool,
    tool,
)

PROMPT: Final = "Validate the email. If it is valid, send a welcome email."
GOOD: Final = {"email": "ada@example.com"}


class Verdict(BaseModel):
    valid: bool


@tool
def validate_email(email: str) -> Verdict:
    """Validate an email address."""
    return Verdict(valid="@" in email)


send_welcome_email = create_tool(
    {
        "id": "send_welcome_email",
        "description": "Send a welcome email.",
        "inputSchema": {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]},
        "outputSchema": {"type": "object", "properties": {"sent": {"type": "boolean"}}},
        "execute": lambda inputs, context: {"sent": True},
    }
)
TOOLS: Final = (validate_email, send_welcome_email)
SEEDS_PLAN: Final[dict[str, Any]] = {
    "version": "1.0",
    "nodes": [
        {"id": "validate_email", "type": "tool", "toolId": "validate_email", "inputs": {"email": "$input.email"}},
        {
            "id": "check",
            "type": "conditional",
            "condition": "$validate_email.valid === true",
            "ifTrue": [
                {"id": "send", "type": "tool", "toolId": "send_welcome_email", "inputs": {"email": "$input.email"}}
            ],
            "ifFalse": [{"id": "no", "type": "value", "value": {"sent": False, "reason": "invalid email"}}],
        },
    ],
    "edges": [{"from": "validate_email", "to": "check"}],
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DYNAMICFLOW_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def flow() -> Flow:
    return Flow.from_plan(SEEDS_PLAN, tools=TOOLS)


async def types(events: AsyncIterator[Event]) -> list[str]:
    return [event.type async for event in events]


class TestAPromptBecomesAFlow:
    async def test_that_runs(self) -> None:
        flow = await DynamicFlow.generate(prompt=PROMPT, tools=TOOLS)

        result = await flow.run_collect(GOOD)

        assert (result.status, result.output) == ("completed", {"sent": True})

    async def test_that_can_be_read_before(self) -> None:
        flow = await DynamicFlow.generate(prompt=PROMPT, tools=TOOLS)

        assert flow.ir["nodes"][0]["id"] == "validate_email"
        assert set(flow.ir) >= {"metadata", "nodes", "edges"}
        assert flow.certificate.to_json()["maxNodeExecutions"] >= 3
        assert flow.inspect().steps >= 3
        assert flow.mermaid().startswith("flowchart TD")
        assert flow.get_metadata()["generated"] is True

    async def test_unless_nothing_fits(self) -> None:
        with pytest.raises(PlanningFailed) as failed:
            await DynamicFlow.generate(prompt="Brew some tea.", tools=TOOLS)

        assert failed.value.code == "PLANNING_FAILED"
        assert failed.value.problems

    async def test_or_it_is_empty(self) -> None:
        with pytest.raises(UsageError):
            await DynamicFlow.generate(prompt=" ", tools=TOOLS)

    async def test_planned_and_run_in_one_call(self) -> None:
        result = await DynamicFlow.run_collect(prompt=PROMPT, tools=TOOLS, input=GOOD)

        assert result.output == {"sent": True}


class TestTheSeedsExamplePlan:
    async def test_takes_one_branch(self, flow: Flow) -> None:
        result = await flow.run_collect(GOOD)

        assert result.output == {"sent": True}
        assert result.nodes["validate_email"] == {"valid": True}
        assert result.metadata["skipped"] == ["no"]

    async def test_or_the_other(self, flow: Flow) -> None:
        result = await flow.run_collect({"email": "nobody"})

        assert result.output == {"sent": False, "reason": "invalid email"}

    async def test_streams_its_events(self, flow: Flow) -> None:
        seen = await types(flow.run(GOOD))

        assert seen[0] == "flow-requested"
        assert seen[-1] == "flow-complete"
        assert seen.index("node-start") < seen.index("node-complete")

    async def test_is_checked_without_running(self) -> None:
        check = DynamicFlow.check(SEEDS_PLAN, tools=TOOLS)

        assert check.valid
        assert check.certificate is not None

    async def test_with_everything_that_is_wrong_at_once(self) -> None:
        typo = {"id": "a", "type": "tool", "toolId": "validate_emial"}
        nodes = [typo, {"id": "b", "type": "value", "value": "$nobody"}]

        check = DynamicFlow.check({"version": "1.0", "nodes": nodes}, tools=TOOLS)

        assert {problem.code for problem in check.problems} >= {"UNKNOWN_TOOL", "UNRESOLVED_REFERENCE"}

    @pytest.mark.parametrize("bad", [None, 5, "", "{", [], {}, {"version": float("nan")}, {"nodes": {1, 2}}])
    def test_a_bad_plan_is_plan_invalid_and_nothing_else(self, bad: Any) -> None:
        with pytest.raises(PlanInvalid):
            Flow.from_plan(bad, tools=TOOLS)


class TestExecuteStreams:
    async def test_a_prompt(self) -> None:
        seen = await types(DynamicFlow.execute(prompt=PROMPT, tools=TOOLS, input=GOOD))

        assert seen.index("plan-published") < seen.index("tool-output")
        assert seen[-1] == "flow-complete"

    async def test_a_plan(self) -> None:
        assert (await types(DynamicFlow.execute(plan=SEEDS_PLAN, tools=TOOLS, input=GOOD)))[-1] == "flow-complete"

    async def test_a_prompt_that_cannot_be_planned_ends_rejected(self) -> None:
        events = [event async for event in DynamicFlow.execute(prompt="Brew some tea.", tools=TOOLS)]

        assert "planning-failed" in [event.type for event in events]
        assert events[-1]["status"] == "rejected"

    async def test_a_plan_that_is_invalid_raises(self) -> None:
        with pytest.raises(PlanInvalid) as failed:
            await types(DynamicFlow.execute(plan=SEEDS_PLAN))

        assert failed.value.problems[0].path == "/nodes/0/toolId"

    async def test_an_input_that_does_not_fit_raises(self, flow: Flow) -> None:
        with pytest.raises(InputInvalid):
            await types(flow.run({}))

    @pytest.mark.parametrize("both", [{}, {"prompt": "x", "plan": SEEDS_PLAN}])
    async def test_exactly_one_of_prompt_and_plan(self, both: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            await DynamicFlow.run_collect(tools=TOOLS, **both)

    async def test_leaving_the_stream_early_lets_the_run_go(self, flow: Flow) -> None:
        stream = flow.run(GOOD)
        first = await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

        assert first.type == "flow-requested"


class TestAResult:
    async def test_is_the_record(self, flow: Flow) -> None:
        result = await flow.run_collect(GOOD, run_id="order-42")

        assert result["runId"] == result.run_id == "order-42"
        assert result.to_json()["output"] == dict(result)["output"] == result.output

    async def test_of_a_rejected_start_says_why(self, flow: Flow) -> None:
        result = await flow.run_collect({})

        assert result.status == "rejected"
        assert result.error is not None
        assert result.error["code"] == "INPUT_INVALID"
        with pytest.raises(DynamicFlowError, match="INPUT_INVALID"):
            result.raise_for_status()

    async def test_that_completed_passes(self, flow: Flow) -> None:
        result = await flow.run_collect(GOOD)

        assert result.raise_for_status() is result


class TestOneFlowForManyInputs:
    async def test_results_are_in_order_and_concurrency_is_bounded(self) -> None:
        running, most = 0, 0

        @tool
        async def slow(n: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return n

        plan = {"version": "1.0", "nodes": [{"id": "s", "type": "tool", "toolId": "slow", "inputs": {"n": "$input"}}]}
        results = await Flow.from_plan(plan, tools=[slow]).run_many(range(20), concurrency=3)

        assert [result.output for result in results] == list(range(20))
        assert most <= 3

    async def test_runs_of_it_may_overlap(self, flow: Flow, tmp_path: Path) -> None:
        recorded = Flow.from_plan(SEEDS_PLAN, tools=TOOLS, db=tmp_path / "runs.db")

        results = await asyncio.gather(*(recorded.run_collect(GOOD, run_id=f"r{n}") for n in range(5)))

        assert {result.status for result in results} == {"completed"}
        async with Engine.open(tmp_path / "runs.db") as engine:
            assert len(engine.runs()) == 5

    async def test_a_workflow_id_names_each(self) -> None:
        flow = Flow.from_plan(SEEDS_PLAN, tools=TOOLS, options={"workflowId": "batch"})

        results = await flow.run_many([GOOD, GOOD])

        assert [result.run_id for result in results] == ["batch.0", "batch.1"]

    @pytest.mark.parametrize("concurrency", [0, -1, True, 1.5])
    async def test_concurrency_is_a_number_of_runs(self, flow: Flow, concurrency: Any) -> None:
        with pytest.raises(UsageError):
            await flow.run_many([GOOD], concurrency=concurrency)


class TestAFlowRunsWhereItIsTold:
    async def test_on_an_engine_that_stays_open(self) -> None:
        async with Engine.in_memory(tools=TOOLS, clock=VirtualClock()) as engine:
            flow = Flow.from_plan(SEEDS_PLAN, tools=TOOLS, engine=engine)
            await flow.run_collect(GOOD, run_id="first")
            await flow.run_collect(GOOD, run_id="second")

            assert {row.run_id for row in engine.runs()} == {"first", "second"}

    async def test_in_virtual_time_a_day_takes_no_time(self) -> None:
        plan = {"version": "1.0", "nodes": [{"id": "w", "type": "wait", "duration": "1d"}]}

        async with Engine.in_memory(clock=VirtualClock()) as engine:
            result = await Flow.from_plan(plan, engine=engine).run_collect()

        assert result.metadata["duration"] >= 86_400_000

    def test_not_on_two(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            Flow.from_plan(SEEDS_PLAN, tools=TOOLS, engine=Engine.in_memory(), db=tmp_path / "x.db")


class TestCompositionWithPlainCode:
    async def test_the_output_of_one_flow_is_the_input_of_the_next(self, flow: Flow) -> None:
        first = await flow.run_collect(GOOD)
        second = Flow.from_plan({"version": "1.0", "nodes": [{"id": "v", "type": "value", "value": "$input.sent"}]})

        assert (await second.run_collect(first.raise_for_status().output)).output is True


class TestTheBuilder:
    async def test_gives_a_flow(self) -> None:
        builder = DynamicFlow.builder().with_prompt(PROMPT).with_tools(validate_email, [send_welcome_email])

        flow = await builder.with_timeout(30).with_retry_strategy(maxAttempts=2).build()

        assert flow.options.timeout == 30_000
        assert (await flow.run_collect(GOOD)).output == {"sent": True}

    async def test_is_not_changed_by_what_is_added(self) -> None:
        base = DynamicFlow.builder().with_tools(*TOOLS)
        base.with_prompt(PROMPT)

        with pytest.raises(UsageError, match="prompt"):
            await base.build()

    async def test_needs_a_tool(self) -> None:
        with pytest.raises(UsageError, match="tool"):
            await DynamicFlow.builder().with_prompt(PROMPT).build()

    async def test_names_a_wrong_option(self) -> None:
        with pytest.raises(UsageError) as failed:
            await DynamicFlow.builder().with_prompt(PROMPT).with_tools(*TOOLS).with_options(colour=1).build()

        assert failed.value.problems[0].path == "/options/colour"


class TestScriptsWithoutALoop:
    def test_generate_and_run(self) -> None:
        flow = blocking.generate(prompt=PROMPT, tools=TOOLS)

        result = blocking.run_collect(flow, GOOD)

        assert isinstance(result, Result)
        assert result.output == {"sent": True}

    def test_execute_yields_events(self) -> None:
        events = list(blocking.execute(plan=SEEDS_PLAN, tools=TOOLS, input=GOOD))

        assert events[-1].type == "flow-complete"

    def test_leaving_early_is_allowed(self) -> None:
        events = blocking.execute(plan=SEEDS_PLAN, tools=TOOLS, input=GOOD)

        assert next(events).type == "flow-requested"
        events.close()  # type: ignore[attr-defined]

    async def test_inside_a_loop_it_says_what_to_use(self) -> None:
        with pytest.raises(UsageError, match="await"):
            blocking.run_collect(plan=SEEDS_PLAN, tools=TOOLS, input=GOOD)


class TestEveryNameOfTheDoorIsThere:
    def test_and_loads(self) -> None:
        import dynamicflow

        assert all(getattr(dynamicflow, name) is not None for name in dynamicflow.__all__)

    def test_another_is_an_attribute_error(self) -> None:
        import dynamicflow

        with pytest.raises(AttributeError):
            dynamicflow.nonsense  # noqa: B018
