"""Drafts -> canonical JSON, defaults left out, and where each part of it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...values import MAX_NESTING, Json, pointer
from .draft import ON_ERROR, Draft, Path
from .edges import Edge
from .fields import FIELDS, SIGNAL_TIMEOUT, Field
from .report import ABSENT
from .shapes import same

_FIRST: Final = ("version", "metadata", "variables", "nodes", "edges", "output", "joins")


def emit_nodes(tops: Sequence[Draft], origins: dict[str, str]) -> list[dict[str, Json]]:
    """The canonical nodes; ``origins`` learns the pointer, as given, of every node and of every renamed field."""
    return [_node(draft, f"/nodes/{at}", origins) for at, draft in enumerate(tops)]


def emit_edges(edges: Sequence[Edge], origins: dict[str, str]) -> list[dict[str, Json]]:
    """The canonical edges."""
    origins.update((f"/edges/{at}", edge.given) for at, edge in enumerate(edges))
    return [edge.to_json() for edge in edges]


def _node(draft: Draft, at: str, origins: dict[str, str]) -> dict[str, Json]:
    origins[at] = draft.given
    made: dict[str, Json] = {"id": draft.id, "type": draft.type}
    if draft.type == "loop":
        made["loop"] = draft.variant.partition(":")[2]
    for known in FIELDS[draft.variant]:
        value = _value(draft, known, at, origins)
        if value is ABSENT or same(value, _default(draft, known)):
            continue
        made[known.name] = value
        place = draft.places.get(known.name)
        if place is not None and place != f"{draft.given}/{known.name}":
            origins[f"{at}/{known.name}"] = place
    return made


def _value(draft: Draft, known: Field, at: str, origins: dict[str, str]) -> Json:
    if known.kind in ("branches", "cases"):
        parts = {path[1]: _body(draft, path, at, origins) for path in draft.bodies if path[0] == known.name}
        return list(parts.values()) if draft.fields.get(known.name) == "listed" else parts
    if known.kind == "body":
        return _body(draft, (known.name,), at, origins)
    if known.kind == "onError" and ON_ERROR in draft.bodies:
        return {"nodes": _body(draft, ON_ERROR, at, origins)}
    return draft.fields.get(known.name, ABSENT)


def _body(draft: Draft, path: Path, at: str, origins: dict[str, str]) -> list[dict[str, Json]]:
    where = at + pointer(*path)
    return [_node(child, f"{where}/{index}", origins) for index, child in enumerate(draft.nodes(path))]


def _default(draft: Draft, known: Field) -> Json:
    """The default of a field in this very node."""
    if known.name == "maxIterations" and draft.variant == "loop:times":
        times = draft.fields.get("times")
        return times if isinstance(times, int) else known.default
    if known.name == "timeout" and draft.variant == "wait" and "signal" in draft.fields:
        return SIGNAL_TIMEOUT
    return known.default


def in_order(document: Mapping[str, Json]) -> dict[str, Json]:
    """The canonical document with its fields in their usual order."""
    rest = [key for key in document if key not in _FIRST]
    return {key: document[key] for key in (*_FIRST, *rest) if key in document}


def too_deep(value: Json) -> bool:
    """Whether lists and objects are nested deeper than a plan may be."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [
            inner
            for part in level
            for inner in (part.values() if isinstance(part, dict) else part)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True
