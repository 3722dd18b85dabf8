"""What is wrong with the fields of a request, in words for whoever sent it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, get_args

from pydantic import BaseModel, ValidationError

from ..errors import Problem
from ..planner.ir import JoinSpec
from ..planner.near import nearest
from ..planner.options import Options
from ..values import Json, encode, pointer
from .request_models import EXPECTED, wrong

MOST_PROBLEMS: Final = 50
"""Problems that are told of one request; the others are counted."""
_TOO_MANY: Final = 1_000
"""Above this many faults pydantic's list of them is not even made: it takes 10 µs for each."""
_SHOWN: Final = 60
_LONGEST_NAME: Final = 64
"""Characters of an unknown field's name for which a near one is looked for."""
_DURATIONS: Final = frozenset({"timeout", "initialDelay", "maxDelay", "maxExecutionTime"})
_A_DURATION: Final = 'expected a duration: milliseconds, or a text like "30s"'


@cache
def wire_names(kind: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a form as they are written in JSON."""
    return tuple(info.alias or name for name, info in kind.model_fields.items())


def unknown_field(path: str, name: str, names: Sequence[str]) -> Problem:
    """A name that is none of ``names``."""
    near = nearest(name, names) if len(name) <= _LONGEST_NAME else []
    hint = f"Did you mean {near[0]!r}?" if near else ""
    return Problem("REQUEST_INVALID", path, f"{shown(name)} is no field here", hint, available=tuple(names))


def field_problems(error: ValidationError, data: Json) -> list[Problem]:
    """One problem a place, in the words of EXPECTED."""
    if error.error_count() > _TOO_MANY:
        return [_many(error, "")]
    made: dict[str, Problem] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        loc = detail["loc"]
        expected = EXPECTED[str(loc[0])]
        path, here = _place(loc, data)
        if detail["type"] == "missing":
            path += pointer(loc[-1])
            problem = wrong(path, f"{loc[-1]} is missing: expected {EXPECTED.get(str(loc[-1]), expected)}")
        elif detail["type"] == "extra_forbidden":
            problem = unknown_field(path, str(loc[-1]), wire_names(JoinSpec))
        else:
            problem = wrong(path, f"{path[1:].replace('/', '.')} is {shown(here)}: expected {expected}")
        made.setdefault(path, problem)
    return list(made.values())


def options_problems(options: dict[str, Json]) -> list[Problem]:
    """What is wrong with the options of a request."""
    try:
        encode(told_options(options))
    except ValidationError as error:
        return _wrong_options(error, options)
    except ValueError:  # a duration of so many digits that it is infinite
        return [wrong("/options", "the options hold a duration that is no finite number")]
    return []


def told_options(given: dict[str, Json]) -> dict[str, Json]:
    """What differs from the defaults, in one spelling. Raises ValidationError."""
    return dict(Options.of(given).told)


def _wrong_options(error: ValidationError, options: Json) -> list[Problem]:
    if error.error_count() > _TOO_MANY:
        return [_many(error, "/options")]
    made: dict[str, Problem] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        path, here = _place(detail["loc"], options)
        name = path.rpartition("/")[2]
        path = f"/options{path}"
        if detail["type"] == "extra_forbidden":
            hint = len(made) < MOST_PROBLEMS
            problem = unknown_field(path, name, _option_names(detail["loc"]) if hint else ())
        else:
            expected = _A_DURATION if name in _DURATIONS else detail["msg"].replace("Input should be ", "expected ")
            problem = wrong(path, f"{path[1:].replace('/', '.')} is {shown(here)}: {expected}")
        made.setdefault(path, problem)
    return list(made.values())


def _option_names(loc: tuple[str | int, ...]) -> tuple[str, ...]:
    """The options that may stand where ``loc`` leads."""
    kind: type[BaseModel] = Options
    for part in loc[:-1]:
        fields = {info.alias: info.annotation for info in kind.model_fields.values()}
        inner = [one for one in (fields.get(str(part)), *get_args(fields.get(str(part)))) if isinstance(one, type)]
        kind = next((one for one in inner if issubclass(one, BaseModel)), kind)
    return wire_names(kind)


def _place(loc: tuple[str | int, ...], data: Json) -> tuple[str, Json]:
    """The pointer of a place, and what stands there. Parts that lead nowhere are pydantic's own: tags of a union."""
    path, here = "", data
    for part in loc:
        if isinstance(here, dict) and part in here:
            path, here = path + pointer(part), here[part]
        elif isinstance(here, list) and isinstance(part, int):
            path, here = path + pointer(part), here[part]
    return path, here


def _many(error: ValidationError, path: str) -> Problem:
    return wrong(path, f"{error.error_count()} values and names in here are wrong: too many to list")


def shown(value: Json) -> str:
    """A value in a message: its JSON, cut."""
    text = encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def shown_key(key: bytes) -> str:
    """A record's key in a message, whatever its bytes."""
    return shown(key[: 4 * _SHOWN].decode("utf-8", "backslashreplace"))
