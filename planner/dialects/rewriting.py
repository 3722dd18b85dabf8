"""References of a whole plan brought to canonical names: output names, bare ``item``, ``$.x``, ``{source: …}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from ...values import Json, pointer
from . import rename
from .draft import Deferred, Draft, Spot
from .edges import Edge
from .fields import EXPRESSIONS, FIELDS, TEMPLATES
from .rename import Names
from .report import ABSENT, Report

_SOURCE: Final = re.compile(r"\$?([A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*)((?:\.|\[).*)?\Z", re.DOTALL)


Trail: TypeAlias = "tuple[Trail, str | int] | None"
"""The keys that lead to a string, innermost first: cheap for every string, a pointer only where one is shown."""


@dataclass(slots=True)
class Rewriter:
    """``names``: other name -> id of its node. Everything is changed in place: the drafts are ours."""

    spots: Mapping[str, Spot]
    names: Mapping[str, str]
    edges: Sequence[Edge]
    report: Report
    _sources: dict[str, set[str]] = field(default_factory=dict)
    _inside: Trail = None
    """Where, in the field that is being rewritten, the string stands that is being rewritten."""

    def run(self) -> None:
        """Rewrite every field of every node, and every edge."""
        for edge in self.edges:
            self._sources.setdefault(edge.target, set()).add(edge.source)
        for spot in self.spots.values():
            self._node(spot)
        for edge in self.edges:
            names = self._names(f"{edge.given}/condition", partial("${}".format, edge.source), frozenset())
            if edge.condition is not None:
                edge.condition = rename.expression(edge.condition, names)
            if edge.transform is not ABSENT:
                transform = self._names(edge.transform_at, partial("${}".format, edge.source), frozenset())
                edge.transform = self._template(edge.transform, transform)

    def output(self, value: Json) -> Json:
        """The plan's own output, where the previous node is the only one that no edge leaves."""
        ends = [spot.draft.id for spot in self.spots.values() if spot.owner is None]
        left = {edge.source for edge in self.edges}
        last = [id_ for id_ in ends if id_ not in left]
        names = self._names("/output", lambda: f"${last[0]}" if len(last) == 1 else None, frozenset())
        return self._template(value, names)

    # ── one node ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _node(self, spot: Spot) -> None:
        draft = spot.draft
        around = self._shadows(spot)
        for known in FIELDS[draft.variant]:
            value = draft.fields.get(known.name, ABSENT)
            if isinstance(value, Deferred):
                draft.fields[known.name] = f"${value.node.id}{value.suffix}"
                continue
            if value is ABSENT or (known.kind not in EXPRESSIONS and known.kind not in TEMPLATES):
                continue
            inside = known.kind == "condition" and draft.type in ("filter", "loop")
            shadows = around | {draft.fields.get("as", "item")} if inside else around
            names = self._names(draft.place(known.name), self._previous(spot, inside), shadows)
            if known.kind in EXPRESSIONS:
                draft.fields[known.name] = rename.expression(value, names)
            else:
                if known.kind == "inputs":
                    self._repair(value)
                draft.fields[known.name] = self._template(value, names)

    def _template(self, value: Json, names: Names) -> Json:
        def changed(text: str, trail: Trail) -> str:
            self._inside = trail
            return rename.template(text, names)

        made = on_strings(value, changed)
        self._inside = None
        return made

    def _names(self, given: str, previous: Callable[[], str | None], shadows: frozenset[str]) -> Names:
        def renamed(name: str) -> str:
            return name if name in shadows else self.names.get(name, name)

        def before() -> str | None:
            if rename.PREVIOUS in self.spots:  # a node of that name means itself
                return None
            found = previous()
            if found is None:
                message = "what comes before this place is not one node, so '$.' and '$previousOutput' mean nothing"
                how = "Name the node: $node_id.field."
                self.report.add("UNRESOLVED_REFERENCE", given + trail_pointer(self._inside), message, how)
            return found or "$input"  # what was reported is not looked at again

        def possible(name: str) -> None:
            message = f"${name} in the middle of a text is text"
            where = given + trail_pointer(self._inside)
            self.report.warn("POSSIBLE_REFERENCE", where, message, f"Write ${{${name}}} to have its value there.")

        return Names(renamed, before, possible)

    def _shadows(self, spot: Spot) -> frozenset[str]:
        """Item names of the bodies around a node: inside, they hide names of outputs."""
        found: set[str] = set()
        here: Spot | None = spot
        while here is not None and self.names:
            if here.in_item_body() and here.owner is not None:
                found.add(here.owner.draft.fields.get("as", "item"))
            here = here.owner
        return frozenset(found)

    def _repair(self, inputs: Json) -> None:
        """``{"source": "node.field"}`` in place of ``"$node.field"``, where ``node`` is one."""
        if not isinstance(inputs, dict):
            return
        for key, value in inputs.items():
            if isinstance(value, dict) and value.keys() == {"source"} and isinstance(value["source"], str):
                path = _SOURCE.match(value["source"])
                if path and (path[1] in self.spots or path[1] in self.names):
                    inputs[key] = f"${path[1]}{path[2] or ''}"

    # ── what comes before ───────────────────────────────────────────────────────────────────────────────────────────

    def _previous(self, spot: Spot, inside: bool) -> Callable[[], str | None]:
        """What came before a field of a node; ``inside``: before the condition that follows its own body."""

        def found() -> str | None:
            body = spot.draft.nodes(("body",))
            if inside and body:
                return f"${body[-1].id}"
            if inside:
                return "$item" if spot.draft.type == "filter" else None
            return self._before(spot)

        return found

    def _before(self, spot: Spot) -> str | None:
        """``$`` and the only direct predecessor: a node, the item, or ``input`` where there is none."""
        here = spot
        while here.owner is not None:
            if here.index > 0:
                return f"${here.owner.draft.nodes(here.path)[here.index - 1].id}"
            if here.in_item_body():
                return "$item" if here.owner.draft.variant not in ("loop:while", "loop:times") else "$last"
            here = here.owner
        before = set(self._sources.get(here.draft.id, ()))
        before |= {name for name in _own_references(here.draft) if name in self.spots and name != here.draft.id}
        before |= {self.names[name] for name in _own_references(here.draft) if name in self.names}
        if not before:
            return "$input"
        return f"${before.pop()}" if len(before) == 1 else None


def _own_references(draft: Draft) -> set[str]:
    found: set[str] = set()

    def note(text: str, _: Trail) -> str:
        found.update(rename.roots(text))
        return text

    for known in FIELDS[draft.variant]:
        value = draft.fields.get(known.name, ABSENT)
        if value is not ABSENT and not isinstance(value, Deferred) and known.kind in EXPRESSIONS | TEMPLATES:
            on_strings(value, note)
    return found


def on_strings(value: Json, change: Callable[[str, Trail], str]) -> Json:
    """The value with every string in it changed, keys left alone; lists and objects are changed in place."""
    if isinstance(value, str):
        return change(value, None)
    todo: list[tuple[Json, Trail]] = [(value, None)] if isinstance(value, list | dict) else []
    while todo:
        part, trail = todo.pop()
        for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(inner, str):
                part[key] = change(inner, (trail, key))
            elif isinstance(inner, list | dict):
                todo.append((inner, (trail, key)))
    return value


def trail_pointer(trail: Trail) -> str:
    """The JSON Pointer of a trail."""
    keys: list[str | int] = []
    while trail is not None:
        trail, key = trail
        keys.append(key)
    return pointer(*reversed(keys))
