"""The AsyncAPI 3.0 document of the Kafka shell: topics, keys, headers, messages. Pure; ``make schemas`` writes it.

The topics are those of design §6; a test compares them with what ``topics create`` makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..values import Json
from .core.events import VERSION
from .requests import KINDS
from .schemas import ITEM, LARGE, PROBLEM, RUN_ID, TIME, Schema, event_kinds

_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_BINDING: Final = "0.5.0"
_DAY_MS: Final = 86_400_000
_WINDOW: Final = 7 * _DAY_MS
_LONG: Final = 90 * _DAY_MS
_HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic: who writes it, who reads it, what lies in it and for how long."""

    name: str
    about: str
    messages: tuple[str, ...]
    written_by: str
    read_by: str
    policy: tuple[str, ...] = ("delete",)
    retention_ms: int | None = _LONG
    partitions: int | None = None
    """Where it must have exactly so many."""
    copartitioned: bool = False
    """It has as many partitions as flow-events."""
    receives: bool = False
    """Workers read what users write; of the other topics users read what workers write."""
    internal: bool = False
    """Between workers: its form may change from one release to the next."""


def channels() -> tuple[Channel, ...]:
    """Every topic, in the order of design §6."""
    requests = tuple(f"request.{kind}" for kind in KINDS)
    events = tuple(f"event.{kind}" for kind in event_kinds())
    return (
        Channel(
            "flow-requests",
            "Starts and control records, from any client. Order is kept inside a partition: use the run id as key.",
            requests, "users", "intake", retention_ms=_WINDOW, receives=True,
        ),
        Channel(
            "flow-events",
            "The log of every run. The number of partitions is fixed for life.",
            events, "all workers", "schedulers, users", copartitioned=True,
        ),
        Channel(
            "node-ready", "Ready steps of the queue `default`.", ("work.node-ready",), "schedulers", "executors",
            internal=True,
        ),
        Channel(
            "node-ready.{queue}", "Ready steps of another queue.", ("work.node-ready",), "schedulers", "executors",
            internal=True,
        ),
        Channel(
            "plan-ready", "Prompts to plan.", ("work.plan-ready",), "schedulers", "planner workers", internal=True,
        ),
        Channel(
            "flow-complete", "One final result a run.", ("result",), "schedulers", "users",
            policy=("compact", "delete"), copartitioned=True,
        ),
        Channel(
            "flow-done", "How each run ended and where it lies: the window of idempotency.", ("mark",), "schedulers",
            "schedulers, readers of a run", retention_ms=_WINDOW, copartitioned=True, internal=True,
        ),
        Channel(
            "flow-snapshots", "State of long or suspended runs.", ("snapshot",), "schedulers", "schedulers",
            policy=("compact",), retention_ms=None, copartitioned=True, internal=True,
        ),
        Channel(
            "flow-values", "Large values in pieces, under their SHA-256.", ("value",), "all workers", "all workers",
            internal=True,
        ),
        Channel(
            "flow-control", "Cancel and pause for steps that run.", ("control",), "schedulers", "executors",
            retention_ms=_HOUR, partitions=1, internal=True,
        ),
        Channel(
            "flow-catalog", "Tools of the workers, registered plans and templates, cached plans.", ("catalog",),
            "workers, command line", "all workers", policy=("compact",), retention_ms=None, partitions=1, internal=True,
        ),
        Channel(
            "flow-live", "What happens at the moment: tokens, progress, starts. No rebuild needs it; it may be lost.",
            ("live",), "executors, planner workers", "users", retention_ms=_HOUR,
        ),
        Channel(
            "flow-dead-letter", "What could not be understood, cut, with the reason and where it lies.",
            ("dead-letter",), "all workers", "users",
        ),
    )  # fmt: skip


def _text(description: str, **rest: Json) -> Schema:
    return {"type": "string", "description": description, **rest}


KEYS: Final[Mapping[str, Schema]] = {
    "runId": {**RUN_ID, "description": "The run id."},
    "request": {**RUN_ID, "description": "The run id, or no key at all."},
    "work": _text("run/node/item, like order-42/pay/2.0, or order-42/pay/- outside item bodies."),
    "snapshot": _text("run@offset.", pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,127}@[0-9]+$"),
    "value": _text("sha256/chunk.", pattern="^[0-9a-f]{64}/[0-9]+$"),
    "catalog": _text("kind/id, like tool/validateEmail."),
    "any": {"description": "The key of the record that was found, else where it was found."},
}
"""What the keys of records are."""


# --- messages -------------------------------------------------------------------------------------------------------


def _outside(file: str, name: str | None = None) -> Schema:
    place = f"schemas/{file}" + (f"#/$defs/{name}" if name else "")
    return {"schemaFormat": _FORMAT, "schema": {"$ref": place}}


def _here(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _message(name: str, summary: str, payload: Schema, key: str, **rest: Json) -> Schema:
    keyed = {"kafka": {"key": dict(KEYS[key]), "bindingVersion": _BINDING}}  # AsyncAPI's own schema takes no $ref here
    return {"name": name, "summary": summary, "payload": payload, "bindings": keyed, **rest}


def _ours(name: str, summary: str, payload: Schema, key: str = "runId", **rest: Json) -> Schema:
    """A message of ours has the headers of CloudEvents."""
    return _message(name, summary, payload, key, traits=[{"$ref": "#/components/messageTraits/cloudEvent"}], **rest)


def _summary(kind: type) -> str:
    return " ".join((kind.__doc__ or kind.__name__).split("\n\n", 1)[0].split())


def _messages() -> dict[str, Schema]:
    by_run: Schema = {"location": "$message.payload#/runId", "description": "The run."}
    made = {
        f"request.{name}": _message(
            name, _summary(kind), _outside("request.json", kind.__name__), "request", headers=_here("requestHeaders")
        )
        for name, kind in KINDS.items()
    }
    for name, event in event_kinds().items():
        summary = f"{'A fact' if event.folded else 'An announcement'}: {name}."
        made[f"event.{name}"] = _ours(name, summary, _outside("event.json", event.__name__), correlationId=by_run)
    made |= {
        "result": _ours("flow-complete", "How a run ended.", _outside("result.json"), correlationId=by_run),
        "work.node-ready": _ours("node-ready", "One ready step.", _outside("node-ready.json"), "work"),
        "work.plan-ready": _ours("plan-ready", "One prompt to plan.", _here("record")),
        "mark": _ours("flow-done", "How a run ended, and where it lies.", _here("mark")),
        "snapshot": _ours("flow-snapshot", "A run as it stood at an offset.", _here("record"), "snapshot"),
        "value": _message(
            "flow-value", "A piece of a value.", _here("bytes"), "value", contentType="application/octet-stream"
        ),
        "control": _ours("flow-control", "A running step is to stop.", _here("record")),
        "catalog": _message("flow-catalog", "Something registered; no value: it is gone.", _here("any"), "catalog"),
        "live": _ours("flow-live", "llm-token, tool-progress or tool-start, as it happens.", _here("record")),
        "dead-letter": _message(
            "dead-letter",
            "What could not be understood.",
            _here("deadLetter"),
            "any",
            headers=_here("deadLetterHeaders"),
        ),
    }
    return made


# --- components -----------------------------------------------------------------------------------------------------


_TRACE: Final = _text("W3C trace context: 00-<trace id>-<span id>-<flags>.", pattern="^[0-9a-f-]{55}$")


def _schemas() -> dict[str, Schema]:
    headers = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": _text("The event's id; the same bytes sent twice have the same."),
        "ce_type": _text("The event's type, like tool-output."),
        "ce_source": _text("dynamicflow/ and the topic prefix, if any.", pattern="^dynamicflow/"),
        "ce_subject": _text("The run id."),
        "ce_time": dict(TIME),
        "content-type": {"const": "application/json"},
        "traceparent": _TRACE,
        "df-large": _text("JSON: SHA-256 -> [partition, offset] in flow-values, of values that lie beside the record."),
    }
    return {
        "any": {"description": "Any JSON value."},
        "bytes": {"type": "string", "format": "binary"},
        "record": {
            "type": "object",
            "description": "Between workers; what is not shown may change from one release to the next.",
            "required": ["runId"],
            "properties": {"runId": RUN_ID, "type": {"type": "string"}, "item": ITEM, "large": LARGE},
        },
        "mark": {
            "type": "object",
            "required": ["runId", "status", "first", "last", "requestDigest"],
            "properties": {
                "runId": RUN_ID,
                "status": {"type": "string"},
                "first": {"type": "integer", "description": "Offset in its partition of flow-events."},
                "last": {"type": "integer"},
                "requestDigest": _text("The same start again is a repeat, another one is refused."),
            },
        },
        "deadLetter": {
            "type": "object",
            "required": ["code", "message", "problems", "topic", "partition", "offset", "bytes", "isNull", "base64"],
            "properties": {
                "code": _text("Stable, like RUN_ID_MISMATCH."),
                "message": {"type": "string"},
                "problems": {"type": "array", "items": PROBLEM},
                "topic": _text("Where it was found: topic, partition and offset."),
                "partition": {"type": "integer"},
                "offset": {"type": "integer"},
                "timestamp": {"type": "integer", "description": "When it was appended there, in ms since 1970."},
                "bytes": {"type": "integer", "description": "Length of the value; at most 16 KiB of it are here."},
                "isNull": {"type": "boolean", "description": "The record had no value."},
                "text": _text("How the value begins, as far as it is UTF-8."),
                "base64": _text("How the value begins, as it came.", contentEncoding="base64"),
            },
        },
        "deadLetterHeaders": {
            "type": "object",
            "required": ["reason", "coordinates"],
            "properties": {
                "reason": _text("The code, for filtering without decoding."),
                "coordinates": _text("topic/partition/offset of what could not be understood."),
            },
        },
        "cloudEventHeaders": {"type": "object", "required": list(headers)[:-1], "properties": headers},
        "requestHeaders": {
            "type": "object",
            "description": "None is needed.",
            "properties": {"traceparent": _TRACE | {"description": "Joins the run to the sender's trace."}},
        },
    }


def _channel(channel: Channel) -> Schema:
    config: Schema = {"cleanup.policy": list(channel.policy)}
    if channel.retention_ms is not None:
        config["retention.ms"] = channel.retention_ms
    bound: Schema = {"topicConfiguration": config, "bindingVersion": _BINDING}
    if channel.partitions is not None:
        bound["partitions"] = channel.partitions
    parameters = ["prefix", "queue"] if "{queue}" in channel.name else ["prefix"]
    made: Schema = {
        "address": f"{{prefix}}{channel.name}",
        "description": f"{channel.about} Written by {channel.written_by}; read by {channel.read_by}.",
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in parameters},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in channel.messages},
        "bindings": {"kafka": bound},
    }
    if channel.copartitioned:
        made["x-copartitioned-with"] = "flow-events"
    if channel.internal:
        made["x-internal"] = True
    return made


def _key(channel: Channel) -> str:
    """What a channel is called in the document."""
    return channel.name.replace(".{queue}", "-queue")


def _operations(listed: Sequence[Channel]) -> dict[str, Schema]:
    """What workers do, for those who stand outside: they receive requests and send everything else."""
    made: dict[str, Schema] = {}
    for channel in listed:
        if channel.internal:
            continue
        action = "receive" if channel.receives else "send"
        made[f"{action}.{channel.name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{_key(channel)}"},
            "summary": channel.about,
        }
    made["receive.flow-requests"]["reply"] = {
        "channel": {"$ref": "#/channels/flow-complete"},
        "messages": [{"$ref": "#/channels/flow-complete/messages/result"}],
    }
    return made


def asyncapi() -> Schema:
    """The document. References to ``schemas/…`` are relative to where it lies: docs/."""
    listed = channels()
    return {
        "asyncapi": "3.0.0",
        "id": "urn:dynamicflow",
        "info": {
            "title": "DynamicFlow on Kafka",
            "version": f"{VERSION}.0.0",
            "description": "Starts and control records in, events and results out. docs/requests.md is the guide.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "variables": {"bootstrap": {"default": "localhost:9092", "description": "A broker of the cluster."}},
                "bindings": {"kafka": {"bindingVersion": _BINDING}},
            }
        },
        "channels": {_key(channel): _channel(channel) for channel in listed},
        "operations": _operations(listed),
        "components": {
            "parameters": {
                "prefix": {
                    "default": "",
                    "description": "Stands before every topic, like acme. (DYNAMICFLOW_TOPIC_PREFIX).",
                },
                "queue": {"description": "The queue of a tool, like gpu."},
            },
            "messageTraits": {"cloudEvent": {"headers": _here("cloudEventHeaders")}},
            "messages": _messages(),
            "schemas": _schemas(),
        },
    }
