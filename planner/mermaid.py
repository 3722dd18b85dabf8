"""A plan as a Mermaid flowchart: boxes for nodes, frames for owners, arrows for edges, dots for references."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from . import ir
from .checks.graph import top_level_edges
from .scope import Layout, lay_out

_SHAPES: Final = {
    "tool": ("[", "]"),
    "value": ("(", ")"),
    "llm": ("[[", "]]"),
    "awaitInput": ("[/", "/]"),
    "wait": ("([", "])"),
    "subflow": ("[[", "]]"),
}
_ESCAPES: Final = {
    "#": "#35;", "&": "#amp;", "<": "#lt;", ">": "#gt;", '"': "#quot;", "`": "#96;", "\\": "#92;", "|": "#124;",
}  # fmt: skip
_LONGEST: Final = 60


def mermaid(plan: ir.Plan) -> str:
    """``flowchart TD`` text. Ids in it are ``n0, n1 …`` in document order; the plan's ids are the labels."""
    layout = lay_out(plan)
    names = {node_id: f"n{place.order}" for node_id, place in layout.places.items()}
    lines = ["flowchart TD"]
    for node in plan.nodes:
        lines.extend(_node(node, names, 1))
    lines.extend(_edges(layout, names))
    return "\n".join(lines) + "\n"


def _node(node: ir.Node, names: dict[str, str], depth: int) -> Iterator[str]:
    """The lines of a node and of all it owns; at most 50 deep."""
    pad, name = "    " * depth, names[node.id]
    owned = [(key, body) for key, body in ir.bodies(node) if body]
    if not owned:
        start, end = ("{", "}") if isinstance(node, ir.ConditionalNode | ir.SwitchNode) else _SHAPES.get(
            node.type, ("[", "]")
        )  # fmt: skip
        yield f'{pad}{name}{start}"{_label(node)}"{end}'
        return
    yield f'{pad}subgraph {name}["{_label(node)}"]'
    if isinstance(node, ir.Step):
        yield f'{pad}    {name}_self["{_escaped(node.id)}"]'
    for index, (key, body) in enumerate(owned):
        if len(owned) > 1 or key not in ("body", "onError"):
            yield f'{pad}    subgraph {name}_{index}["{_escaped(key)}"]'
            yield from _body(body, names, depth + 2)
            yield f"{pad}    end"
        else:
            yield from _body(body, names, depth + 1)
    yield f"{pad}end"


def _body(body: list[ir.Node], names: dict[str, str], depth: int) -> Iterator[str]:
    for node in body:
        yield from _node(node, names, depth)
    for before, after in pairwise(body):
        yield f"{'    ' * depth}{names[before.id]} --> {names[after.id]}"


def _label(node: ir.Node) -> str:
    """The id, and below it what the node does."""
    match node:
        case ir.ToolNode():
            what = node.tool_id
        case ir.ConditionalNode() | ir.WhileNode():
            what = f"{'if' if isinstance(node, ir.ConditionalNode) else 'while'} {node.condition}"
        case ir.SwitchNode():
            what = f"switch {node.on}"
        case ir.FilterNode():
            what = f"{node.mode} {node.condition}"
        case ir.Collection():
            over = node.over if isinstance(node.over, str) else "a list"
            what = f"{node.loop if isinstance(node, ir.ForNode) else node.type} over {over}"
        case ir.TimesNode():
            what = f"{node.times} times"
        case _:
            what = node.type
    return f"{_escaped(node.id)}<br/>{_escaped(str(what))}"


def _escaped(text: str) -> str:
    """One line of at most 60 characters that means nothing to Mermaid."""
    line = " ".join(text.split())
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    return "".join(_ESCAPES.get(char, char) for char in line)


def _edges(layout: Layout, names: dict[str, str]) -> Iterator[str]:
    graph = top_level_edges(layout)
    drawn = set()
    for edge in layout.plan.edges:
        if edge.from_ in names and edge.to in names:
            drawn.add((layout.places[edge.from_].top, edge.to))
            said = edge.label or edge.condition
            label = f'|"{_escaped(said)}"|' if said else ""
            yield f"    {names[edge.from_]} -->{label} {names[edge.to]}"
    for node_id, sources in graph.data.items():
        for source in sources:
            if (source, node_id) not in drawn:
                yield f"    {names[source]} -.-> {names[node_id]}"
