"""A second evaluator of expressions, written from the text (canonical.md §3) and from nothing else.

It is slow and plain: an expression is a nested tuple, ``show`` writes it as source, ``run`` evaluates it. It raises
``Fails`` where the text says that an evaluation fails. It knows no limits of steps and sizes.

    ("literal", v) ("ref", name) ("path", e, parts) ("list", [e…]) ("object", {k: e}) ("not", e) ("minus", e)
    (op, a, b) ("choice", a, b, c) ("call", name, [e…])      a part: ("field", name) ("key", e) ("star",)
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

Tree = tuple[Any, ...]
PER_ELEMENT = ("any", "all", "filter", "map", "count", "sum")


class Fails(Exception):
    """The evaluation has no value."""


def show(tree: Tree) -> str:
    match tree:
        case ("literal", value):
            return _show_literal(value)
        case ("ref", name):
            return f"${name}"
        case ("path", base, parts):
            text = show(base) if base[0] == "ref" else f"({show(base)})"
            return text + "".join(_show_part(part) for part in parts)
        case ("list", items):
            return "[" + ", ".join(map(show, items)) + "]"
        case ("object", pairs):
            return "{" + ", ".join(f"{json.dumps(key)}: {show(part)}" for key, part in pairs.items()) + "}"
        case ("not" | "minus" as sign, part):
            return f"{'!' if sign == 'not' else '-'}({show(part)})"
        case ("choice", test, yes, no):
            return f"({show(test)}) ? ({show(yes)}) : ({show(no)})"
        case ("call", name, args):
            return f"{name}({', '.join(map(show, args))})"
        case (operator, left, right):
            return f"({show(left)}) {operator} ({show(right)})"
    raise AssertionError(tree)


def _show_literal(value: Any) -> str:
    if isinstance(value, str) and "'" not in value and len(value) % 2:
        return "'" + json.dumps(value)[1:-1].replace('\\"', '"') + "'"
    return json.dumps(value, ensure_ascii=len(str(value)) % 2 == 0)


def _show_part(part: Tree) -> str:
    match part:
        case ("field", name):
            return f".{name}"
        case ("key", key):
            return f"[{show(key)}]"
    return "[*]"


def kind(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        list: "list",
        dict: "object",
    }
    return names[type(value)]


def truth(value: Any) -> bool:
    return not (value is None or value is False or (kind(value) == "number" and value == 0) or value in ("", [], {}))


def text(value: Any) -> str:
    match kind(value):
        case "null":
            return ""
        case "string":
            return str(value)
        case "boolean":
            return "true" if value else "false"
        case "number":
            whole = Fraction(value).denominator == 1 and abs(value) < 2**63
            return str(int(value)) if whole or isinstance(value, int) else repr(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def same(a: Any, b: Any) -> bool:
    if kind(a) != kind(b):
        return False
    if kind(a) == "list":
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if kind(a) == "object":
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    return bool(Fraction(a) == Fraction(b)) if kind(a) == "number" else bool(a == b)


def _computed(value: int | float) -> int | float:
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            raise Fails
        return int(value) if value == math.floor(value) and abs(value) < 2**63 else value
    if abs(value) >= 2**63:
        raise Fails
    return value


def _arithmetic(operator: str, a: Any, b: Any) -> Any:
    kinds = {kind(a), kind(b)}
    if operator == "+" and kinds == {"list"}:
        return a + b
    if operator == "+" and "string" in kinds and kinds <= {"string", "number", "boolean"}:
        return text(a) + text(b)
    if kinds != {"number"} or (operator in "/%" and b == 0):
        raise Fails
    try:
        match operator:
            case "+":
                return _computed(a + b)
            case "-":
                return _computed(a - b)
            case "*":
                return _computed(a * b)
            case "/":
                return _computed(a / b)
        rest = math.fmod(a, b) if float in (type(a), type(b)) else int(math.copysign(1, a)) * (abs(a) % abs(b))
        return _computed(rest)
    except OverflowError as error:
        raise Fails from error


def _ordered(operator: str, a: Any, b: Any) -> bool:
    if kind(a) != kind(b) or kind(a) not in ("number", "string"):
        raise Fails
    less, more = (
        (a < b, a > b) if kind(a) == "number" else ([*map(ord, a)] < [*map(ord, b)], [*map(ord, a)] > [*map(ord, b)])
    )
    return {"<": less, ">": more, "<=": not more, ">=": not less}[operator]


def _member(a: Any, b: Any) -> bool:
    match kind(b):
        case "null":
            return False
        case "list":
            return any(same(a, part) for part in b)
        case "object" | "string":
            if a is None:
                return False
            if isinstance(a, str):
                return a in b
    raise Fails


def _operator(operator: str, a: Any, b: Any) -> Any:
    match operator:
        case "==" | "===":
            return same(a, b)
        case "!=" | "!==":
            return not same(a, b)
        case "in":
            return _member(a, b)
        case "not in":
            return not _member(a, b)
        case "<" | "<=" | ">" | ">=":
            return _ordered(operator, a, b)
    return _arithmetic(operator, a, b)


def run(tree: Tree, names: dict[str, Any]) -> Any:
    match tree:
        case ("literal", value):
            return _computed(value) if isinstance(value, float) else value
        case ("ref", name):
            return names[name]
        case ("path", base, parts):
            return _path(run(base, names), list(parts), names)
        case ("list", items):
            return [run(item, names) for item in items]
        case ("object", pairs):
            return {key: run(part, names) for key, part in pairs.items()}
        case ("call", name, args):
            return _call(name, args, names)
    return _run_operator(tree, names)


def _run_operator(tree: Tree, names: dict[str, Any]) -> Any:
    first = run(tree[1], names)
    match tree:
        case ("not", _):
            return not truth(first)
        case ("minus", _):
            _need(first, "number")
            return _computed(-first)
        case ("choice", _, yes, no):
            return run(yes if truth(first) else no, names)
        case ("&&" | "||" as operator, _, right):
            return first if truth(first) is (operator == "||") else run(right, names)
        case (operator, _, right):
            return _operator(operator, first, run(right, names))
    raise AssertionError(tree)


def _path(value: Any, parts: list[Tree], names: dict[str, Any]) -> Any:
    for position, part in enumerate(parts):
        if part[0] == "star":
            if not isinstance(value, list):
                return None
            return [_path(item, parts[position + 1 :], names) for item in value]
        value = _field(value, part[1]) if part[0] == "field" else _key(value, run(part[1], names))
    return value


def _field(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if name == "length" and isinstance(value, str | list):
        return len(value)
    return _key(value, int(name)) if name.isdigit() else None


def _key(value: Any, key: Any) -> Any:
    if isinstance(value, dict) and isinstance(key, str):
        return value.get(key)
    if isinstance(value, list) and kind(key) == "number" and Fraction(key).denominator == 1:
        return value[int(key)] if -len(value) <= key < len(value) else None
    return None


def _call(name: str, args: list[Tree], names: dict[str, Any]) -> Any:
    if name == "coalesce":
        for arg in args:
            if (found := run(arg, names)) is not None:
                return found
        return None
    first = run(args[0], names)
    if name in PER_ELEMENT and len(args) == 2:
        if not isinstance(first, list):
            raise Fails
        return _per_element(
            name, first, (run(args[1], {**names, "item": part, "index": at}) for at, part in enumerate(first))
        )
    return _plain(name, [first, *(run(arg, names) for arg in args[1:])])


def _per_element(name: str, given: list[Any], values: Any) -> Any:
    match name:
        case "any":
            return any(truth(value) for value in values)
        case "all":
            return all(truth(value) for value in values)
        case "filter":
            return [part for part, value in zip(given, values, strict=True) if truth(value)]
        case "map":
            return list(values)
        case "count":
            return sum(truth(value) for value in values)
    return _sum(list(values))


def _sum(given: list[Any]) -> Any:
    total: Any = 0
    for part in given:
        if kind(part) != "number":
            raise Fails
        total = _arithmetic("+", total, part)
    return total


def _need(value: Any, *kinds: str) -> None:
    if kind(value) not in kinds:
        raise Fails


def _plain(name: str, args: list[Any]) -> Any:
    value, *more = args
    match name:
        case "typeOf":
            return kind(value)
        case "string":
            return text(value)
        case "boolean":
            return truth(value)
        case "lower" | "upper":
            _need(value, "string")
            return value.lower() if name == "lower" else value.upper()
        case "length" | "size":
            _need(value, "string", "list", "object")
            return len(value)
        case "keys" | "values":
            _need(value, "object")
            return [key if name == "keys" else value[key] for key in sorted(value)]
        case "slice":
            _need(value, "list", "string")
            return value[slice(*more)]
        case "contains" | "startsWith" | "has":
            return _search(name, value, more[0])
    _need(value, "list")
    return _of_list(name, value, more)


def _search(name: str, where: Any, what: Any) -> bool:
    """False where nothing is searched."""
    kinds = {"contains": ("list", "string", "object"), "startsWith": ("string",), "has": ("object",)}
    _need(where, "null", *kinds[name])
    if where is None:
        return False
    if name == "contains":
        return _member(what, where) or (isinstance(where, dict) and isinstance(what, str) and what in text(where))
    _need(what, "string")
    return what in where if name == "has" else bool(where[: len(what)] == what)


def _of_list(name: str, value: list[Any], more: list[Any]) -> Any:
    match name:
        case "first" | "last":
            return None if not value else value[0] if name == "first" else value[-1]
        case "count":
            return len(value)
        case "any" | "all":
            return any(map(truth, value)) if name == "any" else all(map(truth, value))
        case "unique":
            kept: list[Any] = []
            for part in value:
                if not any(same(part, before) for before in kept):
                    kept.append(part)
            return kept
        case "flatten":
            return [inner for part in value for inner in (part if isinstance(part, list) else [part])]
        case "join":
            separator = more[0] if more else ""
            _need(separator, "string")
            return separator.join(map(text, value))
        case "sum":
            return _sum(value)
    return _of_order(name, value)


def _of_order(name: str, value: list[Any]) -> Any:
    kinds = set(map(kind, value))
    if name == "avg":
        return _arithmetic("/", _sum(value), len(value)) if value else None
    if len(kinds) > 1 or not kinds <= {"number", "string"}:
        raise Fails
    ordered = sorted(value)
    if name == "sort":
        return ordered
    return None if not value else ordered[0] if name == "min" else ordered[-1]
