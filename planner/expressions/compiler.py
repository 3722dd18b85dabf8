"""Syntax tree -> closures, once; a closure takes the fold's context and gives a JSON value.

Every closure takes ``(context, element)``; ``element`` is None outside what evaluates per element. Only an expression
that holds such a part can take more than its own length in steps, so only its closures count them: what is certainly
evaluated together is charged together, where it is entered.

Neither compiling nor evaluating recurses along flat chains, and evaluating takes few frames for each nesting level:
the deepest expression that the parser lets through runs within Python's default limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ...values import Json
from . import closures, functions
from . import syntax as s
from .elements import Body, Closure, Element, charge
from .operators import truthy
from .paths import literal
from .steps import Step, at_key_step, fields_step, output_step, run_steps, star_step

MAX_STEPS: Final = 100_000

Getter: TypeAlias = Callable[[Any], Json]
"""Context -> value."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a name's value comes from. ``node``: the name is a node's, so ``.output`` may mean the whole of it."""

    get: Getter
    node: bool = False


Bind: TypeAlias = Callable[[str], Bound]


def compile_tree(tree: s.Node, bind: Bind) -> Getter:
    """A closure over an opaque context. Evaluating it raises ExpressionFailed and nothing else."""
    order = list(_units(tree))
    compiler = _Compiler(bind, counting=any(_repeats(node) for node, _ in order))
    for node, inside in reversed(order):
        compiler.make(node, inside)
    run, cost = compiler.made[id(tree), False]
    if not compiler.counting:
        return lambda context: run(context, None)
    at = tree.at

    def counted(context: Any) -> Json:
        element = Element(None, 0, [MAX_STEPS])
        charge(element, cost, at)
        return run(context, element)

    return counted


def _units(tree: s.Node) -> Iterator[tuple[s.Node, bool]]:
    """What is compiled one by one, owners before what they need, and whether ``$item`` and ``$index`` are bound."""
    todo = [(tree, False)]
    while todo:
        node, inside = todo.pop()
        yield node, inside
        todo.extend(_needs(node, inside))


def _needs(node: s.Node, inside: bool) -> Iterator[tuple[s.Node, bool]]:
    """Of a chain of segments and calls what it begins with, its arguments and its keys; of anything else its parts."""
    base, links = _chain(node)
    if base is node:
        yield from ((child, inside) for child in s.children(node))
        return
    yield base, inside
    for link in links:
        if isinstance(link, s.Call):
            yield from ((arg, inside or s.per_element(link)) for arg in link.args[1:])
        else:
            yield from ((segment.key, inside) for segment in link.segments if isinstance(segment, s.Index))


def _chain(node: s.Node) -> tuple[s.Node, list[s.Path | s.Call]]:
    """``base.a.b().c[0].d()`` is evaluated in a loop: what it begins with, and its links from first to last."""
    links: list[s.Path | s.Call] = []
    while True:
        if isinstance(node, s.Path):
            links.append(node)
            node = node.base
        elif isinstance(node, s.Call) and node.args:
            links.append(node)
            node = node.args[0]
        else:
            return node, links[::-1]


def _repeats(node: s.Node) -> bool:
    """Something in it is evaluated once for each element."""
    for link in _chain(node)[1]:
        if isinstance(link, s.Call) and s.per_element(link):
            return True
        if isinstance(link, s.Path) and s.Star() in link.segments:
            if any(isinstance(part, s.Index) and not literal(part.key)[0] for part in link.segments):
                return True
    return False


class _Compiler:
    def __init__(self, bind: Bind, *, counting: bool) -> None:
        self.bind, self.counting = bind, counting
        self.made: dict[tuple[int, bool], tuple[Closure, int]] = {}
        """Node, and whether it stands inside a per-element argument -> its closure, and the steps it surely takes."""

    def make(self, node: s.Node, inside: bool) -> None:
        """Compile a node whose parts are compiled."""
        match node:
            case s.Path() | s.Call(args=(_, *_)):
                made = self._links(node, inside)
            case s.Literal() | s.Ref():
                made = self._leaf(node, inside)
            case s.Group():
                made = self._get(node.inner, inside)
            case s.Logic():
                made = self._logic(node, inside)
            case s.Choice():
                made = self._choice(node, inside)
            case _:
                made = self._eager(node, inside)
        self.made[id(node), inside] = made

    def _get(self, node: s.Node, inside: bool) -> tuple[Closure, int]:
        return self.made[id(node), inside]

    def _leaf(self, node: s.Literal | s.Ref, inside: bool) -> tuple[Closure, int]:
        if isinstance(node, s.Literal):
            value = node.value
            return (lambda c, e: value), 1
        return self._root(node, inside)[0], 1

    def _root(self, node: s.Ref, inside: bool) -> tuple[Closure, bool]:
        if inside and node.name == "item":
            return (lambda c, e: e.item), False
        if inside and node.name == "index":
            return (lambda c, e: e.index), False
        bound = self.bind(node.name)
        get = bound.get
        return (lambda c, e: get(c)), bound.node

    def _eager(self, node: s.Node, inside: bool) -> tuple[Closure, int]:
        """What evaluates all of its parts."""
        parts = [self._get(child, inside) for child in s.children(node)]
        made, cost = [part for part, _ in parts], 1 + sum(cost for _, cost in parts)
        match node:
            case s.ListOf():
                return closures.make_list(made), cost
            case s.ObjectOf():
                return closures.make_object([key for key, _ in node.pairs], made), cost
            case s.Unary():
                return closures.unary(node, made[0]), cost
            case s.Arithmetic():
                return closures.arithmetic(node, made), cost - 1 + len(node.rest)
            case s.Compare():
                return closures.compare(node, *made), cost
            case _:
                return closures.failing(f"{getattr(node, 'name', 'this')} needs an argument", node.at), cost

    # --- chains -------------------------------------------------------------------------------------------------

    def _links(self, node: s.Node, inside: bool) -> tuple[Closure, int]:
        base, links = _chain(node)
        first, cost = self._get(base, inside)
        is_node = False
        if isinstance(base, s.Ref) and isinstance(links[0], s.Path):
            first, is_node = self._root(base, inside)
            cost = 0
        steps: list[Step] = []
        for link in links:
            cost += 1
            if isinstance(link, s.Path):
                made, more = self._segments(link, inside, is_node and link is links[0])
                steps += made
            else:
                step, more = self._call(link, inside)
                steps.append(step)
            cost += more
        return run_steps(first, steps), cost

    def _segments(self, path: s.Path, inside: bool, is_node: bool) -> tuple[list[Step], int]:
        """The steps of a path, made from its end so that ``[*]`` has its rest; and what its keys cost."""
        steps: list[Step] = []
        names: list[str] = []
        cost = 0
        for position in range(len(path.segments) - 1, -1, -1):
            segment = path.segments[position]
            if isinstance(segment, s.Field):
                if position == 0 and is_node and segment.name == "output":
                    steps, names = [output_step, *_flushed(names, steps)], []
                else:
                    names.insert(0, segment.name)
                continue
            steps, names = _flushed(names, steps), []
            if isinstance(segment, s.Star):
                steps, cost = [star_step(steps, cost if self.counting else 0, path.at)], 0
            else:
                step, more = self._index(segment, inside)
                steps.insert(0, step)
                cost += more
        return _flushed(names, steps), cost

    def _index(self, segment: s.Index, inside: bool) -> tuple[Step, int]:
        known, value = literal(segment.key)
        if known:
            return at_key_step(lambda c, e: value), 0
        key, cost = self._get(segment.key, inside)
        return at_key_step(key), cost

    def _call(self, node: s.Call, inside: bool) -> tuple[Step, int]:
        within = s.per_element(node)
        rest = [self._get(arg, inside or within) for arg in node.args[1:]]
        if node.name == "coalesce":
            return closures.coalesce(
                [self._lazy(part, arg.at) for part, arg in zip(rest, node.args[1:], strict=True)]
            ), 0
        if within:
            closure, cost = rest[0]
            return closures.per_element(node, closure, cost), 0
        least, most = functions.ARITY.get(node.name, (0, 0))
        if not least <= len(node.args) <= (most or len(node.args)):
            message = "takes another number of arguments" if most != 0 else "is no function"
            return closures.always(closures.failing(f"{node.name} {message}", node.at)), 0
        return closures.called(functions.FUNCTIONS[node.name], [part for part, _ in rest], node.at), sum(
            c for _, c in rest
        )

    # --- what may not be evaluated at all -----------------------------------------------------------------------

    def _lazy(self, part: tuple[Closure, int], at: s.At) -> Body:
        return Body(part[0], part[1] if self.counting else 0, at)

    def _logic(self, node: s.Logic, inside: bool) -> tuple[Closure, int]:
        first, cost = self._get(node.parts[0], inside)
        *others, last = [self._lazy(self._get(part, inside), part.at) for part in node.parts[1:]]
        stops_at = node.operator == "||"
        if not others and not self.counting:
            return closures.both(first, last.run, stops_at), cost + 1

        def work(c: Any, e: Any) -> Json:
            value = first(c, e)
            if truthy(value) is stops_at:
                return value
            for part in others:
                if part.cost:
                    charge(e, part.cost, part.at)
                value = part.run(c, e)
                if truthy(value) is stops_at:
                    return value
            if last.cost:
                charge(e, last.cost, last.at)
            return last.run(c, e)

        return work, cost + len(node.parts) - 1

    def _choice(self, node: s.Choice, inside: bool) -> tuple[Closure, int]:
        test, cost = self._get(node.test, inside)
        yes, no = (self._lazy(self._get(part, inside), part.at) for part in (node.yes, node.no))

        def work(c: Any, e: Any) -> Json:
            arm = yes if truthy(test(c, e)) else no
            if arm.cost:
                charge(e, arm.cost, arm.at)
            return arm.run(c, e)

        return work, cost + 1


def _flushed(names: list[str], steps: list[Step]) -> list[Step]:
    return [fields_step(tuple(names)), *steps] if names else steps
