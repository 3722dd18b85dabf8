"""One node as given -> a Draft: type, aliases, ``config``, fields, bodies. The table in ``fields`` says what is right.

A node that lacks something is kept with a stand-in, so that one look at a plan finds all that is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ...values import Json, pointer
from . import conditions, operations
from .draft import ON_ERROR, Draft, IdRef, Path
from .fields import (
    BODIES,
    DROPPED_TYPES,
    FIELDS,
    FUNCTIONAL,
    IGNORED,
    OUTPUT_NAMES,
    SIGNAL_TIMEOUT,
    TYPE_ALIASES,
    TYPES,
    Field,
    find_field,
    inferred_type,
    valid_names,
    variant_of,
)
from .report import ABSENT, Report, short
from .shapes import read_value, same

MAX_NODES: Final = 5_000
MAX_DEPTH: Final = 50
_MEANS_NULL: Final = frozenset({"value", "initial", "initialValue"})
"""Fields whose null is a value even where null otherwise stands for an absent field (dialect D)."""


class Entry(NamedTuple):
    """One field as given: its key, its value, its pointer, and whether ``config`` or ``operation`` held it."""

    key: str
    value: Json
    given: str
    inner: bool = False


@dataclass(slots=True)
class Reader:
    """Reads the nodes of one plan. ``tools``: id -> a spec with ``output_schema``."""

    report: Report
    tools: Mapping[str, Any]
    infer_types: bool = False
    """Steps may leave ``type`` out (dialect C)."""
    null_is_absent: bool = False
    """Structured answers fill every unused field with null (dialect D)."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Ids of start and end nodes -> their type."""
    count: int = 0

    def node(self, raw: Json, given: str, depth: int) -> Draft | IdRef | None:
        """The node, or the id that stands for one; None when it is neither, is dropped, or a limit is passed."""
        if isinstance(raw, str):
            return IdRef(raw, given)
        if not isinstance(raw, dict):
            self.report.shape(given, raw, "a node (an object) or the id of one")
            return None
        type_ = raw.get("type")
        if isinstance(type_, str) and type_ in DROPPED_TYPES:
            if isinstance(raw.get("id"), str):
                self.dropped[raw["id"]] = type_
            return None
        return self._counted(raw, given, depth)

    def _counted(self, raw: dict[str, Json], given: str, depth: int) -> Draft | None:
        self.count += 1
        if self.report.stopped():
            return None
        if self.count > MAX_NODES:
            self.report.stop("PLAN_TOO_LARGE", given, f"more than {MAX_NODES} nodes", "Split the plan into subflows.")
            return None
        if depth > MAX_DEPTH:
            self.report.stop("MAX_DEPTH_EXCEEDED", given, f"nodes nested more than {MAX_DEPTH} deep")
            return None
        if self.null_is_absent:
            raw = {key: part for key, part in raw.items() if part is not None or key in _MEANS_NULL}
        type_ = self._type(raw, given)
        variant = variant_of(type_, raw) if type_ else None
        if type_ == "loop" and variant is None:
            how = 'Say "loop": "for" with "over", "while" with "condition", or "times" with "times".'
            self.report.add("MISSING_OPERATION", given, "the loop does not say what it loops over", how)
        if type_ is None or variant is None:
            return Draft("value", "value", given, raw.get("id"), fields={"value": None}, depth=depth)
        draft = Draft(variant.partition(":")[0], variant, given, raw.get("id"), depth=depth)
        self._read(draft, raw)
        if raw.get("type") == "approval":
            draft.fields.setdefault("preset", "approval")
        return draft

    def _type(self, raw: dict[str, Json], given: str) -> str | None:
        type_ = raw.get("type")
        if type_ is None and self.infer_types:
            type_ = inferred_type(raw)
        if type_ is None or type_ == "":
            self.report.add("MISSING_NODE_TYPE", given, "the node has no type", available=TYPES)
            return None
        if not isinstance(type_, str):
            self.report.shape(given + "/type", type_, "the name of a node type")
            return None
        if type_ == "expression":
            return type_
        named = TYPE_ALIASES.get(type_, type_)
        if named not in TYPES:
            near = self.report.nearest(type_, TYPES, "Use one of: " + ", ".join(TYPES))
            message = f"there is no node type {short(type_)!r}"
            self.report.add("INVALID_NODE_TYPE", given + "/type", message, near, actual=short(type_), available=TYPES)
            return None
        return named

    # ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, draft: Draft, raw: dict[str, Json]) -> None:
        found: dict[str, Entry] = {}
        retries: dict[str, Entry] = {}
        for entry in self._entries(draft, raw):
            if self.null_is_absent and entry.value is None and not find_field(draft.variant, entry.key):
                continue
            self._sort(draft, entry, found, retries)
        bare = draft.variant in FUNCTIONAL and found.keys().isdisjoint({"over", "body", "condition"})
        if bare and "operation" not in raw:
            how = 'Give "over" and what to do with each item.'
            self.report.add("MISSING_OPERATION", draft.given, f"the {draft.type} node has no operation", how)
        for known in FIELDS[draft.variant]:
            self._field(draft, known, found.get(known.name), bare)
        operations.merge_retries(draft, retries, self.report)
        operations.finish(draft, self)
        self._together(draft, found)

    def _entries(self, draft: Draft, raw: dict[str, Json]) -> Iterator[Entry]:
        """Every field as given; those of ``config`` and of B's ``operation`` moved up."""
        for key, value in raw.items():
            given = draft.given + pointer(key)
            if key in ("id", "type") or (key == "loop" and draft.type == "loop"):
                continue
            if key == "config":
                if isinstance(value, dict):
                    yield from (Entry(name, part, given + pointer(name), True) for name, part in value.items())
                else:
                    self.report.shape(given, value, "an object")
            elif key == "operation" and draft.variant in FUNCTIONAL:
                for name, part, where in operations.unfold(value, given, draft, self):
                    yield Entry(name, part, where, True)
            else:
                yield Entry(key, value, given)
        loop = raw.get("loop")
        if draft.type == "loop" and loop is not None and loop not in ("for", "while", "times"):
            read_value(_LOOP, loop, draft.given + "/loop", self.report)

    def _sort(self, draft: Draft, entry: Entry, found: dict[str, Entry], retries: dict[str, Entry]) -> None:
        """One given field to where it belongs."""
        known = find_field(draft.variant, entry.key)
        if entry.inner and entry.key == "parallel":
            known = find_field(draft.variant, "concurrency")
            if known is not None and entry.value in (True, False):
                if entry.value is False:  # one after the other
                    self._keep(known, entry._replace(value=1), found)
                return
            known = None
        if known is not None:
            self._keep(known, entry, found)
        elif entry.key in OUTPUT_NAMES and not entry.inner:
            self._output(draft, entry)
        elif entry.key in ("retries", "retryDelay") and find_field(draft.variant, "retry"):
            retries[entry.key] = entry
        elif entry.inner and entry.key in IGNORED:
            self._ignored(entry)
        else:
            self._unknown(draft, entry)

    def _keep(self, known: Field, entry: Entry, found: dict[str, Entry]) -> None:
        before = found.setdefault(known.name, entry)
        if before is not entry:
            message = f"{short(entry.key)!r} and {before.key!r} (at {before.given}) both say {known.name!r}"
            self.report.add("DIALECT_AMBIGUOUS", entry.given, message, "Keep one of them.")

    def _output(self, draft: Draft, entry: Entry) -> None:
        if isinstance(entry.value, str):
            draft.outputs.append((entry.value, entry.given))
        else:
            self.report.shape(entry.given, entry.value, "a name for the node's output")

    def _ignored(self, entry: Entry) -> None:
        if not same(entry.value, IGNORED[entry.key]):
            message = f"{entry.key!r} of one node is accepted and has no effect"
            self.report.warn("NOT_SUPPORTED_YET", entry.given, message)

    def _unknown(self, draft: Draft, entry: Entry) -> None:
        names = valid_names(draft.variant)
        near = self.report.nearest(entry.key, names, "Leave it out.")
        message = f"a {draft.type} node has no field {short(entry.key)!r}"
        self.report.add("UNKNOWN_FIELD", entry.given, message, near, actual=short(entry.key), available=names)

    def _field(self, draft: Draft, known: Field, entry: Entry | None, quiet: bool) -> None:
        if known.kind == "body":
            draft.bodies.setdefault((known.name,), [])  # in the order of the table, which is that of the document
        elif known.kind in BODIES:
            draft.fields[known.name] = "listed" if known.kind == "branches" else "named"
        if entry is None:
            if known.missing:
                self._missing(draft, known, quiet)
            return
        draft.places[known.name] = entry.given
        if known.kind in BODIES:
            self._bodies(draft, known, entry)
        elif known.kind == "onError":
            self._on_error(draft, entry)
        else:
            value = self._value(draft, known, entry)
            if value is not ABSENT or known.missing:
                draft.fields[known.name] = known.stand_in if value is ABSENT else value

    def _value(self, draft: Draft, known: Field, entry: Entry) -> Json:
        if known.kind == "condition":
            return conditions.read(entry.value, entry.given, draft, self)
        if known.kind == "options":
            return operations.read_options(entry.value, entry.given, self.report)
        return read_value(known, entry.value, entry.given, self.report)

    def _missing(self, draft: Draft, known: Field, quiet: bool) -> None:
        if not quiet:
            message = f"the {draft.type} node has no {known.name!r}"
            self.report.add(known.missing, draft.given, message, expected=known.name)
        if known.kind not in BODIES:
            draft.fields[known.name] = known.stand_in

    # ── bodies ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def body(self, value: Json, given: str, depth: int) -> list[Draft | IdRef]:
        """The nodes of one body; one node, or one id, is a body of one."""
        if isinstance(value, dict | str):
            parts = [(value, given)]
        elif isinstance(value, list):
            parts = [(part, f"{given}/{index}") for index, part in enumerate(value)]
        else:
            self.report.shape(given, value, "a list of nodes")
            return []
        made = (self.node(part, where, depth) for part, where in parts)
        return [node for node in made if node is not None]

    def _bodies(self, draft: Draft, known: Field, entry: Entry) -> None:
        value = entry.value
        if known.kind == "body":
            draft.bodies[(known.name,)].extend(self.body(value, entry.given, draft.depth + 1))
            return
        named: list[tuple[str | int, Json]]
        if isinstance(value, dict):
            named = list(value.items())
        elif isinstance(value, list) and known.kind == "branches":
            named = list(enumerate(value))
        else:
            kind = "an object of node lists" if known.kind == "cases" else "a list, or an object, of node lists"
            self.report.shape(entry.given, value, kind)
            return
        draft.fields[known.name] = "named" if isinstance(value, dict) else "listed"
        for name, part in named:
            path: Path = (known.name, name)
            draft.bodies[path] = self.body(part, entry.given + pointer(name), draft.depth + 1)

    def _on_error(self, draft: Draft, entry: Entry) -> None:
        value, given = entry.value, entry.given
        if isinstance(value, str) and value in ("fail", "continue"):
            draft.fields["onError"] = value
            return
        if not isinstance(value, dict):
            self.report.shape(given, value, '"fail", "continue", {"value": …} or {"nodes": […]}')
            return
        for key in value:
            if key not in _ON_ERROR:
                near = self.report.nearest(key, _ON_ERROR)
                message = f"onError has no field {short(key)!r}"
                self.report.add("UNKNOWN_FIELD", given + pointer(key), message, near, available=_ON_ERROR)
        if ("value" in value) == ("nodes" in value):
            found = "both" if "value" in value else "neither"
            self.report.add("INVALID_SHAPE", given, f"onError takes 'value' or 'nodes', found {found}")
        if "nodes" in value:
            draft.bodies[ON_ERROR] = self.body(value["nodes"], given + "/nodes", draft.depth + 1)
        elif "value" in value:
            draft.fields["onError"] = {"value": value["value"]}

    # ── fields that depend on each other ────────────────────────────────────────────────────────────────────────────

    def _together(self, draft: Draft, found: Mapping[str, Entry]) -> None:
        if draft.variant == "conditional":
            branches = [found[name] for name in ("ifTrue", "ifFalse") if name in found]
            if all(entry.value in (None, [], {}) for entry in branches):
                how = 'Give "ifTrue" or "ifFalse" at least one node.'
                self.report.add("MISSING_THEN_BRANCH", draft.given, "neither branch has a node", how)
        elif draft.variant == "wait":
            self._wait(draft, found)

    def _wait(self, draft: Draft, found: Mapping[str, Entry]) -> None:
        kinds = [name for name in ("duration", "until", "signal") if name in found]
        if len(kinds) != 1:
            message = f"a wait has one of duration, until, signal; found {', '.join(kinds) or 'none'}"
            self.report.add("INVALID_SHAPE", draft.given, message, available=("duration", "until", "signal"))
        elif "match" in found and kinds != ["signal"]:
            message = "'match' belongs to a wait for a signal"
            self.report.add("INVALID_SHAPE", found["match"].given, message)
        for name in kinds[1:]:
            draft.fields.pop(name, None)
        duration_given = draft.fields.get("duration")
        if isinstance(duration_given, str) and "timeout" not in found:
            message = "a duration that is not literal may be of any length"
            how = 'Give the node a "timeout", the longest it may wait.'
            self.report.add("UNBOUNDED_LOOP", draft.place("duration"), message, how)
            draft.fields["timeout"] = SIGNAL_TIMEOUT


_LOOP: Final = Field("loop", "enum", choices=("for", "while", "times"))

_ON_ERROR: Final = ("value", "nodes")
