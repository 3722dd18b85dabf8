"""Edges as given -> canonical ones: lists unfolded, START and END dropped, those around bodies settled.

The rules about bodies (canonical.md §2, "Normalising") hold for *plain* edges, without condition and transform; an
edge that gates or carries data cannot be dropped or moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ...values import Json, pointer
from . import conditions
from .draft import ON_ERROR, Draft, Spot
from .nodes import Reader
from .report import ABSENT, short
from .shapes import object_or_reference

MAX_EDGES: Final = 100_000
"""After lists are unfolded: two lists of 5 000 ids would make 25 million."""
_FIELDS: Final = ("from", "to", "condition", "transform", "label")
_IN: Final = "Put the condition on a conditional node around it; order inside a body is the order of its nodes."
_OUT: Final = "Let the edge leave the node that owns the body: what runs per item has no single outcome."


@dataclass(slots=True)
class Edge:
    """One canonical edge and where it was given."""

    source: str
    target: str
    condition: str | None = None
    transform: Json = ABSENT
    label: str = ""
    given: str = ""
    transform_at: str = ""

    @property
    def plain(self) -> bool:
        """Neither gates nor carries data."""
        return self.condition is None and self.transform is ABSENT

    def to_json(self) -> dict[str, Json]:
        """The canonical form."""
        made: dict[str, Json] = {"from": self.source, "to": self.target}
        if self.condition is not None:
            made["condition"] = self.condition
        if self.transform is not ABSENT:
            made["transform"] = self.transform
        if self.label:
            made["label"] = self.label
        return made


def chain(tops: Sequence[Draft]) -> list[Edge]:
    """An edge between each top-level step and the next (dialects C and D)."""
    return [Edge(one.id, following.id, given=following.given) for one, following in pairwise(tops)]


def read_edges(raw: Json, given: str, spots: Mapping[str, Spot], reader: Reader) -> list[Edge]:
    """The canonical edges, in the order given."""
    report = reader.report
    if not isinstance(raw, list):
        report.add("INVALID_EDGES", given, "'edges' is not a list", 'Give a list of {"from", "to"}, or leave it out.')
        return []
    kept: dict[tuple[str, str, str | None], Edge] = {}
    seen: dict[tuple[str, str, str | None], str] = {}
    count = 0
    for at, part in enumerate(raw):
        for edge in _unfolded(part, f"{given}/{at}", spots, reader):
            count += 1
            if count > MAX_EDGES:
                report.stop("PLAN_TOO_LARGE", edge.given, f"more than {MAX_EDGES} edges")
                return []
            key = (edge.source, edge.target, edge.condition)
            if key in seen:
                message = f"the edge from {edge.source!r} to {edge.target!r} is already given at {seen[key]}"
                report.add("DUPLICATE_EDGE", edge.given, message, "Leave one of them out.")
                continue
            seen[key] = edge.given
            if (settled := _settled(edge, spots, reader)) is not None:
                kept.setdefault((settled.source, settled.target, settled.condition), settled)
    return list(kept.values())


# ── one edge as given ───────────────────────────────────────────────────────────────────────────────────────────────


def _unfolded(raw: Json, given: str, spots: Mapping[str, Spot], reader: Reader) -> Iterator[Edge]:
    """The edges of one entry: one for each pair of its ends."""
    report = reader.report
    if not isinstance(raw, dict):
        report.shape(given, raw, 'an edge (an object with "from" and "to")')
        return
    for key in raw:
        if key not in _FIELDS:
            near = report.nearest(key, _FIELDS, "Leave it out.")
            message = f"an edge has no field {short(key)!r}"
            report.add("UNKNOWN_FIELD", given + pointer(key), message, near, actual=short(key), available=_FIELDS)
    if reader.null_is_absent:
        raw = {key: value for key, value in raw.items() if value is not None}
    condition = _condition(raw, given, reader)
    transform = _transform(raw, given, reader)
    label = raw.get("label", "")
    if not isinstance(label, str):
        report.shape(given + "/label", label, "a string")
        label = ""
    gates = "condition" in raw or "transform" in raw
    sources = list(_ends("from", raw, given, spots, reader, gates))
    for target in _ends("to", raw, given, spots, reader, gates):
        for source in sources:
            if source == target:
                report.add("SELF_EDGE", given, f"the edge leads from {source!r} to itself", "Leave it out.")
                continue
            yield Edge(source, target, condition, transform, label, given, given + "/transform")


def _condition(raw: dict[str, Json], given: str, reader: Reader) -> str | None:
    if "condition" not in raw:
        return None
    read = conditions.read(raw["condition"], given + "/condition", None, reader)
    return read if isinstance(read, str) else "$input == null"


def _transform(raw: dict[str, Json], given: str, reader: Reader) -> Json:
    if "transform" not in raw:
        return ABSENT
    return object_or_reference(raw["transform"], given + "/transform", reader.report)


def _ends(
    key: str, raw: dict[str, Json], given: str, spots: Mapping[str, Spot], reader: Reader, gates: bool
) -> Iterator[str]:
    """The ids at one end. Ids of no node are reported; START, END and nodes of those types are left out."""
    code, where = f"INVALID_EDGE_{key.upper()}", given + "/" + key
    value = raw.get(key)
    if key not in raw or not isinstance(value, str | list) or value == []:
        what = f"the edge has no {key!r}" if key not in raw else f"{key!r} is the id of a node, or a list of them"
        reader.report.add(code, where if key in raw else given, what, expected="the id of a node")
        return
    named = [(value, where)] if isinstance(value, str) else [(end, f"{where}/{at}") for at, end in enumerate(value)]
    for name, place in named:
        if isinstance(name, str) and name in spots:
            yield name
        elif isinstance(name, str) and (name in ("START", "END") or name in reader.dropped):
            _pseudo(key, name, place, code, gates, reader)
        else:
            shown = short(name) if isinstance(name, str) else None
            near = reader.report.nearest(shown, spots) if shown is not None else ""
            message = f"there is no node {shown!r}" if shown is not None else "an end of an edge is the id of a node"
            reader.report.add(code, place, message, near, actual=shown, available=spots)


def _pseudo(key: str, name: str, given: str, code: str, gates: bool, reader: Reader) -> None:
    """START and END order nothing; a condition on such an edge would be lost."""
    kind = reader.dropped.get(name, name.lower())
    if (kind == "start") != (key == "from"):
        reader.report.add(code, given, f"no edge leads {key} {name}")
    elif gates and kind == "start":
        message = f"an edge from {name} carries neither condition nor transform"
        reader.report.add("OPERATION_NOT_ALLOWED", given, message, "Put the node into a conditional.")


# ── edges and bodies ────────────────────────────────────────────────────────────────────────────────────────────────


def _settled(edge: Edge, spots: Mapping[str, Spot], reader: Reader) -> Edge | None:
    """The edge as it stays; None when what it says is so already, or when it is refused."""
    source, target = spots[edge.source], spots[edge.target]
    if edge.plain:
        siblings = source.owner is not None and source.owner is target.owner and source.path == target.path
        if (siblings and source.index < target.index) or target.within(source):
            return None
        if source.owner is None and target.owner is not None:
            edge.target = target.top.draft.id
            return edge
    if target.owner is None and not _sealed(source) and source.top is not target:
        return edge
    report = reader.report
    if target.owner is not None:
        message = f"{edge.target!r} stands in a body of {target.owner.draft.id!r}, into which no edge leads"
        report.add("EDGE_CROSSES_SCOPE", edge.given, message, _IN)
    elif source.top is target:
        message = f"{edge.source!r} stands inside {edge.target!r}, which ends after it anyway"
        report.add("EDGE_CROSSES_SCOPE", edge.given, message, "Leave it out.")
    else:
        message = f"no edge leads out of the body that {edge.source!r} stands in"
        report.add("EDGE_CROSSES_SCOPE", edge.given, message, _OUT)
    return None


def _sealed(spot: Spot) -> bool:
    """Whether it stands, at any depth, in an item body or in ``onError``."""
    here: Spot | None = spot
    while here is not None:
        if here.in_item_body() or here.path == ON_ERROR:
            return True
        here = here.owner
    return False
