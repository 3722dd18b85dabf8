"""What a step is given, against the schema of its tool: undeclared fields, literals, the types of references."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Final

from ...tools.closed import follow
from ...tools.spec import ToolSpec
from ...values import Json
from .. import ir
from ..options import Options
from ..scope import Layout
from ..types import STRING, Type, describe, fits, from_schema, kind_of, nullable, possible
from .binding import warns
from .findings import Findings, Path
from .graph import TopEdges
from .literals import Literals
from .sources import Reader

_DEEPEST: Final = 4
"""Levels of objects compared field by field: a schema may refer to itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything that these rules look at. ``typed``: path of a referring string -> the type of what it gives."""

    tools: Mapping[str, ToolSpec]
    options: Options
    typed: Mapping[Path, Type]
    reader: Reader
    found: Findings
    literals: Literals = field(default_factory=Literals)

    def check(self, layout: Layout, graph: TopEdges, paths: Mapping[str, Path], joined: Container[str]) -> None:
        """Of all tool nodes: ``inputs``, and the transforms of the edges into them.

        ``joined``: nodes that a join feeds; where ``inputs`` is one reference, that is what the join reads.
        """
        for node_id, place in layout.places.items():
            node = place.node
            if not isinstance(node, ir.ToolNode) or (tool := self.tools.get(node.tool_id)) is None:
                continue
            place_of = _Given(node.id, tool, warns(node, tool, self.options))
            if node_id not in joined or not isinstance(node.inputs, str):
                self._inputs(node.inputs, (*paths[node_id], "inputs"), place_of, complete=True)
            for index in graph.control.get(node_id, ()):
                self._inputs(layout.plan.edges[index].transform, ("edges", index, "transform"), place_of)

    def mapping(self, value: Json, path: Path, tool: ToolSpec) -> None:
        """The same of a join's mapping into a tool."""
        self._inputs(value, path, _Given(f"the join into {tool.id}", tool, tool.validation == "warn"))

    def _inputs(self, value: Json, path: Path, given: _Given, *, complete: bool = False) -> None:
        if isinstance(value, dict):
            self._undeclared(value, path, given)
            for name, part in value.items():
                if (schema := given.tool.inputs.fields.get(name)) is not None:
                    self._field(name, part, schema, (*path, name), given)
        elif path in self.typed:
            self._whole(self.typed[path], path, given, complete)
        elif value is not None:
            self.found.error(
                "INPUT_TYPE_MISMATCH",
                path,
                f"{given.who} needs an object of inputs, or one reference to a whole object, not {kind_of(value)}",
                expected="an object",
                actual=kind_of(value),
                warn=given.warn,
            )

    def _undeclared(self, value: Json, path: Path, given: _Given) -> None:
        names = sorted(given.tool.inputs.fields)
        for pointer in given.tool.inputs.undeclared_fields(value):
            steps = tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
            wrong = steps[-1]
            options = names if len(steps) == 1 else []
            self.found.error(
                "UNKNOWN_INPUT_FIELD",
                (*path, *steps),
                f"{given.tool.id!r} has no input field {'.'.join(steps)!r}",
                self.found.nearest(wrong, options) or ("" if names else "It takes no inputs."),
                actual=wrong,
                available=options,
                warn=given.warn,
            )

    def _field(self, name: str, part: Json, schema: Json, path: Path, given: _Given) -> None:
        """One top-level field. A null of an optional one that refuses null is left out when it runs."""
        tool = given.tool
        if part is None and name in tool.inputs.refuses_null and (name not in tool.inputs.required or given.warn):
            return
        self._value(part, schema, path, given)

    def _value(self, value: Json, schema: Json, path: Path, given: _Given) -> None:
        todo: list[tuple[Json, Json, Path]] = [(value, schema, path)]
        dynamic = self._dynamic(value, path)
        root = given.tool.input_schema
        while todo:
            part, place, at = todo.pop()
            if at not in dynamic:
                self._literal(part, place, at, given)
            elif isinstance(part, str):
                self._reference(self.typed.get(at, STRING), place, at, given)
            else:
                shape = follow(place, root) if isinstance(place, Mapping) else {}
                wanted = from_schema(place, root)
                kind = "object" if isinstance(part, dict) else "list"
                if kind not in possible(wanted):
                    self._mismatch(f"a literal {kind}", wanted, at, given, kind)
                elif isinstance(part, dict):
                    self._required(part, shape, at, given)
                    todo.extend((part[k], _property(shape, k), (*at, k)) for k in reversed(part))
                else:
                    items = shape.get("items") if "prefixItems" not in shape else None
                    todo.extend((part[i], items, (*at, i)) for i in range(len(part) - 1, -1, -1))

    def _dynamic(self, value: Json, path: Path) -> set[Path]:
        """Paths of the strings in a value that refer, and of everything around them."""
        made: set[Path] = set()
        for at, _ in self.reader.referring(value):
            for length in range(len(at) + 1):
                made.add((*path, *at[:length]))
        return made

    def _literal(self, value: Json, schema: Json, path: Path, given: _Given) -> None:
        plain = self.reader.plain(value)
        for at, message in self.literals.errors(plain, schema, given.tool.input_schema):
            wrong = plain
            for step in at:
                wrong = wrong[step]
            self.found.error(
                "INPUT_TYPE_MISMATCH",
                (*path, *at),
                f"{given.who} ({given.tool.id}) cannot take this value: {message}",
                expected=describe(from_schema(schema, given.tool.input_schema)) if not at else None,
                actual=kind_of(wrong),
                warn=given.warn,
            )

    def _reference(self, known: Type, schema: Json, path: Path, given: _Given) -> None:
        wanted = from_schema(schema, given.tool.input_schema)
        if (wrong := misfit(known, wanted)) is not None:
            self._mismatch(wrong[1], wanted, (*path,), given, wrong[1], wrong[0])

    def _required(self, part: Mapping[str, Json], shape: Mapping[str, Json], path: Path, given: _Given) -> None:
        required = shape.get("required")
        for name in required if isinstance(required, list) else ():
            if isinstance(name, str) and name not in part:
                self.found.error(
                    "MISSING_REQUIRED_INPUT",
                    (*path, name),
                    f"{given.who} ({given.tool.id}) needs {name!r} here",
                    available=sorted(part),
                    warn=given.warn,
                )

    def _mismatch(self, what: str, wanted: Type, path: Path, given: _Given, actual: str, inside: str = "") -> None:
        self.found.error(
            "INPUT_TYPE_MISMATCH",
            path,
            f"{given.who} ({given.tool.id}) needs {describe(wanted)} here, and this is {what}{inside}",
            expected=describe(wanted),
            actual=actual,
            warn=given.warn,
        )

    # --- one reference to a whole object ------------------------------------------------------------------------

    def _whole(self, known: Type, path: Path, given: _Given, complete: bool) -> None:
        tool = given.tool
        wanted = from_schema(tool.input_schema)
        if "object" not in possible(known):
            self._mismatch(describe(known), wanted, path, given, describe(known))
            return
        missing = sorted(tool.inputs.required - known.fields.keys()) if complete and known.closed else []
        for name in missing:
            self.found.error(
                "MISSING_REQUIRED_INPUT",
                path,
                f"{given.who} ({tool.id}) needs {name!r}, which {describe(known)} does not have",
                self.found.nearest(name, sorted(known.fields)),
                available=sorted(known.fields),
                warn=given.warn,
            )
        if (wrong := misfit(known, wanted)) is not None:
            self._mismatch(wrong[1], wanted, path, given, wrong[1], wrong[0])
        for name in sorted(known.required - wanted.fields.keys()) if wanted.closed else ():
            self.found.error(
                "UNKNOWN_INPUT_FIELD",
                path,
                f"{tool.id!r} has no input field {name!r}, and the object referred to always has it",
                "Name the fields it needs one by one.",
                actual=name,
                available=sorted(wanted.fields),
                warn=given.warn,
            )


def misfit(known: Type, wanted: Type) -> tuple[str, str] | None:
    """(where, what it is) of a value that certainly does not fit; None when it may. Null is no misfit: a null for an
    optional field is left out, for a required one it is an error of the run."""
    todo: list[tuple[tuple[str, ...], Type, Type]] = [((), known, wanted)]
    while todo:
        path, mine, theirs = todo.pop()
        if mine.kind != "null" and not fits(mine, nullable(theirs)):
            return (f" at {'.'.join(path)!r}" if path else ""), describe(mine)
        if len(path) < _DEEPEST:
            todo.extend(
                ((*path, name), mine.fields[name], theirs.fields[name])
                for name in sorted(mine.required & mine.fields.keys() & theirs.fields.keys(), reverse=True)
            )
    return None


@dataclass(frozen=True, slots=True)
class _Given:
    """For whom inputs are, and whether its problems are warnings."""

    node_id: str
    tool: ToolSpec
    warn: bool

    @property
    def who(self) -> str:
        return repr(self.node_id) if not self.node_id.startswith("the ") else self.node_id


def _property(shape: Mapping[str, Json], name: str) -> Json:
    properties = shape.get("properties")
    return properties.get(name) if isinstance(properties, Mapping) else None
