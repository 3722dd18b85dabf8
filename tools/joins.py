"""Joins: how the output of one tool becomes the input of another.

Typed: a Python function, with types or schemas on both sides. Declarative: a mapping, a template over ``$source`` that
plans may carry and the engine evaluates. The key is the pair of tool ids.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from ..errors import UsageError
from ..values import Json, NotJson
from .context import ToolFailed
from .conversion import TYPE_ERRORS, convert, errors_of
from .jsonable import to_json
from .schema import Errors, Schema
from .settings import document, refuse_unknown

_ANYTHING: Final = (None, type(None), Any, inspect.Signature.empty)
_SPELLINGS: Final = {"fromTool": "from_tool", "from": "from_tool", "toTool": "to_tool", "to": "to_tool"}


class _Side:
    """One end of a typed join: a JSON Schema, a Python type, or nothing known."""

    def __init__(self, given: Any, name: str) -> None:
        self._schema = Schema(document(given, name), name) if isinstance(given, Mapping) else None
        self._adapter: TypeAdapter[Any] | None = None
        if self._schema is not None:
            self._schema.compile()
        elif given not in _ANYTHING:
            try:
                self._adapter = TypeAdapter(given)
            except TYPE_ERRORS as error:
                raise _invalid(f"{name} is no usable type: {error}") from error

    def errors(self, value: Json) -> Errors:
        try:
            if self._adapter is not None:
                convert(self._adapter.validator, value)
            return [] if self._schema is None else self._schema.errors(value)
        except ValidationError as error:
            return errors_of(error)

    def typed(self, value: Json) -> Any:
        return value if self._adapter is None else convert(self._adapter.validator, value)


class Join:
    """Turns outputs of ``from_tool`` into inputs of ``to_tool``. Exactly one of ``decode`` and ``mapping``.

    ``source`` and ``target`` are types or JSON Schemas; absent, the annotations of ``decode``. ``encode`` is the way
    back, as far as there is one. Raises UsageError (JOIN_INVALID).
    """

    def __init__(
        self,
        from_tool: str,
        to_tool: str,
        decode: Callable[[Any], Any] | None = None,
        encode: Callable[[Any], Any] | None = None,
        *,
        mapping: Mapping[str, Json] | None = None,
        source: Any = None,
        target: Any = None,
        description: str = "",
    ) -> None:
        if not all(isinstance(tool, str) and tool for tool in (from_tool, to_tool)):
            raise _invalid(f"a join is from one tool id to another, got {from_tool!r} and {to_tool!r}")
        self.from_tool, self.to_tool, self.description = from_tool, to_tool, description
        if (decode is None) == (mapping is None):
            raise _invalid(f"{self.name} needs either decode (a function) or mapping (a template over $source)")
        for role, function in (("decode", decode), ("encode", encode)):
            if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
                raise _invalid(f"{role} of {self.name} is {function!r}; expected a plain function")
        self.mapping = None if mapping is None else document(mapping, f"mapping of {self.name}")
        self.decode, self.encode = decode, encode
        hinted = _annotations(decode) if decode is not None else (None, None)
        self._source = _Side(hinted[0] if source is None else source, f"the source of {self.name}")
        self._target = _Side(hinted[1] if target is None else target, f"the target of {self.name}")

    @property
    def key(self) -> tuple[str, str]:
        """(from_tool, to_tool)."""
        return (self.from_tool, self.to_tool)

    @property
    def name(self) -> str:
        """For messages."""
        return f"the join {self.from_tool} -> {self.to_tool}"

    def apply(self, value: Json) -> dict[str, Json]:
        """The inputs that ``decode`` makes of an output; ``value`` is not changed.

        Raises ToolFailed (JOIN_FAILED, not retryable) with the errors of both sides, and UsageError for a declarative
        join, which the engine evaluates.
        """
        if self.decode is None:
            raise UsageError("USAGE", f"{self.name} is a mapping; it is evaluated where references are")
        return self._run(self.decode, value, self._source, self._target)

    def revert(self, value: Json) -> dict[str, Json]:
        """The way back: what ``encode`` makes of inputs. Raises as ``apply`` does."""
        if self.encode is None:
            raise UsageError("USAGE", f"{self.name} has no encode")
        return self._run(self.encode, value, self._target, self._source)

    def to_json(self) -> dict[str, Json]:
        """``{"fromTool", "toTool", "mapping", "description"}``; ``mapping`` null where Python does it."""
        return {
            "fromTool": self.from_tool,
            "toTool": self.to_tool,
            "mapping": self.mapping,
            "description": self.description,
        }

    def _run(self, function: Callable[[Any], Any], value: Json, source: _Side, target: _Side) -> dict[str, Json]:
        try:
            given = to_json(value)[0]
        except (NotJson, OverflowError) as error:
            raise self._failed(f"what it reads is not JSON: {error}") from error
        wrong = source.errors(given)
        if wrong:
            raise self._failed("what it reads does not fit its source", wrong, [])
        try:
            made = function(source.typed(given))
        except Exception as error:  # the user's function
            raise self._failed(f"{type(error).__name__}: {_said(error)}") from error
        try:
            result = to_json(made)[0]
        except (NotJson, OverflowError) as error:
            raise self._failed(f"what it makes is not JSON: {error}") from error
        if not isinstance(result, dict):
            raise self._failed(f"it makes {type(made).__name__}, and inputs are an object")
        wrong = target.errors(result)
        if wrong:
            raise self._failed("what it makes does not fit its target", source.errors(given), wrong)
        return result

    def _failed(self, why: str, source: Errors | None = None, target: Errors | None = None) -> ToolFailed:
        told = [f"{path or '(the whole)'}: {message}" for path, message in [*(source or []), *(target or [])]]
        details = {
            side: [{"path": path, "message": message} for path, message in errors or []]
            for side, errors in (("source", source), ("target", target))
        }
        message = "; ".join([f"{self.name}: {why}", *told[:3]])
        return ToolFailed(message, code="JOIN_FAILED", retryable=False, details=details)

    def __repr__(self) -> str:
        return f"<Join {self.from_tool} -> {self.to_tool}>"


def tool_join(definition: Mapping[str, Any] | None = None, /, **fields: Any) -> Join:
    """A Join from ``{"fromTool", "toTool", "transform": {"source", "target", "decode", "encode"} | function}``.

    ``mapping`` in place of ``transform`` makes it declarative.
    """
    given = {**(definition or {}), **fields}
    refuse_unknown(given, (*_SPELLINGS, "transform", "mapping", "description", "suggested", "confidence"), "ToolJoin")
    named = {_SPELLINGS[key]: value for key, value in given.items() if key in _SPELLINGS}
    for key, name in (("fromTool", "from_tool"), ("toTool", "to_tool")):
        if name not in named:
            raise _invalid(f"{key} is missing")
    transform = given.get("transform")
    if transform is not None and not isinstance(transform, Mapping):
        transform = {"decode": transform}
    how = dict(transform or {})
    refuse_unknown(how, ("source", "target", "decode", "encode", "strict"), "ToolJoin, transform")
    if how.pop("strict", True) is not True:
        raise _invalid("transform is always strict; leave the key out")
    return Join(**named, mapping=given.get("mapping"), description=given.get("description") or "", **how)


ToolJoin = tool_join


def _annotations(decode: Callable[..., Any]) -> tuple[Any, Any]:
    """Types of the first parameter and the result; nothing where they cannot be read (a lambda, a local name)."""
    try:
        hints = typing.get_type_hints(decode, include_extras=True)
        first = next(iter(inspect.signature(decode).parameters), "")
    except TYPE_ERRORS:
        return (None, None)
    return (hints.get(first), hints.get("return"))


def _said(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # an exception of the user's whose own text fails
        return "(no message)"


def _invalid(message: str) -> UsageError:
    return UsageError("JOIN_INVALID", message)
