"""The types that plans are checked with: what a JSON Schema, a literal or an expression says about a value.

A type is what is *certain*. ``unknown`` may be anything (or one of ``among``), and nothing that holds for some value of
a type is ever refused: the rules ask :func:`possible`, the kinds a value may have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias, cast, get_args

from ..tools.closed import follow
from ..values import Json

Kind: TypeAlias = Literal["unknown", "null", "boolean", "number", "string", "list", "object"]

MAX_DEPTH: Final = 100
"""Levels of a schema or a literal that are looked at; what lies deeper is unknown."""

_MOST_READ: Final = 20_000
"""Parts of one schema that are read; definitions that use each other may unfold without end."""
_BESIDE: Final = ("allOf", "anyOf", "oneOf", "if", "then", "else")
_OPENS: Final = ("additionalProperties", "unevaluatedProperties")

KINDS: Final = frozenset(get_args(Kind)) - {"unknown"}
_OF_SCHEMA: Final[Mapping[str, Kind]] = {
    "null": "null",
    "boolean": "boolean",
    "integer": "number",
    "number": "number",
    "string": "string",
    "array": "list",
    "object": "object",
}
_SHOWN: Final = {"boolean": "a boolean", "number": "a number", "string": "a string", "object": "an object"}


@dataclass(frozen=True, slots=True)
class Type:
    """What is known of a value. ``item``, ``fields`` and the like hold *if* it is a list or an object."""

    kind: Kind
    nullable: bool = False
    """It may be null as well. (``unknown`` may be null anyhow, unless ``among`` says what it may be.)"""
    item: Type | None = None
    """Of a list: what every element is. None: unknown."""
    fields: Mapping[str, Type] = field(default_factory=dict, hash=False)
    required: frozenset[str] = frozenset()
    """Fields that are never absent."""
    closed: bool = False
    """A field that ``fields`` does not name is a mistake (canonical.md §2, "a closed object")."""
    among: frozenset[str] = frozenset()
    """Of ``unknown``: the kinds it may have, null aside. Empty: any."""

    def __str__(self) -> str:
        return describe(self)


UNKNOWN: Final = Type("unknown")
NULL: Final = Type("null")
BOOLEAN: Final = Type("boolean")
NUMBER: Final = Type("number")
STRING: Final = Type("string")
_SIMPLE: Final[Mapping[str, Type]] = {"null": NULL, "boolean": BOOLEAN, "number": NUMBER, "string": STRING}


def list_of(item: Type | None = None) -> Type:
    """A list of ``item``; of anything when None."""
    return Type("list", item=item)


def object_of(fields: Mapping[str, Type], closed: bool = False, required: Iterable[str] = ()) -> Type:
    """An object that has the ``required`` of these fields, and others unless it is closed."""
    return Type("object", fields=dict(fields), closed=closed, required=frozenset(required))


def one_of(kinds: Iterable[str]) -> Type:
    """A type that may be any of these kinds, of which nothing else is known."""
    every = frozenset(kinds)
    nullable_, rest = "null" in every, every - {"null"}
    if not rest:
        return NULL if nullable_ else UNKNOWN
    if len(rest) == 1:
        return Type(cast(Kind, next(iter(rest))), nullable=nullable_)
    if rest | {"null"} >= KINDS:
        return UNKNOWN
    return Type("unknown", nullable=nullable_, among=rest)


def nullable(type_: Type) -> Type:
    """The same, or null."""
    if type_.nullable or type_.kind == "null":
        return type_
    return type_ if type_ is UNKNOWN else replace(type_, nullable=True)


def not_null(type_: Type) -> Type:
    """The same without null; of null alone nothing is known."""
    if type_.kind == "null":
        return UNKNOWN
    return replace(type_, nullable=False) if type_.nullable else type_


def possible(type_: Type) -> frozenset[str]:
    """The kinds a value of this type may have, ``null`` included."""
    if type_.kind == "unknown":
        if not type_.among:
            return KINDS
        return type_.among | {"null"} if type_.nullable else type_.among
    return frozenset({type_.kind, "null"}) if type_.nullable else frozenset({type_.kind})


def fits(a: Type, b: Type) -> bool:
    """They share a type, null aside. Integer and number are one; what is unknown fits all."""
    mine, theirs = possible(a), possible(b)
    return bool((mine & theirs) - {"null"}) or mine == theirs == {"null"}


def join(a: Type, b: Type) -> Type:
    """What holds of either."""
    return _Joining().join(a, b, 0)


class _Joining:
    """Joins pairs once each: types made from one ``$ref`` are shared, and a tree walk of them could take for ever."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int], Type] = {}

    def join(self, a: Type, b: Type, depth: int) -> Type:
        if a is b:
            return a
        if a.kind == "null" or b.kind == "null":
            return nullable(b if a.kind == "null" else a)
        if a.kind != b.kind or a.kind == "unknown" or depth > MAX_DEPTH:
            return one_of(possible(a) | possible(b))
        if a.kind not in ("list", "object"):
            return a if a.nullable else b
        key = (id(a), id(b))
        if key not in self._made:
            self._made[key] = self._list(a, b, depth) if a.kind == "list" else self._object(a, b, depth)
        return self._made[key]

    def _list(self, a: Type, b: Type, depth: int) -> Type:
        item = None if a.item is None or b.item is None else self.join(a.item, b.item, depth + 1)
        return Type("list", nullable=a.nullable or b.nullable, item=item)

    def _object(self, a: Type, b: Type, depth: int) -> Type:
        fields: dict[str, Type] = {}
        for name in {**a.fields, **b.fields}:
            mine, theirs = a.fields.get(name), b.fields.get(name)
            if mine is not None and theirs is not None:
                fields[name] = self.join(mine, theirs, depth + 1)
            elif (b if theirs is None else a).closed:
                fields[name] = mine or theirs or UNKNOWN
            else:
                fields[name] = UNKNOWN
        return Type(
            "object",
            nullable=a.nullable or b.nullable,
            fields=fields,
            required=a.required & b.required,
            closed=a.closed and b.closed,
        )


def describe(type_: Type) -> str:
    """For people: ``a string``, ``a list of numbers``, ``a number or null``, ``an object with 'a', 'b'``."""
    if type_.kind == "null":
        return "null"
    if type_.kind == "unknown":
        text = " or ".join(_SHOWN.get(kind, "a list") for kind in sorted(type_.among)) or "of unknown type"
    elif type_.kind == "list":
        inner = type_.item.kind if type_.item is not None else "unknown"
        text = "a list" if inner in ("unknown", "null") else f"a list of {inner}s"
    elif type_.kind == "object" and type_.closed:
        names = sorted(type_.fields)
        more = ", …" if len(names) > 8 else ""
        text = "an object with " + (", ".join(map(repr, names[:8])) or "no fields") + more
    else:
        text = _SHOWN[type_.kind]
    return f"{text} or null" if type_.nullable else text


def kind_of(value: Json) -> Kind:
    """The kind of a JSON value, as ``typeOf`` names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list | tuple) else "object"


def of_value(value: Json) -> Type:
    """The type of a literal. Its objects are open: to ask a literal for a field it lacks is no mistake of a schema."""
    return _of_value(value, 0)


def _of_value(value: Json, depth: int) -> Type:
    kind = kind_of(value)
    if depth > MAX_DEPTH:
        return UNKNOWN
    if kind == "list":
        item: Type | None = None
        for part in value:
            one = _of_value(part, depth + 1)
            item = one if item is None else join(item, one)
        return list_of(item)
    if kind == "object":
        fields: dict[str, Type] = {}
        for name, part in value.items():
            fields[name] = _of_value(part, depth + 1)
        return object_of(fields, required=fields)
    return _SIMPLE[kind]


def from_schema(schema: Json, root: Json = None) -> Type:
    """The type a JSON Schema describes; UNKNOWN where it says nothing certain, and where a local ``$ref`` goes round.

    ``root``: the document that ``$ref`` points into (absent: ``schema`` itself). Never raises, whatever it is given.
    """
    return _Reading(schema if root is None else root).type(schema, 0, sealed=True)


class _Reading:
    """One schema document being read. A part is read once for each depth, so shared definitions cost no more."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._made: dict[tuple[tuple[str, int], int, bool], Type] = {}
        self._alive: list[Json] = []
        self._open: set[tuple[str, int]] = set()
        self._read_so_far = 0

    def type(self, schema: Json, depth: int, *, sealed: bool) -> Type:
        """``sealed`` False: inside an anyOf or oneOf, through which no object is closed (canonical.md §2)."""
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return UNKNOWN
        whole = follow(schema, self._root)
        origin = self._origin(whole)
        key = (origin, depth, sealed)
        if key in self._made:
            return self._made[key]
        self._read_so_far += 1
        if origin in self._open or self._read_so_far > _MOST_READ:
            return UNKNOWN
        self._open.add(origin)
        try:
            made = self._made[key] = self._read(whole, depth, sealed)
        finally:
            self._open.discard(origin)
        return made

    def _origin(self, whole: Mapping[str, Json]) -> tuple[str, int]:
        """What makes two readings one: the part that says what is inside, whatever stands beside a ``$ref`` to it."""
        self._alive.append(whole)  # an id is unique among living objects only
        for name in ("properties", "items", "anyOf", "oneOf"):
            if isinstance(whole.get(name), Mapping | list):
                return name, id(whole[name])
        return "", id(whole)

    def _read(self, schema: Mapping[str, Json], depth: int, sealed: bool) -> Type:
        kinds = _kinds(schema)
        if kinds is None:
            one = self._either(schema, depth)
            if one is not None:
                return one
        base = UNKNOWN if kinds is None else one_of(kinds)
        may = possible(base)
        if "list" in may and isinstance(schema.get("items"), Mapping) and "prefixItems" not in schema:
            base = replace(base, item=self.type(schema["items"], depth + 1, sealed=sealed))
        if "object" in may and isinstance(schema.get("properties"), Mapping):
            base = self._object(base, schema, depth, sealed)
        return base

    def _object(self, base: Type, schema: Mapping[str, Json], depth: int, sealed: bool) -> Type:
        fields: dict[str, Type] = {}
        for name, part in schema["properties"].items():
            fields[str(name)] = self.type(part, depth + 1, sealed=sealed)
        for name in self._declared_beside(schema):
            fields.setdefault(name, UNKNOWN)
        required = frozenset(name for name in _listed(schema.get("required")) if isinstance(name, str))
        opens = any(schema.get(key, False) is not False for key in _OPENS) or bool(schema.get("patternProperties"))
        closed = sealed and not opens
        return replace(base, fields=fields, required=required, closed=closed)

    def _declared_beside(self, schema: Mapping[str, Json]) -> set[str]:
        """Fields that a combinator beside ``properties`` declares for the same object; their types are not asked."""
        names: set[str] = set()
        todo: list[Json] = [part for key in _BESIDE for part in _listed(schema.get(key))]
        for _ in range(_MOST_READ):
            if not todo:
                break
            part = follow(todo.pop(), self._root)
            if isinstance(part.get("properties"), Mapping):
                names.update(map(str, part["properties"]))
            todo.extend(below for key in _BESIDE for below in _listed(part.get(key)))
        return names

    def _either(self, schema: Mapping[str, Json], depth: int) -> Type | None:
        """X or null of an anyOf or oneOf whose only other part is null; None for every other combination."""
        for name in ("anyOf", "oneOf"):
            parts = schema.get(name)
            if not isinstance(parts, list) or "properties" in schema or "items" in schema:
                continue
            types = [self.type(part, depth + 1, sealed=False) for part in parts[:3]]
            others = [one for one in types if one.kind != "null"]
            if len(parts) <= 2 and len(others) == 1:
                return others[0] if len(types) == 1 else nullable(others[0])
        return None


def _kinds(schema: Mapping[str, Json]) -> frozenset[str] | None:
    """The kinds that ``type``, ``enum`` and ``const`` leave; None when they say nothing."""
    given = schema.get("type")
    names = given if isinstance(given, list) else [given]
    named = frozenset(_OF_SCHEMA[name] for name in names if isinstance(name, str) and name in _OF_SCHEMA)
    literals: list[Json] | None = None
    if "const" in schema:
        literals = [schema["const"]]
    elif isinstance(schema.get("enum"), list):
        literals = schema["enum"]
    if not literals:
        return named or None
    spelled = frozenset(str(kind_of(value)) for value in literals)
    return (spelled & named if named else spelled) or None


def _listed(part: Json) -> list[Json]:
    """Of one part a list, of a list itself."""
    return part if isinstance(part, list) else [] if part is None else [part]
