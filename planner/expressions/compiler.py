"""Syntax tree -> closures, once; a closure takes the fold's context and gives a JSON value.

Every closure takes ``(context, element)``; ``element`` is None outside functions that evaluate per element. Only an
expression that holds such a function can take more than its own length in steps, so only its closures count them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from ...values import Json
from . import functions, operators
from . import syntax as s
from .operators import Failure, truthy

MAX_STEPS: Final = 100_000

Getter: TypeAlias = Callable[[Any], Json]
"""Context -> value."""
Closure: TypeAlias = Callable[[Any, Any], Json]


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a name's value comes from. ``node``: the name is a node's, so ``.output`` may mean the whole of it."""

    get: Getter
    node: bool = False


Bind: TypeAlias = Callable[[str], Bound]


class ExpressionFailed(Exception):
    """An evaluation that has no value. ``line`` and ``column`` count from 1."""

    code = "EXPRESSION_FAILED"

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message, line, column)
        self.message, self.line, self.column = message, line, column

    def __str__(self) -> str:
        return f"{self.message} (line {self.line}, column {self.column})"


@dataclass(slots=True)
class Element:
    """What ``$item`` and ``$index`` are within a per-element function, and the steps left."""

    item: Json
    index: int
    left: list[int]


def compile_tree(tree: s.Node, bind: Bind) -> Getter:
    """A closure over an opaque context. Evaluating it raises ExpressionFailed and nothing else."""
    if not _loops(tree):
        plain = _Compiler(bind, counting=False).make(tree, False)
        return lambda context: plain(context, None)
    counted = _Compiler(bind, counting=True).make(tree, False)
    return lambda context: counted(context, Element(None, 0, [MAX_STEPS]))


def _loops(node: s.Node) -> bool:
    if isinstance(node, s.Call) and node.name in s.PER_ELEMENT and len(node.args) > 1:
        return True
    return any(_loops(child) for child in s.children(node))


class _Compiler:
    def __init__(self, bind: Bind, *, counting: bool) -> None:
        self.bind, self.counting = bind, counting

    def make(self, node: s.Node, inside: bool) -> Closure:
        """The closure of a node; ``inside``: within a per-element argument, so ``$item`` and ``$index`` are its."""
        made: Closure = getattr(self, "_" + type(node).__name__.lower())(node, inside)
        return _counted(made, node.at) if self.counting and not isinstance(node, s.Group) else made

    def _literal(self, node: s.Literal, inside: bool) -> Closure:
        value = node.value
        return lambda c, e: value

    def _ref(self, node: s.Ref, inside: bool) -> Closure:
        return self._root(node, inside)[0]

    def _root(self, node: s.Ref, inside: bool) -> tuple[Closure, bool]:
        if inside and node.name == "item":
            return (lambda c, e: e.item), False
        if inside and node.name == "index":
            return (lambda c, e: e.index), False
        bound = self.bind(node.name)
        get = bound.get
        return (lambda c, e: get(c)), bound.node

    def _group(self, node: s.Group, inside: bool) -> Closure:
        return self.make(node.inner, inside)

    def _path(self, node: s.Path, inside: bool) -> Closure:
        if isinstance(node.base, s.Ref):
            base, is_node = self._root(node.base, inside)
        else:
            base, is_node = self.make(node.base, inside), False
        segments = node.segments
        if len(segments) == 1 and isinstance(segments[0], s.Field) and not is_node_output(segments, is_node):
            return _one_field(base, segments[0].name)
        read = self._segments(segments, inside, node.at)
        if is_node_output(segments, is_node):
            rest = self._segments(segments[1:], inside, node.at)

            def output(c: Any, e: Any) -> Json:
                value = base(c, e)
                declared = isinstance(value, dict) and "output" in value
                return read(value, c, e) if declared else rest(value, c, e)

            return output
        return lambda c, e: read(base(c, e), c, e)

    def _segments(self, segments: tuple[s.Segment, ...], inside: bool, at: s.At) -> Callable[[Json, Any, Any], Json]:
        """Reads a path below a value; made from the last segment backwards, so ``[*]`` has its rest."""
        read: Callable[[Json, Any, Any], Json] = lambda value, c, e: value  # noqa: E731
        for segment in reversed(segments):
            if isinstance(segment, s.Field):
                read = _field(segment.name, read)
            elif isinstance(segment, s.Star):
                read = _star(read, at)
            else:
                read = _index(self.make(segment.key, inside), read)
        return read

    def _call(self, node: s.Call, inside: bool) -> Closure:
        if node.name == "coalesce":
            parts = [self.make(arg, inside) for arg in node.args]
            return lambda c, e: next((value for part in parts if (value := part(c, e)) is not None), None)
        if node.name in s.PER_ELEMENT and len(node.args) == 2:
            return _per_element(node, self.make(node.args[0], inside), self.make(node.args[1], True))
        work = functions.FUNCTIONS.get(node.name)
        if work is None:
            raise ValueError(f"the expression was not checked: there is no function {node.name}")
        return _called(work, [self.make(arg, inside) for arg in node.args], node.at)

    def _listof(self, node: s.ListOf, inside: bool) -> Closure:
        items = [self.make(item, inside) for item in node.items]
        return lambda c, e: [item(c, e) for item in items]

    def _objectof(self, node: s.ObjectOf, inside: bool) -> Closure:
        pairs = [(key, self.make(value, inside)) for key, value in node.pairs]
        return lambda c, e: {key: value(c, e) for key, value in pairs}

    def _unary(self, node: s.Unary, inside: bool) -> Closure:
        operand = self.make(node.operand, inside)
        if node.operator == "!":
            return lambda c, e: not truthy(operand(c, e))
        return _called(operators.negate, [operand], node.at)

    def _arithmetic(self, node: s.Arithmetic, inside: bool) -> Closure:
        first = self.make(node.first, inside)
        rest = [(_ARITHMETIC[sign], self.make(part, inside), at) for sign, part, at in node.rest]

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

    def _compare(self, node: s.Compare, inside: bool) -> Closure:
        left, right = self.make(node.left, inside), self.make(node.right, inside)
        if node.operator == "==":
            if isinstance(node.right, s.Literal):
                return _equals_literal(left, node.right.value)
            return lambda c, e: operators.equal(left(c, e), right(c, e))
        if node.operator == "!=":
            return lambda c, e: not operators.equal(left(c, e), right(c, e))
        if node.operator == "not in":
            inner = _called(operators.member, [left, right], node.at)
            return lambda c, e: not inner(c, e)
        if node.operator == "in":
            return _called(operators.member, [left, right], node.at)
        if node.operator == "matches":
            return self._matches(node, left, right)
        return _called(partial(operators.ordered, node.operator), [left, right], node.at)

    def _matches(self, node: s.Compare, left: Closure, right: Closure) -> Closure:
        compiled = None
        if isinstance(node.right, s.Literal) and isinstance(node.right.value, str):
            try:
                compiled = operators.pattern(node.right.value)
            except Failure:
                compiled = None  # `check` has refused it; evaluating says so too
        return _called(lambda text, source: operators.matches(text, source, compiled), [left, right], node.at)

    def _logic(self, node: s.Logic, inside: bool) -> Closure:
        parts = [self.make(part, inside) for part in node.parts]
        stops_at = node.operator == "||"
        *firsts, last = parts

        def work(c: Any, e: Any) -> Json:
            for part in firsts:
                value = part(c, e)
                if truthy(value) is stops_at:
                    return value
            return last(c, e)

        return work

    def _choice(self, node: s.Choice, inside: bool) -> Closure:
        test, yes, no = (self.make(part, inside) for part in (node.test, node.yes, node.no))
        return lambda c, e: yes(c, e) if truthy(test(c, e)) else no(c, e)


def is_node_output(segments: tuple[s.Segment, ...], is_node: bool) -> bool:
    """``$node.output``: the whole output, unless it has a field of that name."""
    return is_node and isinstance(segments[0], s.Field) and segments[0].name == "output"


_ARITHMETIC: Final = {
    "+": operators.add,
    "-": operators.subtract,
    "*": operators.multiply,
    "/": operators.divide,
    "%": operators.remainder,
}


def _counted(made: Closure, at: s.At) -> Closure:
    def work(c: Any, e: Any) -> Json:
        left = e.left
        left[0] -= 1
        if left[0] < 0:
            raise ExpressionFailed(f"the expression takes more than {MAX_STEPS} steps", at.line, at.column)
        return made(c, e)

    return work


def _called(work: Callable[..., Json], args: list[Closure], at: s.At) -> Closure:
    if len(args) == 1:
        only = args[0]

        def one(c: Any, e: Any) -> Json:
            try:
                return work(only(c, e))
            except Failure as failure:
                raise ExpressionFailed(str(failure), at.line, at.column) from None

        return one

    def many(c: Any, e: Any) -> Json:
        try:
            return work(*[arg(c, e) for arg in args])
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None

    return many


def _equals_literal(left: Closure, value: Json) -> Closure:
    kind = type(value)
    if kind in (bool, str, type(None)):
        return lambda c, e: (found := left(c, e)) == value and type(found) is kind
    return lambda c, e: operators.equal(left(c, e), value)


# --- paths --------------------------------------------------------------------------------------------------------


def step_into(value: Json, name: str) -> Json:
    """``.name``: a key of an object, of a list an index (digits) or ``length``; null where there is nothing."""
    if isinstance(value, dict):
        return value.get(name)
    if name == "length" and isinstance(value, list | str):
        return len(value)
    if isinstance(value, list) and name.isdigit():
        return value[int(name)] if len(name) < 10 and int(name) < len(value) else None
    return None


def _one_field(base: Closure, name: str) -> Closure:
    def work(c: Any, e: Any) -> Json:
        value = base(c, e)
        return value.get(name) if type(value) is dict else step_into(value, name)

    return work


def _field(name: str, rest: Callable[[Json, Any, Any], Json]) -> Callable[[Json, Any, Any], Json]:
    return lambda value, c, e: rest(step_into(value, name), c, e)


def _star(rest: Callable[[Json, Any, Any], Json], at: s.At) -> Callable[[Json, Any, Any], Json]:
    def work(value: Json, c: Any, e: Any) -> Json:
        if not isinstance(value, list):
            return None
        try:
            operators.list_of_size(len(value))
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None
        return [rest(part, c, e) for part in value]

    return work


def _index(key: Closure, rest: Callable[[Json, Any, Any], Json]) -> Callable[[Json, Any, Any], Json]:
    return lambda value, c, e: rest(at_key(value, key(c, e)), c, e)


def at_key(value: Json, key: Json) -> Json:
    """``[key]``: an integral number is an index (of a list), a string a key (of an object); anything else is null."""
    if isinstance(value, dict):
        return value.get(key) if isinstance(key, str) else None
    if isinstance(value, list) and operators.is_number(key) and key == key // 1:
        return value[int(key)] if -len(value) <= key < len(value) else None
    return None


# --- functions that evaluate per element ----------------------------------------------------------------------------


def _per_element(node: s.Call, source: Closure, body: Closure) -> Closure:
    gather = _GATHER[node.name]

    def work(c: Any, e: Any) -> Json:
        given = source(c, e)
        try:
            if not isinstance(given, list):
                raise Failure(f"{node.name} of {operators.name_of(given)}: a list is needed")
            operators.list_of_size(len(given))
            return gather(given, (body(c, Element(item, index, e.left)) for index, item in enumerate(given)))
        except Failure as failure:
            raise ExpressionFailed(str(failure), node.at.line, node.at.column) from None

    return work


_GATHER: Final[dict[str, Callable[[list[Json], Any], Json]]] = {
    "any": lambda given, values: any(map(truthy, values)),
    "all": lambda given, values: all(map(truthy, values)),
    "count": lambda given, values: sum(1 for value in values if truthy(value)),
    "filter": lambda given, values: [item for item, keep in zip(given, values, strict=True) if truthy(keep)],
    "map": lambda given, values: list(values),
    "sum": lambda given, values: functions.total(list(values)),
}
