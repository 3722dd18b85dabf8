"""The planner that needs no model and no network: it reads the words of the prompt and the schemas of the tools.

    prompt ──literals──> masked ──phrases──> what to do ──words──> tools ──binding──> arguments ──build──> plan

The same request gives the same plan. It plans what it understands and asks about everything else: a step no tool does,
an argument nothing gives, a condition over a value nobody returns. The plan says that no model made it, and why each
tool was chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from ...errors import Problem
from ...tools.spec import ToolSpec
from ...values import Json, strings
from ..request import ABSENT, OFFLINE, PlanRequest, Proposal
from .build import Builder, Node
from .literals import mask
from .reading import MAX_NESTING, TooNested, read
from .words import Matcher

__all__ = ["OfflinePlanner", "relevant_tools"]

MAX_PROMPT_CHARACTERS: Final = 5_000
"""Longer prompts are for a model: reading this one takes time that grows with the square of a sentence."""
_LONGEST_NAME: Final = 60
_NAME: Final = re.compile(r"\$([A-Za-z_]\w*)")


class OfflinePlanner:
    """Plans by words, types and joins. Deterministic; holds nothing."""

    name = OFFLINE
    model = OFFLINE

    async def propose(self, request: PlanRequest, problems: Sequence[Problem], previous: Json, model: str) -> Proposal:
        """The plan, or the questions that stand in its way. Never raises; asked again it says the same."""
        return plan_offline(request)


def plan_offline(request: PlanRequest) -> Proposal:
    """A pure function of the request."""
    if len(request.prompt) > MAX_PROMPT_CHARACTERS:
        size = len(request.prompt)
        question = (
            f"Can the prompt be shorter? It has {size} characters; without a model {MAX_PROMPT_CHARACTERS} are read."
        )
        return Proposal(questions=(question,), final=True)
    if not request.tools:
        return Proposal(
            questions=("Which tools may be used? None are known: none were given, or no worker offers any.",),
            final=True,
        )
    request = replace(request, prompt=request.prompt.encode("utf-8", "replace").decode())  # no lone surrogates
    masked = mask(request.prompt, frozenset(request.tools))
    matcher = Matcher(request.tools)
    try:
        phrases = read(masked, lambda piece, before: matcher.is_step(masked.plain(piece), masked.plain(before)))
    except TooNested:
        question = f"Can the prompt be said more simply? It nests more than {MAX_NESTING} conditions, loops or lists."
        return Proposal(questions=(question,), final=True)
    builder = Builder(request, masked, matcher)
    nodes = builder.nodes(phrases, builder.start())
    if not nodes and not builder.questions:
        builder.questions.append(f"What is to be done? No tool fits the prompt; there are: {', '.join(request.tools)}.")
    if builder.questions:
        return Proposal(questions=tuple(builder.questions), final=True)
    return Proposal(plan=_plan(request, builder, nodes), final=True)


def _plan(request: PlanRequest, builder: Builder, nodes: list[Node]) -> dict[str, Any]:
    edges = list(dict.fromkeys([*_order(nodes, builder), *builder.follows]))
    plan: dict[str, Any] = {"version": "1.0", "metadata": {"name": _title(request.prompt)}, "nodes": nodes}
    plan["edges"] = [{"from": before, "to": after} for before, after in edges]
    if builder.output is not ABSENT:
        plan["output"] = builder.output
    if builder.joins:
        plan["joins"] = builder.joins
    made = "Planned offline, without a model: tools by the words of the prompt, arguments by names, types and joins."
    plan["rationale"] = " ".join([made, *builder.reasons])
    plan["assumptions"] = [*_without_model(request), *builder.notes]
    return plan


def _order(nodes: list[Node], builder: Builder) -> Iterator[tuple[str, str]]:
    """One top-level step after the other; one that needs what only a branch gives runs where that branch ran."""
    for before, node in pairwise(nodes):
        named = {name for text in strings(node) for name in _NAME.findall(text)}
        needed = sorted(name for name in named if builder.branched.get(name, node["id"]) != node["id"])
        yield from ((name, node["id"]) for name in needed) if needed else ((before["id"], node["id"]),)


def _without_model(request: PlanRequest) -> list[str]:
    if request.model in (None, OFFLINE):
        return []
    return [f"no model was asked, although {request.model} is named: neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"]


def _title(prompt: str) -> str:
    words = " ".join(prompt.split())
    return words if len(words) <= _LONGEST_NAME else words[: _LONGEST_NAME - 1].rstrip() + "…"


def relevant_tools(request: PlanRequest) -> Mapping[str, ToolSpec]:
    """The tools whose words occur in the prompt, and those that joins connect with them; all where none does."""
    touched = {tool.id for tool in Matcher(request.tools).touches(request.prompt)}
    for join in request.joins:
        if touched & {join.from_tool, join.to_tool}:
            touched |= {join.from_tool, join.to_tool}
    kept = {name: tool for name, tool in request.tools.items() if tool.id in touched}
    return kept or request.tools
