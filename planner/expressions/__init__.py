"""Expressions: a small total language over JSON values, JavaScript's spelling (canonical.md §3).

    expression = parse("$validate_email.valid === true")     # raises ExpressionSyntax with line and column
    decide = expression.compile(bind)                         # names resolved once
    decide(context)                                           # raises ExpressionFailed, never anything else

No clock, no randomness, no I/O; evaluation is bounded in steps, text and list sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...values import Json
from . import syntax as s
from .compiler import Bind, Bound, ExpressionFailed, Getter, compile_tree
from .inference import Finding, Named, Type, infer
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
    names: list[Name] = []
    _names(tree, False, False, names)
    return Expression(source, tree, tuple(names))


def _names(node: s.Node, inside: bool, guarded: bool, found: list[Name]) -> None:
    match node:
        case s.Ref():
            if not (inside and node.name in ("item", "index")):
                found.append(Name(node.name, (), node.at.line, node.at.column, guarded))
        case s.Path(base=s.Ref() as root):
            if not (inside and root.name in ("item", "index")):
                found.append(Name(root.name, _static(node.segments), root.at.line, root.at.column, guarded))
            for segment in node.segments:
                if isinstance(segment, s.Index):
                    _names(segment.key, inside, guarded, found)
        case s.Call() if node.name in s.PER_ELEMENT and len(node.args) == 2:
            _names(node.args[0], inside, guarded, found)
            _names(node.args[1], True, guarded, found)
        case s.Logic():
            for index, part in enumerate(node.parts):
                _names(part, inside, guarded or index > 0, found)
        case s.Choice():
            _names(node.test, inside, guarded, found)
            _names(node.yes, inside, True, found)
            _names(node.no, inside, True, found)
        case _:
            within = guarded or (isinstance(node, s.Call) and node.name == "coalesce")
            for child in s.children(node):
                _names(child, inside, within, found)


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
