"""The door of everything that could be wrong with a plan before it runs, and the certificate of one that is right.

    load (shape, dialects)  ->  bind by name  ->  all rules  ->  certificate and hash of the bound plan

Every fault is found, not only the first, and each names its place in the plan as it was given. Nothing raises for
a bad plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..errors import Problem, UsageError
from ..tools.joins import Join
from ..tools.spec import ToolSpec
from ..values import Json
from . import ir
from .certificate import Certificate, certify
from .checks import bounds, conditions, graph, mappings, policy, sight, texts
from .checks.binding import Binder, Bindings, warns, written_into
from .checks.findings import Findings, Path
from .checks.graph import TopEdges, graph_of
from .checks.inputs import Inputs
from .checks.outputs import Outputs, outputs_of
from .checks.places import node_paths
from .checks.predecessors import Before, direct_predecessors
from .checks.release import unsupported
from .checks.sources import Reader, Source, Use, known_names, uses
from .loading import load_plan
from .options import NO_OPTIONS, Options
from .scope import Layout, lay_out

__all__ = ["Certificate", "Check", "check_input", "check_plan", "policies", "unsupported"]

MAX_DEPTH: Final = 50


def _as_given(path: str) -> str:
    return path


@dataclass(frozen=True)
class Check:
    """What was found out about a plan. ``certificate`` and ``plan_hash`` are there when it is valid."""

    valid: bool
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    certificate: Certificate | None = None
    plan_hash: str | None = None
    plan: ir.Plan | None = None
    """Bound: what was bound by name stands in ``inputs``; the hash is of this. None where the text is no plan."""
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Node id -> direct predecessors whose output a join feeds into it, in the order of merging."""
    policies: Mapping[str, dict[str, Json]] = field(default_factory=dict)
    """Tool id -> what a run pins of it: ``{"digest", "timeout", "retry", "sideEffect", "validation"}``, and ``queue``
    where it is not the default one."""
    given_pointer: Callable[[str], str] = field(default=_as_given, repr=False, compare=False)
    """JSON Pointer into ``plan`` -> into the plan as it was given."""

    def to_json(self) -> dict[str, Json]:
        """``{"valid", "problems", "warnings", "certificate", "planHash"}``."""
        return {
            "valid": self.valid,
            "problems": [problem.to_json() for problem in self.problems],
            "warnings": [problem.to_json() for problem in self.warnings],
            "certificate": self.certificate.to_json() if self.certificate is not None else None,
            "planHash": self.plan_hash,
        }


def check_plan(
    source: str | bytes | Mapping[str, Json],
    *,
    tools: Mapping[str, ToolSpec],
    joins: Sequence[Join] = (),
    options: Options = NO_OPTIONS,
    planned: bool = False,
) -> Check:
    """All problems and warnings of a plan in any form the loader reads. Never raises for what ``source`` holds.

    ``planned``: a model or the offline planner made it, so maxSteps and constraints bind it, and a reference that it
    seems to have forgotten to write as one is an error.
    """
    loaded = load_plan(source, tools=tools)
    plan = loaded.plan
    if plan is None or not _is_sound(plan):
        return Check(False, tuple(loaded.problems), tuple(loaded.warnings))
    found = Findings()
    usable = _usable_tools(plan, tools, found)
    request = _Request(usable, joins, options, planned)
    bound, bindings, view = request.bind(plan, found)
    request.examine(view, bindings.joined, found)
    forgotten = [problem for problem in loaded.warnings if planned and problem.code == "POSSIBLE_REFERENCE"]
    kept = [problem for problem in loaded.warnings if problem not in forgotten]
    problems = (*loaded.problems, *forgotten, *_as_given_paths(found.problems, loaded.given_pointer))
    warnings = (*kept, *_as_given_paths(found.warnings, loaded.given_pointer))
    valid = not problems
    return Check(
        valid,
        problems,
        warnings,
        certify(view.layout, view.graph, usable, options) if valid else None,
        bound.hash if valid else None,
        bound,
        bindings.joined,
        policies(bound, usable),
        loaded.given_pointer,
    )


def policies(plan: ir.Plan, tools: Mapping[str, ToolSpec]) -> dict[str, dict[str, Json]]:
    """What a run of the plan pins of each tool that it uses, by id."""
    used = {place.node.tool_id for place in lay_out(plan).places.values() if isinstance(place.node, ir.ToolNode)}
    return {
        tool_id: {
            "digest": tool.digest,
            "timeout": tool.timeout_ms,
            "retry": tool.retry.to_json() if tool.retry is not None else None,
            "sideEffect": tool.side_effect,
            "validation": tool.validation,
            **({"queue": tool.queue} if tool.queue != "default" else {}),
        }
        for tool_id in sorted(used)
        if (tool := tools.get(tool_id)) is not None
    }


def check_input(given: Check | ir.Plan, value: Json, tools: Mapping[str, ToolSpec]) -> tuple[Problem, ...]:
    """MISSING_REQUIRED_INPUT for what the run's input lacks and a step that certainly runs needs.

    That is: a required field of a top-level tool node without control edges that is exactly one ``$input.name…``.
    """
    plan = given.plan if isinstance(given, Check) else given
    if plan is None:
        return ()
    layout = lay_out(plan)
    reader = Reader(known_names(layout))
    gated = {edge.to for edge in plan.edges}
    has = value if isinstance(value, dict) else {}
    found = Findings()
    for index, node in enumerate(plan.nodes):
        tool = tools.get(node.tool_id) if isinstance(node, ir.ToolNode) else None
        if not isinstance(node, ir.ToolNode) or tool is None or node.id in gated or not isinstance(node.inputs, dict):
            continue
        for name in sorted(tool.inputs.required & node.inputs.keys()):
            part = node.inputs[name]
            whole = reader.template(part).whole if isinstance(part, str) else None
            if whole is None or whole.name != "input" or not whole.path or whole.path[0] in has:
                continue
            found.error(
                "MISSING_REQUIRED_INPUT",
                ("nodes", index, "inputs", name),
                f"the input lacks {whole.path[0]!r}, which {node.id!r} ({node.tool_id}) needs as {name!r}",
                found.nearest(str(whole.path[0]), sorted(has)) or f"Add {whole.path[0]!r} to the input.",
                expected=whole.path[0],
                available=sorted(has),
                warn=warns(node, tool, NO_OPTIONS),
            )
    return _as_given_paths(found.problems, given.given_pointer if isinstance(given, Check) else _as_given)


# --- the run of the rules -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One plan, read: what the rules look at."""

    layout: Layout
    paths: dict[str, Path]
    reader: Reader
    sources: list[Source]
    uses: list[Use]
    graph: TopEdges
    before: Mapping[str, Before]


def _view(plan: ir.Plan, reader: Reader | None = None) -> _View:
    layout = lay_out(plan)
    reader = reader or Reader(known_names(layout))
    paths = node_paths(plan)
    sources = list(reader.sources(layout, paths))
    used = list(uses(layout, sources))
    edges = graph_of(layout, used)
    return _View(layout, paths, reader, sources, used, edges, direct_predecessors(layout, edges, used))


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    tools: Mapping[str, ToolSpec]
    joins: Sequence[Join]
    options: Options
    planned: bool

    def bind(self, plan: ir.Plan, found: Findings) -> tuple[ir.Plan, Bindings, _View]:
        """The plan with what is bound by name written into it. A plan with a cycle stays as it is."""
        view = _view(plan)
        if not view.graph.acyclic:
            return plan, Bindings(), view
        outputs = outputs_of(view.layout, view.graph, self.tools, view.reader)
        bindings = Binder(
            view.layout,
            view.paths,
            self.tools,
            self.joins,
            self.options,
            view.graph,
            view.before,
            outputs,
            view.reader,
        ).bind(found)
        bound = written_into(plan, view.paths, bindings, self.joins)
        return bound, bindings, (view if bound is plan else _view(bound, view.reader))

    def examine(self, view: _View, joined: Mapping[str, tuple[str, ...]], found: Findings) -> None:
        """All rules but binding, which came first."""
        layout, paths, edges = view.layout, view.paths, view.graph
        policy.check_tools(layout, paths, self.tools, self.options, found)
        graph.check_cycles(layout, edges, paths, found)
        sight.check_names(layout, edges, view.uses, found)
        outputs, loose = self._outputs(view)
        typed = texts.check_texts(layout, view.sources, outputs, loose, found, planned=self.planned)
        typed.update(mappings.type_mappings(layout.plan, self.tools, found))
        inputs = Inputs(self.tools, self.options, typed, view.reader, found)
        inputs.check(layout, edges, paths, joined)
        mappings.check_mappings(layout.plan, self.tools, inputs, found)
        conditions.check_conditions(view.sources, found)
        conditions.check_reachable(layout, edges, paths, view.reader, found)
        conditions.check_switches(layout, paths, view.reader, found)
        bounds.check_bounds(layout, paths, typed, view.reader, found)
        bounds.check_size(layout, paths, self.tools, self.options, found)
        policy.check_transforms(layout, found)
        before = {node_id: found_before.nodes for node_id, found_before in view.before.items()}
        policy.check_connections(layout, paths, self.tools, before, found)
        if self.planned:
            policy.check_constraints(layout, paths, self.options, found)
            policy.check_unused(layout, self.tools, found)

    def _outputs(self, view: _View) -> tuple[Outputs, Outputs]:
        outputs = outputs_of(view.layout, view.graph, self.tools, view.reader)
        loose = {node_id for node_id, place in view.layout.places.items() if self._warns(place.node)}
        return outputs, outputs_of(view.layout, view.graph, self.tools, view.reader, loose) if loose else outputs

    def _warns(self, node: ir.Common) -> bool:
        if isinstance(node, ir.ToolNode):
            return warns(node, self.tools.get(node.tool_id), self.options)
        return isinstance(node, ir.Step) and (node.validation or self.options.validation) == "warn"


def _is_sound(plan: ir.Plan) -> bool:
    """What the rules take for granted and the loader reports: edges between nodes there are, bodies ≤ 50 deep."""
    places = lay_out(plan).places
    ends = all(edge.from_ in places and edge.to in places and places[edge.to].depth == 1 for edge in plan.edges)
    return ends and all(place.depth <= MAX_DEPTH for place in places.values())


def _usable_tools(plan: ir.Plan, tools: Mapping[str, ToolSpec], found: Findings) -> dict[str, ToolSpec]:
    """The tools, nothing known of the inputs of those whose schema cannot be used: a node that calls one is
    TOOL_INVALID."""
    refused: dict[str, UsageError] = {}
    usable = dict(tools)
    places = lay_out(plan).places
    for node_id, path in node_paths(plan).items():
        node = places[node_id].node
        if isinstance(node, ir.ToolNode) and (tool := tools.get(node.tool_id)) is not None:
            try:
                if node.tool_id not in refused:
                    tool.inputs.compile()
            except UsageError as error:
                refused[node.tool_id] = error
            if node.tool_id in refused:
                usable[node.tool_id] = replace(tool, input_schema={})
                found.error("TOOL_INVALID", (*path, "toolId"), refused[node.tool_id].message, actual=node.tool_id)
    return usable


def _as_given_paths(problems: Sequence[Problem], given_pointer: Callable[[str], str]) -> tuple[Problem, ...]:
    return tuple(replace(problem, path=given_pointer(problem.path)) for problem in problems)
