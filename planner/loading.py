"""Text or a Python dict, in any dialect -> the canonical plan, with everything about its *shape* that is wrong.

    decode -> dialect -> nodes -> ids in branches -> ids -> edges -> references -> canonical JSON -> ``ir.Plan``

A plan with problems is read to its end, with stand-ins where something is missing, so that ``check`` can look for more
in one go; such a plan is never to be run. What names mean, types and bounds are ``check``'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import ValidationError

from ..errors import Problem
from ..values import MAX_NESTING, Json, NotJson, decode, plain, pointer
from . import ir
from .dialects import canonical, naming, ownership
from .dialects.document import Document, read_document
from .dialects.draft import Spot
from .dialects.edges import Edge, chain, read_edges
from .dialects.nodes import Reader
from .dialects.report import Report
from .dialects.rewriting import Rewriter

__all__ = ["MAX_PLAN_BYTES", "Loaded", "ToolSpecLike", "load_plan"]

MAX_PLAN_BYTES: Final = 5 * 1024 * 1024
_TOO_LARGE: Final = "Split it into subflows, or keep large data out of the plan: it belongs into the input."


class ToolSpecLike(Protocol):
    """What is read of a tool here: whether a condition that asks it compares its output or a field of it."""

    @property
    def output_schema(self) -> Any: ...


@dataclass(frozen=True)
class Loaded:
    """What came of a plan. ``problems`` empty: ``plan`` is canonical, and loading ``canonical`` again gives the same.

    With problems, ``plan`` holds stand-ins for what is missing and serves only to look further; it is None where there
    is nothing to look at (not JSON, over a limit, no nodes).
    """

    plan: ir.Plan | None
    canonical: dict[str, Json] | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    """Pointer in the canonical document -> pointer as given, of nodes, edges, joins and renamed fields."""
    model_pool: Mapping[str, Json] | None = None
    """``modelPool`` of the plan, which belongs to the options."""

    def given_pointer(self, canonical_pointer: str) -> str:
        """The pointer as given of a place in the canonical document: the longest known part, and the rest as it is."""
        known, rest = canonical_pointer, ""
        while known and known not in self.origins:
            known, _, last = known.rpartition("/")
            rest = f"/{last}{rest}"
        return self.origins.get(known, known) + rest


def load_plan(source: str | bytes | Mapping[str, Json], *, tools: Mapping[str, ToolSpecLike] | None = None) -> Loaded:
    """The plan in ``source``; never raises for what is in it.

    ``tools``: id -> anything with ``output_schema``; read only for conditions of type ``tool``. A dict is copied.
    """
    report = Report()
    raw = _decoded(source, report)
    if raw is None:
        return Loaded(None, None, tuple(report.problems))
    document, reader = read_document(raw, tools or {}, report)
    if report.stopped() or not document.listed:
        return _nothing(document, report)
    tops = ownership.settle(document.listed, document.roots, report)
    if report.stopped() or not tops:
        return _nothing(document, report)
    spots = naming.name_all(tops, report)
    variables = document.fields.get("variables", {})
    naming.check_scope_names(spots.values(), spots, variables, report)
    names = naming.other_names(spots.values(), spots, variables, report)
    edges = _edges(raw, document, spots, reader)
    rewriter = Rewriter(spots, names, edges, report)
    rewriter.run()
    if report.stopped():
        return _nothing(document, report)
    if "output" in document.fields:
        document.fields["output"] = rewriter.output(document.fields["output"])
    origins = {} if document.key == "nodes" else {"/nodes": f"/{document.key}"}
    document.fields["nodes"] = canonical.emit_nodes(tops, origins)
    _add_edges_and_joins(document, edges, origins)
    return _built(document, origins, report)


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _decoded(source: Any, report: Report) -> dict[str, Json] | None:
    try:
        raw = _value(source, report)
    except NotJson as error:
        if error.too_deep:
            message = f"lists and objects are nested more than {MAX_NESTING} deep"
            report.stop("PLAN_TOO_LARGE", "", message, _TOO_LARGE)
        else:
            report.stop("INVALID_JSON", "", str(error), "A plan is one JSON object, with nothing around it.")
        return None
    except OverflowError:
        report.stop("PLAN_TOO_LARGE", "", f"the plan has more than {MAX_PLAN_BYTES} bytes", _TOO_LARGE)
        return None
    if report.stopped():
        return None
    if not isinstance(raw, dict):
        report.shape("", raw, "a plan (an object)")
        return None
    return raw


def _value(source: Any, report: Report) -> Json:
    """The JSON value; raises NotJson, and OverflowError for too many bytes."""
    if isinstance(source, str | bytes):
        size = len(source) if isinstance(source, bytes) else len(source.encode("utf-8", "surrogatepass"))
        if size > MAX_PLAN_BYTES:
            raise OverflowError
        return decode(source)
    if not isinstance(source, Mapping):
        message = f"a plan is text or a dict, not {type(source).__name__}"
        report.stop("INVALID_SHAPE", "", message, "Pass a plan's JSON text, or the dict it stands for.")
        return None
    return plain(dict(source), max_bytes=MAX_PLAN_BYTES)[0]


def _edges(raw: Mapping[str, Json], document: Document, spots: Mapping[str, Spot], reader: Reader) -> list[Edge]:
    """The edges given; where a chain gives none, those between its steps."""
    if document.is_chain and not raw.get("edges"):
        return chain([spot.draft for spot in spots.values() if spot.owner is None])
    return read_edges(raw.get("edges", []), "/edges", spots, reader)


def _add_edges_and_joins(document: Document, edges: Sequence[Edge], origins: dict[str, str]) -> None:
    if edges:
        document.fields["edges"] = canonical.emit_edges(edges, origins)
    if document.joins:
        document.fields["joins"] = [join for join, _ in document.joins]
        origins.update((f"/joins/{at}", given) for at, (_, given) in enumerate(document.joins))


def _nothing(document: Document, report: Report) -> Loaded:
    if not report.problems:
        report.add("EMPTY_NODES", f"/{document.key}", "no node is left", "A plan has at least one node.")
    return Loaded(None, None, tuple(report.problems), tuple(report.warnings), {}, document.model_pool)


def _built(document: Document, origins: dict[str, str], report: Report) -> Loaded:
    made = canonical.in_order(document.fields)
    if canonical.too_deep(made):
        report.stop("PLAN_TOO_LARGE", "", f"the canonical plan is nested more than {MAX_NESTING} deep", _TOO_LARGE)
        return _nothing(document, report)
    plan: ir.Plan | None = None
    found: list[Problem] = []
    try:
        plan = ir.Plan.model_validate(made)
    except ValidationError as error:
        found = [_leftover(detail, made) for detail in error.errors(include_url=False, include_input=False)]
    loaded = Loaded(plan, made, (), tuple(report.warnings), origins, document.model_pool)
    if plan is None:
        report.problems += [_at(problem, loaded.given_pointer(problem.path)) for problem in found]
    return Loaded(plan, made, tuple(report.problems), tuple(report.warnings), origins, document.model_pool)


def _leftover(detail: Mapping[str, Any], document: Json) -> Problem:
    """What the models refuse though the table let it pass, with its place in the canonical document."""
    code = "UNKNOWN_FIELD" if detail["type"] == "extra_forbidden" else "INVALID_SHAPE"
    here, path = document, ""
    for part in detail["loc"]:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
            path += pointer(part)
        # else a tag of a union, or a field that is not there
    return Problem(code, path, str(detail["msg"]))


def _at(problem: Problem, path: str) -> Problem:
    return Problem(problem.code, path, problem.message)
