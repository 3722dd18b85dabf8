"""Issues of a valid plan: what a careful reader would ask about before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from ...tools.spec import ToolSpec
from ...values import Json
from .. import ir
from ..certificate import attempts
from ..expressions import Expression
from ..options import Options
from ..scope import Layout
from .graph import TopEdges
from .sources import Source, Use

Severity: TypeAlias = Literal["info", "warning"]

_NETWORK: Final = frozenset({"network", "http", "api", "web", "communication", "external", "integration"})
"""Categories, and words of a tool's id, that say it talks to something outside."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing to look at."""

    severity: Severity
    message: str
    node_id: str | None = None

    def to_json(self) -> dict[str, Json]:
        """``{"severity", "message", "nodeId"}``."""
        return {"severity": self.severity, "message": self.message, "nodeId": self.node_id}


@dataclass(frozen=True, slots=True, eq=False)
class Reviewed:
    """Everything that is looked at."""

    layout: Layout
    edges: TopEdges
    tools: Mapping[str, ToolSpec]
    options: Options
    sources: tuple[Source, ...]
    uses: tuple[Use, ...]
    joined: Mapping[str, tuple[str, ...]]


def review(plan: Reviewed) -> Iterator[Issue]:
    """Warnings first."""
    issues = [
        *_by_tool(plan),
        *_constant(plan),
        *_unbounded(plan),
        *_could_be_parallel(plan),
        *_unreferenced(plan),
        *_unused(plan),
    ]
    yield from (issue for issue in issues if issue.severity == "warning")
    yield from (issue for issue in issues if issue.severity == "info")


def _by_tool(plan: Reviewed) -> Iterator[Issue]:
    for node_id, place in plan.layout.places.items():
        node = place.node
        tool = plan.tools.get(node.tool_id) if isinstance(node, ir.ToolNode) else None
        if not isinstance(node, ir.ToolNode) or tool is None:
            continue
        tries = attempts(node, tool, plan.options)[0]
        if tool.side_effect == "non_idempotent" and tries > 1:
            yield Issue("warning", f"{node_id} may call {tool.id} {tries} times, which must not run twice", node_id)
        if tool.side_effect == "non_idempotent" and place.level > 0:
            yield Issue("warning", f"{node_id} calls {tool.id} once per item, which must not run twice", node_id)
        if tool.sensitive and not tool.requires_approval and node.approval is False:
            yield Issue("warning", f"{node_id} calls the sensitive tool {tool.id} without an approval", node_id)
        if tries == 1 and _uses_network(tool) and not _is_caught(plan.layout, node_id):
            message = f"{node_id} calls {tool.id} over a network, with neither retry nor onError"
            yield Issue("info", message, node_id)


def _uses_network(tool: ToolSpec) -> bool:
    words = {tool.category.casefold(), *tool.id.casefold().replace(":", "-").replace("_", "-").split("-")}
    return tool.metadata.get("network") is True or not _NETWORK.isdisjoint(words)


def _is_caught(layout: Layout, node_id: str) -> bool:
    around = (owner.node.on_error for owner, _ in layout.owners(node_id))
    return any(on_error != "fail" for on_error in (layout.places[node_id].node.on_error, *around))


def _constant(plan: Reviewed) -> Iterator[Issue]:
    for source in plan.sources:
        if source.field in ("condition", "on") and isinstance(source.parsed, Expression) and source.parsed.constant:
            yield Issue("warning", f"the condition {source.text!r} refers to nothing: it never changes", source.node_id)


def _unbounded(plan: Reviewed) -> Iterator[Issue]:
    for node_id, place in plan.layout.places.items():
        node = place.node
        if (
            isinstance(node, ir.Collection)
            and not isinstance(node.over, list)
            and "max_items" not in node.model_fields_set
        ):
            message = f"{node_id} names no maxItems: a list of more than {node.max_items} items fails"
            yield Issue("info", message, node_id)


def _could_be_parallel(plan: Reviewed) -> Iterator[Issue]:
    """Neighbours of which the later takes nothing from the earlier."""
    for edge in plan.layout.plan.edges:
        plain = edge.condition is None and edge.transform is None
        top = plan.layout.places[edge.from_].top
        takes = top in plan.edges.data[edge.to] or edge.from_ in plan.joined.get(edge.to, ())
        if plain and not takes and _asks_only(plan, edge.from_) and _asks_only(plan, edge.to):
            yield _side_by_side(edge.from_, edge.to, "the edge between them")
    refers = {
        (use.source.node_id, use.binding.target) for use in plan.uses if use.binding and use.binding.kind == "node"
    }
    for place in plan.layout.places.values():
        for one, other in pairwise(place.node.body) if isinstance(place.node, ir.SequenceNode) else ():
            both = _asks_only(plan, one.id) and _asks_only(plan, other.id)
            if both and (other.id, one.id) not in refers and one.id not in plan.joined.get(other.id, ()):
                yield _side_by_side(one.id, other.id, f"the sequence {place.node.id}")


def _side_by_side(one: str, other: str, why: str) -> Issue:
    message = f"{other} waits for {one} only because of {why}: it takes nothing from it and could run beside it"
    return Issue("info", message, other)


def _asks_only(plan: Reviewed, node_id: str) -> bool:
    """A tool without a side effect: its order among others is of no account."""
    node = plan.layout.places[node_id].node
    tool = plan.tools.get(node.tool_id) if isinstance(node, ir.ToolNode) else None
    return tool is not None and tool.side_effect == "none"


def _unreferenced(plan: Reviewed) -> Iterator[Issue]:
    """Tools that only ask, whose answer nobody reads."""
    read = {use.binding.target for use in plan.uses if use.binding and use.binding.kind == "node"}
    read |= {source for sources in plan.joined.values() for source in sources}
    leave = {edge.from_ for edge in plan.layout.plan.edges}
    named = "output" in plan.layout.plan.model_fields_set
    for node_id, place in plan.layout.places.items():
        last = place.owner is None and not named and node_id not in leave
        ends = (place.owner, place.key, place.position + 1)
        if place.owner is not None:
            last = not any((p.owner, p.key, p.position) == ends for p in plan.layout.places.values())
        if node_id not in read and not last and _asks_only(plan, node_id):
            yield Issue("info", f"nothing reads what {node_id} gives, and it does nothing else", node_id)


def _unused(plan: Reviewed) -> Iterator[Issue]:
    used = {place.node.tool_id for place in plan.layout.places.values() if isinstance(place.node, ir.ToolNode)}
    for tool_id in sorted(set(plan.tools) - used):
        yield Issue("info", f"the tool {tool_id} is not used")
