"""What is wrong inside expressions and templates: syntax, types, functions, fields that no output has."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from .. import ir
from ..expressions import Expression, ExpressionSyntax, Finding, Name
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
    rules = _Texts(layout, outputs, loose, found, planned)
    typed: dict[Path, Type] = {}
    for source in sources:
        if isinstance(source.parsed, ExpressionSyntax):
            rules.syntax(source, source.parsed)
        else:
            typed[source.path] = rules.type(source, source.parsed)
    return typed


@dataclass(frozen=True, slots=True, eq=False)
class _Texts:
    layout: Layout
    outputs: Outputs
    loose: Outputs
    found: Findings
    planned: bool
    _inferred: dict[tuple[str, str | None, str], tuple[Type, list[Finding]]] = field(default_factory=dict)
    """(text, node, field) -> what is known of it: a long list of the same reference is looked at once."""

    def syntax(self, source: Source, wrong: ExpressionSyntax) -> None:
        finding = Finding("EXPRESSION_SYNTAX", wrong.message, wrong.line, wrong.column, wrong.suggestion)
        report(finding, source, self.found)

    def type(self, source: Source, parsed: Expression | Template) -> Type:
        """What the text gives, after its faults have been reported; unknown where it does not even parse."""
        key = (source.text, source.node_id, source.field)
        if key not in self._inferred:
            self._inferred[key] = self._infer(source, parsed)
        made, findings = self._inferred[key]
        for finding in findings:
            report(finding, source, self.found)
        return UNKNOWN if isinstance(parsed, Template) and self._broken(source, parsed) else made

    def _broken(self, source: Source, parsed: Template) -> bool:
        broken = False
        for finding in parsed.findings:
            broken = broken or not finding.warning
            if finding.code == "UNRESOLVED_REFERENCE":
                report_unknown(self.layout, source, Name(str(finding.actual), (), 1, 1, False), self.found)
            else:
                report(replace(finding, warning=finding.warning and not self.planned), source, self.found)
        return broken

    def _infer(self, source: Source, parsed: Expression | Template) -> tuple[Type, list[Finding]]:
        unset = _unset(self.layout, source)
        made, findings = parsed.infer(self.outputs.at(source), unset=unset)
        if findings and self.loose is not self.outputs:
            certain = {_key(finding) for finding in parsed.infer(self.loose.at(source), unset=unset)[1]}
            findings = [
                replace(finding, warning=True)
                if finding.code == "UNKNOWN_OUTPUT_FIELD" and _key(finding) not in certain
                else finding
                for finding in findings
            ]
        return made, findings


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
