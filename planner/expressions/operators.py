"""What the operators of expressions do to JSON values (canonical.md §3). A wrong value is a Failure, never a guess."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import re2

from ...values import Json, canonical

INTEGER_LIMIT: Final = 2**63
MAX_STRING_BYTES: Final = 1024 * 1024
MAX_LIST: Final = 100_000
_SCALARS: Final = frozenset({int, float, str, bool, type(None)})


class Failure(Exception):
    """Why a value cannot be made; the compiler adds the place."""


def truthy(value: Json) -> bool:
    """All but false, null, 0, "", [] and {}."""
    return bool(value)


def name_of(value: Json) -> str:
    """null, boolean, number, string, list or object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "list" if isinstance(value, list) else "object"


def text_form(value: Json) -> str:
    """A value inside a text: null is nothing, integral numbers below 2^63 are integers, lists and objects are JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < INTEGER_LIMIT else repr(value)
    return str(value) if isinstance(value, int) else canonical(value).decode()


def equal(left: Json, right: Json) -> bool:
    """By type and value; int and float by value, booleans are no numbers, lists and objects deeply."""
    kind = type(left)
    if kind is type(right) and kind in _SCALARS:
        return bool(left == right)
    todo = [(left, right)]
    while todo:  # no recursion: values may be nested as deeply as the expression around them leaves no frames for
        mine, theirs = todo.pop()
        if isinstance(mine, list) and isinstance(theirs, list):
            if len(mine) != len(theirs):
                return False
            todo.extend(zip(mine, theirs, strict=True))
        elif isinstance(mine, dict) and isinstance(theirs, dict):
            if mine.keys() != theirs.keys():
                return False
            todo.extend((value, theirs[key]) for key, value in mine.items())
        elif not _equal_scalars(mine, theirs):
            return False
    return True


def _equal_scalars(left: Json, right: Json) -> bool:
    kind, other = type(left), type(right)
    if kind is other or {kind, other} == {int, float}:
        return bool(left == right)
    return False


def identity(value: Json) -> Any:
    """A hashable that is the same for two values exactly when they are equal. Flat, so hashing does not recurse."""
    if not isinstance(value, list | dict):
        return (type(value) is bool, value)
    made: list[Any] = []
    todo: list[Any] = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, list):
            made.append(("list", len(part)))
            todo.extend(part)
        elif isinstance(part, dict):
            names = sorted(part)
            made.append(("object", tuple(names)))
            todo.extend(part[name] for name in names)
        else:
            made.append((type(part) is bool, part))
    return tuple(made)


def is_number(value: Json) -> bool:
    return type(value) is int or type(value) is float


def number(value: Any) -> Json:
    """A computed number: an integral float below 2^63 is an integer, an integer beyond 63 bits or no number fails."""
    if type(value) is int:
        if -INTEGER_LIMIT < value < INTEGER_LIMIT:
            return value
        raise Failure("the result is beyond 63 bits")
    if math.isnan(value) or math.isinf(value):
        raise Failure("the result is beyond what a number holds")
    return int(value) if value.is_integer() and abs(value) < INTEGER_LIMIT else value


def _numeric(operator: str, left: Json, right: Json, work: Callable[[Any, Any], Any]) -> Json:
    if not is_number(left) or not is_number(right):
        given = f"{operator!r} got {name_of(left)} and {name_of(right)}"
        raise Failure(f"{given}; it takes {_wants(operator)}{_null_hint(left, right)}")
    try:
        return number(work(left, right))
    except OverflowError as error:
        raise Failure("the result is beyond what a number holds") from error


def _wants(operator: str) -> str:
    return "numbers, two lists, or a string with a string, number or boolean" if operator == "+" else "two numbers"


def _null_hint(*values: Json) -> str:
    return "; coalesce(…, 0) gives a null a value" if None in values else ""


def add(left: Json, right: Json) -> Json:
    if isinstance(left, str) or isinstance(right, str):
        other = right if isinstance(left, str) else left
        if isinstance(other, str | bool) or is_number(other):
            return text_of_size(text_form(left) + text_form(right))
    elif isinstance(left, list) and isinstance(right, list):
        return list_of_size(len(left) + len(right)) and left + right
    return _numeric("+", left, right, lambda a, b: a + b)


def subtract(left: Json, right: Json) -> Json:
    return _numeric("-", left, right, lambda a, b: a - b)


def multiply(left: Json, right: Json) -> Json:
    return _numeric("*", left, right, lambda a, b: a * b)


def divide(left: Json, right: Json) -> Json:
    if is_number(right) and right == 0 and is_number(left):
        raise Failure("division by zero")
    return _numeric("/", left, right, lambda a, b: a / b)


def remainder(left: Json, right: Json) -> Json:
    """With the dividend's sign."""
    if is_number(right) and right == 0 and is_number(left):
        raise Failure("division by zero")
    return _numeric("%", left, right, _remainder)


def _remainder(left: Any, right: Any) -> Any:
    if type(left) is int and type(right) is int:
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return math.fmod(left, right)


def negate(value: Json) -> Json:
    if not is_number(value):
        raise Failure(f"- {name_of(value)}: a number is needed{_null_hint(value)}")
    return number(-value)


def ordered(operator: str, left: Json, right: Json) -> bool:
    """``< <= > >=`` of two numbers or two strings (by code point)."""
    if not (is_number(left) and is_number(right)) and not (isinstance(left, str) and isinstance(right, str)):
        hint = _null_hint(left, right)
        given = f"{operator!r} got {name_of(left)} and {name_of(right)}"
        raise Failure(f"{given}; it takes two numbers or two strings{hint}")
    if operator == "<":
        return bool(left < right)
    if operator == "<=":
        return bool(left <= right)
    return bool(left > right) if operator == ">" else bool(left >= right)


def member(left: Json, right: Json) -> bool:
    """``in``: member of a list, key of an object, part of a string; false when the right side is null."""
    if right is None:
        return False
    if isinstance(right, list):
        return any(equal(left, part) for part in right)
    if isinstance(right, dict | str):
        if left is None:
            return False
        if isinstance(left, str):
            return left in right
        raise Failure(f"{name_of(left)} in {name_of(right)}: a string is needed on the left")
    raise Failure(f"in {name_of(right)}: a list, object or string is needed on the right")


def pattern(source: str) -> Any:
    """A compiled RE2 pattern. Raises Failure for one that RE2 refuses."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(source, options)
    except re2.error as error:
        why = error.args[0] if error.args else "not a pattern"
        raise Failure(f"{source:.60} is no RE2 pattern: {why.decode() if isinstance(why, bytes) else why}") from error


def matches(left: Json, right: Json, compiled: Any = None) -> bool:
    """Found anywhere; false when the left side is null."""
    if not isinstance(right, str):
        raise Failure(f"matches {name_of(right)}: a pattern is a string")
    if left is None:
        return False
    if not isinstance(left, str):
        raise Failure(f"{name_of(left)} matches: a string is needed on the left")
    return (compiled or pattern(right)).search(left) is not None


def text_of_size(text: str) -> str:
    """The text. Raises Failure above 1 MiB of UTF-8."""
    if len(text) > MAX_STRING_BYTES // 4 and len(text.encode("utf-8", "surrogatepass")) > MAX_STRING_BYTES:
        raise Failure("the text has more than 1 MiB")
    return text


def list_of_size(length: int) -> bool:
    """True. Raises Failure above 100 000 elements."""
    if length > MAX_LIST:
        raise Failure(f"the list has more than {MAX_LIST} elements")
    return True
