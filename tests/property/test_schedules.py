"""Random plans under random schedules: completion order, duplicates, late facts, crashes. A failure prints its seed.

`make test` plays SCHEDULES of them; DYNAMICFLOW_SCHEDULES=100000 plays more.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from dynamicflow.planner.check import check_plan
from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.fold import apply
from dynamicflow.streams.core.state import new_run
from dynamicflow.tools.decorate import create_tool
from dynamicflow.values import Json, digest
from tests.property.random_plans import random_plan
from tests.sim import ToolError, World, reference

SCHEDULES = int(os.environ.get("DYNAMICFLOW_SCHEDULES", "2000"))
CHUNKS = 10
INPUT = {"n": 3, "list": [2, 3, 5]}


def echo(inputs: Any, attempt: int) -> Json:
    """Always the same for the same inputs."""
    return {"x": inputs["x"], "of": inputs["id"]}


def flaky(inputs: Any, attempt: int) -> Json:
    if attempt < 2:
        raise ToolError(kind="NetworkError")
    return echo(inputs, attempt)


def broken(inputs: Any, attempt: int) -> Json:
    raise ToolError(kind="ValueError")


TOOLS = {"echo": echo, "flaky": flaky, "broken": broken}
SPECS = {
    name: create_tool(
        {"id": name, "description": name, "inputSchema": {}, "execute": lambda inputs, context: None}
    ).spec
    for name in TOOLS
}


def seeds(chunk: int, most: int = SCHEDULES) -> range:
    return range(chunk * most // CHUNKS, (chunk + 1) * most // CHUNKS)


@pytest.mark.parametrize("chunk", range(CHUNKS))
class TestEveryScheduleOfAPlanWithoutFailuresEndsAlike:
    def test_in_any_order_with_duplicates_and_crashes(self, chunk: int) -> None:
        for seed in seeds(chunk):
            plan = random_plan(seed // 5)
            expected = reference(plan, TOOLS, input=INPUT)
            world = World(plan, TOOLS, input=INPUT, seed=seed, crash=0.05, duplicate=0.1)

            result = world.run()

            assert result["status"] == "completed", f"seed {seed}: {result['error']}"
            assert result["output"] == expected["output"], f"seed {seed}"
            assert result["nodes"] == expected["nodes"], f"seed {seed}"


@pytest.mark.parametrize("chunk", range(CHUNKS))
class TestTheFoldOfTheLogIsTheLiveState:
    def test_at_every_prefix_with_and_without_announcements(self, chunk: int) -> None:
        for seed in seeds(chunk, SCHEDULES // 10):
            world = World(random_plan(seed, certain=False), TOOLS, input=INPUT, seed=seed, duplicate=0.1)
            world.run()

            everything, facts = new_run(world.run_id), new_run(world.run_id)
            for record in world.log:
                event = decode_event(record)
                apply(everything, event, {})
                if event.folded:
                    apply(facts, event, {})
                assert digest(everything.to_json()) == digest(facts.to_json()), f"seed {seed} at {event.id}"
            assert digest(everything.to_json()) == digest(world.state.to_json()), f"seed {seed}"

    def test_whatever_fails_races_or_dies(self, chunk: int) -> None:
        for seed in seeds(chunk):
            world = World(random_plan(seed, certain=False), TOOLS, input=INPUT, seed=seed, crash=0.08, duplicate=0.2)

            result = world.run()

            assert result["status"] in ("completed", "failed"), f"seed {seed}"
            assert digest(world.rebuilt().to_json()) == digest(world.state.to_json()), f"seed {seed}"
            told = [event.id for event in world.told]
            assert told[-1].endswith("flow-complete"), f"seed {seed}"
            assert world.most_in_flight <= 10, f"seed {seed}"


@pytest.mark.parametrize("chunk", range(CHUNKS))
class TestAnAcceptedPlanEndsWithinItsCertificate:
    def test_counting_every_execution(self, chunk: int) -> None:
        for seed in seeds(chunk, SCHEDULES // 3):
            plan = random_plan(seed, certain=False)
            check = check_plan(plan, tools=SPECS)
            assert check.valid, f"seed {seed}: {[str(problem) for problem in check.problems]}"
            assert check.plan is not None and check.certificate is not None
            assert check.plan.to_json() == plan, f"seed {seed}: a canonical plan is not changed by loading"
            world = World(plan, TOOLS, input=INPUT, seed=seed)
            world.run()
            assert len(world.calls) <= check.certificate.max_node_executions, f"seed {seed}"
            taken = world.now - 1_700_000_000_000.0 - len(world.log)
            assert taken <= check.certificate.max_duration_ms, f"seed {seed}"


class TestASlowHolderIsLostAndLateFactsChangeNothing:
    def test_facts_after_the_end_are_counted_only(self) -> None:
        world = World(random_plan(1), TOOLS, input=INPUT, seed=1)
        world.run()
        before = world.state.to_json()
        rng = random.Random(1)

        for fact in rng.sample(world.sent, len(world.sent)):
            assert apply(world.state, fact, {}) == []

        after = world.state.to_json()
        assert after["late"] == before["late"] + len(world.sent)
        assert {**after, "late": 0} == {**before, "late": 0}
