"""What is on the wire beside the events: headers, work records, marks, snapshots (canonical.md §5). Pure.

Headers are CloudEvents' Kafka binding in binary mode, so that a subscriber can filter without decoding a value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

import pydantic_core
from aiokafka.partitioner import murmur2

from ...values import LARGE_VALUE_BYTES, RUN_ID, Json, NotJson, decode, stamp, time_ms
from ..core.codec import Encoded, decode_event, encode_event, without_large
from ..core.commands import Dispatch, JoinInput
from ..core.events import Event
from .topics import Topics

Headers: TypeAlias = list[tuple[str, bytes]]

LAST_OFFSET: Final = 2**63 - 1
MOST_BYTES: Final = 900_000
"""Of a record we write; the brokers' own bound is 1 048 588 with headers and framing (message.max.bytes)."""
MOST_BESIDE: Final = 500
"""Values of one record that lie beside it: each is named in its headers, with some 85 bytes."""
ANNOUNCEMENTS: Final = frozenset(
    {
        b"flow-start", b"branch-taken", b"edge-taken", b"loop-iteration", b"items-kept", b"node-skipped",
        b"node-error", b"run-parked", b"input-requested", b"control-refused",
    }
)  # fmt: skip
"""Types that an owner need not decode. ``flow-complete`` is none of them: it says that a run's end is in the log."""

_TO_JSON: Final = pydantic_core.to_json


class Record(NamedTuple):
    """One record to append."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers = []  # noqa: RUF012 - never changed; aiokafka takes lists only


def partition_of(key: bytes, count: int) -> int:
    """Where a key lies: murmur2 as Kafka's own clients have it, whatever client appends."""
    return int(murmur2(key) & 0x7FFFFFFF) % count


def header(headers: Headers, name: str) -> bytes | None:
    """The first header of that name."""
    for key, value in headers:
        if key == name:
            return value
    return None


# --- traces -------------------------------------------------------------------------------------------------------


def trace_of(run_id: str, traceparent: bytes | None = None) -> str:
    """The trace id of a run (32 hex digits): the request's, if it carried a traceparent (W3C), else one of the id."""
    if traceparent is not None:
        parts = traceparent.decode("ascii", "replace").split("-")
        if len(parts) == 4 and len(parts[1]) == 32 and set(parts[1]) <= set("0123456789abcdef") and int(parts[1], 16):
            return parts[1]
    return hashlib.blake2b(run_id.encode(), digest_size=16).hexdigest()


def trace_in(headers: Headers) -> str | None:
    """The trace id that a record of ours carries."""
    found = header(headers, "traceparent")
    return found[3:35].decode("ascii", "replace") if found is not None and len(found) == 55 else None


class HeaderMaker:
    """Makes the headers of one shell's records; what repeats is made once."""

    def __init__(self, topics: Topics) -> None:
        self._common = (
            ("ce_specversion", b"1.0"),
            ("content-type", b"application/json"),
            ("ce_source", f"dynamicflow/{topics.prefix}".encode()),
        )

    def make(self, ident: str, kind: str, run_id: str, time: str, trace: str) -> list[tuple[str, bytes]]:
        """Headers of a record; ``time`` is RFC 3339."""
        name = ident.encode()
        span = hashlib.blake2b(name, digest_size=8).hexdigest()
        return [
            ("ce_type", kind.encode()),  # first what is looked up in every record that is read
            ("traceparent", f"00-{trace}-{span}-01".encode()),
            *self._common,
            ("ce_id", name),
            ("ce_subject", run_id.encode()),
            ("ce_time", time.encode()),
        ]

    def of(self, event: Event, trace: str) -> list[tuple[str, bytes]]:
        """Headers of an event."""
        return self.make(event.id, event.type, event.run_id, event.timestamp, trace)


# --- events -------------------------------------------------------------------------------------------------------


def event_of(value: bytes | None, key: bytes | None, kind: bytes | None) -> Event:
    """The event of a record of the log; ``kind`` is its header ``ce_type``.

    Raises NotJson for what is none, or is another than key and headers say: nobody takes anything from it.
    """
    event = decode_event(value)
    if event.run_id.encode() != key:
        raise NotJson(f"the event is of run {event.run_id}, its key is another")
    if event.folded and kind in ANNOUNCEMENTS:
        raise NotJson(f"the event is a {event.type}, its header says another type")
    return event


def encode_small(event: Event) -> Encoded:
    """The record of an event, at most MOST_BYTES: the more it carries, the smaller what may stay in it."""
    for large in (LARGE_VALUE_BYTES, LARGE_VALUE_BYTES // 16, 1024, 0):
        made = encode_event(event, large=large)
        if len(made.record) <= MOST_BYTES and len(made.values) <= MOST_BESIDE:
            return made
    return encode_event(event, large=1024, together=True)


# --- work ---------------------------------------------------------------------------------------------------------


class Work(NamedTuple):
    """A ``node-ready`` record: one step, and what an executor must know to run it once."""

    step: Dispatch
    plan_hash: str | None
    schema_digest: str
    ready_ms: float
    """When it became ready, by the log's time."""
    tenant: str | None
    log_partition: int
    since: int
    """Offset in the run's log before which the step cannot have started."""
    seen: int
    """How far the owner of the log had folded when it wrote this."""
    again: bool
    """Asked for before, perhaps: the log says whether it has been started or has ended."""
    variables: dict[str, Json] = {}  # noqa: RUF012 - never changed
    labels: dict[str, Json] = {}  # noqa: RUF012 - never changed

    def to_json(self) -> dict[str, Json]:
        step = self.step
        made: dict[str, Json] = {
            "type": "node-ready",
            "runId": step.run_id,
            "nodeId": step.node_id,
            "item": step.item,
            "attempt": step.attempt,
            "delivery": step.delivery,
            "planHash": self.plan_hash,
            "toolId": step.tool_id,
            "schemaDigest": self.schema_digest,
            "inputs": step.inputs,
            "idempotencyKey": step.idempotency_key,
            "timeout": step.timeout_ms,
            "held": step.held,
            "validation": step.validation,
            "readyAt": stamp(self.ready_ms),
            "causationId": step.causation_id,
            "logPartition": self.log_partition,
            "since": self.since,
            "seen": self.seen,
        }
        if step.joins:
            made["joins"] = [
                {"fromTool": join.from_tool, "value": join.value}
                | ({} if join.mapping is None else {"mapping": join.mapping})
                for join in step.joins
            ]
        if self.again:
            made["again"] = True
        if self.tenant is not None:
            made["tenant"] = self.tenant
        if self.variables:
            made["variables"] = self.variables
        if self.labels:
            made["labels"] = self.labels
        return made

    @classmethod
    def of(cls, made: Mapping[str, Any]) -> Work:
        """The work of :meth:`to_json`. Raises KeyError, TypeError or ValueError for what is none."""
        _WORK.check(made)
        step = Dispatch(
            made["runId"],
            made["nodeId"],
            tuple(made["item"]),
            made["attempt"],
            made["delivery"],
            made["toolId"],
            made["inputs"],
            tuple(JoinInput(join["fromTool"], join["value"], join.get("mapping")) for join in made.get("joins") or ()),
            made["idempotencyKey"],
            made["timeout"],
            made["held"],
            made["validation"],
            made["causationId"],
        )
        return cls(
            step,
            made["planHash"],
            made["schemaDigest"],
            time_ms(made["readyAt"]),
            made.get("tenant"),
            made["logPartition"],
            made["since"],
            made["seen"],
            made.get("again") or False,
            made.get("variables") or {},
            made.get("labels") or {},
        )


class Shape:
    """What a work record must hold. Records of our own have few combinations of types, which are looked up."""

    def __init__(self, fields: Mapping[str, tuple[type, ...]]) -> None:
        """``fields``: name -> its types. What work may have beside them is the same for all."""
        self._fields = {**_OPTIONAL, **fields}
        self._numbers = itemgetter(*(name for name, types in fields.items() if types[0] is int))
        self._met: set[tuple[type, ...]] = set()

    def check(self, made: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError for a record that nobody of ours has written."""
        types = tuple(map(type, map(made.get, self._fields)))
        if types not in self._met:
            self._check_types(made)
            self._met.add(types)
        numbers = self._numbers(made)
        if not 0 <= min(numbers) <= max(numbers) <= LAST_OFFSET:
            raise ValueError(f"one of {numbers} is out of range")
        if not RUN_ID.match(made["runId"]):
            raise ValueError(f"runId is {made['runId']!r:.140}")
        item = made.get("item")
        if item and not all(type(index) is int and index >= 0 for index in item):
            raise TypeError(f"item is {made['item']!r:.100}")

    def _check_types(self, made: Mapping[str, Any]) -> None:
        for name, types in self._fields.items():
            if type(made.get(name)) not in types:
                raise TypeError(f"{name} is {made.get(name)!r:.100}")


_NULL: Final = type(None)
_OPTIONAL: Final[Mapping[str, tuple[type, ...]]] = {
    "joins": (list, tuple, _NULL),
    "again": (bool, _NULL),
    "tenant": (str, _NULL),
    "variables": (dict, _NULL),
    "labels": (dict, _NULL),
}
_WORK: Final = Shape(
    {
        "runId": (str,),
        "nodeId": (str,),
        "item": (list, tuple),
        "attempt": (int,),
        "delivery": (int,),
        "toolId": (str,),
        "idempotencyKey": (str,),
        "timeout": (int, float),
        "held": (bool,),
        "validation": (str,),
        "readyAt": (str,),
        "causationId": (str, _NULL),
        "planHash": (str, _NULL),
        "schemaDigest": (str,),
        "logPartition": (int,),
        "since": (int,),
        "seen": (int,),
    }
)
PLAN_WORK: Final = Shape(
    {
        "runId": (str,),
        "request": (dict,),
        "logPartition": (int,),
        "since": (int,),
        "again": (bool,),
    }
)


def work_key(run_id: str, node_id: str, item: Sequence[int]) -> bytes:
    """run/node/item: all deliveries of one step lie in one partition, in the order they were asked for."""
    return f"{run_id}/{node_id}/{'.'.join(map(str, item)) or '-'}".encode()


def encode_work(made: dict[str, Json]) -> Encoded:
    """The bytes of a work record or a snapshot; what makes it too large lies beside it."""
    return _encode(made, ("/inputs", "/joins", "/variables", "/request", "/state"), LARGE_VALUE_BYTES // 16)


def encode_result(result: Mapping[str, Json]) -> Encoded:
    """The bytes of a result record, at most MOST_BYTES; what makes it too large lies beside it."""
    made = _encode(dict(result), ("/output", "/nodes/*", "/error/details"), 1024)
    if len(made.record) > MOST_BYTES or len(made.values) > MOST_BESIDE:  # many small ones: all of them together
        made = _encode(dict(result), ("/output", "/nodes", "/error/details"), 1024)
    return made


def _encode(made: dict[str, Json], carries: tuple[str, ...], small: int) -> Encoded:
    record = _TO_JSON(made)
    return Encoded(record) if len(record) <= LARGE_VALUE_BYTES else without_large(made, carries, small)


def decode_record(value: bytes | None) -> dict[str, Any]:
    """A JSON object of ours. Raises NotJson for anything else."""
    if value is None:
        raise NotJson("the record has no value")
    try:
        made = pydantic_core.from_json(value, allow_inf_nan=False)
    except ValueError:
        made = decode(value, max_nesting=300)
    if not isinstance(made, dict):
        raise NotJson("expected an object")
    return made


# --- ends ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """A ``flow-done`` record: how a run ended and where it lies. The window of idempotency, and the index by run."""

    run_id: str
    status: str
    first: int
    last: int
    """Offsets in its partition of ``flow-events``, both of the run."""
    digest: str
    """Of its request: the same start again is a repeat, another one is refused."""
    at_ms: float = 0.0
    """When it was appended; the record itself tells."""

    def encode(self) -> bytes:
        return _TO_JSON(
            {
                "runId": self.run_id,
                "status": self.status,
                "first": self.first,
                "last": self.last,
                "requestDigest": self.digest,
            }
        )

    @classmethod
    def decode(cls, value: bytes, at_ms: float = 0.0) -> Mark:
        made = decode_record(value)
        return cls(made["runId"], made["status"], made["first"], made["last"], made["requestDigest"], at_ms)


def snapshot_key(run_id: str, offset: int) -> bytes:
    return f"{run_id}@{offset}".encode()


def snapshot_place(key: bytes) -> tuple[str, int] | None:
    """(run id, offset) of a snapshot's key; None when it is none."""
    run_id, at, offset = key.decode("utf-8", "replace").rpartition("@")
    return (run_id, int(offset)) if at and offset.isdigit() else None
