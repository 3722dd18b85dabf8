"""The functions of expressions (canonical.md §3). Each takes values and gives a value, or raises Failure.

``coalesce`` and the per-element forms of any, all, filter, map, count and sum evaluate their arguments themselves and
are in ``compiler``; here they have their arity and what they do to a plain list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from typing import Any, Final

from ...values import Json
from .operators import (
    MAX_STRING_BYTES,
    Failure,
    add,
    equal,
    identity,
    is_number,
    list_of_size,
    name_of,
    negate,
    number,
    text_form,
    text_of_size,
    truthy,
)

_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")


def _string(name: str, value: Json) -> str:
    if not isinstance(value, str):
        raise Failure(f"{name} of {name_of(value)}: a string is needed")
    return value


def _list(name: str, value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise Failure(f"{name} of {name_of(value)}: a list is needed")
    return value


def _object(name: str, value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise Failure(f"{name} of {name_of(value)}: an object is needed")
    return value


def _a_number(name: str, value: Json) -> Any:
    if not is_number(value):
        raise Failure(f"{name} of {name_of(value)}: a number is needed")
    return value


def _whole(name: str, value: Json) -> int:
    if not is_number(value) or value != int(value):
        raise Failure(f"{name} needs a whole number, not {name_of(value)}")
    return int(value)


def contains(where: Json, what: Json) -> bool:
    if where is None:
        return False
    if isinstance(where, list):
        return any(equal(what, part) for part in where)
    if not isinstance(where, str | dict):
        raise Failure(f"contains of {name_of(where)}: a string, list or object is needed")
    if what is None:
        return False
    if not isinstance(what, str):
        raise Failure(f"contains(…, {name_of(what)}): a string is needed")
    return what in where or (isinstance(where, dict) and what in text_form(where))


def starts_with(text: Json, start: Json) -> bool:
    return text is not None and _string("startsWith", text).startswith(_string("startsWith", start))


def ends_with(text: Json, end: Json) -> bool:
    return text is not None and _string("endsWith", text).endswith(_string("endsWith", end))


def length(value: Json) -> int:
    if not isinstance(value, list | str | dict):
        raise Failure(f"length of {name_of(value)}: a list, string or object is needed")
    return len(value)


def split(text: Json, separator: Json) -> list[Json]:
    whole, sep = _string("split", text), _string("split", separator)
    if not sep:
        return list(whole) if list_of_size(len(whole)) else []
    return list(whole.split(sep)) if list_of_size(whole.count(sep) + 1) else []


def join(parts: Json, separator: Json = "") -> str:
    texts = [text_form(part) for part in _list("join", parts)]
    sep = _string("join", separator)
    if sum(map(len, texts)) + len(sep) * len(texts) > 2 * MAX_STRING_BYTES:
        raise Failure("the text has more than 1 MiB")
    return text_of_size(sep.join(texts))


def replace(text: Json, old: Json, new: Json) -> str:
    whole, before, after = _string("replace", text), _string("replace", old), _string("replace", new)
    if len(whole) + whole.count(before) * max(0, len(after) - len(before)) > 2 * MAX_STRING_BYTES:
        raise Failure("the text has more than 1 MiB")
    return text_of_size(whole.replace(before, after))


def to_number(value: Json) -> Json:
    if isinstance(value, bool):
        return int(value)
    if is_number(value):
        return number(value)
    text = _string("number", value)
    if len(text) > 400 or not _NUMBER.match(text):
        raise Failure(f"{text[:40]!r} is no number")
    return number(int(text) if text.lstrip("-").isdigit() else float(text))


def _produced(made: list[Json]) -> list[Json]:
    list_of_size(len(made))
    return made


def keys(value: Json) -> list[Json]:
    return _produced(sorted(_object("keys", value)))


def values(value: Json) -> list[Json]:
    given = _object("values", value)
    return _produced([given[key] for key in sorted(given)])


def first(value: Json) -> Json:
    return next(iter(_list("first", value)), None)


def last(value: Json) -> Json:
    given = _list("last", value)
    return given[-1] if given else None


def slice_(value: Json, start: Json = 0, end: Json = None) -> Json:
    if not isinstance(value, list | str):
        raise Failure(f"slice of {name_of(value)}: a list or string is needed")
    stop = len(value) if end is None else _whole("slice", end)
    made = value[_whole("slice", start) : stop]
    return text_of_size(made) if isinstance(made, str) else _produced(made)


def _unique(value: list[Json]) -> list[Json]:
    kept: dict[Any, Json] = {}
    for part in value:
        kept.setdefault(identity(part), part)
    return _produced(list(kept.values()))


def _comparable(name: str, given: list[Json]) -> list[Any]:
    if all(map(is_number, given)) or all(isinstance(part, str) for part in given):
        return given
    found = ", ".join(sorted({name_of(part) for part in given}))
    raise Failure(f"{name} of a list of {found}: all numbers or all strings")


def sort(value: Json) -> list[Json]:
    return _produced(sorted(_comparable("sort", _list("sort", value))))


def flatten(value: Json) -> list[Json]:
    made: list[Json] = []
    for part in _list("flatten", value):
        made.extend(part if isinstance(part, list) else [part])
        list_of_size(len(made))
    return made


def total(value: Json) -> Json:
    result: Json = 0
    for part in _list("sum", value):
        result = add(result, _a_number("sum", part))
    return result


def average(value: Json) -> Json:
    given = _list("avg", value)
    if not given:
        return None
    try:
        return number(total(given) / len(given))
    except OverflowError as error:
        raise Failure("the result is beyond what a number holds") from error


def _extreme(name: str, pick: Callable[[list[Any]], Any], args: tuple[Json, ...]) -> Json:
    if len(args) > 1:
        return pick([_a_number(name, part) for part in args])
    given = _comparable(name, _list(name, args[0]))
    return pick(given) if given else None


def minimum(*args: Json) -> Json:
    return _extreme("min", min, args)


def maximum(*args: Json) -> Json:
    return _extreme("max", max, args)


def round_(value: Json, digits: Json = 0) -> Json:
    """Half towards +∞ of the number's decimal text."""
    given, places = _a_number("round", value), _whole("round", digits)
    if not -400 <= places <= 400:
        raise Failure("round to at most 400 digits")
    with localcontext() as context:
        context.prec = 1200
        try:
            step = Decimal(1).scaleb(-places)
            steps = (Decimal(repr(given)) / step + Decimal("0.5")).to_integral_value(ROUND_FLOOR)
            rounded = steps * step
        except InvalidOperation as error:
            raise Failure("the result is beyond what a number holds") from error
        if type(given) is int or rounded == rounded.to_integral_value():
            whole = int(rounded)
            return whole if abs(whole) < 2**63 else number(float(rounded))
        return number(float(rounded))


def _towards(name: str, value: Json, work: Callable[[Any], int]) -> Json:
    given = _a_number(name, value)
    made = work(given)
    return made if abs(made) < 2**63 else given


def floor(value: Json) -> Json:
    return _towards("floor", value, math.floor)


def ceil(value: Json) -> Json:
    return _towards("ceil", value, math.ceil)


def absolute(value: Json) -> Json:
    return negate(value) if _a_number("abs", value) < 0 else value


def has(value: Json, key: Json) -> bool:
    return value is not None and _string("has", key) in _object("has", value)


def any_(value: Json) -> bool:
    return any(map(truthy, _list("any", value)))


def all_(value: Json) -> bool:
    return all(map(truthy, _list("all", value)))


def nothing(*args: Json) -> Json:
    """Stands for functions whose arguments the compiler evaluates itself."""
    raise Failure("a second argument is needed, evaluated for each element")


FUNCTIONS: Final[Mapping[str, Callable[..., Json]]] = {
    "contains": contains,
    "startsWith": starts_with,
    "endsWith": ends_with,
    "lower": lambda text: text_of_size(_string("lower", text).lower()),
    "upper": lambda text: text_of_size(_string("upper", text).upper()),
    "trim": lambda text: text_of_size(_string("trim", text).strip()),
    "length": length,
    "size": length,
    "split": split,
    "join": join,
    "replace": replace,
    "coalesce": nothing,
    "typeOf": name_of,
    "number": to_number,
    "string": lambda value: text_of_size(text_form(value)),
    "boolean": truthy,
    "keys": keys,
    "values": values,
    "first": first,
    "last": last,
    "slice": slice_,
    "unique": lambda value: _unique(_list("unique", value)),
    "sort": sort,
    "flatten": flatten,
    "sum": total,
    "min": minimum,
    "max": maximum,
    "avg": average,
    "count": lambda value: len(_list("count", value)),
    "round": round_,
    "floor": floor,
    "ceil": ceil,
    "abs": absolute,
    "has": has,
    "any": any_,
    "all": all_,
    "filter": nothing,
    "map": nothing,
}

ARITY: Final[Mapping[str, tuple[int, int | None]]] = {
    **dict.fromkeys(FUNCTIONS, (1, 1)),
    **dict.fromkeys(("contains", "startsWith", "endsWith", "split", "has"), (2, 2)),
    **dict.fromkeys(("any", "all", "count", "sum", "join", "round"), (1, 2)),
    **dict.fromkeys(("filter", "map"), (2, 2)),
    "replace": (3, 3),
    "slice": (1, 3),
    "coalesce": (1, None),
    "min": (1, None),
    "max": (1, None),
}
"""Function -> the fewest and the most arguments it takes; None: any number."""
"""Least and most arguments; None: any number."""


def arity_text(least: int, most: int | None) -> str:
    """``2 arguments``, ``1 to 3 arguments``, ``at least 1 argument``."""
    if most == least:
        return f"{least} argument{'' if least == 1 else 's'}"
    return f"at least {least} argument{'' if least == 1 else 's'}" if most is None else f"{least} to {most} arguments"
