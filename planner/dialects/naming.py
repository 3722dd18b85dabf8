"""Ids: those given are checked, the others made from the owner's (canonical.md §2, "Normalising"); other names too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ...values import NODE_ID, Json, pointer
from ..scope import RESERVED
from .draft import ON_ERROR, Draft, Spot, walk
from .report import Report, kind_of, short

RESERVED_IDS: Final = RESERVED | {"START", "END"}
_ODD: Final = re.compile(r"[^A-Za-z0-9_]")
_LONGEST: Final = 120
_SPELLING: Final = "Use letters, digits, _ and single hyphens, beginning with a letter or _, at most 128 characters."


def name_all(tops: Sequence[Draft], report: Report) -> dict[str, Spot]:
    """Gives every draft its id; the spots by id. Given ids count first, then document order."""
    spots = list(walk(tops))
    taken: dict[str, Spot] = {}
    for spot in spots:
        _given_id(spot, taken, report)
    counters: dict[str, int] = {}
    for spot in spots:
        if not spot.draft.id:
            spot.draft.id = _made_id(spot, taken, counters)
            taken[spot.draft.id] = spot
    return {spot.draft.id: spot for spot in spots}


def _given_id(spot: Spot, taken: dict[str, Spot], report: Report) -> None:
    draft, raw = spot.draft, spot.draft.raw_id
    where = draft.given + "/id"
    if raw is None or raw == "":
        if raw == "" or spot.owner is None:
            report.add("MISSING_NODE_ID", draft.given, f"the {draft.type} node has no id", 'Give it an "id".')
        return
    if not isinstance(raw, str):
        report.add("INVALID_ID", where, f"an id is a string, found {kind_of(raw)}", _SPELLING)
        return
    if raw in taken:
        message = f"the id {short(raw)!r} is already that of the node at {taken[raw].draft.given}"
        report.add("DUPLICATE_NODE_ID", where, message, "Ids are unique in the whole plan.", actual=short(raw))
        return
    _check_name(raw, where, "id", report)
    draft.id = raw
    taken[raw] = spot


def _check_name(name: str, given: str, what: str, report: Report) -> bool:
    if name in RESERVED_IDS:
        message = f"the {what} {name!r} has a meaning of its own"
        report.add("RESERVED_ID", given, message, "Choose another.", actual=name, available=sorted(RESERVED_IDS))
    elif not NODE_ID.match(name):
        report.add("INVALID_ID", given, f"{short(name)!r} cannot be the {what}", _SPELLING, actual=short(name))
    else:
        return True
    return False


def _suffix(spot: Spot) -> str:
    if spot.draft.suffix:
        return spot.draft.suffix
    return "onError" if spot.path == ON_ERROR else str(spot.path[-1])


def _made_id(spot: Spot, taken: Mapping[str, Spot], counters: dict[str, int]) -> str:
    base = "node" if spot.owner is None else f"{spot.owner.draft.id}_{_suffix(spot)}"
    base = _ODD.sub("_", base)[:_LONGEST]
    if not NODE_ID.match(base):  # the owner's own id is wrong, and was reported
        base = f"_{base}"[:_LONGEST]
    first = 1 if spot.draft.suffix or spot.owner is None else spot.index + 1
    number = first = max(first, counters.get(base, 0))
    while (made := base if number == 1 else f"{base}_{number}") in taken:
        number += 1
    if number > first:
        counters[base] = number  # a thousand clashes stay linear
    return made


def check_scope_names(
    spots: Iterable[Spot], taken: Mapping[str, Spot], variables: Mapping[str, Json], report: Report
) -> None:
    """INVALID_ID and RESERVED_ID of variables and of ``as`` names; ``as: "item"`` says what holds anyway."""
    named = [(name, pointer("variables", name), "name of a variable") for name in variables]
    for spot in spots:
        name = spot.draft.fields.get("as")
        if isinstance(name, str) and name != "item":
            named.append((name, spot.draft.place("as"), "name of an item"))
    for name, given, what in named:
        if _check_name(name, given, what, report) and name in taken:
            message = f"the {what} {name!r} is already the id of a node"
            report.add("RESERVED_ID", given, message, "Choose another.", actual=name)


def other_names(
    spots: Iterable[Spot], taken: Mapping[str, Spot], variables: Mapping[str, Json], report: Report
) -> dict[str, str]:
    """``output``, ``outputVar`` and ``outputAs`` names -> the id of their node."""
    names: dict[str, str] = {}
    for spot in spots:
        for name, given in spot.draft.outputs:
            if name == spot.draft.id:
                continue
            if not _check_name(name, given, "name of an output", report):
                continue
            other = "a node" if name in taken else "a variable" if name in variables else ""
            if other:
                report.add(
                    "RESERVED_ID", given, f"{name!r} is already the name of {other}", "Choose another.", actual=name
                )
            elif names.setdefault(name, spot.draft.id) != spot.draft.id:
                message = f"{name!r} already names the output of {names[name]!r}"
                report.add("DUPLICATE_NODE_ID", given, message, "A name means one node.", actual=name)
    return names
