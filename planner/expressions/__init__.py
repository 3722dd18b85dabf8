"""Expressions: a small total language over JSON values, JavaScript's spelling (canonical.md §3).

    expression = parse("$validate_email.valid === true")     # raises ExpressionSyntax with line and column
    decide = expression.compile(bind)                         # names resolved once
    decide(context)                                           # raises ExpressionFailed, never anything else

No clock, no randomness, no I/O; evaluation is bounded in steps, text and list sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...values import Json
from ..types import Type
from . import syntax as s
from .compiler import Bind, Bound, Getter, compile_tree
from .elements import ExpressionFailed
from .inference import Finding, Named, infer
from .operators import text_form, truthy
from .parser import ExpressionSyntax, add_dollars, parse_tree

__all__ = [
    "Bind",
    "Bound",
    "Expression",
    "ExpressionFailed",
    "ExpressionSyntax",
    "Finding",
    "Getter",
    "Name",
    "Named",
    "add_dollars",
    "parse",
    "text_form",
    "truthy",
]


@dataclass(frozen=True, slots=True)
class Name:
    """A root name that an expression refers to."""

    name: str
    path: tuple[str | int, ...]
    """Leading segments that are known from the text; ends before ``[*]`` or a computed key."""
    line: int
    column: int
    guarded: bool
    """Right of ``&&`` or ``||``, in an arm of ``?:``, or within coalesce: it may not be read at all."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. Immutable; :func:`parse` gives the same one for the same source."""

    source: str
    tree: s.Node
    names: tuple[Name, ...]
    """Free names, left to right; ``$item`` and ``$index`` of per-element functions are not free."""

    @property
    def constant(self) -> bool:
        """It refers to nothing."""
        return not self.names

    @property
    def whole_reference(self) -> Name | None:
        """The name, when the expression is exactly one reference."""
        tree = self.tree
        base = tree.base if isinstance(tree, s.Path) else tree
        return self.names[0] if isinstance(base, s.Ref) and len(self.names) == 1 else None

    def compile(self, bind: Bind) -> Callable[[Any], Json]:
        """A closure over an opaque context; ``bind`` says once where each name's value comes from."""
        return compile_tree(self.tree, bind)

    def infer(
        self, types: Callable[[str], Named], *, unset: frozenset[str] = frozenset()
    ) -> tuple[Type, list[Finding]]:
        """The type of its value, and what is certain to be wrong."""
        return infer(self.tree, types, unset=unset)


@lru_cache(maxsize=4096)
def parse(source: str) -> Expression:
    """The expression of a source. Raises ExpressionSyntax."""
    tree = parse_tree(source)
    return Expression(source, tree, tuple(_free_names(tree)))


def _free_names(tree: s.Node) -> Iterator[Name]:
    todo = [(tree, False, False)]
    while todo:
        node, inside, guarded = todo.pop()
        root = node.base if isinstance(node, s.Path) else node
        if isinstance(root, s.Ref):
            if not (inside and root.name in ("item", "index")):
                path = _static(node.segments) if isinstance(node, s.Path) else ()
                yield Name(root.name, path, root.at.line, root.at.column, guarded)
        todo.extend(reversed(list(_parts(node, inside, guarded))))


def _parts(node: s.Node, inside: bool, guarded: bool) -> Iterator[tuple[s.Node, bool, bool]]:
    """The parts of a node but for the name a path begins with: whether ``$item`` is bound, whether they are guarded."""
    children = list(s.children(node))
    if isinstance(node, s.Path) and isinstance(node.base, s.Ref):
        children = children[1:]
    for position, child in enumerate(children):
        bound = inside or (position == 1 and s.per_element(node))
        match node:
            case s.Logic() | s.Choice():
                yield child, bound, guarded or position > 0
            case s.Call(name="coalesce"):
                yield child, bound, True
            case _:
                yield child, bound, guarded


def _static(segments: tuple[s.Segment, ...]) -> tuple[str | int, ...]:
    made: list[str | int] = []
    for segment in segments:
        key = segment.key.inner if isinstance(segment, s.Index) and isinstance(segment.key, s.Group) else None
        if isinstance(segment, s.Field):
            made.append(segment.name)
        elif isinstance(key, s.Literal) and type(key.value) in (str, int):
            made.append(key.value)
        else:
            break
    return tuple(made)
