"""JSON as canonical.md §1 means it: one door that decodes, one form that is hashed, durations, times, pointers.

Every byte from outside (plans, inputs, requests, log records) comes in through :func:`decode`; a Python value that
user code made comes in through :func:`plain`. What passed holds finite numbers, unique keys, no lone surrogates.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeAlias

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list[Json], dict[str, Json]. (A recursive alias costs callers a cast.)"""

MAX_NESTING: Final = 250
"""Levels of lists and objects in a plan, an input or a value."""
MAX_RECORD_NESTING: Final = 260
"""The same for a record that carries one of them."""
MAX_VALUE_BYTES: Final = 32 * 1024 * 1024
"""One value, encoded."""
LARGE_VALUE_BYTES: Final = 256 * 1024
"""Above this a value lies beside the log, under its digest."""

RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
NODE_ID: Final = re.compile(r"(?=.{1,128}\Z)[A-Za-z_][A-Za-z0-9_]*(-[A-Za-z0-9_]+)*\Z")

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,12})?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+\\?(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


class NotJson(ValueError):
    """Why a text or value is not JSON; ``line`` and ``column`` count from 1, 0 where there is no place."""

    def __init__(self, reason: str, line: int = 0, column: int = 0, *, too_deep: bool = False) -> None:
        super().__init__(reason, line, column)
        self.reason, self.line, self.column, self.too_deep = reason, line, column, too_deep

    def __str__(self) -> str:
        return f"{self.reason} (line {self.line}, column {self.column})" if self.line else self.reason


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise NotJson(f"the key {twice!r} stands twice in one object")
    return made


def _finite(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise NotJson(f"the number {token[:40]} is beyond what a double holds")
    return number


def _constant(token: str) -> NoReturn:
    raise NotJson(f"{token} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant)


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def decode(text: str | bytes, *, max_nesting: int = MAX_NESTING) -> Json:
    """The value of a JSON text. Raises NotJson: syntax, duplicate key, NaN or infinity, lone surrogate, nesting."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig" if text.startswith(b"\xef\xbb\xbf") else "utf-8")
        except UnicodeDecodeError as error:
            raise NotJson(f"not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error
    elif text.startswith("\ufeff"):
        text = text[1:]
    if text.count("[") + text.count("{") > max_nesting:
        _refuse_deep(text, max_nesting)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, error.lineno, error.colno) from error
    except NotJson:
        raise
    except ValueError as error:  # Python's own limit on the digits of an integer
        raise NotJson("a number has too many digits") from error
    if "\\u" in text or not text.isascii():
        _refuse_surrogates(value)
    return value


def _refuse_deep(text: str, most: int) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        depth += 1 if first in "[{" else -1 if first in "]}" else 0
        if depth > most:
            raise NotJson(f"nested more than {most} levels deep", too_deep=True)


def _refuse_surrogates(value: Json) -> None:
    for text in strings(value):
        if _SURROGATE.search(text):
            raise NotJson("a string holds half of a surrogate pair, which is no character")


def strings(value: Json) -> Iterable[str]:
    """Every string and key in a value, in no promised order."""
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, list):
            todo.extend(part)
        elif isinstance(part, dict):
            todo.extend(part.keys())
            todo.extend(part.values())


def encode(value: Json) -> bytes:
    """UTF-8 JSON in the order of the keys as given, no blanks. Raises ValueError for NaN and infinities."""
    return _ENCODER.encode(value).encode()


def canonical(value: Json) -> bytes:
    """The form that is hashed: sorted keys, no blanks, UTF-8 (canonical.md §1)."""
    return _CANONICAL.encode(value).encode()


def digest(value: Json) -> str:
    """``sha256:`` + hex of the canonical form."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def plain(value: Any, *, max_bytes: int = MAX_VALUE_BYTES) -> tuple[Json, bytes]:
    """A copy of a Python value as pure JSON, and its encoding. Shares nothing with ``value``.

    Accepts what ``json.dumps`` takes (tuples become lists). Raises NotJson for anything else, for NaN and infinities,
    cycles, nesting over 250; raises OverflowError when the encoding has more than ``max_bytes``.
    """
    try:
        copy = _copied(value, _COPIED_LEVELS)
    except (TypeError, RuntimeError):  # of other types than JSON's own, deep, or changed meanwhile by another thread
        copy = _UNKNOWN
    try:
        encoded = encode(value if copy is _UNKNOWN else copy)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(str(error) or type(error).__name__, too_deep=isinstance(error, RecursionError)) from error
    if len(encoded) > max_bytes:
        raise OverflowError(f"{len(encoded)} bytes, at most {max_bytes}")
    return decode(encoded) if copy is _UNKNOWN else copy, encoded


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_COPIED_LEVELS: Final = 30
_UNKNOWN: Final = object()


def _copied(value: Any, levels: int) -> Json:
    """A copy of what consists of JSON's own types, in a fifth of the time of reading it back. Raises TypeError."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if levels and kind is list:
        return [part if type(part) in _SCALARS else _copied(part, levels - 1) for part in value]
    if levels and kind is dict and all(type(key) is str for key in value):
        return {key: part if type(part) in _SCALARS else _copied(part, levels - 1) for key, part in value.items()}
    raise TypeError(kind)


def whole_number(value: Json) -> int | None:
    """A number that is whole and ≥ 0 (3.0 is one), as an integer; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    whole = isinstance(value, int) or value.is_integer()  # an integer may be too large for a float
    return int(value) if whole else None


def duration_ms(value: Json) -> int | float | None:
    """Milliseconds of a duration: a number ≥ 0 as it is, ``"250ms" "30s" "5m" "4h" "2d"``; None when it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if value >= 0 else None
    if isinstance(value, str) and (match := _DURATION.match(value)):
        number = float(match[1]) * _UNIT_MS[match[2]]
        return int(number) if number.is_integer() else number
    return None


def parse_time(text: Json) -> datetime | None:
    """The moment of an RFC 3339 text with a zone; None when it is none."""
    if not isinstance(text, str) or not _TIME.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else None
    except OverflowError:  # an offset leads out of the years 1 to 9999
        return None


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds and ``Z``: 27 characters, so texts sort as moments do."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"  # a third of what strftime takes


def time_ms(text: str) -> float:
    """Milliseconds since 1970 of a timestamp that our own code wrote. Raises ValueError for anything else."""
    if len(text) == 27 and text[19] == "." and text[26] == "Z" and text.isascii() and text[20:26].isdigit():
        return (_seconds(text[:19]) * 1_000_000 + int(text[20:26])) / 1000
    moment = parse_time(text)
    if moment is None:
        raise ValueError(f"not a time: {text!r}")
    return moment.timestamp() * 1000


@lru_cache(maxsize=64)
def _seconds(text: str) -> int:
    """The other way round; raises ValueError."""
    moment = parse_time(text + "Z")
    if moment is None:
        raise ValueError(f"not a time: {text!r}")
    return int(moment.timestamp())


def stamp(ms: float) -> str:
    """The RFC 3339 text, with microseconds, of milliseconds since 1970."""
    seconds, fraction = divmod(round(ms * 1000), 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """Thousands of events a second share it."""
    return format_time(datetime.fromtimestamp(seconds, UTC))[:19]


def pointer(*parts: str | int) -> str:
    """The JSON Pointer (RFC 6901) of a path; ``""`` is the whole."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
