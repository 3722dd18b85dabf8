"""One value of one kind, checked and brought into its canonical form; ABSENT where it is wrong, with the problem.

No value is repaired beyond spelling: ``"30s"`` becomes 30000 and 3.0 becomes 3; a wrong one is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from ...values import Json, duration_ms, parse_time, pointer
from .fields import APPROVAL, RETRY, Field, Kind, by_name
from .report import ABSENT, Report, short

_EXACT: Final = 2**53
"""Below this a float that is whole is that integer and no other."""
_DURATION: Final = 'milliseconds (a number ≥ 0) or a text like "250ms", "30s", "5m", "4h", "2d"'
_REFERENCE: Final = re.compile(r"\$(?:\.|[A-Za-z_{])")
_ONE_REFERENCE: Final = re.compile(r"\$\.?[A-Za-z_]")
_RETRY: Final = by_name(RETRY)
_APPROVAL: Final = by_name(APPROVAL)


def whole(value: Json) -> Json:
    """An integer where a float is one: 3.0 and 3 are the same plan."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def refers(value: Json) -> bool:
    """Whether a string may hold a reference, so that nothing is known before it runs."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


def read_value(field: Field, value: Json, given: str, report: Report) -> Json:
    """The canonical value of a field that holds no nodes and no condition."""
    if field.kind == "enum":
        return _enum(field, value, given, report)
    if field.missing and field.kind in ("text", "expr") and isinstance(value, str) and not value.strip():
        report.add(field.missing, given, f"{field.name!r} is empty")
        return ABSENT
    reader = _READERS.get(field.kind)
    return value if reader is None else reader(value, given, report)


def duration(value: Json, given: str, report: Report) -> Json:
    """Milliseconds."""
    made = duration_ms(value)
    if made is None:
        report.shape(given, value, _DURATION)
        return ABSENT
    return whole(made)


def _enum(field: Field, value: Json, given: str, report: Report) -> Json:
    if isinstance(value, str) and value in field.choices:
        return value
    wanted = "one of " + ", ".join(repr(choice) for choice in field.choices)
    near = report.nearest(value, field.choices) if isinstance(value, str) else ""
    actual = short(value) if isinstance(value, str) else None
    report.add(
        "INVALID_SHAPE",
        given,
        f"{field.name!r} must be {wanted}",
        near,
        expected=list(field.choices),
        actual=actual,
        available=field.choices,
    )
    return ABSENT


def _text(value: Json, given: str, report: Report) -> Json:
    if isinstance(value, str):
        return value
    report.shape(given, value, "a string")
    return ABSENT


def _expression(value: Json, given: str, report: Report) -> Json:
    if isinstance(value, str):
        return value
    report.shape(given, value, "an expression (a string)", 'Write it as text, for instance "$a.total > 100".')
    return ABSENT


def _number(value: Json, given: str, report: Report) -> Json:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return whole(value)
    report.shape(given, value, "a number")
    return ABSENT


def _integer(value: Json) -> int | None:
    value = whole(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _count(value: Json, given: str, report: Report) -> Json:
    number = _integer(value)
    if number is None or number < 1:
        report.shape(given, value, "a whole number ≥ 1")
        return ABSENT
    return number


def _bound(value: Json, given: str, report: Report) -> Json:
    number = _integer(value)
    if value is None or (number is not None and number < 1):
        how = "Give a whole number ≥ 1, or leave the field out to get its default."
        report.add(
            "UNBOUNDED_LOOP", given, "without a bound the loop may never end", how, expected="a whole number ≥ 1"
        )
        return ABSENT
    if number is None:
        report.shape(given, value, "a whole number ≥ 1")
        return ABSENT
    return number


def _times(value: Json, given: str, report: Report) -> Json:
    number = _integer(value)
    if value is None:
        report.add("UNBOUNDED_LOOP", given, "null is no number of iterations", "Give a whole number or a reference.")
        return ABSENT
    if refers(value) or (number is not None and number >= 0):
        return whole(value)
    report.shape(given, value, "a whole number ≥ 0 or a reference")
    return ABSENT


def _wait(value: Json, given: str, report: Report) -> Json:
    return value if refers(value) else duration(value, given, report)


def _moment(value: Json, given: str, report: Report) -> Json:
    if refers(value) or parse_time(value) is not None:
        return value
    report.shape(given, value, 'a moment with its zone, like "2030-01-31T09:00:00Z", or a reference')
    return ABSENT


def _schema(value: Json, given: str, report: Report) -> Json:
    if isinstance(value, dict):
        return value
    report.shape(given, value, "a JSON Schema (an object)")
    return ABSENT


def object_or_reference(value: Json, given: str, report: Report) -> Json:
    """An object of templates, or one reference to the whole of it; what follows a name is ``check``'s to refuse."""
    if isinstance(value, dict) or (isinstance(value, str) and _ONE_REFERENCE.match(value)):
        return value
    report.shape(given, value, 'an object of fields or one reference like "$order"')
    return ABSENT


def _retry(value: Json, given: str, report: Report) -> Json:
    """``retry``: a count of retries (dialect C) is one attempt more."""
    if isinstance(value, dict):
        return _object(_RETRY, value, given, report)
    retries = _integer(value)
    if retries is None or retries < 0:
        report.shape(given, value, "an object with maxAttempts, backoff, …, or a number of retries")
        return ABSENT
    return {"maxAttempts": retries + 1} if retries else {}


def _approval(value: Json, given: str, report: Report) -> Json:
    if isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return _object(_APPROVAL, value, given, report) or True
    report.shape(given, value, "true, false or an object with message, approvers, timeout")
    return ABSENT


def _object(fields: Mapping[str, Field], value: dict[str, Json], given: str, report: Report) -> dict[str, Json]:
    """A small closed object whose fields all may be left out."""
    made: dict[str, Json] = {}
    for key, part in value.items():
        where = given + pointer(key)
        field = fields.get(key)
        if field is None:
            names = tuple(dict.fromkeys(known.name for known in fields.values()))
            near = report.nearest(key, names)
            report.add("UNKNOWN_FIELD", where, f"there is no field {short(key)!r} here", near, available=names)
            continue
        if field.name in made:
            report.add("DIALECT_AMBIGUOUS", where, f"{short(key)!r} says again what {field.name!r} says")
            continue
        read = _part(field, part, where, report)
        if read is not ABSENT:
            made[field.name] = read
    order = dict.fromkeys(known.name for known in fields.values())
    return {name: made[name] for name in order if name in made and not same(made[name], fields[name].default)}


def _part(field: Field, value: Json, given: str, report: Report) -> Json:
    if field.name == "message":
        return _text(value, given, report)
    if field.name in ("retryableErrors", "approvers"):
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return value
        report.shape(given, value, "a list of strings")
        return ABSENT
    return read_value(field, value, given, report)


def same(value: Json, default: Json) -> bool:
    """Equal as JSON: 1 is 1.0 but not true."""
    return type(value) is type(default) and bool(value == default)


_READERS: Final[Mapping[Kind, Callable[[Json, str, Report], Json]]] = {
    "text": _text,
    "name": _text,
    "number": _number,
    "count": _count,
    "bound": _bound,
    "schema": _schema,
    "expr": _expression,
    "inputs": object_or_reference,
    "duration": duration,
    "wait": _wait,
    "moment": _moment,
    "times": _times,
    "retry": _retry,
    "approval": _approval,
}
