"""Whether what a name means can be seen from where it is used (canonical.md §3, "In sight")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from .. import ir
from ..expressions import Name
from ..scope import RESERVED, Layout, Place
from .findings import Findings
from .graph import TopEdges
from .sources import Source, Use, place_in_text

_Body: TypeAlias = tuple[str | None, str]
"""(owner's id, key of the body); (None, "") is the top."""
_Open: TypeAlias = tuple[int, bool]
"""(position before which nodes are in sight, whether they may not have completed)."""
_MOST_LISTED: Final = 20
"""Problems that list the names in sight; a look-up of all 5 000 for each of 5 000 would take minutes."""
_ANYWHERE: Final = 1 << 30
"""A position behind every node of a body."""
_ONLY_IN: Final = {
    "item": "the body of a map, forEach, flatMap, filter, reduce or for loop",
    "index": "the body of a map, forEach, flatMap, filter, reduce or loop",
    "acc": "the body of a reduce",
    "last": "the body of a loop",
    "error": "an onError",
    "signal": "the match of a wait for a signal",
    "source": "the mapping of a join",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Whether a node is in sight; ``reason`` says why not, ``maybe`` that it may not have completed."""

    ok: bool
    reason: str = ""
    maybe: bool = False


def look(layout: Layout, user: str | None, field_name: str, target: str) -> Seen:
    """Whether ``field_name`` of the node ``user`` (None: an edge, the plan's output) may refer to ``target``."""
    return _look(layout, _open_bodies(layout, user, field_name), user, target)


def _look(layout: Layout, open_bodies: Mapping[_Body, _Open], user: str | None, target: str) -> Seen:
    place = layout.places[target]
    maybe = False
    while (place.owner, place.key) not in open_bodies:
        if place.owner is None:
            return Seen(True, maybe=maybe)  # no body stands around an edge or the output: all of the top is open
        owner = layout.places[place.owner]
        if closed := _closed(owner, place.key):
            return Seen(False, f"it stands in {closed} of {owner.node.id!r}, whose nodes are not in sight from outside")
        maybe = maybe or may_be_left_out(owner.node, place.key)
        place = owner
    before, unsure = open_bodies[place.owner, place.key]
    if place.position == before:
        return Seen(False, _own(user, target, place.node.id))
    if place.position > before and place.owner is not None:  # at the top a reference makes its own order
        return Seen(False, f"it comes later in the same body of {place.owner!r}")
    return Seen(True, maybe=maybe or unsure)


def _open_bodies(layout: Layout, user: str | None, field_name: str) -> dict[_Body, _Open]:
    """The bodies one can look into, each with the position that nodes must stand before."""
    made: dict[_Body, _Open] = {}
    if user is None:
        return made
    place = layout.places[user]
    if field_name in ("condition", "on"):
        made[user, "test"] = (_ANYWHERE, False)
    if field_name == "condition" and isinstance(place.node, ir.FilterNode | ir.WhileNode):
        made[user, "body"] = (_ANYWHERE, False)
    if field_name == "onError":
        made.update((body, (_ANYWHERE, True)) for body in _settled_bodies(place.node))
    while True:
        made[place.owner, place.key] = (place.position, False)
        if place.owner is None:
            return made
        owner = layout.places[place.owner]
        if place.key == "onError":
            made.update((body, (_ANYWHERE, True)) for body in _settled_bodies(owner.node))
        elif isinstance(owner.node, ir.ConditionalNode | ir.SwitchNode) and place.key != "test":
            made[owner.node.id, "test"] = (_ANYWHERE, False)
        place = owner


def _settled_bodies(node: ir.Common) -> Iterator[tuple[str, str]]:
    """Bodies that a node's ``onError`` sees: what completed there before the failure, so that it can be undone."""
    if isinstance(node, ir.ConditionalNode | ir.SwitchNode | ir.SequenceNode | ir.ParallelNode):
        yield from ((node.id, key) for key, _ in ir.bodies(node) if key != "onError")


def _closed(owner: Place, key: str) -> str:
    if key == "onError":
        return "the onError"
    return "the body" if isinstance(owner.node, ir.ITEM_BODY_OWNERS) else ""


def may_be_left_out(owner: ir.Common, key: str) -> bool:
    """Whether ``owner`` can have completed though a node of its body ``key`` did not."""
    if owner.on_error != "fail":
        return True
    if isinstance(owner, ir.ConditionalNode | ir.SwitchNode):
        return key != "test"
    return isinstance(owner, ir.ParallelNode) and owner.join_strategy != "all"


def _own(user: str | None, target: str, meets: str) -> str:
    if target == user:
        return "a node cannot refer to its own output"
    if target == meets:
        return f"it is the node around {user!r}, whose output is not known before that ends"
    return f"it stands in another branch of {meets!r}"


# --- the rule -----------------------------------------------------------------------------------------------------


def check_names(layout: Layout, graph: TopEdges, uses: Iterable[Use], found: Findings) -> None:
    """UNRESOLVED_REFERENCE, REFERENCE_NOT_REACHABLE, and the warning REFERENCE_TO_CONDITIONAL_NODE."""
    for use in uses:
        binding = use.binding
        if binding is None or _misplaced(use):
            report_unknown(layout, use.source, use.name, found)
        elif binding.kind == "node":
            seen = look(layout, use.source.node_id, use.source.field, binding.target)
            if not seen.ok:
                found.error(
                    "REFERENCE_NOT_REACHABLE",
                    use.source.path,
                    f"${use.name.name} is not in sight here{use.at}: {seen.reason}",
                    _instead(layout, use, binding.target),
                    actual=use.name.name,
                )
            elif seen.maybe and not _gated_by(layout, graph, use, binding.target):
                found.warning(
                    "REFERENCE_TO_CONDITIONAL_NODE",
                    use.source.path,
                    f"${use.name.name}{use.at} is null when the node does not run: it stands in "
                    f"{layout.places[binding.target].owner!r}, which can complete without it",
                    f"Refer to ${layout.places[binding.target].owner}, or use coalesce.",
                )


def _misplaced(use: Use) -> bool:
    kind = use.binding.kind if use.binding is not None else ""
    return (kind == "signal" and use.source.field != "match") or kind == "source"


def report_unknown(layout: Layout, source: Source, used: Name, found: Findings) -> None:
    """UNRESOLVED_REFERENCE, with the nearest of the names in sight there."""
    name, at = used.name, place_in_text(used)
    if name in _ONLY_IN:
        message = f"${name}{at} means nothing here: it exists only in {_ONLY_IN[name]}"
        found.error("UNRESOLVED_REFERENCE", source.path, message, actual=name)
        return
    listed = found.count("UNRESOLVED_REFERENCE") < _MOST_LISTED
    names = sorted(set(names_in_sight(layout, source.node_id, source.field))) if listed else []
    suggestion = _hyphen(name, names) or found.nearest(name, names, lambda near: f"${near}")
    message = f"${name}{at} is no node, variable or other name in sight"
    found.error("UNRESOLVED_REFERENCE", source.path, message, suggestion, actual=name, available=names)


def _hyphen(name: str, names: list[str]) -> str:
    """The advice for ``$a-b`` where ``a`` is a name: a hyphen without blanks belongs to the name."""
    head, _, tail = name.partition("-")
    return f"For a subtraction write blanks: ${head} - {tail}." if tail and head in names else ""


def names_in_sight(layout: Layout, user: str | None, field_name: str) -> Iterator[str]:
    """Names that mean something there: node ids, variables, names of enclosing bodies, ``input``, ``vars``, ``run``."""
    yield from ("input", "run", "vars")
    yield from layout.plan.variables
    open_bodies = _open_bodies(layout, user, field_name)
    yield from (node_id for node_id in layout.places if _look(layout, open_bodies, user, node_id).ok)
    if user is not None:
        aliases = {owner.node.as_ for owner, _ in layout.owners(user) if isinstance(owner.node, ir.Collection)}
        for name in sorted(aliases | (RESERVED - {"input", "run", "vars", "signal", "source"})):
            if layout.resolve(name, user, field_name) is not None:
                yield name


def _instead(layout: Layout, use: Use, target: str) -> str:
    """What to refer to in place of an inner node: the owner whose output is in sight."""
    place = layout.places[target]
    while place.owner is not None:
        place = layout.places[place.owner]
        if look(layout, use.source.node_id, use.source.field, place.node.id).ok:
            return f"Refer to ${place.node.id}, whose output holds what its body gave."
    return ""


def _gated_by(layout: Layout, graph: TopEdges, use: Use, target: str) -> bool:
    """Whether the name is read only when the target completed: it decides an edge from it, or stands in a node that
    every edge into comes from it."""
    field, path = use.source.field, use.source.path
    if use.source.node_id is None and field in ("condition", "transform") and isinstance(at := path[1], int):
        return layout.plan.edges[at].from_ == target
    edges = graph.control.get(use.source.top or "", ())
    return bool(edges) and all(layout.plan.edges[at].from_ == target for at in edges)
