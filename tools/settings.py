"""What may be said of a tool beside its schemas, read from Python keywords (seconds) or a definition (milliseconds)."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, get_args

from ..errors import UsageError
from ..values import Json, NotJson, duration_ms, plain
from .spec import Backoff, RateLimit, RetryPolicy, SideEffect, Validation

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}\Z")
Reader: TypeAlias = "Callable[[Any, str], Any]"
"""(given, where it stands) -> what the spec holds. Raises UsageError."""


def invalid(where: str, message: str) -> UsageError:
    """A definition that cannot be used: code TOOL_INVALID."""
    return UsageError("TOOL_INVALID", f"{where}: {message}")


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """At most three of ``known`` that ``word`` may have meant, best first; letter case does not count."""
    lowered = {name.lower(): name for name in known}
    return [lowered[found] for found in difflib.get_close_matches(word.lower(), lowered, n=3, cutoff=0.5)]


def refuse_unknown(given: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    """Raises UsageError for the first key that is not known, naming the nearest."""
    known = list(known)
    for key in given:
        if key not in known:
            near = nearest(str(key), known)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise invalid(where, f"unknown key {key!r}; {hint}")


def tool_id(given: Any, where: str) -> str:
    """A usable id: letters, digits, ``_ . : / -``, at most 128, first a letter, digit or ``_``."""
    if isinstance(given, str) and _ID.match(given):
        return given
    raise invalid(where, f"{given!r} is no tool id: letters, digits, _ . : / - (at most 128), such as 'corpus:search'")


def text(given: Any, where: str) -> str:
    """A text as it is."""
    if isinstance(given, str):
        return given
    raise invalid(where, f"expected a text, got {given!r}")


def flag(given: Any, where: str) -> bool:
    """True or False as it is."""
    if isinstance(given, bool):
        return given
    raise invalid(where, f"expected true or false, got {given!r}")


def count(given: Any, where: str) -> int:
    """A whole number ≥ 1."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return given
    raise invalid(where, f"expected a whole number of at least 1, got {given!r}")


def milliseconds(given: Any, where: str) -> int | float:
    """A duration of a document: a number is milliseconds, or ``"30s"``."""
    if isinstance(given, timedelta):
        given = given.total_seconds() * 1000
    made = duration_ms(given)
    if made is None or not math.isfinite(made):
        raise invalid(where, f"expected a duration (milliseconds, or a text such as '30s'), got {given!r}")
    return int(made) if isinstance(made, float) and made.is_integer() else made


def positive_milliseconds(given: Any, where: str) -> int | float:
    """The same, above 0."""
    made = milliseconds(given, where)
    if made <= 0:
        raise invalid(where, f"expected a duration above 0, got {given!r}")
    return made


def seconds(given: Any, where: str) -> int | float:
    """Milliseconds of a Python keyword: seconds, or a timedelta."""
    if isinstance(given, timedelta):
        return positive_milliseconds(given, where)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise invalid(where, f"expected seconds or a timedelta, got {given!r}")
    return positive_milliseconds(given * 1000, where)


def one_of(kind: Any) -> Reader:
    """A reader of one of the texts of a Literal."""
    choices: tuple[str, ...] = get_args(kind)

    def read(given: Any, where: str) -> Any:
        if given in choices:
            return given
        raise invalid(where, f"expected one of {', '.join(map(repr, choices))}, got {given!r}")

    return read


def document(given: Any, where: str) -> dict[str, Json]:
    """A JSON object, copied."""
    try:
        made = plain(given)[0]
    except (NotJson, OverflowError) as error:
        raise invalid(where, f"is not JSON: {error}") from error
    if not isinstance(made, dict):
        raise invalid(where, f"expected an object, got {made!r}")
    return made


def _names(given: Any, where: str) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise invalid(where, f"expected a list of error codes or class names, got {given!r}")
    return tuple(text(name, where) for name in given)


def _jitter(given: Any, where: str) -> None:
    if given is not True:
        raise invalid(where, "delays always carry jitter; leave the key out")


_RETRY: Final[Mapping[str, tuple[str, Reader]]] = {
    "maxAttempts": ("max_attempts", count),
    "backoff": ("backoff", one_of(Backoff)),
    "backoffStrategy": ("backoff", one_of(Backoff)),
    "initialDelay": ("initial_delay_ms", milliseconds),
    "maxDelay": ("max_delay_ms", milliseconds),
    "retryableErrors": ("retryable_errors", _names),
    "jitter": ("", _jitter),
}
_RATE: Final[Mapping[str, tuple[str, Reader]]] = {
    "maxCalls": ("max_calls", count),
    "windowMs": ("window_ms", positive_milliseconds),
    "strategy": ("strategy", one_of(Literal["sliding", "fixed"])),
}


def retry(given: Any, where: str) -> RetryPolicy:
    """A RetryPolicy, a number of attempts, or the ``retry`` of a document."""
    if isinstance(given, RetryPolicy):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return RetryPolicy(max_attempts=count(given, where))
    return RetryPolicy(**_read(given, _RETRY, where, RetryPolicy))


def rate_limit(given: Any, where: str) -> RateLimit:
    """A RateLimit, or ``{"maxCalls", "windowMs", "strategy"}``."""
    if isinstance(given, RateLimit):
        return given
    made = _read(given, _RATE, where, RateLimit)
    for key, name in (("maxCalls", "max_calls"), ("windowMs", "window_ms")):
        if name not in made:
            raise invalid(where, f"{key} is missing")
    return RateLimit(**made)


def _read(given: Any, readers: Mapping[str, tuple[str, Reader]], where: str, kind: type) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise invalid(where, f"expected an object or a {kind.__name__}, got {given!r}")
    refuse_unknown(given, readers, where)
    made: dict[str, Any] = {}
    for key, value in given.items():
        name, reader = readers[key]
        if value is None:
            continue
        if name in made:
            raise invalid(where, f"{key} and its other spelling are both given")
        value = reader(value, f"{where}.{key}")
        if name:
            made[name] = value
    return made


def _shared(duration: Reader) -> dict[str, tuple[str, Reader]]:
    return {
        "timeout": ("timeout_ms", duration),
        "retry": ("retry", retry),
        "sideEffect": ("side_effect", one_of(SideEffect)),
        "requiresApproval": ("requires_approval", flag),
        "sensitive": ("sensitive", flag),
        "cacheable": ("cacheable", flag),
        "cacheTTL": ("cache_ttl_ms", duration),
        "rateLimit": ("rate_limit", rate_limit),
        "concurrencyLimit": ("concurrency_limit", count),
        "validation": ("validation", one_of(Validation)),
        "queue": ("queue", text),
    }


CONFIG: Final[Mapping[str, tuple[str, Reader]]] = _shared(positive_milliseconds)
"""Keys of a definition's ``config`` -> fields of ToolSpec. Numbers are milliseconds."""


KEYWORDS: Final[Mapping[str, tuple[str, Reader]]] = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower(): entry for key, entry in _shared(seconds).items()
}
"""The same as keywords of ``@tool``. Numbers are seconds."""


def from_config(given: Any, where: str) -> dict[str, Any]:
    """Fields of ToolSpec from the ``config`` of a definition. Null is absent."""
    return _read(given, CONFIG, where, dict)


def from_keywords(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Fields of ToolSpec from keywords of ``@tool``. None is absent; numbers are seconds."""
    made: dict[str, Any] = {}
    for key, value in given.items():
        if value is not None:
            name, reader = KEYWORDS[key]
            made[name] = reader(value, f"{where}, {key}")
    return made
