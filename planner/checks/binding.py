"""Binding by name: a required field that nothing binds takes the predecessor's field of that name (canonical.md §2)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ...tools.joins import Join
from ...tools.spec import ToolSpec
from ...values import Json
from .. import ir
from ..options import Options
from ..scope import Layout, lay_out
from ..types import UNKNOWN, Type, describe, fits, from_schema
from .findings import Findings, Path, listed
from .graph import TopEdges
from .outputs import Outputs
from .predecessors import Before
from .sight import look
from .sources import Reader

_SEGMENT: Final = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*|[0-9]+)\Z")
_Fields: TypeAlias = Mapping[tuple[str, str], frozenset[str] | None]
"""(from tool, to tool) -> the input fields that the join between them gives; None: known only when it runs."""


@dataclass(slots=True, eq=False)
class Bindings:
    """What was found: fields to write into ``inputs``, and who feeds whom through a join."""

    written: dict[str, dict[str, str]] = field(default_factory=dict)
    """Node id -> field -> reference."""
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Node id -> direct predecessors whose output a join turns into inputs of it, in the order of merging."""


@dataclass(frozen=True, slots=True, eq=False)
class Binder:
    """Everything that binding looks at."""

    layout: Layout
    paths: Mapping[str, Path]
    tools: Mapping[str, ToolSpec]
    joins: Sequence[Join]
    options: Options
    graph: TopEdges
    before: Mapping[str, Before]
    outputs: Outputs
    reader: Reader

    def bind(self, found: Findings) -> Bindings:
        """All tool nodes. MISSING_REQUIRED_INPUT where a required field stays unbound."""
        made = Bindings()
        pairs = joined_fields(self.layout.plan, self.joins)
        for node_id, place in self.layout.places.items():
            node = place.node
            if isinstance(node, ir.ToolNode) and (tool := self.tools.get(node.tool_id)) is not None:
                sources = self._joinable(node, pairs)
                if isinstance(node.inputs, dict):
                    self._bind(node, node.inputs, tool, sources, pairs, made, found)
                elif (whole := self._whole(node, sources)) is not None:
                    made.joined[node_id] = (whole,)
                    self._after_joins(node, set(), (whole,), tool, pairs, found)
        return made

    # --- joins --------------------------------------------------------------------------------------------------

    def _joinable(self, node: ir.ToolNode, pairs: _Fields) -> tuple[str, ...]:
        return tuple(
            source
            for source in self.before[node.id].nodes
            if isinstance(other := self.layout.places[source].node, ir.ToolNode)
            and (other.tool_id, node.tool_id) in pairs
        )

    def _whole(self, node: ir.ToolNode, sources: tuple[str, ...]) -> str | None:
        """The predecessor whose whole output ``inputs`` is, where a join leads from it."""
        if not isinstance(node.inputs, str):
            return None
        whole = self.reader.template(node.inputs).whole
        if whole is None or whole.name not in sources:
            return None
        text = node.inputs.removeprefix("${").removesuffix("}").strip().removeprefix("$")
        own = "output" in self.outputs.nodes.get(whole.name, UNKNOWN).fields
        return whole.name if text == whole.name or (text == f"{whole.name}.output" and not own) else None

    def _after_joins(
        self,
        node: ir.ToolNode,
        bound: set[str],
        sources: tuple[str, ...],
        tool: ToolSpec,
        pairs: _Fields,
        found: Findings,
    ) -> None:
        """The fields of declarative joins are known: what neither they nor the inputs give is missing."""
        names = set(bound)
        for source in sources:
            other = self.layout.places[source].node
            fields = pairs[other.tool_id, node.tool_id] if isinstance(other, ir.ToolNode) else None
            if fields is None:
                return
            names |= fields
        for name in sorted(tool.inputs.required - names):
            found.error(
                "MISSING_REQUIRED_INPUT",
                (*self.paths[node.id], "inputs", name),
                f"{node.id!r} ({node.tool_id}) needs {name!r}, and the join from {listed(sources)} does not give it",
                f"Add {name!r} to the mapping of the join, or to inputs.",
                available=sorted(names),
                warn=warns(node, tool, self.options),
            )

    # --- fields -------------------------------------------------------------------------------------------------

    def _bind(
        self,
        node: ir.ToolNode,
        inputs: Mapping[str, Json],
        tool: ToolSpec,
        sources: tuple[str, ...],
        pairs: _Fields,
        made: Bindings,
        found: Findings,
    ) -> None:
        from_edges = self._transformed(node)
        if from_edges is None:
            return
        bound = {*inputs, *from_edges}
        unbound = sorted(tool.inputs.required - bound)
        if unbound and sources:
            made.joined[node.id] = sources
            self._after_joins(node, bound, sources, tool, pairs, found)
            return
        for name in unbound:
            wanted = from_schema(tool.inputs.fields.get(name), tool.input_schema)
            candidates = self._candidates(node, name, wanted)
            if len(candidates) == 1:
                made.written.setdefault(node.id, {})[name] = candidates[0]
            else:
                self._missing(node, name, candidates, tool, found)

    def _transformed(self, node: ir.ToolNode) -> set[str] | None:
        """Fields that transforms of edges give; None where one gives fields that are known only when it runs."""
        names: set[str] = set()
        for index in self.graph.control.get(node.id, ()):
            transform = self.layout.plan.edges[index].transform
            if isinstance(transform, str):
                return None
            names.update(transform if isinstance(transform, dict) else ())
        return names

    def _candidates(self, node: ir.ToolNode, name: str, wanted: Type) -> list[str]:
        """References to fields of that name and a fitting type in what stands directly before the node."""
        if self.before[node.id].is_entry:
            return [reference("input", name)]
        return [
            reference(source, name)
            for source, known in self._known(node)
            if name in known.fields and fits(known.fields[name], wanted)
        ]

    def _known(self, node: ir.ToolNode) -> Iterator[tuple[str, Type]]:
        """(name, type) of the item or the nodes that stand directly before."""
        before = self.before[node.id]
        if before.item_of is not None:
            yield "item", self.outputs.items.get(before.item_of, UNKNOWN)
        for source in before.nodes:
            if look(self.layout, node.id, "inputs", source).ok:
                yield source, self.outputs.nodes.get(source, UNKNOWN)

    def _missing(self, node: ir.ToolNode, name: str, candidates: list[str], tool: ToolSpec, found: Findings) -> None:
        fields = [reference(source, other) for source, known in self._known(node) for other in sorted(known.fields)]
        sources = [source for source, _ in self._known(node)]
        if candidates:
            why = f"several could give it: {', '.join(candidates)}"
            advice = f"Name one in inputs: {json.dumps({name: candidates[0]}, ensure_ascii=False)}."
        else:
            before = f"what stands directly before it ({listed(sources)})" if sources else "nothing before it"
            why = f"{before} has no field of that name and a fitting type" if sources else "nothing before it gives it"
            near = found.nearest(name, sorted({other for _, known in self._known(node) for other in known.fields}))
            advice = near or f"Add {name!r} to inputs."
        found.error(
            "MISSING_REQUIRED_INPUT",
            (*self.paths[node.id], "inputs", name),
            f"{node.id!r} ({node.tool_id}) needs {name!r}, and {why}",
            advice,
            expected=describe(from_schema(tool.inputs.fields.get(name), tool.input_schema)),
            available=candidates or fields,
            warn=warns(node, tool, self.options),
        )


def joined_fields(plan: ir.Plan, joins: Sequence[Join]) -> dict[tuple[str, str], frozenset[str] | None]:
    """What each join gives. Of two between the same tools the plan's own goes first: it is what was approved."""
    made: dict[tuple[str, str], frozenset[str] | None] = {}
    for join in joins:
        made[join.from_tool, join.to_tool] = None if join.mapping is None else frozenset(join.mapping)
    for spec in plan.joins:
        made[spec.from_tool, spec.to_tool] = frozenset(spec.mapping) if isinstance(spec.mapping, dict) else None
    return made


def reference(name: str, key: str) -> str:
    """``$name.key``, in brackets where the key is not spelled like a name (or is ``output``, which has a meaning)."""
    if _SEGMENT.match(key) and key != "output":
        return f"${name}.{key}"
    return f"${name}[{json.dumps(key, ensure_ascii=False)}]"


def warns(node: ir.ToolNode, tool: ToolSpec | None, options: Options) -> bool:
    """Whether the input problems of a node are warnings: its own ``validation``, else the options', else the tool's."""
    given = node.validation or options.validation or (tool.validation if tool is not None else None)
    return given == "warn"


def written_into(plan: ir.Plan, paths: Mapping[str, Path], bindings: Bindings, joins: Sequence[Join]) -> ir.Plan:
    """The plan with what was bound by name in ``inputs``, and with the given declarative joins that it uses."""
    used = _used_mappings(plan, bindings, joins)
    if not bindings.written and not used:
        return plan
    form = plan.to_json()
    for node_id, fields in bindings.written.items():
        part: Json = form
        for key in paths[node_id]:
            part = part[key]
        part["inputs"] = {**part.get("inputs", {}), **fields}
    if used:
        form["joins"] = [*form.get("joins", []), *used]
    return ir.Plan.model_validate(form)


def _used_mappings(plan: ir.Plan, bindings: Bindings, joins: Sequence[Join]) -> list[dict[str, Json]]:
    places = lay_out(plan).places
    pairs = {
        (_tool(places[source].node), _tool(places[node_id].node))
        for node_id, sources in bindings.joined.items()
        for source in sources
    } - {(spec.from_tool, spec.to_tool) for spec in plan.joins}
    given = {join.key: join.mapping for join in joins if join.mapping is not None}
    return [{"fromTool": pair[0], "toTool": pair[1], "mapping": given[pair]} for pair in sorted(pairs) if pair in given]


def _tool(node: ir.Common) -> str:
    return node.tool_id if isinstance(node, ir.ToolNode) else ""
