"""The JSON Schemas (2020-12) of what users read and write, made of the models. Pure: a document is a dict.

``make schemas`` writes them to docs/schemas; a test fails when those are stale. Requests are closed; everything we
write ourselves may gain fields, so those schemas are open.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import AliasChoices, BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ..planner.options import Duration, Options
from ..values import Json
from .core.events import Event, Fact, Told
from .core.state import ENDED
from .request_models import EXPECTED, KINDS, ControlRequest, Request

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Json]

_DURATION_VALIDATOR: Final = get_args(Duration)[1].func
_DURATION: Final[Schema] = {
    "description": "A duration: milliseconds, or a text like 30s.",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"}],
}
_UNENDED: Final = (
    "pending", "planning", "awaiting_approval", "running", "suspended", "paused", "parked", "cancelling",
)  # fmt: skip
"""Statuses before the end (canonical.md §4)."""
TIME: Final[Schema] = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC."}
RUN_ID: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}
ITEM: Final[Schema] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "description": "Indexes of the enclosing item bodies, outermost first.",
}
LARGE: Final[Schema] = {
    "type": "object",
    "description": "JSON Pointer -> where null stands for a value that lies beside the record, in flow-values.",
    "additionalProperties": {
        "type": "object",
        "required": ["sha256", "bytes"],
        "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "bytes": {"type": "integer"}},
    },
}


# --- from models ----------------------------------------------------------------------------------------------------


class _Maker(GenerateJsonSchema):
    """Pydantic's, with the docstrings of fields, without titles, and with what it cannot see of our readers."""

    schema_dialect = DIALECT

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        return {name: part for name, part in made.items() if name != "default" or part not in (None, [], {}, "")}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        if schema["function"]["function"] is _DURATION_VALIDATOR:
            return dict(_DURATION)
        return super().function_before_schema(schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        kind: type[BaseModel] = schema["cls"]
        made.pop("title", None)
        if made.get("additionalProperties") is True:
            del made["additionalProperties"]
        if "description" in made:
            made["description"] = _paragraph(made["description"])
        fields: Schema = made.get("properties", {})
        for name, said in field_docs(kind).items():
            info = kind.model_fields[name]
            choices = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else ()
            fields[str(choices[0] if choices else info.alias or name)].setdefault("description", said)
        for info in kind.model_fields.values():
            if isinstance(info.validation_alias, AliasChoices):
                first, *others = map(str, info.validation_alias.choices)
                fields |= {other: {**fields[first]} for other in others if "_" not in other}
        made["properties"] = fields
        if issubclass(kind, Request):
            _add_rules(kind, made)
        return made


def field_docs(kind: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of a model and its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            said = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            if isinstance(said, str) and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found[field.target.id] = _paragraph(said)
    return {name: said for name, said in found.items() if name in kind.model_fields}


def _paragraph(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _add_rules(kind: type[Request], made: Schema) -> None:
    """What ``read_request`` asks beyond the fields one by one."""
    for name, field in made["properties"].items():
        options = [one for one in field.get("anyOf", ()) if one != {"type": "null"}]
        if len(options) == 1:  # absent is not null
            del field["anyOf"]
            field |= options[0] | {key: said for key, said in field.items() if key == "description"}
        elif options:
            field["anyOf"] = options
        if "description" not in field and name in EXPECTED:
            field["description"] = EXPECTED[name][0].upper() + EXPECTED[name][1:] + "."
    if issubclass(kind, ControlRequest):
        del made["properties"]["type"]["default"]
        made["required"] = ["type", *(name for name in made["required"] if name != "runId")]
        made["properties"]["runId"]["description"] = "Absent: the record's key."
    if kind.exactly_one:
        made["oneOf"] = [{"required": [name]} for name in kind.exactly_one]
    if kind.at_least_one:
        made["anyOf"] = [{"required": [name]} for name in kind.at_least_one]
    if kind.only_with:
        made["dependentRequired"] = {name: [other] for name, other in kind.only_with.items()}
    if "resolution" in made["properties"]:
        undone = {"properties": {"resolution": {"enum": ["fail", "retry"]}}, "required": ["resolution"]}
        made |= {"if": undone, "then": {"properties": {"output": {"type": "null"}}}}


def _definitions(kinds: Sequence[type[BaseModel]]) -> dict[str, Schema]:
    """Every model and what it uses, by name, as ``#/$defs``."""
    asked: Any = [(kind, "validation", TypeAdapter(kind)) for kind in kinds]
    _, made = TypeAdapter.json_schemas(asked, schema_generator=_Maker)
    definitions: dict[str, Schema] = _cleaned(made["$defs"])
    return definitions


def _cleaned(made: Json) -> Json:
    """Without the bound that pydantic writes beside a schema of ours: no keyword of JSON Schema."""
    if isinstance(made, list):
        return [_cleaned(one) for one in made]
    if not isinstance(made, dict):
        return made
    return {name: _cleaned(part) for name, part in made.items() if name != "ge"}


def _document(name: str, title: str, description: str, **rest: Json) -> Schema:
    return {"$schema": DIALECT, "$id": f"urn:dynamicflow:{name}:1", "title": title, "description": description, **rest}


# --- the documents --------------------------------------------------------------------------------------------------


def request_schema() -> Schema:
    """A record of flow-requests: a start, or a control record."""
    definitions = _definitions([*KINDS.values(), Options])
    options = definitions["StartRequest"]["properties"]["options"]
    definitions["StartRequest"]["properties"]["options"] = {
        "$ref": "#/$defs/Options",
        "description": options["description"],
    }
    return _document(
        "request",
        "Request",
        "The value of a record on flow-requests. Without a type it is a start. The run id may be the record's key.",
        oneOf=[{"$ref": f"#/$defs/{kind.__name__}"} for kind in KINDS.values()],
        **{"$defs": {kind.__name__: definitions.pop(kind.__name__) for kind in KINDS.values()} | definitions},
    )


def event_kinds() -> dict[str, type[Event]]:
    """``type`` -> model, facts first."""
    members: Any = (*Fact.__args__, *Told.__args__)
    return {member.model_fields["type"].default: member for member in members}


def event_schema() -> Schema:
    """A record of flow-events: the envelope, and what each type adds."""
    kinds = event_kinds()
    made = _definitions([Event, *kinds.values()])
    shared = made.pop("Event")
    shared["required"] = ["type", *shared["required"]]
    shared["properties"] = {"type": {"enum": list(kinds)}} | shared["properties"]
    definitions: dict[str, Schema] = {"Envelope": shared}
    for kind in kinds.values():
        full = made.pop(kind.__name__)
        own = {name: part for name, part in full["properties"].items() if name not in shared["properties"]}
        needed = [name for name in full["required"] if name in own]
        definitions[kind.__name__] = {
            **({"description": full["description"]} if "description" in full else {}),
            "allOf": [{"$ref": "#/$defs/Envelope"}],
            "properties": {"type": {"const": full["properties"]["type"]["const"]}, **own},
            "required": ["type", *needed],
        }
    return _document(
        "event",
        "Event",
        "A record of flow-events, the log of every run: facts, and announcements that follow from them.",
        type="object",
        oneOf=[{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds.values()],
        **{"$defs": definitions | made},
    )


def _object(properties: Mapping[str, Json], *, optional: Sequence[str] = ()) -> Schema:
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "required": needed, "properties": dict(properties)}


def _or_null(schema: Mapping[str, Json]) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_NAMES: Final[Schema] = {"type": "array", "items": {"type": "string"}}
PROBLEM: Final[Schema] = _object(
    {
        "code": {**_TEXT, "description": "Stable: programs may rely on it."},
        "path": {**_TEXT, "description": "JSON Pointer into what was given; empty: the whole."},
        "message": _TEXT,
        "suggestion": _TEXT,
        "context": _object({"expected": {}, "actual": {}, "availableOptions": _NAMES}),
    }
)


def result_schema() -> Schema:
    """A record of flow-complete, the value of ``result()``, what ``run --json`` prints."""
    error = _object(
        {
            "code": _TEXT,
            "message": _TEXT,
            "nodeId": _or_null(_TEXT),
            "item": {"anyOf": [ITEM, {"type": "null"}]},
            "details": {"description": "More, as far as there is more; of a refused start {problems}."},
        }
    )
    metadata = _object(
        {
            "name": _or_null(_TEXT),
            "planHash": _or_null(_TEXT),
            "startedAt": _or_null(TIME),
            "completedAt": _or_null(TIME),
            "duration": {"type": "number", "minimum": 0, "description": "Milliseconds."},
            "stepCount": _COUNT,
            "toolsExecuted": _NAMES,
            "tokensUsed": _COUNT,
            "costUsd": _or_null({"type": "number"}),
            "skipped": _NAMES,
            "failed": _NAMES,
            "degraded": {"type": "boolean"},
            "waitsUntil": {**_or_null(TIME), "description": "Of a run that has not ended: its next moment."},
            "uncertain": {**_NAMES, "description": "Of a run that has not ended: steps of unknown outcome."},
        },
        optional=("waitsUntil", "uncertain"),
    )
    fields = {
        "runId": RUN_ID,
        "status": {
            "enum": [*sorted(ENDED), *_UNENDED],
            "description": f"On flow-complete one of {', '.join(sorted(ENDED))}.",
        },
        "output": {"description": "The plan's output; null unless it completed."},
        "nodes": {"type": "object", "description": "Node id -> output, of completed nodes outside item bodies."},
        "error": {"anyOf": [error, {"type": "null"}]},
        "metadata": metadata,
    }
    return _document("result", "Result", "How a run ended, or how it stands.", **_object(fields))


def work_schema() -> Schema:
    """A record of node-ready: one ready step. Between workers; users need not read it."""
    digest: Schema = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
    offset: Schema = {"type": "integer", "minimum": -1}
    join = _object(
        {"fromTool": _TEXT, "value": {}, "mapping": {"description": "Of a declarative join."}}, optional=("mapping",)
    )
    fields: Schema = {
        "type": {"const": "node-ready"},
        "runId": RUN_ID,
        "nodeId": _TEXT,
        "item": ITEM,
        "attempt": {"type": "integer", "minimum": 1},
        "delivery": {"type": "integer", "minimum": 1, "description": "How often this attempt was handed out."},
        "planHash": _or_null(digest),
        "revision": _COUNT,
        "toolId": _TEXT,
        "schemaDigest": {**_TEXT, "description": "Digest of the tool's schemas that the run pins."},
        "inputs": {"description": "References resolved, joins not applied."},
        "joins": {"type": ["array", "null"], "items": join},
        "idempotencyKey": {**_TEXT, "description": "The same for all attempts."},
        "timeout": {"type": ["number", "null"], "description": "Milliseconds."},
        "held": {"type": "boolean", "description": "Appends tool-start before it calls: it must not run twice."},
        "validation": {"type": ["string", "null"]},
        "readyAt": TIME,
        "causationId": _or_null(_TEXT),
        "tenant": _TEXT,
        "variables": {"type": ["object", "null"]},
        "labels": {"type": "object"},
        "large": LARGE,
        "logPartition": {**_COUNT, "description": "Where the run's log lies in flow-events."},
        "since": {**offset, "description": "The step cannot have started before this offset of the log."},
        "seen": {**offset, "description": "How far the log was folded when this was written."},
        "again": {"type": "boolean", "description": "Asked for before, perhaps: the log decides."},
    }
    optional = ("revision", "joins", "tenant", "variables", "labels", "large", "again")
    return _document("node-ready", "Work", "One ready step of a run.", **_object(fields, optional=optional))


def schemas() -> dict[str, Schema]:
    """File name in docs/schemas -> document."""
    return {
        "request.json": request_schema(),
        "event.json": event_schema(),
        "result.json": result_schema(),
        "node-ready.json": work_schema(),
    }
