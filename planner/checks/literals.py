"""Literals against the part of a tool's input schema where they stand (canonical.md §1, last rule)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ...errors import UsageError
from ...tools.schema import Schema
from ...values import Json
from .findings import Path

_ROOT: Final = "dynamicflow:root"
"""Where the tool's own schema lies among the ``$defs`` of a part of it."""


@dataclass(slots=True, eq=False)
class Literals:
    """Compiles parts of schemas, each once, so that ``$ref`` in a part still reach the whole."""

    _roots: dict[int, tuple[Json, Json]] = field(default_factory=dict)
    _parts: dict[int, tuple[Json, Schema]] = field(default_factory=dict)

    def errors(self, value: Json, part: Json, root: Mapping[str, Json]) -> list[tuple[Path, str]]:
        """(path into the value, what is wrong there) of a value where ``part`` of the document ``root`` decides."""
        if part is False:
            return [((), "no value is allowed here")]
        if not isinstance(part, Mapping):
            return []
        try:
            return [(_steps(at, value), message) for at, message in self._schema(part, root).errors(value)]
        except UsageError:  # usable as a whole, not in part ($anchor, $id inside): the run checks the whole
            return []

    def _schema(self, part: Mapping[str, Json], root: Mapping[str, Json]) -> Schema:
        made = self._parts.get(id(part))
        if made is None:
            document = part
            if part is not root and _refers(part):
                moved = _moved(part)
                definitions = dict(moved.get("$defs", {})) if isinstance(moved.get("$defs"), dict) else {}
                document = {**moved, "$defs": {**definitions, _ROOT: self._root(root)}}
            if "$schema" in root and "$schema" not in document:
                document = {"$schema": root["$schema"], **document}
            made = self._parts[id(part)] = (part, Schema(document))  # the part is kept: an id lives as long as it
        return made[1]

    def _root(self, root: Mapping[str, Json]) -> Json:
        made = self._roots.get(id(root))
        if made is None:
            made = self._roots[id(root)] = (
                root,
                {key: value for key, value in _moved(root).items() if key not in ("$id", "$schema")},
            )
        return made[1]


def _refers(part: Json) -> bool:
    todo = [part]
    while todo:
        found = todo.pop()
        if isinstance(found, Mapping):
            if isinstance(found.get("$ref"), str):
                return True
            todo.extend(found.values())
        elif isinstance(found, list):
            todo.extend(found)
    return False


def _moved(part: Json) -> Json:
    """A copy whose local ``$ref`` point below the root's new place. Schemas are nested at most 250 deep."""
    if isinstance(part, Mapping):
        made = {key: _moved(value) for key, value in part.items()}
        target = part.get("$ref")
        if isinstance(target, str) and (target == "#" or target.startswith("#/")):
            made["$ref"] = f"#/$defs/{_ROOT}{target[1:]}"
        return made
    return [_moved(inner) for inner in part] if isinstance(part, list) else part


def _steps(at: str, value: Json) -> Path:
    """A JSON Pointer into a value as keys and indexes."""
    path: list[str | int] = []
    for part in at.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        step: str | int = int(key) if isinstance(value, list) and key.isdecimal() else key
        path.append(step)
        try:
            value = value[step]
        except (LookupError, TypeError):
            value = None
    return tuple(path)
