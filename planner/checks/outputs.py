"""What is known of every value a name can mean, from the tools' schemas (canonical.md §3, "Check")."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ...tools.spec import ToolSpec
from .. import ir
from ..expressions import Named
from ..scope import Binding, Layout
from ..types import NUMBER, UNKNOWN, Type, from_schema, list_of, nullable
from .graph import TopEdges
from .sight import may_be_left_out
from .sources import Reader, Source


@dataclass(slots=True, eq=False)
class Outputs:
    """Types of nodes and of items; build with :func:`outputs_of`. What was not worked out is unknown."""

    layout: Layout
    skippable: frozenset[str]
    """Top-level nodes that may be skipped, so that a reference to them may be null."""
    nodes: dict[str, Type] = field(default_factory=dict)
    items: dict[str, Type] = field(default_factory=dict)
    """Owner's id -> type of its items."""

    def of(self, binding: Binding | None, user: str | None) -> Type:
        """Of what a name means where the node ``user`` (None: an edge, the plan's output) uses it."""
        match binding:
            case Binding(kind="node", target=target):
                known = self.nodes.get(target, UNKNOWN)
                return nullable(known) if self._may_be_null(target, user) else known
            case Binding(kind="item", target=target):
                return self.items.get(target, UNKNOWN)
            case Binding(kind="index"):
                return NUMBER
            case _:
                return UNKNOWN

    def at(self, source: Source) -> Callable[[str], Named]:
        """Name -> type, for what is written in one place."""
        return self.within(source.node_id, source.field)

    def within(self, user: str | None, field_name: str) -> Callable[[str], Named]:
        """The same for a field of a node."""

        def named(name: str) -> Named:
            binding = self.layout.resolve(name, user, field_name)
            return Named(self.of(binding, user), node=binding is not None and binding.kind == "node")

        return named

    def _may_be_null(self, target: str, user: str | None) -> bool:
        place = self.layout.places[target]
        around = {owner.node.id for owner, _ in self.layout.owners(user)} if user is not None else set()
        if place.top in self.skippable and (user is None or self.layout.places[user].top != place.top):
            return True
        owners = self.layout.owners(target)
        return any(owner.node.id not in around and may_be_left_out(owner.node, key) for owner, key in owners)


def outputs_of(
    layout: Layout,
    graph: TopEdges,
    tools: Mapping[str, ToolSpec],
    reader: Reader,
    loose: Collection[str] = (),
) -> Outputs:
    """Work out all types in the order of flow, so that each is known before it is used.

    Nodes on cycles are unknown, and so are those in ``loose``.
    """
    outputs = Outputs(layout, _skippable(layout, graph))
    schemas: dict[str, Type] = {
        tool_id: UNKNOWN if tool.output_schema is None else from_schema(tool.output_schema)
        for tool_id, tool in tools.items()
    }
    worker = _Worker(outputs, schemas, reader, frozenset(loose))
    for node_id in graph.order:
        worker.visit(layout.places[node_id].node)
    return outputs


def _skippable(layout: Layout, graph: TopEdges) -> frozenset[str]:
    made: set[str] = set()
    for node_id in graph.order:
        edges = [layout.plan.edges[at] for at in graph.control[node_id]]
        if edges and all(_may_be_dead(layout, edge, made) for edge in edges):
            made.add(node_id)
    return frozenset(made)


def _may_be_dead(layout: Layout, edge: ir.Edge, skippable: set[str]) -> bool:
    source = layout.places[edge.from_]
    inner = any(may_be_left_out(owner.node, key) for owner, key in layout.owners(edge.from_))
    return edge.condition is not None or inner or source.top in skippable


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    outputs: Outputs
    schemas: Mapping[str, Type]
    reader: Reader
    loose: frozenset[str]

    def visit(self, node: ir.Node) -> None:
        """A node and what it owns, items first, then inner nodes in order, then its own output. At most 50 deep."""
        if isinstance(node, ir.Collection):
            over = self._over(node)
            self.outputs.items[node.id] = over.item if over.kind == "list" and over.item is not None else UNKNOWN
        for _, body in ir.bodies(node):
            for child in body:
                self.visit(child)
        self.outputs.nodes[node.id] = self._with_on_error(node, self._output(node))

    def _with_on_error(self, node: ir.Node, known: Type) -> Type:
        if node.id in self.loose:
            return UNKNOWN
        if node.on_error == "fail":
            return known
        return nullable(known) if node.on_error == "continue" else UNKNOWN

    def _output(self, node: ir.Node) -> Type:
        match node:
            case ir.ToolNode():
                return self.schemas.get(node.tool_id, UNKNOWN)
            case ir.LlmNode():
                return from_schema(node.schema_) if node.schema_ is not None else UNKNOWN
            case ir.SequenceNode():
                return self._last(node.body)
            case ir.MapNode(type="flatMap"):
                last = self._last(node.body)
                return list_of(last.item if last.kind == "list" else None)
            case ir.MapNode():
                return list_of(self._last(node.body))
            case ir.FilterNode():
                return list_of(self.outputs.items[node.id])
            case _:
                return UNKNOWN

    def _last(self, body: list[ir.Node]) -> Type:
        return self.outputs.nodes.get(body[-1].id, UNKNOWN) if body else UNKNOWN

    def _over(self, node: ir.Collection) -> Type:
        """Of a list that is one whole reference; unknown of everything else."""
        if not isinstance(node.over, str):
            return UNKNOWN
        template = self.reader.template(node.over)
        if template.whole is None:
            return UNKNOWN
        return template.infer(self.outputs.within(node.id, "over"))[0]
