"""Ways to spoil a plan: at random anywhere, and on purpose so that it can no longer be valid."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from dynamicflow.values import Json

JUNK: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    3.0,
    1e308,
    2**63,
    -(2**70),
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "$",
    "$$",
    "$input",
    "$nope",
    "$nope.x",
    "${",
    "${}",
    "${1",
    "${1 / 0}",
    "${$input.x + 1}",
    "$input[",
    "$input['",
    "$item",
    "$error.code",
    "\ud800",
    "a\x00b",
    "((((1",
    "1 +",
    "true && ",
    "$input matches '('",
    "9" * 30,
    "-" * 100 + "1",
    [],
    {},
    [None],
    [[]],
    {"": None},
    {"nodes": []},
    {"value": 1},
    {"type": "tool"},
    {"type": "expression", "expression": "1"},
    {"id": "zz", "type": "value", "value": 1},
    [{"id": "zz", "type": "value", "value": 1}],
    [{"id": "zz", "type": "value", "value": "$zz"}],
    ["zz"],
    "1e999",
    "30s",
    "-5m",
    "2024-13-01T00:00:00Z",
)
KEYS: Final = (
    "id", "type", "toolId", "inputs", "value", "condition", "ifTrue", "ifFalse", "on", "cases", "default", "body",
    "branches", "joinStrategy", "concurrency", "over", "as", "mode", "initial", "maxItems", "maxIterations", "onLimit",
    "loop", "times", "duration", "until", "signal", "match", "timeout", "onError", "retry", "approval", "validation",
    "test", "operation", "config", "output", "nodes", "edges", "from", "to", "transform", "variables", "joins", "steps",
    "flow", "version", "metadata", "with", "then", "else", "__proto__", "\u0000", "a/b~c", "",
)  # fmt: skip
SIGNS: Final = ("", "$", "{", "}", "(", "'", "\\", ".", "[", " ", "-", "\ud83d", "é")
TYPES: Final = (
    "tool", "value", "conditional", "switch", "sequence", "parallel", "map", "filter", "reduce", "loop", "wait",
)  # fmt: skip
Place = tuple[Any, Any]
"""(list or object, index or key)."""


def places(value: Json) -> list[Place]:
    """Every place in a value, outer ones first."""
    found: list[Place] = []
    todo = [value]
    while todo:
        part = todo.pop()
        inner: list[tuple[Any, Any]] = []
        if isinstance(part, dict | list):
            inner = list(part.items() if isinstance(part, dict) else enumerate(part))
        found += [(part, key) for key, _ in inner]
        todo += [child for _, child in inner]
    return found


def spoilt(plan: Json, dice: random.Random, times: int) -> Json:
    """The plan with ``times`` random changes anywhere."""
    made = copy.deepcopy(plan)
    for _ in range(times):
        if made:
            _CHANGES[dice.randrange(len(_CHANGES))](made, dice)
    return made


def _replace(made: Json, dice: random.Random) -> None:
    holder, key = dice.choice(places(made))
    holder[key] = copy.deepcopy(dice.choice(JUNK))


def _remove(made: Json, dice: random.Random) -> None:
    holder, key = dice.choice(places(made))
    del holder[key]


def _rename(made: Json, dice: random.Random) -> None:
    holder, key = dice.choice(places(made))
    if isinstance(holder, dict):
        holder[dice.choice(KEYS)] = holder.pop(key)


def _add(made: Json, dice: random.Random) -> None:
    holder, _ = dice.choice(places(made))
    extra = copy.deepcopy(dice.choice(JUNK))
    if isinstance(holder, dict):
        holder[dice.choice(KEYS)] = extra
    else:
        holder.insert(dice.randint(0, len(holder)), extra)


def _move(made: Json, dice: random.Random) -> None:
    """Something of the plan stands somewhere else as well."""
    found = places(made)
    (holder, key), (other, there) = dice.choice(found), dice.choice(found)
    holder[key] = copy.deepcopy(other[there])


def _wrap(made: Json, dice: random.Random) -> None:
    holder, key = dice.choice(places(made))
    holder[key] = [holder[key]] if dice.random() < 0.5 else {dice.choice(KEYS): holder[key]}


def _cut(made: Json, dice: random.Random) -> None:
    """A text loses its end, or gains a sign."""
    texts = [(holder, key) for holder, key in places(made) if isinstance(holder[key], str)]
    if texts:
        holder, key = dice.choice(texts)
        text = holder[key]
        at = dice.randint(0, len(text))
        holder[key] = text[:at] + dice.choice(SIGNS) + text[at + 1 :]


def _type(made: Json, dice: random.Random) -> None:
    nodes = [part for part in _nodes(made) if isinstance(part.get("type"), str)]
    if nodes:
        dice.choice(nodes)["type"] = dice.choice(TYPES)


_CHANGES: Final[tuple[Callable[[Json, random.Random], None], ...]] = (
    _replace, _replace, _replace, _remove, _rename, _add, _move, _wrap, _cut, _cut, _type,
)  # fmt: skip


def _nodes(plan: Json) -> Iterator[dict[str, Any]]:
    """Every node of a canonical plan."""
    for holder, key in places(plan):
        part = holder[key]
        if isinstance(part, dict) and "type" in part and "id" in part:
            yield part
