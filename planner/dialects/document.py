"""The document around the nodes: its dialect, version, metadata, variables, joins, and what a plan says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...values import Json, pointer
from .draft import Draft, IdRef
from .nodes import Reader
from .report import ABSENT, Report, kind_of, short
from .shapes import same, whole

VERSION: Final = "1.0"
_NODE_LISTS: Final = ("nodes", "steps", "flow")
FIELDS: Final = (
    "version", "metadata", "variables", "nodes", "edges", "output", "joins", "rationale", "alternatives", "assumptions",
    "modelPool",
)  # fmt: skip
_METADATA: Final[Mapping[str, type]] = {
    "name": str,
    "description": str,
    "generated": bool,
    "source": str,
    "model": str,
    "timestamp": str,
    "author": str,
    "created": str,
    "hash": str,
}
_JOIN: Final = ("fromTool", "toTool", "mapping", "suggested", "confidence")
_JOIN_ALIASES: Final = {"from": "fromTool", "to": "toTool"}


@dataclass(slots=True)
class Document:
    """A plan as given, sorted: the canonical fields beside nodes and edges, and what is still to be settled."""

    key: str = ""
    """Where its nodes stand: ``nodes``, ``steps`` or ``flow``; ``""`` for nowhere."""
    fields: dict[str, Json] = field(default_factory=dict)
    joins: list[tuple[dict[str, Json], str]] = field(default_factory=list)
    listed: list[Draft] = field(default_factory=list)
    roots: list[IdRef] | None = None
    model_pool: dict[str, Json] | None = None

    @property
    def is_chain(self) -> bool:
        """Whether its top-level steps run one after the other (dialects C and D)."""
        return self.key in ("steps", "flow")


def read_document(raw: Mapping[str, Json], tools: Mapping[str, Any], report: Report) -> tuple[Document, Reader]:
    """The document and the reader that knows its dialect; nodes are read, edges are not yet."""
    document = Document(key=_dialect(raw, report))
    chain = document.is_chain
    reader = Reader(report, tools, infer_types=chain, null_is_absent=document.key == "steps")
    if reader.null_is_absent:
        raw = {key: value for key, value in raw.items() if value is not None}
    names = tuple(document.key if name == "nodes" and document.key else name for name in FIELDS)
    for key in raw:
        known = key in names or key in _NODE_LISTS or (key == "rootIds" and document.key == "steps")
        if not known:
            how = report.nearest(key, names, "Leave it out; notes belong into metadata.")
            if key in ("graph", "registry"):
                how = "Give the plan before it is compiled: its nodes and edges."
            message = f"a plan has no field {short(key)!r}"
            report.add("UNKNOWN_FIELD", pointer(key), message, how, actual=short(key), available=names)
    _version(raw, chain, report)
    document.fields["version"] = VERSION
    _about(raw, document, report)
    _joins(raw.get("joins", []), document, report)
    _nodes(raw, document, reader)
    return document, reader


def _dialect(raw: Mapping[str, Json], report: Report) -> str:
    given = [key for key in _NODE_LISTS if key in raw and (raw[key] is not None or key == "nodes")]
    if len(given) > 1:
        message = f"nodes are given in {' and in '.join(repr(key) for key in given)}"
        how = "Keep one: 'nodes' (with edges), or 'steps' or 'flow' (one after the other)."
        report.add("DIALECT_AMBIGUOUS", pointer(given[1]), message, how, available=given)
    if not given:
        report.add("EMPTY_NODES", "", "the plan has no nodes", 'Give "nodes", a list with at least one node.')
        return ""
    return given[0]


def _version(raw: Mapping[str, Json], chain: bool, report: Report) -> None:
    """Dialects C, D and docs may leave it out; anything but "1.0" is another language."""
    if "version" not in raw:
        if not chain and not _is_docs_form(raw.get("edges")):
            report.add("INVALID_VERSION", "", 'the plan has no "version"', 'Add "version": "1.0".', expected=VERSION)
    elif raw["version"] != VERSION:
        message = f'the version is {kind_of(raw["version"])}, and only "1.0" is known'
        report.add("INVALID_VERSION", "/version", message, 'Write "version": "1.0".', expected=VERSION)


def _is_docs_form(edges: Json) -> bool:
    """Whether edges are written as in the documentation: lists at an end, START, END."""
    if not isinstance(edges, list):
        return False
    ends = [edge.get(key) for edge in edges if isinstance(edge, dict) for key in ("from", "to")]
    return any(isinstance(end, list) or end in ("START", "END") for end in ends)


def _about(raw: Mapping[str, Json], document: Document, report: Report) -> None:
    made = document.fields
    if "metadata" in raw:
        made["metadata"] = _metadata(raw["metadata"], report)
    if isinstance(raw.get("variables", {}), dict):
        if raw.get("variables"):
            made["variables"] = raw["variables"]
    else:
        report.shape("/variables", raw["variables"], "an object of names and values")
    for key in ("output", "rationale"):
        if key in raw:
            made[key] = raw[key]
    for key in ("alternatives", "assumptions"):
        if isinstance(raw.get(key, []), list):
            made.update({key: raw[key]} if key in raw else {})
        else:
            report.shape(pointer(key), raw[key], "a list")
    pool = raw.get("modelPool", ABSENT)
    if isinstance(pool, dict):
        document.model_pool = pool
    elif pool is not ABSENT:
        report.shape("/modelPool", pool, "an object with models, strategy, maxConcurrency")


def _metadata(value: Json, report: Report) -> dict[str, Json]:
    if not isinstance(value, dict):
        report.shape("/metadata", value, "an object")
        return {}
    made = dict(value)
    for key, wanted in _METADATA.items():
        if key in value and not isinstance(value[key], wanted):
            report.shape("/metadata/" + key, value[key], "true or false" if wanted is bool else "a string")
            del made[key]
    return made


def _joins(value: Json, document: Document, report: Report) -> None:
    if not isinstance(value, list):
        report.shape("/joins", value, "a list of joins")
        return
    for at, part in enumerate(value):
        join = _join(part, f"/joins/{at}", report)
        if join is not None:
            document.joins.append((join, f"/joins/{at}"))


def _join(value: Json, given: str, report: Report) -> dict[str, Json] | None:
    if not isinstance(value, dict):
        report.shape(given, value, "a join (an object with fromTool, toTool, mapping)")
        return None
    made: dict[str, Json] = {}
    for key, part in value.items():
        name = _JOIN_ALIASES.get(key, key)
        where = given + pointer(key)
        if name not in _JOIN:
            near = report.nearest(key, _JOIN, "Leave it out.")
            report.add("UNKNOWN_FIELD", where, f"a join has no field {short(key)!r}", near, available=_JOIN)
        elif name in made:
            report.add("DIALECT_AMBIGUOUS", where, f"{key!r} says again what {name!r} says", "Keep one of them.")
        else:
            made[name] = whole(part)
            _join_field(name, part, where, report)
    for name in ("fromTool", "toTool", "mapping"):
        if name not in made:
            report.add("INVALID_SHAPE", given, f"the join has no {name!r}", expected=name)
    right = all(isinstance(made.get(name), str) for name in ("fromTool", "toTool")) and "mapping" in made
    defaults = {"suggested": False, "confidence": 1}
    right = right and _is_flag_and_number(made)
    order = (name for name in _JOIN if name in made and not same(made[name], defaults.get(name, ABSENT)))
    return {name: made[name] for name in order} if right else None


def _join_field(name: str, value: Json, given: str, report: Report) -> None:
    if name in ("fromTool", "toTool") and not isinstance(value, str):
        report.shape(given, value, "the id of a tool")
    elif name == "suggested" and not isinstance(value, bool):
        report.shape(given, value, "true or false")
    elif name == "confidence" and (isinstance(value, bool) or not isinstance(value, int | float)):
        report.shape(given, value, "a number")


def _is_flag_and_number(join: Mapping[str, Json]) -> bool:
    confidence = join.get("confidence", 1)
    number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    return isinstance(join.get("suggested", False), bool) and number


def _nodes(raw: Mapping[str, Json], document: Document, reader: Reader) -> None:
    report = reader.report
    if not document.key:
        return
    given = "/" + document.key
    value = raw[document.key]
    if not isinstance(value, list):
        report.shape(given, value, "a list of nodes")
        return
    for at, part in enumerate(value):
        where = f"{given}/{at}"
        if isinstance(part, str):
            report.shape(where, part, "a node (an object)")
            continue
        draft = reader.node(part, where, 1)
        if isinstance(draft, Draft):
            document.listed.append(draft)
        if report.stopped():
            return
    if not document.listed and not report.problems:
        report.add("EMPTY_NODES", given, f"{document.key!r} is empty", "A plan has at least one node.")
    if document.key == "steps" and "rootIds" in raw:
        document.roots = _roots(raw["rootIds"], report)


def _roots(value: Json, report: Report) -> list[IdRef] | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        report.shape("/rootIds", value, "a list of the ids of the top-level steps, in their order")
        return None
    return [IdRef(name, f"/rootIds/{at}") for at, name in enumerate(value)]
