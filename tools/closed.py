"""Closed objects (canonical.md §2): which fields of a value no schema declares. Compiled once, linear in the value.

A closed object is one with ``properties``, unless ``additionalProperties`` is true or a schema. A field that an
anyOf, oneOf, allOf … beside ``properties`` declares counts as declared; the inside of those is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..values import Json, pointer

if TYPE_CHECKING:
    import jsonschema_rs

_BESIDE: Final = ("allOf", "anyOf", "oneOf")
_BESIDE_ONE: Final = ("if", "then", "else")
_OPENS: Final = ("additionalProperties", "unevaluatedProperties")
_MOST_REFERENCES: Final = 100
"""Links of one chain of ``$ref``; a chain that is longer goes round in circles."""


@dataclass(eq=False, slots=True)
class Closed:
    """What to look for in a value at one place: fields beyond ``declared``, and the same inside fields and items."""

    declared: frozenset[str] | None = None
    patterns: tuple[jsonschema_rs.Validator, ...] = ()
    inside: dict[str, Closed] = field(default_factory=dict)
    items: Closed | None = None
    positions: tuple[Closed | None, ...] = ()

    def undeclared(self, value: Json) -> list[str]:
        """JSON Pointers of undeclared fields, in no promised order."""
        if not self.inside and isinstance(value, dict) and self.declared and self.declared.issuperset(value):
            return []
        found: list[str] = []
        todo: list[tuple[Closed, Json, tuple[str | int, ...]]] = [(self, value, ())]
        while todo:
            place, part, path = todo.pop()
            if isinstance(part, dict):
                found.extend(pointer(*path, name) for name in place._extra(part))
                todo.extend((place.inside[n], part[n], (*path, n)) for n in place.inside.keys() & part.keys())
            elif isinstance(part, list):
                todo.extend((below, part[i], (*path, i)) for i, below in place._elements(len(part)))
        return sorted(found)

    def _extra(self, part: dict[str, Json]) -> Iterator[str]:
        if self.declared is None or self.declared.issuperset(part):
            return iter(())
        extra = (name for name in part if name not in self.declared)
        return (name for name in extra if not any(pattern.is_valid(name) for pattern in self.patterns))

    def _elements(self, length: int) -> Iterator[tuple[int, Closed]]:
        for index in range(length):
            below = self.positions[index] if index < len(self.positions) else self.items
            if below is not None:
                yield index, below


def closed(document: Mapping[str, Json]) -> Closed | None:
    """The closed objects of a schema; None when it has none."""
    return _Compiler(document).place(document)


def follow(schema: Json, root: Json) -> Mapping[str, Json]:
    """``schema`` with its chain of local ``$ref`` followed: the fields of the last, then those beside each ``$ref``.

    ``properties`` and ``required`` of the links are united. What cannot be followed is left out.
    """
    links: list[Mapping[str, Json]] = []
    while isinstance(schema, Mapping) and len(links) < _MOST_REFERENCES:
        links.append(schema)
        if not isinstance(schema.get("$ref"), str):
            break
        schema = _target(schema["$ref"], root)
    if len(links) == 1:
        return links[0]
    made: dict[str, Json] = {}
    for link in reversed(links):
        for key, value in link.items():
            before = made.get(key)
            if key == "properties" and isinstance(value, Mapping) and isinstance(before, Mapping):
                made[key] = {**before, **value}
            elif key == "required" and isinstance(value, list) and isinstance(before, list):
                made[key] = [*before, *value]
            else:
                made[key] = value
    made.pop("$ref", None)
    return made


def _target(reference: str, root: Json) -> Json:
    if not reference.startswith("#"):
        return None
    if reference[1:] and not reference.startswith("#/"):
        return _anchored(reference[1:], root)
    for part in reference.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(root, Mapping):
            root = root.get(part)
        elif isinstance(root, list) and part.isdecimal() and len(part) < 9 and int(part) < len(root):
            root = root[int(part)]
        else:
            return None
    return root


def _anchored(name: str, root: Json) -> Json:
    todo = [root]
    while todo:
        part = todo.pop()
        if isinstance(part, Mapping):
            if part.get("$anchor") == name or part.get("$id") == f"#{name}":
                return part
            todo.extend(part.values())
        elif isinstance(part, list):
            todo.extend(part)
    return None


class _Compiler:
    def __init__(self, root: Json) -> None:
        self._root = root
        self._made: dict[int, Closed] = {}
        self._alive: list[Json] = []

    def place(self, schema: Json) -> Closed | None:
        """What to look for where ``schema`` stands; None when there is nothing at any depth."""
        if not isinstance(schema, Mapping):
            return None
        origin = id(schema) if not isinstance(schema.get("$ref"), str) else id(_target(schema["$ref"], self._root))
        if len(schema) > 1 and "$ref" in schema:
            origin = id(schema)  # fields beside the $ref make it another schema than its target
        if origin in self._made:
            return self._made[origin]
        whole = follow(schema, self._root)
        if not any(key in whole for key in ("properties", "items", "prefixItems")):
            return None
        self._alive.append(schema)  # an id is unique among living objects only
        made = self._made[origin] = Closed()
        self._fill(made, whole)
        return made if self._says_something(made) else None

    def _fill(self, made: Closed, schema: Mapping[str, Json]) -> None:
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            made.inside = {name: below for name, part in properties.items() if (below := self.place(part))}
            if not any(schema.get(key, False) is not False for key in _OPENS):
                made.declared = frozenset(properties) | self._beside(schema)
                made.patterns = tuple(_patterns(schema.get("patternProperties", {})))
        items, first = schema.get("items"), schema.get("prefixItems")
        if isinstance(items, list):  # draft 7
            items, first = schema.get("additionalItems"), items
        made.items = self.place(items)
        made.positions = tuple(self.place(part) for part in first) if isinstance(first, list) else ()

    def _beside(self, schema: Mapping[str, Json]) -> set[str]:
        """Fields that what stands beside ``properties`` declares for the same object."""
        names: set[str] = set()
        seen: set[int] = set()
        todo = [*_beside(schema)]
        while todo:
            part = todo.pop()
            if isinstance(part, Mapping) and id(part) not in seen:
                seen.add(id(part))
                self._alive.append(part)
                names.update(part.get("properties", ()))
                todo.extend(_beside(part))
                todo.append(_target(part["$ref"], self._root) if isinstance(part.get("$ref"), str) else None)
        return names

    @staticmethod
    def _says_something(made: Closed) -> bool:
        return made.declared is not None or bool(made.inside) or made.items is not None or any(made.positions)


def _beside(schema: Mapping[str, Json]) -> Iterator[Json]:
    for key in _BESIDE:
        yield from schema.get(key, ())
    for key in _BESIDE_ONE:
        yield schema.get(key)
    yield from schema.get("dependentSchemas", {}).values()


def _patterns(found: Mapping[str, Json]) -> Iterator[jsonschema_rs.Validator]:
    import jsonschema_rs  # the schema's own engine, so that a pattern means the same here as there

    for source in found:
        yield jsonschema_rs.validator_for({"pattern": source}, validate_formats=False)
