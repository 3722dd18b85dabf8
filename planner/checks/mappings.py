"""Joins that a plan carries: their tools exist, their mappings read ``$source`` only and fit the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...tools.spec import ToolSpec
from .. import ir
from ..expressions import Named
from ..templates import Template
from ..types import UNKNOWN, Type, from_schema
from .findings import Findings, Path
from .inputs import Inputs
from .sources import Reader, Source, dollar_strings, place_in_text
from .texts import report


def mapping_sources(plan: ir.Plan) -> dict[int, list[Source]]:
    """Index of a join -> the strings of its mapping that may refer."""
    reader = Reader(frozenset({"source"}))
    return {
        index: [
            Source(None, "mapping", None, ("joins", index, "mapping", *at), text, reader.template(text))
            for at, text in dollar_strings(spec.mapping)
        ]
        for index, spec in enumerate(plan.joins)
    }


def type_mappings(plan: ir.Plan, tools: Mapping[str, ToolSpec], found: Findings) -> dict[Path, Type]:
    """Types of what the strings of mappings give; reports their faults on the way."""
    typed: dict[Path, Type] = {}
    for index, sources in mapping_sources(plan).items():
        tool = tools.get(plan.joins[index].from_tool)
        schema = tool.output_schema if tool is not None else None
        known = UNKNOWN if schema is None else from_schema(schema)
        for source in sources:
            typed[source.path] = _typed(source, known, tool is not None and tool.validation == "warn", found)
    return typed


def _typed(source: Source, known: Type, warn: bool, found: Findings) -> Type:
    wrong = False
    for name in source.names:
        if name.name != "source":
            wrong = True
            _only_source(name.name, place_in_text(name), source, found)
    if not isinstance(source.parsed, Template):
        return UNKNOWN
    for finding in source.parsed.findings:
        wrong = wrong or not finding.warning
        if finding.code == "UNRESOLVED_REFERENCE":
            _only_source(str(finding.actual), "", source, found)
        else:
            report(finding, source, found)
    made, findings = source.parsed.infer(lambda name: Named(known if name == "source" else UNKNOWN, node=True))
    for finding in findings:
        relaxed = warn and finding.code == "UNKNOWN_OUTPUT_FIELD"
        report(replace(finding, warning=finding.warning or relaxed), source, found)
    return UNKNOWN if wrong else made


def _only_source(name: str, at: str, source: Source, found: Findings) -> None:
    found.error(
        "UNRESOLVED_REFERENCE",
        source.path,
        f"${name}{at} means nothing in a join's mapping: the only name there is $source, the source tool's output",
        f"Write $source, or give ${name} in the node's inputs.",
        actual=name,
        available=["source"],
    )


def check_mappings(plan: ir.Plan, tools: Mapping[str, ToolSpec], inputs: Inputs, found: Findings) -> None:
    """UNKNOWN_TOOL, and what a mapping gives against the target's inputs."""
    options = sorted(tools)
    for index, spec in enumerate(plan.joins):
        for key, tool_id in (("fromTool", spec.from_tool), ("toTool", spec.to_tool)):
            if tool_id not in tools:
                found.error(
                    "UNKNOWN_TOOL",
                    ("joins", index, key),
                    f"the join names {tool_id!r}, which is no tool of this request",
                    found.nearest(tool_id, options),
                    actual=tool_id,
                    available=options,
                )
        if spec.to_tool in tools:
            inputs.mapping(spec.mapping, ("joins", index, "mapping"), tools[spec.to_tool])
