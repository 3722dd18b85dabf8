"""Event <-> bytes. Large values leave the record before it is written and lie beside the log under their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache, partial
from typing import Any, Final, Literal, NamedTuple

import pydantic_core
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from ...values import LARGE_VALUE_BYTES, MAX_RECORD_NESTING, Json, NotJson, decode
from . import events
from .events import EVENT, Event, known_types

_ENCODE: Final = partial(pydantic_core.to_json, inf_nan_mode="strings")
"""JSON in UTF-8, a third of what ``json`` takes. What is encoded has passed a door that refuses NaN and infinities."""
_ALWAYS: Final = frozenset({"type", "v", "semantics", "derived"})
_CARRIES: Final[dict[type[Event], tuple[str, ...]]] = {
    events.FlowRequested: ("/request/input", "/request/parameters", "/request/prompt"),
    events.PlanPublished: ("/plan",),
    events.ToolOutput: ("/output",),
    events.StepResolved: ("/output",),
    events.ToolError: ("/error/details", "/error/message"),
    events.FlowComplete: ("/result/output", "/result/nodes/*", "/error/details"),
    events.ItemsKept: ("/kept",),
}
"""Where a record may carry a value of any size; ``*`` stands for every key."""


class UnknownEvent(Event):
    """A record of a type, or a shape, that this version does not know: kept, and the run is parked, not crashed on."""

    type: str
    why: Literal["type", "shape"] = "type"


class Encoded(NamedTuple):
    """A record and the large values that must be stored with it, by SHA-256 in hex."""

    record: bytes
    values: dict[str, bytes] = {}  # noqa: RUF012 - never changed


@cache
def _fields(kind: type[Event]) -> tuple[tuple[str, str, Any], ...]:
    made = []
    for name, info in kind.model_fields.items():
        default = PydanticUndefined if name in _ALWAYS else info.get_default(call_default_factory=True)
        made.append((name, info.alias or name, default))
    return tuple(made)


def to_json(event: Event) -> dict[str, Json]:
    """The event as on the wire: camelCase, defaults left out (a null that says something stays)."""
    values = event.__dict__
    made = {
        alias: values[name]
        for name, alias, default in _fields(type(event))
        if default is PydanticUndefined or values[name] != default
    }
    if event.model_extra:
        made.update(event.model_extra)
    return made


def encode_event(event: Event, *, large: int = LARGE_VALUE_BYTES, together: bool = False) -> Encoded:
    """The record of an event. Values over ``large`` bytes are taken out, null stands in their place.

    ``together``: the outputs of a result's nodes are taken out as one, not one by one.
    """
    made = to_json(event)
    record = _ENCODE(made)
    if len(record) <= large:
        return Encoded(record)
    carries = _CARRIES.get(type(event), ())
    if together:
        carries = tuple(pointer.removesuffix("/*") for pointer in carries)
    return without_large(made, carries, large)


def without_large(made: dict[str, Json], carries: tuple[str, ...], large: int) -> Encoded:
    """A record whose values over ``large`` bytes at the pointers ``carries`` lie beside it, null in their places.

    ``made`` itself is changed at the top; what stands deeper is copied first.
    """
    values: dict[str, bytes] = {}
    places: dict[str, dict[str, Json]] = {}
    for pointer in carries:
        for exact in _expand(made, pointer):
            *parents, last = exact.split("/")[1:]
            at = made
            for part in parents:
                at[part] = dict(at[part])  # the event keeps its own
                at = at[part]
            body = _ENCODE(at[last])
            if len(body) > large:
                sha = hashlib.sha256(body).hexdigest()
                values[sha] = body
                places[exact] = {"sha256": sha, "bytes": len(body)}
                at[last] = None
    if places:
        made["large"] = places
    return Encoded(_ENCODE(made), values)


def _expand(made: dict[str, Json], pointer: str) -> Iterator[str]:
    at: Json = made
    path = ""
    for part in pointer.split("/")[1:]:
        if not isinstance(at, dict):
            return
        if part == "*":
            yield from [f"{path}/{key}" for key in at]
            return
        if part not in at:
            return
        at, path = at[part], f"{path}/{part}"
    yield path


def decode_event(record: bytes | None) -> Event:
    """The event of a record. Raises NotJson for what is none; what it does not know becomes UnknownEvent."""
    if record is None:  # a topic's record may have no value
        raise NotJson("the record has no value")
    try:
        # What is in a log has passed the door; this reads it in a third of the door's time.
        return EVENT.validate_json(record)
    except ValidationError:
        return _unusual(record)


def _unusual(record: bytes) -> Event:
    """Deeper than the fast parser goes, of a type or shape that this version does not know, or no JSON at all."""
    made = decode(record, max_nesting=MAX_RECORD_NESTING)
    if not isinstance(made, dict):
        raise NotJson("an event is an object")
    try:
        return EVENT.validate_python(made)
    except ValidationError as error:
        why: Literal["type", "shape"] = "shape" if str(made.get("type")) in known_types() else "type"
        try:
            return UnknownEvent.model_validate({**made, "why": why})
        except ValidationError:
            raise NotJson(f"not an event: {error.errors()[0]['msg']}") from error
