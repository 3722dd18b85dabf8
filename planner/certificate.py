"""The most a plan can do, worked out from the plan alone (canonical.md §2, "Limits").

``maxNodeExecutions`` = Σ over all nodes of Π of the bounds of the item bodies around it × its attempts.

``maxDurationMs`` is an upper bound for one run that has the machines to itself:

    step          attempts × timeout + (attempts − 1) × maxDelay + the wait for an approval
                  (a retry never waits longer than maxDelay, jitter and the server's Retry-After included)
    wait, answer  its timeout; ``until`` 366 d where it names none; a literal ``duration`` itself
    body          the sum of its nodes
    conditional   test + the longest branch (switch alike)
    parallel      branches taken up in order by ``concurrency`` workers: when the last one ends
    map, filter   ⌈items / concurrency⌉ × body           reduce, loops    items × body
    any owner     at most its own ``timeout``; then its ``onError`` nodes
    the plan      the longest path over edges and references, each node by its own bound

The last line holds while no step waits for one of the run's ``maxConcurrency`` places. Where more steps than that could
be ready at once, all work divided by the number of places is added: at any moment either every place is taken, or
nothing waits and the longest path gets shorter (Graham 1966). Work is a step's attempts and the delays between them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..tools.spec import ToolSpec
from ..values import Json, duration_ms, whole_number
from . import ir
from .checks.graph import TopEdges
from .options import Options
from .scope import Layout, Place

MAX_NODE_EXECUTIONS: Final = 10_000_000
DEFAULT_TIMEOUT_MS: Final = 60_000
"""Of a step whose node and tool name none."""
DEFAULT_WAIT_MS: Final = 86_400_000
"""Of an answer, a signal or an approval that names none: a day."""
UNTIL_MS: Final = 366 * 86_400_000
"""The furthest moment that an ``until`` without a timeout may name."""
_MOST: Final = 2**53 - 1
"""Figures stop here (285 000 years): the largest integer that every reader of JSON keeps."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a plan can reach, at most. ``side_effects``: tool id -> its class, of tools that have any."""

    max_node_executions: int
    max_duration_ms: int
    tools: tuple[str, ...]
    side_effects: Mapping[str, str]
    model_calls: int
    approvals: int

    def to_json(self) -> dict[str, Json]:
        """``{"maxNodeExecutions", "maxDurationMs", "tools", "sideEffects", "modelCalls", "approvals"}``."""
        return {
            "maxNodeExecutions": self.max_node_executions,
            "maxDurationMs": self.max_duration_ms,
            "tools": list(self.tools),
            "sideEffects": dict(self.side_effects),
            "modelCalls": self.model_calls,
            "approvals": self.approvals,
        }


@dataclass(frozen=True, slots=True)
class Span:
    """``length`` and ``work`` in ms; ``width``: steps in flight at once, at most."""

    length: int = 0
    work: int = 0
    width: int = 0


def certify(layout: Layout, edges: TopEdges, tools: Mapping[str, ToolSpec], options: Options) -> Certificate:
    """The certificate of a plan without cycles. Tools it does not know count with the defaults."""
    times = multiplicities(layout)
    executions = model_calls = approvals = 0
    used: dict[str, str] = {}
    for node_id, place in layout.places.items():
        node = place.node
        tool = tools.get(node.tool_id) if isinstance(node, ir.ToolNode) else None
        runs = times[node_id] * attempts(node, tool, options)[0]
        executions += runs
        model_calls += runs if isinstance(node, ir.LlmNode) else 0
        approvals += times[node_id] if asks_approval(node, tool) else 0
        if isinstance(node, ir.ToolNode):
            used[node.tool_id] = tool.side_effect if tool is not None else "idempotent"
    return Certificate(
        min(executions, _MOST),
        min(_duration(layout, edges, tools, options), _MOST),
        tuple(sorted(used)),
        {tool_id: used[tool_id] for tool_id in sorted(used) if used[tool_id] != "none"},
        min(model_calls, _MOST),
        min(approvals, _MOST),
    )


def executions(layout: Layout, tools: Mapping[str, ToolSpec], options: Options) -> dict[str, int]:
    """Node id -> how often it can run at most, every attempt counted."""
    times = multiplicities(layout)
    made = {}
    for node_id, place in layout.places.items():
        tool = tools.get(place.node.tool_id) if isinstance(place.node, ir.ToolNode) else None
        made[node_id] = times[node_id] * attempts(place.node, tool, options)[0]
    return made


def multiplicities(layout: Layout) -> dict[str, int]:
    """Node id -> the product of the bounds of the item bodies around it."""
    made: dict[str, int] = {}
    for node_id, place in layout.places.items():  # owners come before what they own
        around = made[place.owner] if place.owner is not None else 1
        owner = layout.places[place.owner].node if place.owner is not None else None
        inside_items = place.key == "body" and isinstance(owner, ir.ITEM_BODY_OWNERS)
        made[node_id] = around * bound(owner) if inside_items and owner is not None else around
    return made


def bound(node: ir.Common) -> int:
    """How often the item body of a node can run: a literal list's length, a literal ``times``, else its limit."""
    match node:
        case ir.Collection(over=list() as items):
            return len(items)
        case ir.Collection():
            return node.max_items
        case ir.WhileNode():
            return node.max_iterations
        case ir.TimesNode():
            literal = whole_number(node.times)
            return literal if literal is not None else 100 if node.max_iterations is None else node.max_iterations
        case _:
            return 1


def attempts(node: ir.Common, tool: ToolSpec | None, options: Options) -> tuple[int, int]:
    """(attempts, longest delay between two in ms): the node's, else the tool's, else the options', else one."""
    if not isinstance(node, ir.Step):
        return 1, 0
    if node.retry is not None:
        return node.retry.max_attempts, _ms(node.retry.max_delay)
    if tool is not None and tool.retry is not None:
        return tool.retry.max_attempts, _ms(tool.retry.max_delay_ms)
    if options.retry_strategy is not None:
        return options.retry_strategy.max_attempts, _ms(options.retry_strategy.max_delay)
    return 1, 0


def asks_approval(node: ir.Common, tool: ToolSpec | None) -> bool:
    """Whether a person must agree before, or by, this node."""
    if isinstance(node, ir.AwaitInputNode):
        return node.preset == "approval"
    gated = isinstance(node, ir.Step) and node.approval is not False
    return gated or (tool is not None and tool.requires_approval)


def _ms(value: int | float) -> int:
    return min(math.ceil(value), _MOST)


# --- duration -----------------------------------------------------------------------------------------------------


def _duration(layout: Layout, edges: TopEdges, tools: Mapping[str, ToolSpec], options: Options) -> int:
    spans = _spans(layout, tools, options)
    ends: dict[str, int] = {}
    chain_of: dict[str, int] = {}
    tails: set[str] = set()
    widths: list[int] = []
    for node_id in edges.order:
        span = spans[node_id]
        before = edges.before[node_id]
        ends[node_id] = span.length + max((ends[name] for name in before), default=0)
        behind = next((name for name in before if name in tails), None)
        if behind is None:  # nodes on one chain never run at once, so chains bound the steps in flight
            chain_of[node_id] = len(widths)
            widths.append(span.width)
        else:
            tails.discard(behind)
            chain_of[node_id] = chain_of[behind]
            widths[chain_of[node_id]] = max(widths[chain_of[node_id]], span.width)
        tails.add(node_id)
    longest = max(ends.values(), default=0)
    if sum(widths) <= options.max_concurrency:
        return longest
    work = sum(spans[node_id].work for node_id in edges.order)
    return longest + -(-work // options.max_concurrency)


def _spans(layout: Layout, tools: Mapping[str, ToolSpec], options: Options) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for node_id, place in reversed(layout.places.items()):  # what is owned comes before its owner
        inner = {key: _sum([spans[child.id] for child in body]) for key, body in ir.bodies(place.node)}
        after = inner.pop("onError", Span())
        span = _span(place, inner, tools, options)
        spans[node_id] = Span(span.length + after.length, span.work + after.work, max(span.width, after.width))
    return spans


def _sum(spans: list[Span]) -> Span:
    width = max((span.width for span in spans), default=0)
    return Span(sum(span.length for span in spans), sum(span.work for span in spans), width)


def _longest(spans: list[Span]) -> Span:
    return Span(
        max((span.length for span in spans), default=0),
        max((span.work for span in spans), default=0),
        max((span.width for span in spans), default=0),
    )


def _span(place: Place, inner: Mapping[str, Span], tools: Mapping[str, ToolSpec], options: Options) -> Span:
    node = place.node
    if isinstance(node, ir.Step):
        return _step(node, tools.get(node.tool_id) if isinstance(node, ir.ToolNode) else None, options)
    if isinstance(node, ir.WaitNode | ir.AwaitInputNode):
        return Span(_wait(node))
    span = _owner(node, inner)
    return span if node.timeout is None else Span(min(span.length, _ms(node.timeout)), span.work, span.width)


def _step(node: ir.Step, tool: ToolSpec | None, options: Options) -> Span:
    tries, delay = attempts(node, tool, options)
    limit = node.timeout if node.timeout is not None else tool.timeout_ms if tool is not None else None
    work = tries * _ms(DEFAULT_TIMEOUT_MS if limit is None else limit) + (tries - 1) * delay
    asked = 0
    if asks_approval(node, tool):
        asked = _ms(node.approval.timeout) if isinstance(node.approval, ir.Approval) else DEFAULT_WAIT_MS
    return Span(work + asked, work, 1)


def _wait(node: ir.WaitNode | ir.AwaitInputNode) -> int:
    limit = None if node.timeout is None else _ms(node.timeout)
    if isinstance(node, ir.WaitNode) and node.signal is None:
        exact = duration_ms(node.duration) if node.duration is not None else None
        if exact is not None:
            return _ms(exact) if limit is None else min(_ms(exact), limit)
        return UNTIL_MS if limit is None else limit
    return DEFAULT_WAIT_MS if limit is None else limit


def _owner(node: ir.Common, inner: Mapping[str, Span]) -> Span:
    match node:
        case ir.ConditionalNode() | ir.SwitchNode():
            arms = _longest([span for key, span in inner.items() if key != "test"])
            return _sum([inner["test"], arms])
        case ir.ParallelNode():
            return _parallel(list(inner.values()), node.concurrency)
        case ir.SequenceNode():
            return inner["body"]
        case ir.MapNode() | ir.FilterNode():
            return _items(inner["body"], bound(node), node.concurrency)
        case ir.ReduceNode() | ir.ForNode() | ir.WhileNode() | ir.TimesNode():
            return _items(inner["body"], bound(node), 1)
        case _:
            return Span()


def _items(body: Span, count: int, concurrency: int) -> Span:
    return Span(-(-count // concurrency) * body.length, count * body.work, min(count, concurrency) * body.width)


def _parallel(branches: list[Span], concurrency: int) -> Span:
    free = [0] * min(concurrency, len(branches))
    for span in branches:
        heapq.heapreplace(free, free[0] + span.length)
    widest = heapq.nlargest(concurrency, (span.width for span in branches))
    return Span(max(free, default=0), sum(span.work for span in branches), sum(widest))
