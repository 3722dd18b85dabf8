"""Conditions that are decided before the run, edges that never open, switches that may match nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from .. import ir
from ..expressions import Expression, ExpressionFailed, truthy
from ..scope import Layout
from .findings import Findings, Path
from .graph import TopEdges
from .sources import Reader, Source

_CONDITIONS = ("condition", "on", "match")


def check_conditions(sources: Iterable[Source], found: Findings) -> None:
    """CONSTANT_CONDITION, a warning."""
    for source in sources:
        parsed = source.parsed
        if source.field in _CONDITIONS and isinstance(parsed, Expression) and parsed.constant:
            value = constant_value(parsed)
            shown = "always fails" if value is None else f"is always {'true' if value else 'false'}"
            if source.field == "on":
                shown = "always takes the same case"
            found.warning(
                "CONSTANT_CONDITION",
                source.path,
                f"{source.text[:80]!r} refers to nothing, so it {shown}",
                "Refer to an input or to a node's output with a dollar.",
            )


def constant_value(expression: Expression) -> bool | None:
    """Whether an expression without names is truthy; None where it fails."""
    try:
        return truthy(expression.compile(_refuse)(None))
    except (ExpressionFailed, ValueError):  # an unknown function is found elsewhere
        return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"${name} in a constant")


def check_reachable(
    layout: Layout, graph: TopEdges, paths: Mapping[str, Path], reader: Reader, found: Findings
) -> None:
    """UNREACHABLE_NODES: every edge into a node has a condition that is constant and false."""
    for node_id, indexes in graph.control.items():
        conditions = [layout.plan.edges[at].condition for at in indexes]
        if conditions and all(condition is not None and _never(condition, reader) for condition in conditions):
            found.error(
                "UNREACHABLE_NODES",
                paths[node_id],
                f"{node_id!r} can never run: the condition of every edge into it is always false",
                "Correct the condition, or remove the node.",
                actual=node_id,
            )


def _never(condition: str, reader: Reader) -> bool:
    parsed = reader.expression(condition)
    return isinstance(parsed, Expression) and parsed.constant and constant_value(parsed) is False


def check_switches(layout: Layout, paths: Mapping[str, Path], reader: Reader, found: Findings) -> None:
    """MISSING_DEFAULT_CASE, a warning: not where ``on`` is a node's enum that the cases cover."""
    for node_id, place in layout.places.items():
        node = place.node
        if isinstance(node, ir.SwitchNode) and not node.default and not _covered(node, layout, reader):
            found.warning(
                "MISSING_DEFAULT_CASE",
                paths[node_id],
                f"{node_id!r} has no default: when no case matches, nothing runs and its output is null",
                "Add a default.",
            )


def _covered(node: ir.SwitchNode, layout: Layout, reader: Reader) -> bool:
    """Whether ``on`` is a field of a language model's answer whose enum has a case for each value."""
    parsed = reader.expression(node.on)
    name = parsed.whole_reference if isinstance(parsed, Expression) else None
    place = layout.places.get(name.name) if name is not None else None
    if name is None or place is None or not isinstance(place.node, ir.LlmNode) or len(name.path) != 1:
        return False
    fields = (place.node.schema_ or {}).get("properties")
    field = fields.get(name.path[0]) if isinstance(fields, dict) else None
    choices = field.get("enum") if isinstance(field, dict) else None
    return isinstance(choices, list) and all(isinstance(choice, str) and choice in node.cases for choice in choices)
