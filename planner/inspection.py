"""A report on a plan for people who decide whether it may run: size, graph, data flow, issues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..tools.spec import ToolSpec
from ..values import Json
from . import ir
from .certificate import Certificate, certify
from .checks.graph import TopEdges, graph_of
from .checks.places import node_paths
from .checks.review import Issue, Reviewed, review
from .checks.sources import Reader, known_names, uses
from .options import Options
from .scope import Layout, lay_out

Label: TypeAlias = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Complexity:
    """How much there is to a plan. ``critical_path``: nodes on the longest way; ``width``: of nodes side by side."""

    nodes: int
    depth: int
    width: int
    branches: int
    loops: int
    max_node_executions: int
    llm_calls: int
    side_effecting: int
    critical_path: int
    cyclomatic: int

    @property
    def label(self) -> Label:
        """low: read at a glance · medium: read with care · high: more than 20 nodes, 10 ways or 10 000 executions."""
        if self.nodes > 20 or self.cyclomatic > 10 or self.max_node_executions > 10_000:
            return "high"
        return "low" if self.nodes <= 6 and self.cyclomatic <= 3 and self.max_node_executions <= 100 else "medium"

    def to_json(self) -> dict[str, Json]:
        """All figures, camelCase, and the label."""
        return {
            "nodes": self.nodes,
            "depth": self.depth,
            "width": self.width,
            "branches": self.branches,
            "loops": self.loops,
            "maxNodeExecutions": self.max_node_executions,
            "llmCalls": self.llm_calls,
            "sideEffecting": self.side_effecting,
            "criticalPath": self.critical_path,
            "cyclomatic": self.cyclomatic,
            "label": self.label,
        }


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One line of the execution graph. ``owner``: the node in whose body it stands."""

    index: int
    type: str
    id: str
    owner: str | None = None
    tool_id: str | None = None
    inputs: Json = None

    def to_json(self) -> dict[str, Json]:
        """``{"index", "type", "id", "owner"?, "toolId"?, "inputs"?}``."""
        made: dict[str, Json] = {"index": self.index, "type": self.type, "id": self.id}
        if self.owner is not None:
            made["owner"] = self.owner
        return made if self.tool_id is None else {**made, "toolId": self.tool_id, "inputs": self.inputs}


@dataclass(frozen=True, slots=True)
class Link:
    """What follows what. ``kind``: control (an edge), data (a reference at the top), body (inside an owner)."""

    source: str
    target: str
    kind: Literal["control", "data", "body"]
    label: str = ""

    def to_json(self) -> dict[str, Json]:
        """``{"from", "to", "kind", "label"}``."""
        return {"from": self.source, "to": self.target, "kind": self.kind, "label": self.label}


@dataclass(frozen=True, slots=True)
class Inspection:
    """The report. ``steps`` counts all nodes, nested ones too."""

    name: str
    description: str
    steps: int
    complexity: Complexity
    graph: tuple[GraphNode, ...]
    data_flow: tuple[Link, ...]
    issues: tuple[Issue, ...]

    def to_json(self) -> dict[str, Json]:
        """``{"name", "description", "steps", "complexity", "graph", "dataFlow", "issues"}``."""
        return {
            "name": self.name,
            "description": self.description,
            "steps": self.steps,
            "complexity": self.complexity.to_json(),
            "graph": [node.to_json() for node in self.graph],
            "dataFlow": [link.to_json() for link in self.data_flow],
            "issues": [issue.to_json() for issue in self.issues],
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The report as text."""
        figures = self.complexity
        made = [self.name, *([self.description] if self.description else [])]
        made.append(
            f"{self.steps} steps, complexity {figures.label}: depth {figures.depth}, width {figures.width}, "
            f"longest way {figures.critical_path}, at most {figures.max_node_executions} executions"
        )
        made += ["", "Execution graph"]
        depth: dict[str, int] = {}
        for node in self.graph:
            depth[node.id] = 0 if node.owner is None else depth[node.owner] + 1
            what = f"{node.type} {node.tool_id}" if node.tool_id is not None else node.type
            made.append(f"  {'  ' * depth[node.id]}{node.index}. {node.id}: {what}")
        made += ["", "Data flow"]
        for link in self.data_flow:
            if link.kind != "body":
                said = f" when {link.label}" if link.label else ""
                made.append(f"  {link.source} {'→' if link.kind == 'control' else '⇢'} {link.target}{said}")
        made += ["", "Issues" if self.issues else "No issues"]
        made += [f"  {issue.severity}: {issue.message}" for issue in self.issues]
        return made


def inspect_plan(
    plan: ir.Plan,
    tools: Mapping[str, ToolSpec],
    certificate: Certificate | None = None,
    *,
    options: Options | None = None,
    joined: Mapping[str, tuple[str, ...]] | None = None,
) -> Inspection:
    """The report on a plan that ``check`` accepted. ``joined``: what joins feed (``Check.joined``)."""
    options = options or Options()
    layout = lay_out(plan)
    reader = Reader(known_names(layout))
    sources = list(reader.sources(layout, node_paths(plan)))
    used = list(uses(layout, sources))
    edges = graph_of(layout, used)
    certificate = certificate or certify(layout, edges, tools, options)
    reviewed = Reviewed(layout, edges, tools, options, tuple(sources), tuple(used), joined or {})
    return Inspection(
        plan.metadata.name,
        plan.metadata.description,
        len(layout.places),
        _complexity(layout, edges, tools, certificate),
        tuple(_graph(layout)),
        tuple(_links(layout, edges)),
        tuple(review(reviewed)),
    )


def _complexity(layout: Layout, edges: TopEdges, tools: Mapping[str, ToolSpec], certificate: Certificate) -> Complexity:
    nodes = [place.node for place in layout.places.values()]
    branches = sum(_branches(node) for node in nodes)
    loops = sum(isinstance(node, ir.ITEM_BODY_OWNERS) for node in nodes)
    gates = sum(edge.condition is not None for edge in layout.plan.edges)
    decisions = loops + gates + sum(max(_branches(node) - 1, 0) for node in nodes if not _parallel(node))
    acting = [node for node in nodes if isinstance(node, ir.ToolNode) and _acts(tools.get(node.tool_id))]
    return Complexity(
        nodes=len(nodes),
        depth=max((place.depth for place in layout.places.values()), default=0),
        width=max(Counter(edges.level.values()).values(), default=0),
        branches=branches,
        loops=loops,
        max_node_executions=certificate.max_node_executions,
        llm_calls=certificate.model_calls,
        side_effecting=len(acting),
        critical_path=max(edges.level.values(), default=-1) + 1,
        cyclomatic=decisions + 1,
    )


def _branches(node: ir.Common) -> int:
    """Ways through a node; a switch has one more where nothing matches."""
    match node:
        case ir.ConditionalNode():
            return 2
        case ir.SwitchNode():
            return len(node.cases) + 1
        case ir.ParallelNode():
            return len(node.branches)
        case _:
            return 0


def _parallel(node: ir.Common) -> bool:
    return isinstance(node, ir.ParallelNode)


def _acts(tool: ToolSpec | None) -> bool:
    return tool is None or tool.side_effect != "none"


def _graph(layout: Layout) -> Iterator[GraphNode]:
    for node_id, place in layout.places.items():
        node = place.node
        if isinstance(node, ir.ToolNode):
            yield GraphNode(place.order, node.type, node_id, place.owner, node.tool_id, node.inputs)
        else:
            yield GraphNode(place.order, node.type, node_id, place.owner)


def _links(layout: Layout, edges: TopEdges) -> Iterator[Link]:
    for edge in layout.plan.edges:
        yield Link(edge.from_, edge.to, "control", edge.condition or "")
    for node_id, sources in edges.data.items():
        for source in sources:
            yield Link(source, node_id, "data")
    for node_id, place in layout.places.items():
        if place.owner is not None:
            yield Link(place.owner, node_id, "body", place.key)
