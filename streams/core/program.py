"""A plan compiled for the fold: every name resolved, every template a closure, every edge counted. Pure; no state.

A closure's context is a :class:`~.state.Frame`. Where a value lives is known from the plan alone: a node at level 2
(inside two item bodies) reads one at level 0 from the frame two parents up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeAlias

from pydantic_core import to_json

from ...planner import ir
from ...planner.expressions import Bound, Expression, Name, parse
from ...planner.scope import RESERVED, Binding, Layout, Place, lay_out
from ...planner.templates import parse_template
from ...values import Json
from .state import Frame

Getter: TypeAlias = Callable[[Frame], Json]


@dataclass(slots=True, eq=False, repr=False)
class Step:
    """One node of the plan, compiled. Compared by identity."""

    node: Any
    """The plan's model of it: one of ``ir.Node``."""
    id: str
    kind: str
    """Its type; a loop's is ``for``, ``while`` or ``times``."""
    order: int
    level: int
    depth: int
    owner: Step | None
    key: str
    """Which body of the owner it stands in."""
    position: int
    scope: str
    """Id of the nearest node whose item body is around it; "" outside of any."""
    in_item_body: bool
    """It stands in its owner's item body, so the owner lives one frame up."""
    siblings: list[Step] = field(default_factory=list)
    bodies: dict[str, list[Step]] = field(default_factory=dict)
    branches: tuple[str, ...] = ()
    """Keys of a parallel node's branches, in order."""
    get: dict[str, Getter] = field(default_factory=dict)
    """Field -> closure: inputs, value, condition, on, over, initial, times, duration, until, onError."""
    operands: dict[str, Getter] = field(default_factory=dict)
    """Reference -> closure, of the condition: what a reader needs to follow the decision."""
    out: list[Edge] = field(default_factory=list)
    """Control edges that leave it."""
    inner_out: list[Step] = field(default_factory=list)
    """Nodes inside it (directly or deeper, outside item bodies) that edges leave."""
    waiters: list[Step] = field(default_factory=list)
    """Top-level nodes that wait for it because they refer to it or into it. Top level only."""
    edge_waiters: list[Edge] = field(default_factory=list)
    """Edges whose condition refers to it or into it. Top level only."""
    control: list[Edge] = field(default_factory=list)
    """Control edges into it, in the order of their sources. Top level only."""
    waits_for: int = 0
    """Edges and referred nodes that must be resolved before it can start. Top level only."""
    whole_inputs: bool = False
    """``inputs`` is one reference to a whole value."""

    @property
    def declared_on_error(self) -> bool:
        return bool(self.node.on_error != "fail")


@dataclass(slots=True, eq=False, repr=False)
class Edge:
    """A control edge into a top-level node."""

    index: int
    source: Step
    target: Step
    condition: Getter | None
    operands: dict[str, Getter]
    transform: Getter | None
    waits_for: int = 1
    """Its source, and every other top-level node its condition refers to."""


@dataclass(slots=True, eq=False, repr=False)
class Program:
    plan: ir.Plan
    hash: str
    steps: dict[str, Step]
    top: list[Step]
    edges: list[Edge]
    terminals: list[Step]
    """Top-level nodes that no edge and no reference leaves: the output of a plan that names none."""
    output: Getter | None


ROOT_GETTERS: Final[dict[str, Getter]] = {
    "input": lambda frame: frame.run.input,
    "vars": lambda frame: frame.run.variables,
    "run": lambda frame: frame.run.about,
}


_COMPILED: Final[OrderedDict[bytes, Program]] = OrderedDict()
_MOST_COMPILED: Final = 256


def program_of(plan: Json) -> Program:
    """The compiled form of a canonical plan; the same plan is compiled once. Raises ValueError for what is none.

    It is the same when its text is, keys in their order: named branches run in the order they stand in, which the
    plan's hash does not cover.
    """
    if not isinstance(plan, dict):
        raise ValueError("a plan is an object")
    key = sha256(to_json(plan)).digest()
    found = _COMPILED.get(key)
    if found is None:
        found = _COMPILED[key] = compile_plan(ir.Plan.model_validate(plan))
        if len(_COMPILED) > _MOST_COMPILED:
            _COMPILED.popitem(last=False)
    return found


def compile_plan(plan: ir.Plan) -> Program:
    """Compile a plan that ``check`` accepted. Raises ValueError where it was not."""
    layout = lay_out(plan)
    compiler = _Compiler(plan, layout)
    return compiler.run()


class _Compiler:
    def __init__(self, plan: ir.Plan, layout: Layout) -> None:
        self.plan, self.layout = plan, layout
        self.steps: dict[str, Step] = {}
        self.known = frozenset(layout.places) | frozenset(plan.variables) | RESERVED | _aliases(layout)
        self.refers: dict[str, set[str]] = {}
        """Top-level node -> ids it or a node inside it refers to."""
        self.asked: set[str] = set()
        """Ids that conditions of edges refer to."""

    def run(self) -> Program:
        for place in self.layout.places.values():
            self._add(place)
        for step in self.steps.values():
            self._compile_fields(step)
        edges = [self._edge(index, edge) for index, edge in enumerate(self.plan.edges)]
        top = [self.steps[node.id] for node in self.plan.nodes]
        self._wire(top, edges)
        output = None
        if "output" in self.plan.model_fields_set:
            output = self._template(self.plan.output, None, "output", 0, set())
        return Program(self.plan, self.plan.hash, self.steps, top, edges, self._terminals(top, edges), output)

    def _add(self, place: Place) -> None:
        node = place.node
        owner = self.steps[place.owner] if place.owner is not None else None
        item_body = place.key == "body" and owner is not None and isinstance(owner.node, ir.ITEM_BODY_OWNERS)
        step = Step(
            node=node,
            id=node.id,
            kind=node.loop if isinstance(node, ir.ForNode | ir.WhileNode | ir.TimesNode) else node.type,
            order=place.order,
            level=place.level,
            depth=place.depth,
            owner=owner,
            key=place.key,
            position=place.position,
            scope=owner.id if item_body and owner else owner.scope if owner else "",
            in_item_body=item_body,
            bodies={key: [] for key, _ in ir.bodies(node)},
        )
        step.branches = tuple(key for key in step.bodies if key.startswith("branch:"))
        if owner is not None:
            step.siblings = owner.bodies[place.key]
            step.siblings.append(step)
        self.steps[node.id] = step

    # --- fields -------------------------------------------------------------------------------------------------

    def _compile_fields(self, step: Step) -> None:
        used = self.refers.setdefault(self.layout.places[step.id].top, set())
        inside = step.level + 1 if step.kind in ("filter", "while") else step.level
        for name in ("inputs", "value", "over", "initial", "times", "duration", "until"):
            if name in step.node.__class__.model_fields and _given(step.node, name):
                step.get[name] = self._template(getattr(step.node, name), step.id, name, step.level, used)
        for name in ("condition", "on"):
            if isinstance(source := getattr(step.node, name, None), str):
                expression = parse(source)
                step.get[name] = self._expression(expression, step.id, name, inside, used)
                step.operands = self._operands(expression, step.id, name, inside)
        if isinstance(step.node.on_error, ir.OnErrorValue):
            step.get["onError"] = self._template(step.node.on_error.value, step.id, "onError", step.level, used)
        if step.kind == "tool":
            whole = parse_template(step.node.inputs, self.known).whole
            step.whole_inputs = whole is not None

    def _template(self, value: Json, node: str | None, name: str, level: int, used: set[str]) -> Getter:
        template = parse_template(value, self.known)
        used.update(self._nodes_of((found for _, found in template.names), node, name))
        return template.compile(self._binder(node, name, level))

    def _expression(self, expression: Expression, node: str | None, name: str, level: int, used: set[str]) -> Getter:
        used.update(self._nodes_of(expression.names, node, name))
        return expression.compile(self._binder(node, name, level))

    def _operands(self, expression: Expression, node: str | None, name: str, level: int) -> dict[str, Getter]:
        made = {}
        for found in expression.names:
            text = "$" + found.name + "".join(f".{part}" for part in found.path if isinstance(part, str))
            made[text] = parse(text).compile(self._binder(node, name, level))
        return made

    def _nodes_of(self, names: Iterable[Name], node: str | None, name: str) -> set[str]:
        found = (self.layout.resolve(used.name, node, name) for used in names)
        return {binding.target for binding in found if binding is not None and binding.kind == "node"}

    def _binder(self, node: str | None, name: str, level: int) -> Callable[[str], Bound]:
        def bind(used: str) -> Bound:
            binding = self.layout.resolve(used, node, name)
            if binding is None:
                raise ValueError(f"the plan was not checked: ${used} in {node}.{name} means nothing")
            return Bound(_getter(binding, level, self.plan.variables), node=binding.kind == "node")

        return bind

    # --- edges --------------------------------------------------------------------------------------------------

    def _edge(self, index: int, edge: ir.Edge) -> Edge:
        source, target = self.steps[edge.from_], self.steps[edge.to]
        used: set[str] = set()
        condition, operands, transform = None, {}, None
        if edge.condition is not None:
            expression = parse(edge.condition)
            condition = self._expression(expression, None, "condition", 0, used)
            operands = self._operands(expression, None, "condition", 0)
        self.asked |= used
        later: set[str] = set()
        if "transform" in edge.model_fields_set:
            transform = self._template(edge.transform, None, "transform", 0, later)
        made = Edge(index, source, target, condition, operands, transform)
        source.out.append(made)
        target.control.append(made)
        self.refers[target.id] |= later
        for other in sorted({self._top(name) for name in used} - {self._top(source.id)}):
            self.steps[other].edge_waiters.append(made)
            made.waits_for += 1
        if any(self._top(name) == self._top(source.id) and name != source.id for name in used) and source.owner:
            self.steps[self._top(source.id)].edge_waiters.append(made)
            made.waits_for += 1
        return made

    def _wire(self, top: list[Step], edges: list[Edge]) -> None:
        for step in top:
            needs = {self._top(name) for name in self.refers.get(step.id, ())} - {step.id}
            for name in sorted(needs):
                self.steps[name].waiters.append(step)
            step.control.sort(key=lambda edge: (edge.source.order, edge.index))
            step.waits_for = len(needs) + len(step.control)
        for source in {id(edge.source): edge.source for edge in edges}.values():
            owner = source.owner
            while owner is not None:
                owner.inner_out.append(source)
                owner = owner.owner
        for step in self.steps.values():
            step.inner_out.sort(key=lambda inner: inner.order)

    def _terminals(self, top: list[Step], edges: list[Edge]) -> list[Step]:
        left = {self._top(name) for name in self.asked.union(edge.source.id for edge in edges)}
        for step in top:
            left |= {self._top(name) for name in self.refers.get(step.id, ())} - {step.id}
        return [step for step in top if step.id not in left]

    def _top(self, node_id: str) -> str:
        return self.layout.places[node_id].top


def _aliases(layout: Layout) -> frozenset[str]:
    return frozenset(place.node.as_ for place in layout.places.values() if isinstance(place.node, ir.Collection))


def _given(node: ir.Common, name: str) -> bool:
    return name in node.model_fields_set or name in ("inputs", "initial")


def _getter(binding: Binding, level: int, variables: dict[str, Json]) -> Getter:
    target, up = binding.target, level - binding.level
    match binding.kind:
        case "node":
            return _climb(up, lambda frame: frame.outputs.get(target))
        case "item":
            return _climb(up, lambda frame: frame.item)
        case "index":
            return _climb(up, lambda frame: frame.index)
        case "acc":
            return _climb(up, lambda frame: frame.acc)
        case "last":
            return _climb(up, lambda frame: frame.last)
        case "error":
            return _climb(up, lambda frame: frame.errors.get(target))
        case "variable":
            value = variables[target]
            return lambda frame: value
        case "input" | "vars" | "run":
            return ROOT_GETTERS[binding.kind]
        case _:
            return lambda frame: None


def _climb(up: int, read: Getter) -> Getter:
    if up == 0:
        return read
    if up == 1:
        return lambda frame: read(frame.parent)  # type: ignore[arg-type]  # the plan says that it is there

    def climb(frame: Frame) -> Json:
        at = frame
        for _ in range(up):
            at = at.parent  # type: ignore[assignment]  # as above
        return read(at)

    return climb
