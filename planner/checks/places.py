"""Where a node lies in the canonical JSON of its plan."""

from __future__ import annotations

from ..ir import Node, ParallelNode, Plan, bodies
from .findings import Path


def body_path(node: Node, key: str) -> Path:
    """From a node to one of its bodies, by the key that ``ir.bodies`` gives it."""
    kind, _, name = key.partition(":")
    match kind:
        case "case":
            return ("cases", name)
        case "branch":
            named = isinstance(node, ParallelNode) and isinstance(node.branches, dict)
            return ("branches", name if named else int(name))
        case "onError":
            return ("onError", "nodes")
        case _:
            return (kind,)


def node_paths(plan: Plan) -> dict[str, Path]:
    """Node id -> its path. Where an id stands twice, that of the first."""
    made: dict[str, Path] = {}
    todo: list[tuple[Node, Path]] = [(node, ("nodes", at)) for at, node in enumerate(plan.nodes)]
    todo.reverse()
    while todo:
        node, path = todo.pop()
        made.setdefault(node.id, path)
        inner = [
            (child, (*path, *body_path(node, key), at)) for key, body in bodies(node) for at, child in enumerate(body)
        ]
        todo.extend(reversed(inner))
    return made
