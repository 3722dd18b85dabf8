"""A copy of what a tool returned: what its encoding reads as, sharing nothing, whatever it was made of."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from dynamicflow.values import NotJson, decode, plain


class Name(StrEnum):
    A = "a"


class Number(IntEnum):
    ONE = 1


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


VALUES: list[Any] = [
    None,
    True,
    -0.0,
    1e22,
    5e-324,
    "é\u2028\x7f",
    10**60,
    {"n": 1, "deep": {"list": [1, [2.5, {"x": None}]]}},
    {"": [], "a": {}},
    (1, (2, "three")),
    {2: "a", None: "b", True: "c"},
    OrderedDict(b=1, a=[2]),
    {"enum": Name.A, "number": Number.ONE},
    nested(29),
    nested(31),
    nested(249),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_it_is_what_its_encoding_reads_as(value: Any) -> None:
    copy, encoded = plain(value)
    assert json.dumps(copy) == json.dumps(decode(encoded))  # 1 and True and 1.0 are equal, but not the same JSON
    assert _types(copy) == _types(decode(encoded))


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return (type(value), [(type(key), _types(part)) for key, part in value.items()])
    if isinstance(value, list):
        return (type(value), [_types(part) for part in value])
    return type(value)


def test_nothing_is_shared() -> None:
    inner: dict[str, Any] = {"list": [1]}
    copy, _ = plain({"inner": inner, "more": [inner]})
    inner["list"].append(2)
    assert copy == {"inner": {"list": [1]}, "more": [{"list": [1]}]}


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], "\ud800", {"a": "\udfff"}, nested(251), {1, 2}, b"x"])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(NotJson):
        plain(value)


def test_a_cycle_is_refused() -> None:
    value: list[Any] = []
    value.append({"again": value})
    with pytest.raises(NotJson):
        plain(value)


def test_copy_and_encoding_agree_while_another_thread_changes_the_value() -> None:
    value: dict[str, Any] = {"list": []}
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            value[f"k{number % 50}"] = [number]
            value.pop(f"k{(number + 25) % 50}", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(3000):
            copy, encoded = plain(value)
            assert copy == decode(encoded)
    finally:
        over.set()
        thread.join()
