"""A JSON Schema, compiled once: what fits it, what does not and where, which fields a closed object does not declare.

Draft 2020-12, or the one ``$schema`` names. ``format`` is not asserted, 3.0 is an integer, only local ``$ref`` are
followed (canonical.md §1). Values are decoded JSON: finite numbers, at most 250 levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final, NoReturn

from ..errors import UsageError
from ..values import Json, pointer
from .closed import Closed, closed, follow

if TYPE_CHECKING:
    import jsonschema_rs

MOST_ERRORS: Final = 20
"""Errors told about one value; more help nobody."""
_LONGEST_MESSAGE: Final = 300

Errors = list[tuple[str, str]]
"""(JSON Pointer into the value, what is wrong there)."""


class Schema:
    """A compiled JSON Schema. Compiling happens on first use; a schema that cannot be compiled is a UsageError."""

    def __init__(self, document: Mapping[str, Json], name: str = "the schema") -> None:
        self.document: Mapping[str, Json] = document
        self.name = name

    @cached_property
    def _validator(self) -> jsonschema_rs.Validator:
        import jsonschema_rs  # 40 ms, which a program that runs no tool does not pay

        def refuse(uri: str) -> NoReturn:
            raise LookupError(f"the $ref {uri!r} is not local")

        try:
            return jsonschema_rs.validator_for(dict(self.document), validate_formats=False, retriever=refuse)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, RecursionError) as error:
            raise _unusable(self.name, error) from error

    def compile(self) -> None:
        """After this the schema is known to be usable. Raises UsageError (TOOL_INVALID) where it is not."""
        _ = self._validator, self._closed

    def is_valid(self, value: Json) -> bool:
        """Does ``value`` fit, undeclared fields aside? A value that is not JSON fits nothing."""
        try:
            return self._validator.is_valid(value)
        except (ValueError, RecursionError):
            return False

    def errors(self, value: Json) -> Errors:
        """What is wrong with ``value`` and where, at most 20; empty when it fits."""
        try:
            if self._validator.is_valid(value):
                return []
            found = islice(self._validator.iter_errors(value), MOST_ERRORS)
            return [(pointer(*error.instance_path), shortened(error.message)) for error in found]
        except (ValueError, RecursionError) as error:
            return [("", f"is not JSON: {shortened(str(error))}")]

    @cached_property
    def _closed(self) -> Closed | None:
        _ = self._validator  # whose meta-schema makes sure that every keyword has its type
        try:
            return closed(self.document)
        except RecursionError as error:
            raise _unusable(self.name, error) from error

    def undeclared_fields(self, value: Json) -> list[str]:
        """JSON Pointers of the fields that a closed object in ``value`` holds and its schema does not declare.

        A closed object: one with ``properties``, unless ``additionalProperties`` is true or a schema. Holds at every
        depth through ``properties``, ``items`` and local ``$ref``; not through anyOf, oneOf, allOf.
        """
        return [] if self._closed is None else self._closed.undeclared(value)

    @cached_property
    def fields(self) -> Mapping[str, Json]:
        """Declared top-level fields and their schemas, local ``$ref`` followed."""
        found = follow(self.document, self.document).get("properties")
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def required(self) -> frozenset[str]:
        """Names of the required top-level fields, local ``$ref`` followed."""
        found = follow(self.document, self.document).get("required")
        return frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()

    @cached_property
    def refuses_null(self) -> frozenset[str]:
        """Declared top-level fields whose schema does not accept null."""
        return frozenset(name for name in self.fields if self._refuses_null(name))

    def _refuses_null(self, name: str) -> bool:
        found = self._validator.iter_errors({name: None})
        return any(error.instance_path and error.instance_path[0] == name for error in found)


def _unusable(name: str, error: Exception) -> UsageError:
    said = getattr(error, "message", None) or str(error)
    where = pointer(*getattr(error, "instance_path", ()))
    if "not present in a registry" in said:
        said = "a $ref leaves the schema; put what it names under $defs and refer to #/$defs/…"
    elif isinstance(error, RecursionError) or "Recursion limit" in said:
        said = "it is nested too deep"
    place = f" at {where}" if where else ""
    return UsageError("TOOL_INVALID", f"{name} is not a usable JSON Schema{place}: {shortened(said)}")


def shortened(text: str) -> str:
    """``text`` in at most 300 characters."""
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"
