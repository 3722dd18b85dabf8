"""What the pages show is so: their Python is executed, their JSON loaded, and what has an output is run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dynamicflow.planner.check import check_plan
from dynamicflow.tools.loader import LoadedTools
from dynamicflow.tools.registry import ToolRegistry
from dynamicflow.tools.settings import KEYWORDS
from tests.examples.example_flows import DOCS, Block, blocks, output, page_tools, run

PAGE = "plan-language.md"
BLOCKS = blocks(PAGE)
KINDS = {"plan", "nodes", "input", "output", "templates", "expressions", "later"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedTools:
    return page_tools(PAGE, tmp_path_factory.mktemp("page"))


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(block, id=f"line {block.line}") for block in BLOCKS if block.kind == kind]


def problems(plan: Any, loaded: LoadedTools) -> list[Any]:
    return list(check_plan(plan, tools=ToolRegistry.from_tools(loaded.tools).specs, joins=loaded.joins).problems)


class TestThePlanLanguagePage:
    def test_shows_no_json_that_is_not_tested(self) -> None:
        assert {block.kind for block in BLOCKS if block.language == "json"} == KINDS
        assert {block.language for block in BLOCKS} == {"json", "python"}

    @pytest.mark.parametrize("block", of_kind("plan"))
    def test_its_plans_run_to_the_outputs_below_them(self, block: Block, loaded: LoadedTools) -> None:
        here = BLOCKS.index(block)
        given, expected = BLOCKS[here + 1 : here + 3]

        assert (given.kind, expected.kind) == ("input", "output")
        assert output(block.value, loaded, given.value) == expected.value

    @pytest.mark.parametrize("block", of_kind("nodes"))
    def test_its_nodes_are_valid(self, block: Block, loaded: LoadedTools) -> None:
        assert problems({"version": "1.0", "nodes": block.value}, loaded) == []

    @pytest.mark.parametrize("block", of_kind("later"))
    def test_what_it_says_cannot_run_yet_is_checked_and_refused(self, block: Block, loaded: LoadedTools) -> None:
        plan = {"version": "1.0", "nodes": block.value}

        refused = run(plan, loaded, {})["error"]["details"]["problems"]

        assert problems(plan, loaded) == []
        assert [problem["code"] for problem in refused] == ["NOT_SUPPORTED_YET"] * len(block.value)

    @pytest.mark.parametrize("block", of_kind("templates"))
    def test_its_templates_become_the_values_beside_them(self, block: Block, loaded: LoadedTools) -> None:
        pairs = block.value["templates"]
        assert evaluated([text for text, _ in pairs], block, loaded) == [value for _, value in pairs]

    @pytest.mark.parametrize("block", of_kind("expressions"))
    def test_its_expressions_have_the_values_beside_them(self, block: Block, loaded: LoadedTools) -> None:
        pairs = block.value["expressions"]
        assert evaluated([f"${{{text}}}" for text, _ in pairs], block, loaded) == [value for _, value in pairs]

    def test_its_words_about_mistakes_are_those_of_the_check(self, loaded: LoadedTools) -> None:
        quote = {"id": "quote", "type": "tool", "toolId": "quote", "inputs": {"sku": "pen"}}

        def codes(value: str) -> list[str]:
            nodes = [quote, {"id": "v", "type": "value", "value": value}]
            return [problem.code for problem in problems({"version": "1.0", "nodes": nodes}, loaded)]

        assert codes("$quote.prize") == ["UNKNOWN_OUTPUT_FIELD"]
        assert codes("${$quote.sku > 3}") == ["EXPRESSION_TYPE_ERROR"]


class TestTheToolsPage:
    def test_its_python_is_a_tools_file(self, tmp_path: Path) -> None:
        loaded = page_tools("tools.md", tmp_path)

        assert [tool.id for tool in loaded.tools] == [
            "word_count",
            "judge_refund",
            "send_text",
            "charge",
            "read_meter",
            "maps:geocode",
            "weather_at",
        ]
        assert [join.key for join in loaded.joins] == [("maps:geocode", "weather_at"), ("word_count", "charge")]

    def test_its_joins_run_as_told(self, tmp_path: Path) -> None:
        loaded = page_tools("tools.md", tmp_path)
        chains = [
            [("maps:geocode", {"place": "London"}), ("weather_at", {})],
            [("word_count", {"text": "to be"}), ("charge", {})],
        ]

        given = [output(chain(steps), loaded, {}) for steps in chains]

        assert given[0] == "mild at 51.5,-0.1"
        assert str(given[1]).endswith("/n1/-")

    def test_its_table_names_every_keyword(self) -> None:
        text = (DOCS / "tools.md").read_text(encoding="utf-8")
        assert [name for name in KEYWORDS if f"`{name}`" not in text] == []


def evaluated(templates: list[Any], block: Block, loaded: LoadedTools) -> Any:
    """The values of templates under a block's variables."""
    node = {"id": "all", "type": "value", "value": templates}
    return output({"version": "1.0", "variables": block.value["variables"], "nodes": [node]}, loaded, {})


def chain(steps: list[tuple[str, Any]]) -> Any:
    """A plan of tools one after the other."""
    nodes = [
        {"id": f"n{i}", "type": "tool", "toolId": tool, "inputs": inputs} for i, (tool, inputs) in enumerate(steps)
    ]
    edges = [{"from": before["id"], "to": after["id"]} for before, after in pairwise(nodes)]
    return {"version": "1.0", "nodes": nodes, "edges": edges}
