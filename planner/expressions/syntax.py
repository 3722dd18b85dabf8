"""The syntax tree of an expression (canonical.md §3). Data only; positions count from 1.

Flat chains (``a + b + c``, ``a && b && c``, ``$a.b.c``) are one node with a tuple of parts, walked in a loop. What
else stands inside one another is bounded: the nesting limit (64) times the grammar's levels; a chain of methods is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from ...values import Json


@dataclass(frozen=True, slots=True)
class At:
    line: int
    column: int
    nesting: int
    """Brackets, ``!``, ``-``, ``not`` and ``?:`` inside one another, within this node."""


@dataclass(frozen=True, slots=True)
class Literal:
    at: At
    value: Json
    """null, a boolean, a number, a string."""


@dataclass(frozen=True, slots=True)
class Ref:
    at: At
    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """``.name`` or ``.0`` (``name`` is then digits)."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """``[expression]``."""

    key: Node


@dataclass(frozen=True, slots=True)
class Star:
    """``[*]``: what follows applies to every element."""


Segment: TypeAlias = Field | Index | Star


@dataclass(frozen=True, slots=True)
class Path:
    at: At
    base: Node
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """``name(args)``; of a method call ``x.name(args)`` the first argument is ``x``."""

    at: At
    name: str
    args: tuple[Node, ...]
    method: bool


@dataclass(frozen=True, slots=True)
class Group:
    """``(expression)``: ends a projection."""

    at: At
    inner: Node


@dataclass(frozen=True, slots=True)
class ListOf:
    at: At
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ObjectOf:
    at: At
    pairs: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """``-`` or ``!`` (``not`` is ``!``)."""

    at: At
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``first op a op b …`` from left to right; all of ``+ -`` or all of ``* / %``. Each has its operator's place."""

    at: At
    first: Node
    rest: tuple[tuple[str, Node, At], ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """``== != < <= > >= in`` ``not in`` ``matches`` (``===`` and ``!==`` are read as ``==`` and ``!=``)."""

    at: At
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """``&&`` or ``||`` over two or more parts."""

    at: At
    operator: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """``test ? yes : no``."""

    at: At
    test: Node
    yes: Node
    no: Node


Node: TypeAlias = (
    Literal | Ref | Path | Call | Group | ListOf | ObjectOf | Unary | Arithmetic | Compare | Logic | Choice
)

PER_ELEMENT = frozenset({"any", "all", "filter", "map", "count", "sum"})
"""Functions whose second argument is evaluated for each element, under ``$item`` and ``$index``."""


def per_element(node: Node) -> bool:
    """A call whose second argument is evaluated for each element, under ``$item`` and ``$index``."""
    return isinstance(node, Call) and node.name in PER_ELEMENT and len(node.args) == 2


def children(node: Node) -> Iterator[Node]:
    """The parts of a node, left to right."""
    match node:
        case Path():
            yield node.base
            yield from (segment.key for segment in node.segments if isinstance(segment, Index))
        case Arithmetic():
            yield node.first
            yield from (part for _, part, _ in node.rest)
        case ObjectOf():
            yield from (value for _, value in node.pairs)
        case Call(args=parts) | ListOf(items=parts) | Logic(parts=parts):
            yield from parts
        case Compare():
            yield from (node.left, node.right)
        case Choice():
            yield from (node.test, node.yes, node.no)
        case Group(inner=part) | Unary(operand=part):
            yield part
        case _:
            return
