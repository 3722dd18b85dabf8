"""What is wrong inside expressions and templates: syntax, types, functions, fields that no output has."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from .. import ir
from ..expressions import ExpressionSyntax, Finding, Name
from ..scope import Layout
from ..templates import Template
from ..types import UNKNOWN, Type
from .findings import Findings, Path
from .outputs import Outputs
from .sight import report_unknown
from .sources import Source


def check_texts(
    layout: Layout,
    sources: Iterable[Source],
    outputs: Outputs,
    loose: Outputs,
    found: Findings,
    *,
    planned: bool = False,
) -> dict[Path, Type]:
    """Report all findings; the result is the type of what each template string gives, by its path.

    ``loose``: the same types with nodes of ``validation: "warn"`` unknown: a field that only they lack is a warning.
    ``planned``: a reference that a model may have forgotten to write as one is an error.
    """
    typed: dict[Path, Type] = {}
    for source in sources:
        parsed = source.parsed
        if isinstance(parsed, ExpressionSyntax):
            wrong = Finding("EXPRESSION_SYNTAX", parsed.message, parsed.line, parsed.column, parsed.suggestion)
            report(wrong, source, found)
            continue
        unset = _unset(layout, source)
        made, findings = parsed.infer(outputs.at(source), unset=unset)
        broken = False
        for finding in parsed.findings if isinstance(parsed, Template) else ():
            broken = broken or not finding.warning
            if finding.code == "UNRESOLVED_REFERENCE":
                report_unknown(layout, source, Name(str(finding.actual), (), 1, 1, False), found)
            else:
                report(replace(finding, warning=finding.warning and not planned), source, found)
        if findings:
            certain = _keys(parsed.infer(loose.at(source), unset=unset)[1]) if loose is not outputs else None
            for finding in findings:
                relaxed = (
                    certain is not None and finding.code == "UNKNOWN_OUTPUT_FIELD" and _key(finding) not in certain
                )
                report(replace(finding, warning=finding.warning or relaxed), source, found)
        typed[source.path] = UNKNOWN if broken else made
    return typed


def _unset(layout: Layout, source: Source) -> frozenset[str]:
    """Nodes that a while condition reads before they have run."""
    if source.node_id is None or source.field != "condition":
        return frozenset()
    node = layout.places[source.node_id].node
    return _all_ids(node.body) if isinstance(node, ir.WhileNode) else frozenset()


def _all_ids(body: Collection[ir.Node]) -> frozenset[str]:
    ids: set[str] = set()
    todo = list(body)
    while todo:
        node = todo.pop()
        ids.add(node.id)
        todo.extend(child for _, inner in ir.bodies(node) for child in inner)
    return frozenset(ids)


def _key(finding: Finding) -> tuple[str, int, int, str]:
    return finding.code, finding.line, finding.column, finding.message


def _keys(findings: Iterable[Finding]) -> set[tuple[str, int, int, str]]:
    return {_key(finding) for finding in findings}


def report(finding: Finding, source: Source, found: Findings) -> None:
    """A finding inside a text, at the text's path, with line and column in the message."""
    where = f" (line {finding.line}, column {finding.column})" if finding.line else ""
    found.error(
        finding.code,
        source.path,
        f"{finding.message}{where}: {_shown(source)}",
        finding.suggestion,
        expected=finding.expected,
        actual=finding.actual,
        available=finding.available,
        warn=finding.warning,
    )


def _shown(source: Source) -> str:
    text = source.text if isinstance(source.text, str) else ""
    return text if len(text) <= 120 else text[:119] + "…"
