"""Ids where nodes stand (dialects B and D): each named node moves into the body that names it, once."""

from __future__ import annotations

from collections.abc import Sequence, Set

from .draft import Draft, IdRef, walk
from .nodes import MAX_DEPTH
from .report import Report, short


def settle(listed: Sequence[Draft], roots: Sequence[IdRef] | None, report: Report) -> list[Draft]:
    """The top-level nodes, with every id in a body replaced by its node.

    ``listed``: the nodes of the document's own list. ``roots``: the ids that stand at the top (D's ``rootIds``); None:
    all that no body names. Reports ids of no node (UNRESOLVED_REFERENCE) and nodes with two owners (NODE_OWNED_TWICE).
    """
    by_id: dict[str, Draft] = {}
    for draft in listed:
        if isinstance(draft.raw_id, str):
            by_id.setdefault(draft.raw_id, draft)
    owners: dict[int, str] = {}
    _claim_all(listed, by_id, owners, report)
    if roots is None:
        tops = [draft for draft in listed if id(draft) not in owners]
    else:
        tops = [root for ref in roots if (root := _claimed(ref, by_id, owners, report)) is not None]
    _lost(listed, tops, owners, roots is not None, report)
    _too_deep(tops, report)
    return tops


def _claim_all(listed: Sequence[Draft], by_id: dict[str, Draft], owners: dict[int, str], report: Report) -> None:
    inline = [spot.draft for spot in walk(listed)]  # before any id is replaced: every node stands here once
    own = {draft.raw_id for draft in inline if isinstance(draft.raw_id, str)} - by_id.keys()

    def claimed(child: Draft | IdRef) -> Draft | None:
        return child if isinstance(child, Draft) else _claimed(child, by_id, owners, report, own)

    for draft in inline:
        for path, body in draft.bodies.items():
            draft.bodies[path] = [node for child in body if (node := claimed(child)) is not None]


def _claimed(
    ref: IdRef, by_id: dict[str, Draft], owners: dict[int, str], report: Report, inline: Set[str] = frozenset()
) -> Draft | None:
    """The node of an id, which from now on stands where the id stood; None when it cannot."""
    draft = by_id.get(ref.id)
    if draft is None and ref.id in inline:
        message = f"the node {ref.id!r} already stands in a body of its own"
        report.add("NODE_OWNED_TWICE", ref.given, message, "A node runs in one place: give the other a copy.")
        return None
    if draft is None:
        near = report.nearest(ref.id, by_id, "Write the node itself, or the id of a node of this plan.")
        message = f"there is no node {short(ref.id)!r}"
        report.add("UNRESOLVED_REFERENCE", ref.given, message, near, actual=short(ref.id), available=by_id)
        return None
    if id(draft) in owners:
        message = f"the node {ref.id!r} is already named at {owners[id(draft)]}"
        report.add("NODE_OWNED_TWICE", ref.given, message, "A node runs in one place: give the other a copy.")
        return None
    owners[id(draft)] = ref.given
    return draft


def _lost(listed: Sequence[Draft], tops: Sequence[Draft], owners: dict[int, str], rooted: bool, report: Report) -> None:
    """Nodes that no body and no top holds: they would never run."""
    reached = {id(spot.draft) for spot in walk(tops)}
    for draft in listed:
        if id(draft) in reached:
            continue
        if id(draft) in owners:
            message = f"the node {draft.raw_id!r} stands, through others, inside itself"
            report.add("NODE_OWNED_TWICE", draft.given, message, f"It is named at {owners[id(draft)]}.")
        elif rooted:
            message = f"the step {short(str(draft.raw_id))!r} is neither in rootIds nor in a body"
            report.add("INVALID_SHAPE", draft.given, message, "Name it where it should run, or leave it out.")


def _too_deep(tops: Sequence[Draft], report: Report) -> None:
    for spot in walk(tops):
        if spot.depth > MAX_DEPTH:
            message = f"nodes nested more than {MAX_DEPTH} deep"
            report.stop("MAX_DEPTH_EXCEEDED", spot.draft.given, message)
            return
