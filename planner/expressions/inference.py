"""The type of an expression, and what is certain to fail in it (canonical.md §3, "Check").

Only certain errors are found: a value that may be null, or of a type that is not known, is given the benefit of the
doubt. The walk is a loop over generators, one for each open node, so that no tree is too deep for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from ...values import Json
from ..near import nearest
from ..types import (
    BOOLEAN,
    NULL,
    NUMBER,
    UNKNOWN,
    Type,
    describe,
    join,
    list_of,
    not_null,
    object_of,
    of_value,
    possible,
)
from . import signatures
from . import syntax as s
from .functions import ARITY, arity_text
from .operators import Failure, pattern
from .paths import Walk, field_hint


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in an expression or template. ``line`` and ``column`` count from 1; 0 where there is no place."""

    code: str
    message: str
    line: int = 0
    column: int = 0
    suggestion: str = ""
    available: tuple[str, ...] = ()
    expected: Json = None
    actual: Json = None
    pointer: str = ""
    """Where in a template, as a JSON Pointer; ``""`` is the whole."""
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """What is known of a name. ``node``: it is a node's, so ``.output`` may mean its whole output."""

    type: Type
    node: bool = False


Types: TypeAlias = Callable[[str], Named]


def infer(tree: s.Node, types: Types, unset: frozenset[str] = frozenset()) -> tuple[Type, list[Finding]]:
    """The type of a tree's value, and its certain errors in the order of the text.

    ``unset``: names that are certainly null when the expression is evaluated first (the body of a ``while`` seen from
    its condition): ordering or arithmetic on them is an error where nothing guards it.
    """
    inference = _Inference(types, unset)
    made = inference.run(_Visit(tree, _Scope()))
    found = sorted(inference.found, key=lambda finding: (finding.line, finding.column))
    return made.type, found


@dataclass(frozen=True, slots=True)
class _Scope:
    """What holds at a place in the tree."""

    item: Type | None = None
    """``$item`` within the second argument of a per-element function."""
    guarded: bool = False
    """It may not be evaluated at all."""


@dataclass(frozen=True, slots=True)
class _Visit:
    node: s.Node
    scope: _Scope


@dataclass(frozen=True, slots=True)
class _Typed:
    type: Type
    unset: str = ""
    """The name, when this is certainly null before a loop's first iteration; where nothing guards it."""


_Work: TypeAlias = Generator[_Visit, _Typed, _Typed]
_ORDERING: Final = ("<", "<=", ">", ">=")


@dataclass(slots=True)
class _Inference:
    types: Types
    unset: frozenset[str]
    found: list[Finding] = field(default_factory=list)

    def run(self, visit: _Visit) -> _Typed:
        open_: list[_Work] = [self._work(visit)]
        given: _Typed | None = None
        while True:
            try:
                wanted = next(open_[-1]) if given is None else open_[-1].send(given)
            except StopIteration as end:
                given = end.value
                open_.pop()
                if not open_:
                    return given
            else:
                open_.append(self._work(wanted))
                given = None

    def _work(self, visit: _Visit) -> _Work:
        node, scope = visit.node, visit.scope
        match node:
            case s.Literal() | s.Ref():
                return self._leaf(node, scope)
            case s.Path():
                return self._path(node, scope)
            case s.Call():
                return self._call(node, scope)
            case s.Arithmetic():
                return self._arithmetic(node, scope)
            case s.Compare():
                return self._compare(node, scope)
            case s.Logic():
                return self._logic(node, scope)
            case _:
                return self._plain(node, scope)

    def _error(self, code: str, at: s.At, message: str, suggestion: str = "", **more: Json) -> None:
        self.found.append(Finding(code, message, at.line, at.column, suggestion, **more))

    def _wrong(self, at: s.At, message: str, expected: str, *actual: Type, suggestion: str = "") -> None:
        kinds = ", ".join(describe(one) for one in actual)
        self._error("EXPRESSION_TYPE_ERROR", at, message, suggestion, expected=expected, actual=kinds)

    # --- leaves and shapes --------------------------------------------------------------------------------------

    def _leaf(self, node: s.Literal | s.Ref, scope: _Scope) -> _Work:
        yield from ()
        if isinstance(node, s.Literal):
            return _Typed(of_value(node.value))
        named, unset = self._named(node, scope)
        return _Typed(named.type, unset)

    def _named(self, ref: s.Ref, scope: _Scope) -> tuple[Named, str]:
        if scope.item is not None and ref.name == "item":
            return Named(scope.item), ""
        if scope.item is not None and ref.name == "index":
            return Named(NUMBER), ""
        return self.types(ref.name), ref.name if ref.name in self.unset and not scope.guarded else ""

    def _plain(self, node: s.Node, scope: _Scope) -> _Work:
        match node:
            case s.Group():
                return (yield _Visit(node.inner, scope))
            case s.ListOf():
                item: Type | None = None
                for part in node.items:
                    one = (yield _Visit(part, scope)).type
                    item = one if item is None else join(item, one)
                return _Typed(list_of(item))
            case s.ObjectOf():
                fields: dict[str, Type] = {}
                for name, part in node.pairs:
                    fields[name] = (yield _Visit(part, scope)).type
                return _Typed(object_of(fields, required=fields))
            case s.Choice():
                yield _Visit(node.test, scope)
                arms = replace(scope, guarded=True)
                yes = yield _Visit(node.yes, arms)
                no = yield _Visit(node.no, arms)
                return _Typed(join(yes.type, no.type))
            case s.Unary():
                operand = yield _Visit(node.operand, scope)
                return _Typed(BOOLEAN if node.operator == "!" else self._minus(node, operand))
            case _:
                return _Typed(UNKNOWN)

    def _minus(self, node: s.Unary, operand: _Typed) -> Type:
        if "number" not in possible(operand.type):
            message = f"- needs a number, this is {describe(operand.type)}"
            self._wrong(node.at, message, "a number", operand.type, suggestion=_null_hint(operand))
        elif operand.unset:
            self._unset(node.at, "-", operand)
        return NUMBER

    # --- paths --------------------------------------------------------------------------------------------------

    def _path(self, node: s.Path, scope: _Scope) -> _Work:
        base: _Typed
        if isinstance(node.base, s.Ref):
            named, unset = self._named(node.base, scope)
            base, is_node, source = _Typed(named.type, unset), named.node, f"${node.base.name}"
        else:
            base = yield _Visit(node.base, scope)
            is_node, source = False, "…"
        keys: list[Type | None] = []
        for segment in node.segments:
            keys.append((yield _Visit(segment.key, scope)).type if isinstance(segment, s.Index) else None)
        walk = Walk(base.type, source)
        made = walk.follow(node.segments, keys, node=is_node)
        for missing in walk.missing:
            self._error(
                "UNKNOWN_OUTPUT_FIELD",
                node.at,
                f"{missing.before} has no field {missing.name!r}",
                field_hint(missing),
                available=missing.available,
                actual=missing.name,
            )
        return _Typed(made, base.unset)

    # --- calls --------------------------------------------------------------------------------------------------

    def _call(self, node: s.Call, scope: _Scope) -> _Work:
        per_element = node.name in s.PER_ELEMENT and len(node.args) == 2
        args: list[_Typed] = []
        for position, part in enumerate(node.args):
            inner = scope
            if per_element and position == 1:
                given = args[0].type
                inner = _Scope(given.item if given.item is not None else UNKNOWN, guarded=True)
            elif node.name == "coalesce" and position:
                inner = replace(scope, guarded=True)
            args.append((yield _Visit(part, inner)))
        if not self._known(node):
            return _Typed(UNKNOWN)
        checked = args[:1] if per_element else args
        if not any([self._argument(node, position, args) for position in range(len(checked))]):
            self._elements(node, [arg.type for arg in args])
        made = signatures.result(node.name, [arg.type for arg in args])
        every = node.name == "coalesce" and args and all(arg.unset for arg in args)
        return _Typed(made, args[0].unset if every else "")

    def _known(self, node: s.Call) -> bool:
        arity = ARITY.get(node.name)
        if arity is None:
            near = nearest(node.name, list(ARITY))
            hint = f"Did you mean {' or '.join(near)}?" if near else ""
            message = f"there is no function {node.name!r}"
            self._error("UNKNOWN_FUNCTION", node.at, message, hint, available=tuple(sorted(ARITY)), actual=node.name)
            return False
        least, most = arity
        count = len(node.args)
        if least <= count and (most is None or count <= most):
            return True
        wanted = arity_text(least, most)
        own = " (the value before the dot is the first)" if node.method else ""
        message = f"{node.name} takes {wanted}{own}, not {count}"
        self._error("EXPRESSION_TYPE_ERROR", node.at, message, expected=wanted, actual=count)
        return False

    def _argument(self, node: s.Call, position: int, args: Sequence[_Typed]) -> bool:
        """Report an argument that certainly fails; whether it does."""
        given = args[position]
        wanted = signatures.takes(node.name, position, len(args))
        if position and args[0].type.kind == "null" and "null" in signatures.takes(node.name, 0, len(args)):
            return False  # nothing is searched, so it does not matter for what
        if possible(given.type) & wanted:
            if not given.unset or "null" in wanted:
                return False
            self._unset(node.at, node.name, given)
            return True
        expected = signatures.shown(wanted)
        which = "" if position == 0 else f" as argument {position + 1}"
        message = f"{node.name} needs {expected}{which}, this is {describe(given.type)}"
        self._wrong(node.at, message, expected, given.type, suggestion=_null_hint(given))
        return True

    def _elements(self, node: s.Call, args: Sequence[Type]) -> None:
        """A list whose elements certainly do not go with the function. (An empty one does.)"""
        if len(args) != 1 or args[0].item is None:
            return
        expected = signatures.wrong_elements(node.name, args[0])
        if expected and possible(args[0].item) != {"null"}:
            self._wrong(node.at, f"{node.name} needs {expected}, this is {describe(args[0])}", expected, args[0])

    # --- operators ----------------------------------------------------------------------------------------------

    def _arithmetic(self, node: s.Arithmetic, scope: _Scope) -> _Work:
        left = yield _Visit(node.first, scope)
        for operator, part, at in node.rest:
            right = yield _Visit(part, scope)
            made = signatures.arithmetic(operator, left.type, right.type)
            if made is None:
                self._operands(at, operator, left, right, _ARITHMETIC[operator == "+"])
            elif left.unset or right.unset:
                self._unset(at, operator, left if left.unset else right)
            left = _Typed(made or UNKNOWN)
        return left

    def _compare(self, node: s.Compare, scope: _Scope) -> _Work:
        left = yield _Visit(node.left, scope)
        right = yield _Visit(node.right, scope)
        operator = node.operator
        if operator in _ORDERING:
            self._ordering(node, left, right)
        elif operator in ("==", "!="):
            if not signatures.equality_works(left.type, right.type):
                always = "false" if operator == "==" else "true"
                message = f"{describe(left.type)} never equals {describe(right.type)}: this is always {always}"
                self._wrong(node.at, message, describe(left.type), right.type, suggestion=_equality_hint(left, right))
        elif operator == "matches":
            self._matches(node, left, right)
        elif not signatures.membership_works(left.type, right.type):
            self._operands(node.at, operator, left, right, "a list, an object or a string on the right")
        return _Typed(BOOLEAN)

    def _ordering(self, node: s.Compare, left: _Typed, right: _Typed) -> None:
        if not signatures.ordering_works(left.type, right.type):
            self._operands(node.at, node.operator, left, right, "two numbers or two strings")
        elif left.unset or right.unset:
            self._unset(node.at, node.operator, left if left.unset else right)

    def _matches(self, node: s.Compare, left: _Typed, right: _Typed) -> None:
        if not signatures.matching_works(left.type, right.type):
            self._operands(node.at, "matches", left, right, "a string and a pattern")
            return
        source = _unwrapped(node.right)
        if isinstance(source, s.Literal) and isinstance(source.value, str):
            try:
                pattern(source.value)
            except Failure as failure:
                hint = "Patterns are RE2: no backreferences, no look-around."
                self._error("EXPRESSION_SYNTAX", source.at, str(failure), hint, actual=source.value)

    def _logic(self, node: s.Logic, scope: _Scope) -> _Work:
        first = yield _Visit(node.parts[0], scope)
        after = replace(scope, guarded=True)
        decides = _falsy if node.operator == "&&" else _truthy
        made, last = decides(first.type), first.type
        for part in node.parts[1:]:
            last = (yield _Visit(part, after)).type
            made = _either(made, decides(last))
        made = last if made is None else _either(made, last) or last
        return _Typed(made, first.unset if node.operator == "&&" else "")

    def _operands(self, at: s.At, operator: str, left: _Typed, right: _Typed, expected: str) -> None:
        message = f"{describe(left.type)} {operator} {describe(right.type)}: expected {expected}"
        self._wrong(at, message, expected, left.type, right.type, suggestion=_null_hint(left, right))

    def _unset(self, at: s.At, operator: str, operand: _Typed) -> None:
        message = f"{operator} on ${operand.unset}, which is null before the first iteration"
        hint = f"Give it a first value: coalesce(${operand.unset}…, 0)"
        self._wrong(at, message, describe(not_null(operand.type)), NULL, suggestion=hint)


_ARITHMETIC: Final = {
    False: "two numbers",
    True: "two numbers, two lists, or a string with a string, number or boolean",
}


def _falsy(part: Type) -> Type | None:
    """What an operand of ``&&`` may be when it decides; None when it never does."""
    return part


def _truthy(part: Type) -> Type | None:
    """What an operand of ``||`` may be when it decides: never null."""
    return None if part.kind == "null" else not_null(part)


def _either(a: Type | None, b: Type | None) -> Type | None:
    if a is None or b is None:
        return a or b
    return join(a, b)


def _unwrapped(node: s.Node) -> s.Node:
    while isinstance(node, s.Group):
        node = node.inner
    return node


def _null_hint(*operands: _Typed) -> str:
    return "coalesce(…, 0) gives a null a value" if any(one.type.kind == "null" for one in operands) else ""


def _equality_hint(left: _Typed, right: _Typed) -> str:
    kinds = {not_null(left.type).kind, not_null(right.type).kind}
    if kinds == {"string", "number"}:
        return "Compare with a value of the same type, or convert: number(…), string(…)"
    return "Write true or false without quotes" if kinds == {"string", "boolean"} else ""
