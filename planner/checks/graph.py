"""Who waits for whom at the top of a plan: control edges, and data edges that references add (canonical.md §2).

A top-level node waits for the sources of its edges and for every top-level node that it, a node inside it, or an edge
into it refers to. An edge from, or a reference to, an inner node counts for the inner node's top-level ancestor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..scope import Layout
from .findings import Findings, Path
from .sources import Use, uses_of

_MOST_NAMED: Final = 12
"""Nodes of a cycle that a message names."""


@dataclass(frozen=True, slots=True)
class TopEdges:
    """The top level of a plan as a graph. Keys are top-level ids, in document order."""

    control: Mapping[str, tuple[int, ...]]
    """Indexes into ``plan.edges`` of the edges into it."""
    data: Mapping[str, tuple[str, ...]]
    """Top-level ids that references make it wait for, itself left out, in document order."""
    before: Mapping[str, tuple[str, ...]]
    """Both together: every top-level node that must be resolved first."""
    order: tuple[str, ...]
    """A topological order, of equals the earlier in the document first. Nodes on or behind a cycle are left out."""
    level: Mapping[str, int]
    """Longest way from a node that waits for nothing, of the nodes in ``order``."""

    @property
    def acyclic(self) -> bool:
        return len(self.order) == len(self.control)


def top_level_edges(layout: Layout) -> TopEdges:
    """The graph of a plan. Texts that do not parse and names that mean nothing add no edge."""
    return graph_of(layout, uses_of(layout))


def graph_of(layout: Layout, uses: Iterable[Use]) -> TopEdges:
    """The same, from uses that were collected already."""
    plan = layout.plan
    control: dict[str, list[int]] = {node.id: [] for node in plan.nodes}
    data: dict[str, set[str]] = {node.id: set() for node in plan.nodes}
    before: dict[str, set[str]] = {node.id: set() for node in plan.nodes}
    for index, edge in enumerate(plan.edges):
        if edge.to in control and edge.from_ in layout.places:
            control[edge.to].append(index)
            before[edge.to].add(layout.places[edge.from_].top)
    for use in uses:
        if use.top is not None and use.binding is not None and use.binding.kind == "node":
            source = layout.places[use.binding.target].top
            if source != use.top:
                data[use.top].add(source)
    rank = {node_id: at for at, node_id in enumerate(control)}
    for node_id, sources in data.items():
        before[node_id] |= sources
    ordered = {node_id: tuple(sorted(sources, key=rank.__getitem__)) for node_id, sources in before.items()}
    order, level = _topological(ordered)
    return TopEdges(
        {node_id: tuple(indexes) for node_id, indexes in control.items()},
        {node_id: tuple(sorted(sources, key=rank.__getitem__)) for node_id, sources in data.items()},
        ordered,
        order,
        level,
    )


def _topological(before: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], dict[str, int]]:
    after: dict[str, list[str]] = {node_id: [] for node_id in before}
    for node_id, sources in before.items():
        for source in sources:
            after[source].append(node_id)
    waits = {node_id: len(sources) for node_id, sources in before.items()}
    ready = deque(node_id for node_id, left in waits.items() if left == 0)
    level = dict.fromkeys(ready, 0)
    order: list[str] = []
    while ready:
        node_id = ready.popleft()
        order.append(node_id)
        for later in after[node_id]:
            level[later] = max(level.get(later, 0), level[node_id] + 1)
            waits[later] -= 1
            if waits[later] == 0:
                ready.append(later)
    return tuple(order), {node_id: level[node_id] for node_id in order}


# --- cycles -------------------------------------------------------------------------------------------------------


def check_cycles(layout: Layout, graph: TopEdges, paths: Mapping[str, Path], found: Findings) -> None:
    """CYCLIC_FLOW, once for every group of nodes that wait for each other, at the first node of a cycle in it."""
    stuck = {node_id: sources for node_id, sources in graph.before.items() if node_id not in graph.level}
    for group in _components({node_id: [s for s in sources if s in stuck] for node_id, sources in stuck.items()}):
        if len(group) > 1 or group[0] in graph.before[group[0]]:
            cycle = _cycle(group, graph.before)
            start = min(range(len(cycle)), key=lambda at: layout.places[cycle[at]].order)
            named = [*cycle[start:], *cycle[:start], cycle[start]]
            found.error(
                "CYCLIC_FLOW",
                paths[named[0]],
                f"these nodes wait for each other, so none can ever start: {' → '.join(_shortened(named))}",
                _way_out(layout, graph, named),
                actual=_shortened(named),
            )


def _shortened(named: list[str]) -> list[str]:
    """The beginning and the end of a long way round."""
    return named if len(named) <= _MOST_NAMED else [*named[: _MOST_NAMED - 2], "…", *named[-2:]]


def _cycle(group: list[str], before: Mapping[str, tuple[str, ...]]) -> list[str]:
    """One cycle inside a strongly connected group, in the direction of flow."""
    members, seen = set(group), {}
    trail: list[str] = []
    node_id = group[0]
    while node_id not in seen:
        seen[node_id] = len(trail)
        trail.append(node_id)
        node_id = next(source for source in before[node_id] if source in members)
    return trail[seen[node_id] :][::-1]


def _way_out(layout: Layout, graph: TopEdges, named: list[str]) -> str:
    source, target = named[-2], named[-1]
    by_edge = any(layout.places[layout.plan.edges[at].from_].top == source for at in graph.control[target])
    kind = "edge" if by_edge else "reference"
    joint = f"from {source!r} to {target!r}" if by_edge else f"to {source!r} in {target!r}"
    return f"Remove one link of it, for example the {kind} {joint}."


def _components(before: Mapping[str, list[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan 1972, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    groups: list[list[str]] = []
    for root in before:
        if root in index:
            continue
        work = [(root, iter(before[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node_id, rest = work[-1]
            step = next(rest, None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node_id])
                if low[node_id] == index[node_id]:
                    groups.append(_pop_group(stack, on_stack, node_id))
            elif step not in index:
                index[step] = low[step] = len(index)
                stack.append(step)
                on_stack.add(step)
                work.append((step, iter(before[step])))
            elif step in on_stack:
                low[node_id] = min(low[node_id], index[step])
    return groups


def _pop_group(stack: list[str], on_stack: set[str], root: str) -> list[str]:
    group = []
    while True:
        node_id = stack.pop()
        on_stack.discard(node_id)
        group.append(node_id)
        if node_id == root:
            return group[::-1]
