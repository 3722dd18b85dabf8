"""What a JSON Schema says about a value's form, read with local ``$ref`` followed and null set aside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from ...values import Json

_HOPS: Final = 20
"""References followed in a row; a schema that goes in circles is a schema without a type."""


@dataclass(frozen=True)
class Shape:
    """A schema within its document. ``known`` is False where nothing is said: it fits everything."""

    schema: dict[str, Any]
    root: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, schema: Json) -> Shape:
        """The shape of a whole schema; of ``true``, ``false`` and what is no schema, the unknown one."""
        document = schema if isinstance(schema, dict) else {}
        return cls(_followed(document, document), document)

    def _within(self, schema: Json) -> Shape:
        return Shape(_followed(schema, self.root) if isinstance(schema, dict) else {}, self.root)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """JSON types, null aside, integer as number; empty where unknown."""
        return frozenset("number" if kind == "integer" else kind for kind in _kinds(self.schema) if kind != "null")

    @property
    def known(self) -> bool:
        """Whether a type is named."""
        return bool(self.kinds)

    @cached_property
    def fields(self) -> dict[str, Shape]:
        """Declared properties."""
        given = self.schema.get("properties")
        return {name: self._within(part) for name, part in given.items()} if isinstance(given, dict) else {}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Required properties, in the order declared."""
        given = self.schema.get("required")
        names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
        return tuple(
            sorted(names, key=lambda name: list(self.fields).index(name) if name in self.fields else len(names))
        )

    @cached_property
    def items(self) -> Shape:
        """Of the elements of a list."""
        return self._within(self.schema.get("items"))

    @property
    def choices(self) -> tuple[Json, ...]:
        """The only values allowed, where the schema lists them."""
        if "const" in self.schema:
            return (self.schema["const"],)
        given = self.schema.get("enum")
        return tuple(given) if isinstance(given, list) else ()

    @property
    def closed(self) -> bool:
        """Whether a field that is not declared has no place here (canonical.md §2, "a closed object")."""
        more = self.schema.get("additionalProperties")
        return bool(self.fields) and more is not True and not isinstance(more, dict)

    def paths(self, depth: int = 2) -> Iterator[tuple[tuple[str, ...], Shape]]:
        """Declared fields and those inside them, outer ones first, down to ``depth`` levels."""
        level: list[tuple[tuple[str, ...], Shape]] = [((), self)]
        for _ in range(depth):
            level = [((*path, name), part) for path, shape in level for name, part in shape.fields.items()]
            yield from level

    def listed(self) -> Shape:
        """The shape of a list of these."""
        return Shape({"type": "array", "items": self.schema}, self.root)

    def fits(self, target: Shape, depth: int = 4) -> bool:
        """Whether a value of this shape may go where ``target`` is asked: a shared type, and below it the same."""
        if not self.known or not target.known:
            return True
        shared = self.kinds & target.kinds
        if not shared:
            return False
        if depth and shared == {"object"} and self.fields and target.fields:
            return not (target.closed and self.fields.keys() - target.fields.keys()) and self.covers(target, depth)
        if depth and shared == {"array"}:
            return self.items.fits(target.items, depth - 1)
        return True

    def covers(self, target: Shape, depth: int = 4) -> bool:
        """Whether an object of this shape has every field that ``target`` requires, of a fitting type."""
        given = self.fields
        wanted = [name for name in target.required if name in target.fields]
        return all(name in given and given[name].fits(target.fields[name], depth - 1) for name in wanted)

    def takes(self, value: Json) -> bool:
        """Whether a literal may go here."""
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        return not self.known or _kind(value) in self.kinds


def _kind(value: Json) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def _kinds(schema: dict[str, Any]) -> list[str]:
    given = schema.get("type")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list):
        return [kind for kind in given if isinstance(kind, str)]
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        if isinstance(parts, list):
            each = [_kinds(part) if isinstance(part, dict) else [] for part in parts]
            return [kind for kinds in each for kind in kinds] if all(each) else []
    if "const" in schema:
        return [_kind(schema["const"])]
    if isinstance(schema.get("enum"), list):
        return [_kind(value) for value in schema["enum"]]
    return ["object"] if isinstance(schema.get("properties"), dict) else []


def _followed(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema behind local references and behind "this or null"."""
    for _ in range(_HOPS):
        beneath = _beneath(schema, root)
        if beneath is None:
            return schema
        # What stands beside a reference (a default, a description) is kept.
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "oneOf", "allOf")}
        schema = {**beneath, **beside}
    return {}


def _beneath(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any] | None:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found = _pointed(reference, root)
        return found if isinstance(found, dict) else {}
    for key in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(key)
        if isinstance(parts, list):
            real = [part for part in parts if isinstance(part, dict) and part.get("type") != "null"]
            if len(real) == 1:
                return real[0]
    return None


def _pointed(reference: str, root: dict[str, Any]) -> Json:
    if not reference.startswith("#"):
        return None
    part: Json = root
    for key in reference[1:].split("/")[1:]:
        part = part.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(part, dict) else None
    return part
