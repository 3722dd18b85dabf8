"""The closures of an expression's parts. Each evaluates in one frame, so nesting costs few; see ``compiler``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ...values import Json
from . import operators
from . import syntax as s
from .elements import GATHER, LAZY, Body, Closure, Element, ExpressionFailed, charge
from .operators import Failure, truthy
from .steps import Step


def both(first: Closure, second: Closure, stops_at: bool) -> Closure:
    """``&&`` or ``||`` of two."""

    def work(c: Any, e: Any) -> Json:
        value = first(c, e)
        return value if truthy(value) is stops_at else second(c, e)

    return work


def make_list(items: Sequence[Closure]) -> Closure:
    """``[…]``."""

    def work(c: Any, e: Any) -> Json:
        made = []
        for item in items:  # a comprehension would be one more frame for each level of nesting
            made.append(item(c, e))
        return made

    return work


def make_object(keys: Sequence[str], values: Sequence[Closure]) -> Closure:
    """``{…}``."""
    pairs = list(zip(keys, values, strict=True))

    def work(c: Any, e: Any) -> Json:
        made = {}
        for key, value in pairs:
            made[key] = value(c, e)
        return made

    return work


def failing(message: str, at: s.At) -> Closure:
    """What fails whenever it is evaluated."""

    def work(c: Any, e: Any) -> Json:
        raise ExpressionFailed(message, at.line, at.column)

    return work


def always(run: Closure) -> Step:
    """A step that does not look at what it comes from."""
    return lambda value, c, e: run(c, e)


def unary(node: s.Unary, operand: Closure) -> Closure:
    """``!`` or ``-``."""
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


def arithmetic(node: s.Arithmetic, parts: Sequence[Closure]) -> Closure:
    """A chain of ``+ -`` or ``* / %``, from left to right."""
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


def compare(node: s.Compare, left: Closure, right: Closure) -> Closure:
    """A comparison; equality with a literal is the commonest and the shortest."""
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


def called(work: Callable[..., Json], others: Sequence[Closure], at: s.At) -> Step:
    """A function of the value before it and of further arguments."""

    def step(value: Json, c: Any, e: Any) -> Json:
        args = [value]
        for other in others:
            args.append(other(c, e))
        try:
            return work(*args)
        except Failure as failure:
            raise ExpressionFailed(str(failure), at.line, at.column) from None

    return step


def coalesce(others: Sequence[Body]) -> Step:
    """The first that is not null; those after it are not evaluated."""

    def step(value: Json, c: Any, e: Any) -> Json:
        for other in others:
            if value is not None:
                break
            if other.cost:
                charge(e, other.cost, other.at)
            value = other.run(c, e)
        return value

    return step


def per_element(node: s.Call, body: Closure, cost: int) -> Step:
    """any, all, filter, map, count, sum with a second argument."""
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
