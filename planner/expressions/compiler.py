"""Syntax tree -> closures, once; a closure takes the fold's context and gives a JSON value.

Every closure takes ``(context, element)``; ``element`` is None outside what evaluates per element. Only an expression
that holds such a part can take more than its own length in steps, so only its closures count them: what is certainly
evaluated together is charged together, where it is entered.

Neither compiling nor evaluating recurses along flat chains, and evaluating takes few frames for each nesting level:
the deepest expression that the parser lets through runs within Python's default limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ...values import Json
from . import functions, operators
from . import syntax as s
from .elements import GATHER, LAZY, Body, Closure, Element, ExpressionFailed, charge
from .operators import Failure, truthy
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
            return any(isinstance(part, s.Index) and not literal(part.key)[0] for part in link.segments)
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
        closures, cost = [part for part, _ in parts], 1 + sum(cost for _, cost in parts)
        match node:
            case s.ListOf():
                return _list(closures), cost
            case s.ObjectOf():
                return _object([key for key, _ in node.pairs], closures), cost
            case s.Unary():
                return _unary(node, closures[0]), cost
            case s.Arithmetic():
                return _arithmetic(node, closures), cost - 1 + len(node.rest)
            case s.Compare():
                return _compare(node, *closures), cost
            case _:
                return _failing(f"{getattr(node, 'name', 'this')} needs an argument", node.at), cost

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
            return _coalesce([self._lazy(part, arg.at) for part, arg in zip(rest, node.args[1:], strict=True)]), 0
        if within:
            closure, cost = rest[0]
            return _per_element(node, closure, cost), 0
        least, most = functions.ARITY.get(node.name, (0, 0))
        if not least <= len(node.args) <= (most or len(node.args)):
            message = "takes another number of arguments" if most != 0 else "is no function"
            return _always(_failing(f"{node.name} {message}", node.at)), 0
        return _called(functions.FUNCTIONS[node.name], [part for part, _ in rest], node.at), sum(c for _, c in rest)

    # --- what may not be evaluated at all -----------------------------------------------------------------------

    def _lazy(self, part: tuple[Closure, int], at: s.At) -> Body:
        return Body(part[0], part[1] if self.counting else 0, at)

    def _logic(self, node: s.Logic, inside: bool) -> tuple[Closure, int]:
        first, cost = self._get(node.parts[0], inside)
        *others, last = [self._lazy(self._get(part, inside), part.at) for part in node.parts[1:]]
        stops_at = node.operator == "||"
        if not others and not self.counting:
            return _both(first, last.run, stops_at), cost + 1

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


def _both(first: Closure, second: Closure, stops_at: bool) -> Closure:
    def work(c: Any, e: Any) -> Json:
        value = first(c, e)
        return value if truthy(value) is stops_at else second(c, e)

    return work


def _list(items: Sequence[Closure]) -> Closure:
    def work(c: Any, e: Any) -> Json:
        made = []
        for item in items:  # a comprehension would be one more frame for each level of nesting
            made.append(item(c, e))
        return made

    return work


def _object(keys: Sequence[str], values: Sequence[Closure]) -> Closure:
    pairs = list(zip(keys, values, strict=True))

    def work(c: Any, e: Any) -> Json:
        made = {}
        for key, value in pairs:
            made[key] = value(c, e)
        return made

    return work


def _failing(message: str, at: s.At) -> Closure:
    def work(c: Any, e: Any) -> Json:
        raise ExpressionFailed(message, at.line, at.column)

    return work


def _always(run: Closure) -> Step:
    return lambda value, c, e: run(c, e)


def _unary(node: s.Unary, operand: Closure) -> Closure:
    if node.operator == "!":
        return lambda c, e: not truthy(operand(c, e))
    at = node.at

    def work(c: Any, e: Any) -> Json:
        value = operand(c, e)
        try:
            return operators.negate(value)
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None

    return work


_ARITHMETIC: Final = {
    "+": operators.add,
    "-": operators.subtract,
    "*": operators.multiply,
    "/": operators.divide,
    "%": operators.remainder,
}


def _arithmetic(node: s.Arithmetic, parts: Sequence[Closure]) -> Closure:
    first, *others = parts
    rest = [(_ARITHMETIC[sign], part, at) for (sign, _, at), part in zip(node.rest, others, strict=True)]

    def work(c: Any, e: Any) -> Json:
        value = first(c, e)
        for operate, part, at in rest:
            other = part(c, e)
            try:
                value = operate(value, other)
            except Failure as failure:
                raise ExpressionFailed(str(failure), at.line, at.column) from None
        return value

    return work


def _compare(node: s.Compare, left: Closure, right: Closure) -> Closure:
    if node.operator == "==":
        if isinstance(node.right, s.Literal):
            return _equals_literal(left, node.right.value)
        return lambda c, e: operators.equal(left(c, e), right(c, e))
    if node.operator == "!=":
        return lambda c, e: not operators.equal(left(c, e), right(c, e))
    operate, at = _comparison(node), node.at

    def work(c: Any, e: Any) -> Json:
        mine, theirs = left(c, e), right(c, e)
        try:
            return operate(mine, theirs)
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None

    return work


def _comparison(node: s.Compare) -> Callable[[Json, Json], Json]:
    operator = node.operator
    if operator == "in":
        return operators.member
    if operator == "not in":
        return lambda mine, theirs: not operators.member(mine, theirs)
    if operator != "matches":
        return lambda mine, theirs: operators.ordered(operator, mine, theirs)
    compiled = None
    if isinstance(node.right, s.Literal) and isinstance(node.right.value, str):
        try:
            compiled = operators.pattern(node.right.value)
        except Failure:
            compiled = None  # `check` has refused it; evaluating says so too
    return lambda text, source: operators.matches(text, source, compiled)


def _equals_literal(left: Closure, value: Json) -> Closure:
    kind = type(value)
    if kind in (bool, str, type(None)):
        return lambda c, e: (found := left(c, e)) == value and type(found) is kind
    return lambda c, e: operators.equal(left(c, e), value)


def _called(work: Callable[..., Json], others: Sequence[Closure], at: s.At) -> Step:
    def step(value: Json, c: Any, e: Any) -> Json:
        args = [value]
        for other in others:
            args.append(other(c, e))
        try:
            return work(*args)
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None

    return step


def _coalesce(others: Sequence[Body]) -> Step:
    def step(value: Json, c: Any, e: Any) -> Json:
        for other in others:
            if value is not None:
                break
            if other.cost:
                charge(e, other.cost, other.at)
            value = other.run(c, e)
        return value

    return step


def _per_element(node: s.Call, body: Closure, cost: int) -> Step:
    name, at, gather = node.name, node.at, GATHER[node.name]
    lazy = name in LAZY

    def step(given: Json, c: Any, e: Any) -> Json:
        try:
            if not isinstance(given, list):
                raise Failure(f"{name} of {operators.name_of(given)}: a list is needed")
            operators.list_of_size(len(given))
            values = []
            for index, item in enumerate(given):
                charge(e, cost, at)
                value = body(c, Element(item, index, e.left))
                values.append(value)
                if lazy and truthy(value) is (name == "any"):
                    break
            return gather(given, values)
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None

    return step
