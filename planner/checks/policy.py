"""What the request allows: tools that exist and may meet, operations, size; and retries that could do harm."""

from __future__ import annotations

from collections.abc import Mapping

from ...tools.spec import ToolSpec
from .. import ir
from ..certificate import attempts
from ..options import Options
from ..scope import Layout
from .findings import Findings, Path

_FUNCTIONAL = (ir.MapNode, ir.FilterNode, ir.ReduceNode)
_OPERATIONS = {
    "if-then": "conditional",
    "if": "conditional",
    "for": "loop",
    "while": "loop",
    "times": "loop",
    "await_input": "awaitInput",
    "await-input": "awaitInput",
    "approval": "awaitInput",
    "timer": "wait",
}
"""Other spellings of operations in ``constraints.allowedOperations``."""


def check_tools(
    layout: Layout, paths: Mapping[str, Path], tools: Mapping[str, ToolSpec], options: Options, found: Findings
) -> None:
    """UNKNOWN_TOOL, UNKNOWN_TOOL_IN_OPERATION, and the warning UNSAFE_RETRY."""
    names = sorted(tools)
    for node_id, place in layout.places.items():
        node = place.node
        if not isinstance(node, ir.ToolNode):
            continue
        tool = tools.get(node.tool_id)
        if tool is not None:
            _retry(node, tool, paths[node_id], options, found)
            continue
        functional = next(
            (
                owner.node.id
                for owner, key in layout.owners(node_id)
                if key == "body" and isinstance(owner.node, _FUNCTIONAL)
            ),
            None,
        )
        found.error(
            "UNKNOWN_TOOL" if functional is None else "UNKNOWN_TOOL_IN_OPERATION",
            (*paths[node_id], "toolId"),
            f"{node_id!r} calls {node.tool_id!r}, which is no tool of this request"
            + (f" (in the body of {functional!r})" if functional is not None else ""),
            found.nearest(node.tool_id, names)
            or ("" if names else "No tools are known: none were given, or no worker offers any."),
            actual=node.tool_id,
            available=names,
        )


def _retry(node: ir.ToolNode, tool: ToolSpec, path: Path, options: Options, found: Findings) -> None:
    tries = attempts(node, tool, options)[0]
    if tool.side_effect == "non_idempotent" and tries > 1:
        found.warning(
            "UNSAFE_RETRY",
            (*path, "retry") if node.retry is not None else path,
            f"{node.id!r} may call {node.tool_id!r} up to {tries} times, and that tool is declared non_idempotent",
            "Set maxAttempts to 1, or make the tool idempotent by its idempotency key.",
        )


def check_transforms(layout: Layout, found: Findings) -> None:
    """OPERATION_NOT_ALLOWED: a transform gives inputs, which only tool and subflow nodes have."""
    for index, edge in enumerate(layout.plan.edges):
        node = layout.places[edge.to].node
        if edge.transform is not None and not isinstance(node, ir.ToolNode | ir.SubflowNode):
            found.error(
                "OPERATION_NOT_ALLOWED",
                ("edges", index, "transform"),
                f"a transform gives inputs to a tool or subflow node; {edge.to!r} is of type {node.type!r}",
                f"Refer to ${edge.from_} inside {edge.to!r} instead.",
                actual=node.type,
            )


def check_unused(layout: Layout, tools: Mapping[str, ToolSpec], found: Findings) -> None:
    """UNUSED_TOOLS, a warning for plans that a planner made."""
    used = {place.node.tool_id for place in layout.places.values() if isinstance(place.node, ir.ToolNode)}
    unused = sorted(set(tools) - used)
    if unused:
        found.warning("UNUSED_TOOLS", ("nodes",), f"no node calls {', '.join(map(repr, unused[:20]))}")


def check_constraints(layout: Layout, paths: Mapping[str, Path], options: Options, found: Findings) -> None:
    """MAX_STEPS_EXCEEDED, MAX_DEPTH_EXCEEDED, OPERATION_NOT_ALLOWED: they bind what a planner makes."""
    limits = options.constraints
    most, name = min((options.max_steps, "maxSteps"), (limits.max_nodes, "constraints.maxNodes"))
    if (count := len(layout.places)) > most:
        found.error(
            "MAX_STEPS_EXCEEDED",
            ("nodes",),
            f"the plan has {count} nodes, nested ones counted; {name} allows {most}",
            "Use fewer steps.",
            expected=most,
            actual=count,
        )
    deep = next((place for place in layout.places.values() if place.depth > limits.max_depth), None)
    if deep is not None:
        found.error(
            "MAX_DEPTH_EXCEEDED",
            paths[deep.node.id],
            f"{deep.node.id!r} stands {deep.depth} bodies deep; constraints.maxDepth allows {limits.max_depth}",
            expected=limits.max_depth,
            actual=deep.depth,
        )
    if limits.allowed_operations is not None:
        _operations(layout, paths, limits.allowed_operations, found)


def _operations(layout: Layout, paths: Mapping[str, Path], allowed: list[str], found: Findings) -> None:
    wanted = {_OPERATIONS.get(name, name) for name in allowed} | {"value"}  # a value does nothing, it only is
    for node_id, place in layout.places.items():
        if place.node.type not in wanted:
            found.error(
                "OPERATION_NOT_ALLOWED",
                (*paths[node_id], "type"),
                f"{node_id!r} is of type {place.node.type!r}, which constraints.allowedOperations does not list",
                actual=place.node.type,
                available=sorted(wanted),
            )


def check_connections(
    layout: Layout,
    paths: Mapping[str, Path],
    tools: Mapping[str, ToolSpec],
    predecessors: Mapping[str, tuple[str, ...]],
    found: Findings,
) -> None:
    """FORBIDDEN_CONNECTION: a tool directly after one that either of the two forbids."""
    for node_id, sources in predecessors.items():
        node = layout.places[node_id].node
        if not isinstance(node, ir.ToolNode) or node.tool_id not in tools:
            continue
        for source in sources:
            before = layout.places[source].node
            if isinstance(before, ir.ToolNode) and before.tool_id in tools:
                _connection(node, before, tools, paths[node_id], found)


def _connection(
    node: ir.ToolNode, before: ir.ToolNode, tools: Mapping[str, ToolSpec], path: Path, found: Findings
) -> None:
    for tool_id, other in ((node.tool_id, before.tool_id), (before.tool_id, node.tool_id)):
        forbidden = tools[tool_id].connectivity.get("forbidden")
        if isinstance(forbidden, list) and other in forbidden:
            found.error(
                "FORBIDDEN_CONNECTION",
                path,
                f"{node.id!r} ({node.tool_id}) follows {before.id!r} ({before.tool_id}) directly, "
                f"which the connectivity of {tool_id!r} forbids",
                "Put another step between them, or take another tool.",
            )
            return
