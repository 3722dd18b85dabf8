"""What stands directly before a node, for binding by name, joins and connectivity (canonical.md §2, Normalising)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .. import ir
from ..scope import Layout, Place
from .graph import TopEdges
from .sources import Use


@dataclass(frozen=True, slots=True)
class Before:
    """The direct predecessors of one node. Without nodes and without an item it is an entry node."""

    nodes: tuple[str, ...] = ()
    """Topological, then id order."""
    item_of: str | None = None
    """The owner whose item the node begins with."""

    @property
    def is_entry(self) -> bool:
        """It begins with the run's input."""
        return not self.nodes and self.item_of is None


def direct_predecessors(layout: Layout, graph: TopEdges, uses: Iterable[Use]) -> dict[str, Before]:
    """Of every node: the sources of its edges and of its own references; in a body, else what comes before it there.

    References of nodes inside it do not count, nor do references to nodes inside it.
    """
    own: dict[str, set[str]] = {node_id: set() for node_id in layout.places}
    for node_id, indexes in graph.control.items():
        own[node_id].update(layout.plan.edges[at].from_ for at in indexes)
    for use in uses:
        user, binding = use.source.node_id, use.binding
        if user is not None and binding is not None and binding.kind == "node":
            own[user].add(binding.target)
    made: dict[str, Before] = {}
    at = {(place.owner, place.key, place.position): node_id for node_id, place in layout.places.items()}
    for node_id, place in layout.places.items():  # owners come before what they own
        outside = [source for source in own[node_id] if not _inside(layout, source, node_id)]
        if outside:
            made[node_id] = Before(tuple(sorted(outside, key=lambda source: flow_order(layout, graph, source))))
        else:
            behind = at.get((place.owner, place.key, place.position - 1)) if place.owner is not None else None
            made[node_id] = Before((behind,)) if behind is not None else _by_owner(layout, place, made)
    return made


def _by_owner(layout: Layout, place: Place, made: Mapping[str, Before]) -> Before:
    if place.owner is None:
        return Before()
    owner = layout.places[place.owner].node
    if place.key == "body" and isinstance(owner, ir.Collection):
        return Before(item_of=owner.id)
    return made[owner.id]  # a while or times loop has no item: its body begins with what the loop begins with


def _inside(layout: Layout, node_id: str, owner: str) -> bool:
    return node_id == owner or any(around.node.id == owner for around, _ in layout.owners(node_id))


def flow_order(layout: Layout, graph: TopEdges, node_id: str) -> tuple[int, str, int, str]:
    """Sorts nodes in topological order, of equals by id: later overrides earlier where joins are merged."""
    place = layout.places[node_id]
    last = 1 << 30 if place.owner is None else place.order  # an owner ends after what it owns
    return graph.level.get(place.top, 0), place.top, last, node_id
