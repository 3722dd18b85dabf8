"""Each example gives exactly what its README promises: in the engine, from the command line, and from its prompt."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from dynamicflow.planner.check import check_plan
from dynamicflow.planner.offline import OfflinePlanner
from dynamicflow.planner.planning import make_plan
from dynamicflow.planner.request import PlanRequest
from dynamicflow.tools.registry import ToolRegistry
from tests.examples.example_flows import EXAMPLES, ROOT, example, output, run

SUMMARY = (
    "It can be learned. It asks for no reward. Selflessness is living for others. "
    "Selflessness grows out of sympathy. It is never quite free of self-interest. "
    "Selflessness is mutual aid. It helps a species to survive."
)
SHELVES = ["shelf:comte", "shelf:smith", "shelf:kropotkin"]
OUTPUTS: dict[str, Any] = {
    "onboarding": {"sent": True, "to": "ada@example.org", "subject": "Welcome, Ada!"},
    "orders": {
        "orderId": "order-42",
        "paid": True,
        "reference": "ada:payment:order-42",
        "missing": [],
        "message": "1700 cents (EUR)",
    },
    "lookup_email": {
        "to": "ada@example.org",
        "text": "Your account\n\nDear Ada,\n\nSee you soon, Ada Lovelace.",
    },
    "shipping": {
        "tracking": "order-42-1910",
        "label": "Ada Lovelace, 12 St James's Square, SW1Y 4JH London",
        "service": "parcel",
        "contents": ["4 x pen", "1 x lamp", "2 x notebook"],
    },
    "kafka": {"receipt": "order-42:207", "packed": True},
    "leads": {"qualified": ["Acme", "Crux", "Funk"], "budget": 66000, "seen": 6},
    "research": {
        "question": "What is selflessness?",
        "comparison": "3 sources overlap in 2 claims",
        "summary": {"text": SUMMARY, "sources": SHELVES, "clarified": True},
        "contradictions": [["It asks for no reward", "It is never quite free of self-interest"]],
    },
}
PROMPTED: dict[str, Any] = {
    "onboarding": OUTPUTS["onboarding"],
    "orders": {"orderId": "order-42", "charged": 1700, "reference": "ada:process_payment:order-42"},
    "lookup_email": {"to": "ada@example.org", "text": "Your account\n\nDear Ada,\n\nYours, the team"},
}
NAMES = sorted(OUTPUTS)
COMMAND = "from dynamicflow.streams.cli.main import main; raise SystemExit(main())"
"""What the console script ``dynamicflow`` does."""


def test_every_example_is_tested() -> None:
    assert NAMES == sorted(plan.parent.name for plan in EXAMPLES.glob("*/plan.json"))


@pytest.mark.parametrize("name", NAMES)
class TestAnExample:
    def test_is_a_valid_plan_in_the_canonical_form(self, name: str) -> None:
        loaded, plan, _ = example(name)

        check = check_plan(plan, tools=ToolRegistry.from_tools(loaded.tools).specs, joins=loaded.joins)

        assert [*check.problems, *check.warnings] == []
        assert check.plan is not None
        assert check.plan.to_json() == plan

    def test_gives_its_output_in_the_engine(self, name: str) -> None:
        loaded, plan, given = example(name)
        assert output(plan, loaded, given) == OUTPUTS[name]

    def test_gives_its_output_on_the_command_line(self, name: str) -> None:
        folder = f"examples/{name}"
        command = f"run --plan {folder}/plan.json --tools {folder}/tools.py --input @{folder}/input.json --json"

        ran = cli(*command.split())

        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["output"] == OUTPUTS[name]

    def test_says_in_its_readme_how_to_run_it(self, name: str) -> None:
        folder = f"examples/{name}"
        command = f"dynamicflow run --plan {folder}/plan.json --tools {folder}/tools.py --input @{folder}/input.json"
        assert command in (EXAMPLES / name / "README.md").read_text(encoding="utf-8").splitlines()


class TestTheOtherWayRound:
    def test_onboarding_welcomes_nobody_whose_address_is_none(self) -> None:
        loaded, plan, _ = example("onboarding")

        result = run(plan, loaded, {"email": "ada", "name": "Ada"})

        assert result["output"] == {"sent": False, "reason": "'ada' is no e-mail address"}
        assert result["metadata"]["toolsExecuted"] == ["validate_email"]

    def test_orders_takes_no_money_for_what_is_missing(self) -> None:
        loaded, plan, given = example("orders")

        result = run(plan, loaded, {**given, "items": [{"sku": "lamp", "quantity": 1}]})

        assert result["status"] == "completed"
        assert result["metadata"]["skipped"] == ["payment"]
        assert (result["output"]["paid"], result["output"]["reference"]) == (False, None)
        assert result["output"]["missing"] == ["lamp"]

    def test_orders_refuses_what_is_not_for_sale(self) -> None:
        loaded, plan, given = example("orders")

        result = run(plan, loaded, {**given, "items": [{"sku": "unicorn", "quantity": 1}]})

        assert result["status"] == "failed"
        assert (result["error"]["nodeId"], result["error"]["message"]) == ("validate", "not for sale: unicorn")

    def test_research_clarifies_only_what_overlaps(self) -> None:
        loaded, plan, _ = example("research")

        result = run(plan, loaded, {"question": "What is tea?"})

        assert result["output"]["comparison"] == "3 distinct sources"
        assert result["output"]["summary"]["clarified"] is False
        assert "clarify" not in result["metadata"]["toolsExecuted"]


class TestTheOfflinePlanner:
    @pytest.mark.parametrize("name", sorted(PROMPTED))
    def test_makes_a_plan_of_the_prompt_that_does_the_same(self, name: str) -> None:
        loaded, _, given = example(name)
        assert output(planned(name), loaded, given) == PROMPTED[name]

    def test_scores_leads_five_at_a_time_and_keeps_the_good_ones(self) -> None:
        loaded, _, given = example("leads")
        plan = planned("leads")

        assert next(node["concurrency"] for node in plan["nodes"] if node["type"] == "map") == 5
        assert [lead["company"] for lead in output(plan, loaded, given)] == ["Acme", "Crux", "Funk"]

    def test_the_prompt_says_what_happens_to_a_wrong_address(self) -> None:
        loaded, _, _ = example("onboarding")
        refused = {"sent": False, "reason": "invalid email"}
        assert output(planned("onboarding"), loaded, {"email": "ada", "name": "Ada"}) == refused


def planned(name: str) -> Any:
    """The plan that the offline planner makes of an example's prompt, its tools and its input."""
    loaded, _, given = example(name)
    prompt = (EXAMPLES / name / "prompt.txt").read_text(encoding="utf-8")
    specs = ToolRegistry.from_tools(loaded.tools).specs
    made = asyncio.run(make_plan(PlanRequest(prompt, specs, loaded.joins, input=given), OfflinePlanner()))
    assert made.check.plan is not None
    return made.check.plan.to_json()


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, at the root of the project, without a model configured."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "DYNAMICFLOW_"))}
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
