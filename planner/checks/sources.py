"""Every expression and every referring string of a plan, parsed once, with the meaning of its names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from ...values import Json
from .. import ir
from ..expressions import Expression, ExpressionSyntax, Name, parse
from ..scope import RESERVED, Binding, Layout
from ..templates import Template, parse_template
from .findings import Path
from .places import node_paths

_TEMPLATES = (
    "inputs", "value", "over", "initial", "times", "prompt", "system", "message", "choices", "approvers", "default",
    "duration", "until",
)  # fmt: skip
_EXPRESSIONS = ("condition", "on", "match")
_NO_SUGGESTIONS = ("",)
"""The nearest names are looked for among those in sight, within a budget (see findings), not among all."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One expression, or one string of a template that may refer."""

    node_id: str | None
    """The node whose field it is; None: an edge's, or the plan's output."""
    field: str
    """That field; of an onError's value ``onError``."""
    top: str | None
    """The top-level node that waits for what it refers to; None: the plan's output."""
    path: Path
    text: str
    parsed: Expression | Template | ExpressionSyntax

    @property
    def names(self) -> Iterator[Name]:
        """Every name it uses, in the order they stand there."""
        if isinstance(self.parsed, Expression):
            yield from self.parsed.names
        elif isinstance(self.parsed, Template):
            yield from (name for _, name in self.parsed.names)


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """One name where it is used, and what it means there; None when nothing."""

    source: Source
    name: Name
    binding: Binding | None

    @property
    def top(self) -> str | None:
        """The top-level node that waits for what the name means."""
        return self.source.top

    @property
    def at(self) -> str:
        """Where in its text it stands."""
        return place_in_text(self.name)


def place_in_text(name: Name) -> str:
    """`` (line 1, column 4)``; nothing for a name that its text begins with."""
    return f" (line {name.line}, column {name.column})" if (name.line, name.column) != (1, 1) else ""


@dataclass(slots=True, eq=False)
class Reader:
    """Parses the texts of plans, each distinct text once."""

    known: frozenset[str]
    """Names that a string may begin with as a reference: node ids of the whole plan, variables, ``as``, reserved."""
    _expressions: dict[str, Expression | ExpressionSyntax] = field(default_factory=dict)
    _templates: dict[str, Template] = field(default_factory=dict)

    def expression(self, text: str) -> Expression | ExpressionSyntax:
        """The expression, or why it is none."""
        if text not in self._expressions:
            try:
                self._expressions[text] = parse(text)
            except ExpressionSyntax as wrong:
                self._expressions[text] = wrong
        return self._expressions[text]

    def template(self, text: str) -> Template:
        """One string of a template."""
        if text not in self._templates:
            self._templates[text] = parse_template(text, self.known, suggest=_NO_SUGGESTIONS)
        return self._templates[text]

    def refers(self, text: str) -> bool:
        """Whether a string is more than text: it holds an expression, or tries to."""
        if "$" not in text:
            return False
        template = self.template(text)
        return not template.literal or any(not finding.warning for finding in template.findings)

    def referring(self, value: Json) -> Iterator[tuple[Path, str]]:
        """(path, text) of the strings in a value that refer."""
        return ((path, text) for path, text in dollar_strings(value) if self.refers(text))

    def plain(self, value: Json) -> Json:
        """A value in which nothing refers as it will be when it runs: ``$$`` is a dollar. Shares what it can."""
        literal = parse_template(value, self.known, suggest=_NO_SUGGESTIONS)
        return literal.compile(_refuse)(None) if literal.texts else value

    def sources(self, layout: Layout, paths: dict[str, Path]) -> Iterator[Source]:
        """Of the nodes in document order, then of edges, then of the plan's output."""
        for node_id, place in layout.places.items():
            for name, path, value in _fields(place.node):
                yield from self._field(value, node_id, name, place.top, (*paths[node_id], *path))
        for index, edge in enumerate(layout.plan.edges):
            top = layout.places[edge.to].top if edge.to in layout.places else None
            if edge.condition is not None:
                yield from self._field(edge.condition, None, "condition", top, ("edges", index, "condition"))
            yield from self._field(edge.transform, None, "transform", top, ("edges", index, "transform"))
        yield from self._field(layout.plan.output, None, "output", None, ("output",))

    def _field(self, value: Json, node_id: str | None, name: str, top: str | None, path: Path) -> Iterator[Source]:
        if name in _EXPRESSIONS:
            yield Source(node_id, name, top, path, value, self.expression(value))
            return
        for at, text in dollar_strings(value):
            yield Source(node_id, name, top, (*path, *at), text, self.template(text))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"${name} in a literal")


def _fields(node: ir.Common) -> Iterator[tuple[str, Path, Json]]:
    """(name, path from the node, value) of the fields that hold an expression or a template."""
    for name in (*_EXPRESSIONS, *_TEMPLATES):
        value = getattr(node, name, None)
        if value is not None:
            yield name, (name,), value
    if isinstance(node.on_error, ir.OnErrorValue):
        yield "onError", ("onError", "value"), node.on_error.value
    if isinstance(node, ir.Step) and isinstance(node.approval, ir.Approval):
        yield "message", ("approval", "message"), node.approval.message
        yield "approvers", ("approval", "approvers"), node.approval.approvers


def dollar_strings(value: Json) -> Iterator[tuple[Path, str]]:
    """(path, text) of the strings in a value that hold a dollar, in document order."""
    todo: list[tuple[Path, Json]] = [((), value)]
    while todo:
        path, part = todo.pop()
        if isinstance(part, str):
            if "$" in part:
                yield path, part
        elif isinstance(part, list):
            todo.extend(((*path, at), part[at]) for at in range(len(part) - 1, -1, -1))
        elif isinstance(part, dict):
            todo.extend(((*path, key), part[key]) for key in reversed(part))


def known_names(layout: Layout) -> frozenset[str]:
    """Names that begin a reference in a template."""
    aliases = {place.node.as_ for place in layout.places.values() if isinstance(place.node, ir.Collection)}
    return RESERVED | aliases | layout.places.keys() | layout.plan.variables.keys()


def uses(layout: Layout, sources: Iterable[Source]) -> Iterator[Use]:
    """Every name of the sources, with what it means there."""
    for source in sources:
        for name in source.names:
            yield Use(source, name, layout.resolve(name.name, source.node_id, source.field))


def uses_of(layout: Layout) -> Iterator[Use]:
    """The same, from a plan alone."""
    return uses(layout, Reader(known_names(layout)).sources(layout, node_paths(layout.plan)))
