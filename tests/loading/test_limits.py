"""Whatever comes in, loading ends soon and says what is wrong; it never raises."""

from __future__ import annotations

import copy
import json
import sys
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamicflow.planner import ir
from dynamicflow.planner.loading import MAX_PLAN_BYTES, load_plan
from tests.loading.loading_kit import NODES, PLAN, SEED, faults, plan, value


def nested(depth: int) -> dict[str, Any]:
    """A sequence in a sequence … to a depth; the innermost is a value."""
    node: dict[str, Any] = {"type": "value", "value": 1}
    for _ in range(depth - 1):
        node = {"type": "sequence", "body": [node]}
    return {**node, "id": "top"}


class TestLimits:
    def test_bytes(self) -> None:
        big = plan(value("a", "x" * MAX_PLAN_BYTES))

        assert faults(big) == faults(json.dumps(big)) == faults(json.dumps(big).encode()) == [("PLAN_TOO_LARGE", "")]

    def test_nesting_of_json(self) -> None:
        deep: Any = 1
        for _ in range(300):
            deep = [deep]

        assert faults(plan(value("a", deep))) == faults(json.dumps(plan(value("a", deep)))) == [("PLAN_TOO_LARGE", "")]
        assert faults("[" * 100_000) == [("PLAN_TOO_LARGE", "")]

    def test_nesting_that_only_python_has(self) -> None:
        deep: Any = 1
        for _ in range(100_000):
            deep = [deep]
        loop: dict[str, Any] = {}
        loop["loop"] = loop

        assert faults({"a": deep}) == [("PLAN_TOO_LARGE", "")]
        assert faults(loop) == [("INVALID_JSON", "")]

    def test_nodes(self) -> None:
        assert faults(plan(*(value(f"n{at}") for at in range(5_000)))) == []
        assert faults(plan(*(value(f"n{at}") for at in range(5_001)))) == [("PLAN_TOO_LARGE", "/nodes/5000")]

    def test_depth(self) -> None:
        assert faults(plan(nested(50))) == []
        assert faults(plan(nested(51))) == [("MAX_DEPTH_EXCEEDED", "/nodes/0" + "/body/0" * 50)]
        assert faults(plan(nested(100)))[0][0] == "MAX_DEPTH_EXCEEDED"

    def test_depth_through_ids(self) -> None:
        chain = [{"id": f"n{at}", "type": "sequence", "body": [f"n{at + 1}"]} for at in range(4_999)]

        assert faults(plan(*chain, value("n4999"))) == [("MAX_DEPTH_EXCEEDED", "/nodes/50")]

    def test_a_deep_plan_loads_near_the_end_of_the_stack(self) -> None:
        def at_depth(left: int) -> list[tuple[str, str]]:
            return at_depth(left - 1) if left else faults(plan(nested(50)))

        assert at_depth(sys.getrecursionlimit() - 450) == []

    def test_edges_unfolded(self) -> None:
        ids = [f"n{at}" for at in range(1_000)]

        found = faults(plan(*map(value, ids), edges=[{"from": ids, "to": ids}]))

        assert ("PLAN_TOO_LARGE", "/edges/0") in found

    def test_a_deep_value_has_a_hash(self) -> None:
        deep: Any = 1
        for _ in range(246):
            deep = [deep]
        loaded = load_plan(plan(value("a", deep)))

        assert loaded.problems == () and loaded.plan is not None
        assert loaded.plan.to_json() == loaded.canonical
        assert loaded.plan.hash.startswith("sha256:")


def wide(kind: str) -> dict[str, Any]:
    """A plan of about five thousand nodes."""
    all_of_them = range(5_000)
    match kind:
        case "chain":
            step = {"type": "tool", "tool": "t"}
            steps = [{**step, "id": f"n{at}", "args": {"x": f"$o{at - 1} ${{item}}"}} for at in all_of_them]
            named = [{**one, "outputVar": f"o{at}"} for at, one in enumerate(steps)]
            return plan(*named, edges=[{"from": f"n{at}", "to": f"n{at + 1}"} for at in range(4_999)])
        case "body":
            return plan({"id": "q", "type": "sequence", "body": [{"type": "value", "value": 1}] * 4_999})
        case "clashing names":
            cases = {"?" * 3 + chr(0x4E00 + at): {"type": "value", "value": 1} for at in range(4_999)}
            return plan({"id": "s", "type": "switch", "on": "$input", "cases": cases})
        case "ids in a body":
            ids = [f"n{at}" for at in range(4_999)]
            return plan({"id": "q", "type": "sequence", "body": ids}, *map(value, ids))
        case "wrong edges":
            return plan(
                *(value(f"n{at}") for at in all_of_them), edges=[{"from": f"m{at}", "to": "n"} for at in all_of_them]
            )
        case _:
            return plan(*({"id": "same", "type": "valeu", f"f{at}": 1} for at in all_of_them))


class TestTimeIsLinearInThePlan:
    @pytest.mark.parametrize("kind", ["chain", "body", "clashing names", "ids in a body", "wrong edges", "wrong nodes"])
    def test_five_thousand_nodes(self, kind: str) -> None:
        source = wide(kind)
        began = time.perf_counter()

        load_plan(source)

        assert time.perf_counter() - began < 5  # well under 1 s on an idle machine; quadratic would take minutes


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        found += _places(part, (*path, key))
    return found


DOCUMENT: dict[str, Any] = {
    **PLAN,
    "nodes": [
        *NODES,
        *SEED["nodes"],
        {"id": "sw", "type": "switch", "switch": "which?", "options": [{"id": "o"}], "branches": {"o": ["moved"]}},
        {"id": "moved", "type": "tool", "tool": "t", "config": {"retries": 2}, "output": "out"},
        {"id": "b", "type": "map", "operation": {"over": "$out", "operation": {"type": "tool", "tool": "t"}}},
    ],
    "edges": [{"from": "t", "to": ["c", "s"], "condition": {"type": "variable", "value": "t"}}],
    "joins": [{"from": "a", "to": "b", "mapping": {"x": "$source.y"}}],
    "output": {"x": "$out", "y": "${$t.z + item}"},
}
PLACES = _places(DOCUMENT)[1:]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        [10**400, "", "$", "$.", "$.x", "${", "${'", "$$", "item", "tool", "loop", "expression", "a", "t", "END"]
    ),
    st.text(max_size=5),
    st.builds(list),
    st.builds(dict),
    st.lists(st.sampled_from(["t", "c", 1, None, {"type": "tool"}, ["a"]]), max_size=3),
    st.dictionaries(
        st.sampled_from(["type", "id", "condition", "over", "operation", "nodes", "value", "source"]),
        st.sampled_from(["tool", "llm", "map", "start", 1, None, {"type": "tool"}, ["a"]]),
        max_size=3,
    ),
)
CHANGE = st.tuples(st.sampled_from(PLACES), ODD, st.sampled_from(["put", "drop", "add"]))
CHANGE = st.tuples(st.sampled_from(PLACES), ODD, st.sampled_from(["put", "drop", "add"]))
KEYS = st.sampled_from(["nodes", "steps", "flow", "edges", "id", "type", "body", "operation", "x"])


class TestNothingRaises:
    def test_for_the_plan_itself_as_nothing_is_wrong(self) -> None:
        loaded = load_plan(DOCUMENT)

        assert loaded.problems == ()
        _sound(loaded)

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(CHANGE, min_size=1, max_size=4))
    def test_for_a_plan_with_something_changed(self, changes: list[tuple[tuple[Any, ...], Any, str]]) -> None:
        changed = copy.deepcopy(DOCUMENT)
        for path, odd, how in changes:
            _change(changed, path, odd, how)

        loaded = load_plan(changed)

        assert loaded.problems or loaded.plan is not None
        _sound(loaded)

    @settings(max_examples=150, deadline=None)
    @given(st.recursive(ODD, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
    def test_for_anything(self, anything: Any) -> None:
        _sound(load_plan(anything))

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 3_000), st.integers(0, 255))
    def test_for_a_text_with_something_changed(self, at: int, byte: int) -> None:
        text = bytearray(json.dumps(DOCUMENT).encode())
        text[at % len(text)] = byte

        _sound(load_plan(bytes(text)))


def _change(document: Any, path: tuple[Any, ...], odd: Any, how: str) -> None:
    for key in path[:-1]:
        if not isinstance(document, dict | list) or (isinstance(document, dict) and key not in document):
            return
        if isinstance(document, list) and (not isinstance(key, int) or key >= len(document)):
            return
        document = document[key]
    last = path[-1]
    if isinstance(document, dict):
        if how == "drop":
            document.pop(last, None)
        else:
            document[last if how == "put" else "odd"] = odd
    elif isinstance(document, list) and isinstance(last, int) and last < len(document):
        document[last] = odd


def _sound(loaded: Any) -> None:
    """A plan without problems is canonical: it validates, and loads to itself."""
    for problem in loaded.problems:
        assert problem.code and problem.message
        json.dumps(problem.to_json())
    if not loaded.problems:
        again = load_plan(loaded.canonical)
        assert again.problems == ()
        assert again.canonical == loaded.canonical
        assert ir.Plan.model_validate(loaded.canonical).hash == loaded.plan.hash
