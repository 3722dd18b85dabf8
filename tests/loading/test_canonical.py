"""The canonical form loads as it is, and equal plans have one form."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dynamicflow.planner.ir import Plan
from dynamicflow.planner.loading import load_plan
from tests.loading.loading_kit import NODES, PLAN, SEED, canonical, each, load, node, plan, tool, value


class TestTheExamplesOfTheLetterLoadUnchanged:
    def test_every_node(self) -> None:
        loaded = load(*NODES)

        assert loaded.plan is not None
        assert loaded.plan.hash == Plan.model_validate(loaded.canonical).hash
        assert [one.id for one in loaded.plan.nodes] == [one["id"] for one in NODES]

    def test_the_document(self) -> None:
        loaded = load_plan(PLAN)

        assert loaded.problems == loaded.warnings == ()
        assert loaded.canonical == {key: part for key, part in PLAN.items() if key not in ("edges", "joins")}

    def test_the_seeds_example(self) -> None:
        loaded = load_plan(json.dumps(SEED))

        assert loaded.problems == loaded.warnings == ()
        assert loaded.canonical is not None
        check = loaded.canonical["nodes"][1]
        assert [one["id"] for one in check["ifTrue"]] == ["send_welcome"]
        assert check["ifFalse"] == [
            {"id": "check_ifFalse", "type": "value", "value": {"sent": False, "reason": "Invalid email"}}
        ]

    @pytest.mark.parametrize("given", [PLAN, SEED, plan(*NODES)], ids=["document", "seed", "nodes"])
    def test_loading_twice_is_loading_once(self, given: dict[str, Any]) -> None:
        once = load_plan(given)
        twice = load_plan(once.canonical or {})

        assert twice.canonical == once.canonical
        assert once.plan is not None and twice.plan is not None
        assert twice.plan.hash == once.plan.hash
        assert once.plan.to_json() == once.canonical

    def test_the_given_dict_is_left_alone(self) -> None:
        given = plan(tool("a", outputVar="r", inputs={"x": {"source": "b.y"}}), value("b", "$r"))
        before = copy.deepcopy(given)

        load_plan(given)

        assert given == before


class TestDefaultsAreLeftOut:
    def test_of_every_node(self) -> None:
        bare = {one["id"]: set(one) for one in canonical(*NODES)["nodes"]}

        assert bare["c"] == {"id", "type", "condition", "ifTrue"}
        assert bare["s"] == {"id", "type", "on", "cases"}
        assert bare["p"] == {"id", "type", "branches"}
        assert bare["m"] == bare["q"] | {"over"} == {"id", "type", "over", "body"}
        assert bare["f"] == {"id", "type", "over", "condition"}
        assert bare["r"] == {"id", "type", "over", "initial", "body"}
        assert bare["w"] == {"id", "type", "loop", "condition", "body"}
        assert bare["h"] == {"id", "type", "preset", "message", "schema", "approvers", "default"}
        assert bare["x"] == {"id", "type", "signal", "match"}

    def test_the_common_ones(self) -> None:
        given = tool("a", inputs={}, description="", onError="fail", approval=False, retry={"maxAttempts": 1})

        assert node(given) == {"id": "a", "type": "tool", "toolId": "t", "retry": {}}

    def test_of_retry_and_approval(self) -> None:
        retry = {"maxAttempts": 2, "backoff": "exponential", "initialDelay": 1000, "retryableErrors": ["*"]}

        made = node(tool("a", retry=retry, approval={"message": "", "timeout": "24h"}))

        assert made["retry"] == {"maxAttempts": 2}
        assert made["approval"] is True

    def test_an_absent_retry_is_not_an_empty_one(self) -> None:
        assert "retry" not in node(tool("a"))

    def test_iterations_of_a_literal_times_default_to_it(self) -> None:
        loop = {"id": "n", "type": "loop", "loop": "times", "body": []}

        assert "maxIterations" not in node({**loop, "times": 7, "maxIterations": 7})
        assert node({**loop, "times": 7, "maxIterations": 100})["maxIterations"] == 100
        assert "maxIterations" not in node({**loop, "times": "$input.n", "maxIterations": 100})

    def test_true_is_not_one(self) -> None:
        assert node({"id": "r", "type": "reduce", "over": [], "initial": False, "body": []})["initial"] is False

    def test_a_required_empty_body_stays(self) -> None:
        assert node(each(body=[]))["body"] == []

    def test_a_wait_has_its_default_timeout_only_for_a_signal(self) -> None:
        assert node({"id": "x", "type": "wait", "signal": "s", "timeout": "24h"}).keys() == {"id", "type", "signal"}
        assert node({"id": "x", "type": "wait", "until": "$input.t", "timeout": "24h"})["timeout"] == 86_400_000


class TestNumbersHaveOneSpelling:
    @pytest.mark.parametrize(
        ("given", "made"), [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("4h", 14_400_000), (5.0, 5), (0.5, 0.5)]
    )
    def test_durations(self, given: Any, made: Any) -> None:
        assert node(tool("a", timeout=given))["timeout"] == made
        assert node({"id": "d", "type": "wait", "duration": given})["duration"] == made

    def test_a_duration_that_refers_is_a_template(self) -> None:
        assert node({"id": "d", "type": "wait", "duration": "$input.ms", "timeout": "1h"})["duration"] == "$input.ms"

    def test_whole_floats_are_integers(self) -> None:
        assert node(each(concurrency=3.0))["concurrency"] == 3
        assert load(each(concurrency=10.0)).canonical == load(each()).canonical


class TestMetadataIsKeptAndNeverHashed:
    def test_unknown_fields_stay(self) -> None:
        made = canonical(value("a"), metadata={"name": "x", "team": {"a": [1]}, "author": "me"})

        assert made["metadata"] == {"name": "x", "team": {"a": [1]}, "author": "me"}

    def test_the_hash_is_of_the_rest(self) -> None:
        one, other = load(value("a")), load(value("a"), metadata={"name": "x"}, rationale="because", assumptions=["b"])

        assert one.plan is not None and other.plan is not None
        assert one.plan.hash == other.plan.hash

    def test_a_model_pool_moves_to_the_options(self) -> None:
        loaded = load(value("a"), modelPool={"models": ["x"]})

        assert loaded.model_pool == {"models": ["x"]}
        assert loaded.canonical is not None and "modelPool" not in loaded.canonical


class TestJoinsAreReadInBothSpellings:
    def test_from_and_to(self) -> None:
        made = canonical(
            value("a"), joins=[{"from": "x", "to": "y", "mapping": {"b": "$source.a"}, "suggested": False}]
        )

        assert made["joins"] == [{"fromTool": "x", "toTool": "y", "mapping": {"b": "$source.a"}}]
