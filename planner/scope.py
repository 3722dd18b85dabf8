"""Where every node stands in a plan, and what a ``$name`` means there (canonical.md §3, "Names" and "In sight").

This module says what a name *is*; whether it is in sight at that place is ``check``'s to say. The fold compiles its
look-ups from the same answers, so what was checked is what runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from .ir import (
    ITEM_BODY_OWNERS,
    Collection,
    Common,
    FilterNode,
    ForNode,
    Node,
    Plan,
    ReduceNode,
    TimesNode,
    WhileNode,
    bodies,
)

RESERVED: Final = frozenset({"input", "item", "index", "acc", "last", "vars", "run", "error", "signal", "source"})
"""Names that no node, variable or ``as`` may take; so are START and END."""

Kind: TypeAlias = Literal[
    "node", "item", "index", "acc", "last", "error", "variable", "input", "vars", "run", "signal", "source"
]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a name means at a place."""

    kind: Kind
    target: str = ""
    """node: its id · item, index, acc, last: the owner's id · error: the failed node's id · variable: its name."""
    level: int = 0
    """How many item bodies stand around the value: 0 at the top; of ``item`` and the like, within their owner's."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one node stands."""

    node: Node
    order: int
    """Position in document order over the whole plan, owners before what they own."""
    owner: str | None
    """The id of the node whose body it is in; None at the top."""
    key: str
    """Which body of the owner (see ``ir.bodies``); ``""`` at the top."""
    position: int
    """Index in that body."""
    level: int
    """Item bodies around it."""
    depth: int
    """1 at the top, one more per body."""
    top: str
    """The id of its top-level ancestor; its own at the top."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All places of one plan. Build with :func:`lay_out`; ids must be unique."""

    plan: Plan
    places: dict[str, Place] = field(default_factory=dict)

    def owners(self, node_id: str) -> Iterator[tuple[Place, str]]:
        """Enclosing owners, innermost first, each with the key of the body one stands in."""
        place = self.places[node_id]
        while place.owner is not None:
            owner = self.places[place.owner]
            yield owner, place.key
            place = owner

    def resolve(self, name: str, node_id: str | None, field_name: str = "") -> Binding | None:
        """What ``$name`` means in ``field_name`` of a node; None for an unknown name.

        ``node_id`` None is the plan's own ``output``, and edges (which stand at the top). ``field_name`` matters where
        a field is evaluated in a scope of its own: ``condition`` of filter and while, ``onError`` (a value).
        """
        if node_id is not None:
            for owner, key in self._scopes(node_id, field_name):
                if (bound := _in_scope(name, owner, key)) is not None:
                    return bound
        if name in self.places:
            return Binding("node", name, self.places[name].level)
        if name in self.plan.variables:
            return Binding("variable", name)
        match name:
            case "input" | "vars" | "run" | "signal" | "source":
                return Binding(name)
        return None

    def _scopes(self, node_id: str, field_name: str) -> Iterator[tuple[Place, str]]:
        own = self.places[node_id]
        if field_name == "condition" and isinstance(own.node, FilterNode | WhileNode):
            yield own, "body"
        elif field_name == "onError":
            yield own, "onError"
        yield from self.owners(node_id)


def _in_scope(name: str, owner: Place, key: str) -> Binding | None:
    """What ``name`` means because one stands in the body ``key`` of ``owner``; None when that body does not bind it."""
    node = owner.node
    if key == "onError":
        return Binding("error", node.id, owner.level) if name == "error" else None
    if key != "body" or not isinstance(node, ITEM_BODY_OWNERS):
        return None
    inside = owner.level + 1
    if name == "index":
        return Binding("index", node.id, inside)
    if name == "acc" and isinstance(node, ReduceNode):
        return Binding("acc", node.id, inside)
    if name == "last" and isinstance(node, ForNode | WhileNode | TimesNode):
        return Binding("last", node.id, inside)
    if isinstance(node, Collection) and name in ("item", node.as_):
        return Binding("item", node.id, inside)
    return None


def lay_out(plan: Plan) -> Layout:
    """The places of all nodes, in document order. Where an id stands twice the first place is kept."""
    layout = Layout(plan)
    todo: list[tuple[Node, str | None, str, int, int, int, str]] = [
        (node, None, "", position, 0, 1, node.id) for position, node in enumerate(plan.nodes)
    ]
    todo.reverse()
    while todo:
        node, owner, key, position, level, depth, top = todo.pop()
        place = Place(node, len(layout.places), owner, key, position, level, depth, top)
        layout.places.setdefault(node.id, place)
        inner = [
            (child, node.id, body_key, at, level + _adds_level(node, body_key), depth + 1, top)
            for body_key, body in bodies(node)
            for at, child in enumerate(body)
        ]
        todo.extend(reversed(inner))
    return layout


def _adds_level(node: Common, key: str) -> int:
    return 1 if key == "body" and isinstance(node, ITEM_BODY_OWNERS) else 0
