"""Plans that cannot be: every one gets a check with problems, in time; none raises. A table says which, and where."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from dynamicflow.planner.check import Check, check_plan
from dynamicflow.values import Json, encode
from tests.plans.plan_kit import SPECS, cases
from tests.plans.plan_mutations import places, spoilt

TABLE: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "malformed.json").read_text(encoding="utf-8"),
)
VALID: Final = tuple(
    case.plan for case in cases() if not case.expect.get("problems", []) and isinstance(case.plan, dict)
)
LONGEST_S: Final = 10.0
VALUE: Final = {"id": "a", "type": "value", "value": 1}


def check(plan: Any) -> Check:
    return check_plan(plan, tools=SPECS)


def told(checked: Check) -> list[list[str]]:
    """[code, path] of every problem; what a command would print of them is JSON."""
    encode(checked.to_json())
    return sorted([problem.code, problem.path] for problem in checked.problems)


def plan(*nodes: Json, **more: Json) -> dict[str, Json]:
    return {"version": "1.0", "nodes": list(nodes), **more}


class TestEveryFaultHasItsCodeAndPlace:
    @pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row["name"]))
    def test_of_the_table(self, row: dict[str, Any]) -> None:
        checked = check(row["plan"])

        assert told(checked) == sorted(row["problems"]), [str(problem) for problem in checked.problems]
        assert not checked.valid
        assert checked.certificate is None and checked.plan_hash is None

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row["name"]))
    def test_as_text_too(self, row: dict[str, Any]) -> None:
        given = row["plan"] if isinstance(row["plan"], str) else json.dumps(row["plan"])

        checked = check(given.encode("utf-8"))

        assert told(checked) == sorted(row["problems"])

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row["name"]))
    def test_in_words(self, row: dict[str, Any]) -> None:
        problems = check(row["plan"]).problems

        assert all(problem.message.strip() for problem in problems)


def deep_list(levels: int) -> Json:
    made: Json = 1
    for _ in range(levels):
        made = [made]
    return made


def deep_nodes(levels: int) -> Json:
    made: Json = VALUE
    for level in range(levels - 1):
        made = {"id": f"s{level}", "type": "sequence", "body": [made]}
    return made


def cyclic() -> Json:
    made: dict[str, Any] = plan(VALUE)
    made["nodes"].append(made)
    return made


def many(count: int) -> Json:
    return plan(*({"id": f"n{at}", "type": "value", "value": 1} for at in range(count)))


def chain(count: int) -> Json:
    nodes = [{"id": f"n{at}", "type": "value", "value": f"$n{(at + 1) % count}"} for at in range(count)]
    return plan(*nodes)


EXTREMES: Final[dict[str, tuple[Callable[[], Any], str]]] = {
    "a value nested 1000 deep": (lambda: plan({**VALUE, "value": deep_list(1_000)}), "PLAN_TOO_LARGE"),
    "a value nested 100000 deep": (lambda: plan({**VALUE, "value": deep_list(100_000)}), "PLAN_TOO_LARGE"),
    "a text nested 1000000 deep": (lambda: '{"version": "1.0", "nodes": ' + "[" * 1_000_000, "PLAN_TOO_LARGE"),
    "a text of objects nested 100000 deep": (lambda: '{"nodes":' * 100_000, "PLAN_TOO_LARGE"),
    "nodes 51 deep": (lambda: plan(deep_nodes(51)), "MAX_DEPTH_EXCEEDED"),
    "nodes 200 deep": (lambda: plan(deep_nodes(100)), "MAX_DEPTH_EXCEEDED"),
    "5001 nodes": (lambda: many(5_001), "PLAN_TOO_LARGE"),
    "50000 nodes": (lambda: many(50_000), "PLAN_TOO_LARGE"),
    "more than 5 MiB": (lambda: plan({**VALUE, "value": "x" * (5 * 1024 * 1024)}), "PLAN_TOO_LARGE"),
    "more than 5 MiB of text": (lambda: " " * (5 * 1024 * 1024 + 1), "PLAN_TOO_LARGE"),
    "more than 5 MiB in UTF-8": (lambda: json.dumps("é" * (3 * 1024 * 1024), ensure_ascii=False), "PLAN_TOO_LARGE"),
    "a cycle of 5000": (lambda: chain(5_000), "CYCLIC_FLOW"),
    "NaN": (lambda: plan({**VALUE, "value": float("nan")}), "INVALID_JSON"),
    "infinity": (lambda: plan({**VALUE, "value": [float("-inf")]}), "INVALID_JSON"),
    "1e999": (lambda: '{"version": "1.0", "nodes": [], "variables": {"a": -1e999}}', "INVALID_JSON"),
    "an integer of 5000 digits": (lambda: plan({**VALUE, "value": 10**5_000}), "INVALID_JSON"),
    "an integer of 5000 digits in text": (lambda: '{"variables": {"a": ' + "9" * 5_000 + "}}", "INVALID_JSON"),
    "a lone surrogate": (lambda: plan({**VALUE, "value": "\ud83d"}), "INVALID_JSON"),
    "a lone surrogate in text": (lambda: '{"version": "\ud83d"}', "INVALID_JSON"),
    "a key that is no string": (lambda: plan({**VALUE, "value": {(1, 2): 3}}), "INVALID_JSON"),
    "a set": (lambda: plan({**VALUE, "value": {1, 2}}), "INVALID_JSON"),
    "bytes": (lambda: plan({**VALUE, "value": b"x"}), "INVALID_JSON"),
    "a plan inside itself": (cyclic, "INVALID_JSON"),
    "bytes that are no UTF-8": (lambda: b'{"version": "\xff"}', "INVALID_JSON"),
    "UTF-16": (lambda: '{"version": "1.0"}'.encode("utf-16"), "INVALID_JSON"),
    "None": (lambda: None, "INVALID_SHAPE"),
    "a number": (lambda: 5, "INVALID_SHAPE"),
    "a list": (lambda: [VALUE], "INVALID_SHAPE"),
    "an expression over 4 KiB": (
        lambda: plan({**VALUE, "value": "${" + "1 + " * 2_000 + "1}"}),
        "EXPRESSION_SYNTAX",
    ),
    "an expression nested 65 deep": (
        lambda: plan({**VALUE, "value": "${" + "(" * 65 + "1" + ")" * 65 + "}"}),
        "EXPRESSION_SYNTAX",
    ),
    "an expression of 2000 brackets": (lambda: plan({**VALUE, "value": "${" + "[" * 2_000}), "EXPRESSION_SYNTAX"),
    "a huge number of times": (
        lambda: plan({"id": "l", "type": "loop", "loop": "times", "times": 10**400, "body": [VALUE]}),
        "BOUND_EXCEEDED",
    ),
    "a huge maxItems": (
        lambda: plan({"id": "m", "type": "map", "over": "$input", "body": [VALUE], "maxItems": 10**400}),
        "BOUND_EXCEEDED",
    ),
    "huge attempts": (
        lambda: plan({"id": "t", "type": "tool", "toolId": "fails", "retry": {"maxAttempts": 10**400}}),
        "BOUND_EXCEEDED",
    ),
    "a backtracking pattern that is none of RE2's": (
        lambda: plan({**VALUE, "value": "${'a' matches '(a+)+(?=b)'}"}),
        "EXPRESSION_SYNTAX",
    ),
}


class TestExtremes:
    @pytest.mark.parametrize(("make", "code"), EXTREMES.values(), ids=EXTREMES)
    def test_are_problems_and_end_soon(self, make: Callable[[], Any], code: str) -> None:
        given, began = make(), time.monotonic()

        checked = check(given)

        assert code in {problem.code for problem in checked.problems}, [str(problem) for problem in checked.problems]
        assert not checked.valid
        assert time.monotonic() - began < LONGEST_S

    @pytest.mark.parametrize("make", [lambda: many(5_000), lambda: plan(deep_nodes(50))], ids=["5000 nodes", "50 deep"])
    def test_at_the_limit_is_fine(self, make: Callable[[], Any]) -> None:
        checked = check(make())

        assert checked.valid, [str(problem) for problem in checked.problems]


def nodes_of(made: Json) -> list[dict[str, Any]]:
    """The nodes of a plan whose id and type say so, in canonical places."""
    parts = [holder[key] for holder, key in places({"nodes": made["nodes"]})]
    return [part for part in parts if isinstance(part, dict) and isinstance(part.get("id"), str) and "type" in part]


def add_edge(made: Json, source: str, target: str) -> None:
    made.setdefault("edges", []).append({"from": source, "to": target})


def add_nodes(made: Json, **values: Json) -> None:
    made["nodes"].extend({"id": name, "type": "value", "value": value} for name, value in values.items())


FATAL: Final[tuple[tuple[str, Callable[[Any, dict[str, Any]], Any]], ...]] = (
    ("UNKNOWN_FIELD", lambda made, node: node.update(shouldNotBe=None)),
    ("MISSING_NODE_TYPE", lambda made, node: node.pop("type")),
    ("INVALID_NODE_TYPE", lambda made, node: node.update(type="no_such_type")),
    ("INVALID_SHAPE", lambda made, node: node.update(type=["value"])),
    ("INVALID_ID", lambda made, node: node.update(id="not an id")),
    ("INVALID_ID", lambda made, node: node.update(id={})),
    ("RESERVED_ID", lambda made, node: node.update(id="input")),
    ("INVALID_SHAPE", lambda made, node: node.update(timeout="soon")),
    ("INVALID_SHAPE", lambda made, node: node.update(onError="stop")),
    ("INVALID_EDGE_FROM", lambda made, node: add_edge(made, "nope", node["id"])),
    ("INVALID_EDGE_TO", lambda made, node: add_edge(made, node["id"], "nope")),
    ("SELF_EDGE", lambda made, node: add_edge(made, node["id"], node["id"])),
    ("DUPLICATE_NODE_ID", lambda made, node: made["nodes"].append({**VALUE, "id": node["id"]})),
    ("UNRESOLVED_REFERENCE", lambda made, node: add_nodes(made, zz="$nope.x")),
    ("EXPRESSION_SYNTAX", lambda made, node: add_nodes(made, zz="x ${1 +} y")),
    ("EXPRESSION_TYPE_ERROR", lambda made, node: add_nodes(made, zz="${'a' * 2}")),
    ("UNKNOWN_FUNCTION", lambda made, node: add_nodes(made, zz="${eval('1')}")),
    ("CYCLIC_FLOW", lambda made, node: add_nodes(made, z1="$z2", z2="$z1")),
    ("UNKNOWN_TOOL", lambda made, node: made["nodes"].append({"id": "zz", "type": "tool", "toolId": "nope"})),
    ("INVALID_VERSION", lambda made, node: made.update(version=1)),
    ("INVALID_SHAPE", lambda made, node: made.update(variables=[1])),
)
"""A code that must be among the problems, and the change to a plan (and to one of its nodes) that makes it so."""


def fatal(given: Json, dice: random.Random) -> Iterator[tuple[str, Json]]:
    """Copies of a plan, each with one change that no plan survives."""
    for code, change in dice.sample(FATAL, 5):
        made = copy.deepcopy(given)
        change(made, dice.choice(nodes_of(made)))
        yield code, made


class TestAValidPlanWithOneFatalChange:
    @pytest.mark.parametrize("part", range(10))
    def test_has_that_problem(self, part: int) -> None:
        dice = random.Random(part)

        missed = [
            (code, made)
            for given in VALID[part::10]
            for code, made in fatal(given, dice)
            if code not in {problem.code for problem in check(made).problems}
        ]

        assert not missed, missed[0]


class TestAPlanWithRandomChanges:
    @pytest.mark.parametrize("part", range(6))
    def test_is_checked_without_an_exception(self, part: int) -> None:
        dice = random.Random(1_000 + part)
        for _ in range(200):
            made = spoilt(dice.choice(VALID), dice, dice.randint(1, 3))

            checked = check(made)

            told(checked)
            assert checked.valid == (not checked.problems) == (checked.plan_hash is not None)
            assert checked.valid or checked.problems
