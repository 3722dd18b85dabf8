"""What a start becomes in a log, and how clients make requests."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow import Engine
from dynamicflow.streams.core.events import FlowRequested
from dynamicflow.streams.requests import (
    CONTROLS,
    RequestInvalid,
    StartRequest,
    control_request,
    request_digest,
    start_json,
    start_request,
)
from tests.requests.request_kit import HASH, OF_EVERY_KIND, PLAN, read

PROMPT = {"prompt": "do it"}


def start(request: Any, key: bytes | None = None) -> StartRequest:
    made = read(request, key)
    assert isinstance(made, StartRequest)
    return made


class TestWhatAStartBecomes:
    """The ``request`` of flow-requested, and its digest, are those of the embedded engine."""

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"input": {"a": [1, 2.5, None]}},
            {"labels": {"tenant": "acme"}},
            {"labels": {}},
            {"options": {}},
            {"options": {"maxConcurrency": 10}},
            {"options": {"timeout": "5m", "cache": True, "memoryOptimization": {"streamingExecution": True}}},
            {"options": {"modelPool": {"fast": {"a": 1}}}},
        ],
    )
    @pytest.mark.parametrize("what", [{"plan": PLAN}, {"prompt": "say nothing", "model": "offline"}])
    async def test_in_both_shells(self, what: dict[str, Any], fields: dict[str, Any]) -> None:
        async with Engine.in_memory() as engine:
            run = await engine.start(
                what.get("plan", what.get("prompt")), run_id="r", model=what.get("model"), **fields
            )
            first = await anext(run.events(derived=False))
            row = engine.journal.run("r")
            plan_hash = engine.check(PLAN).plan_hash
        assert isinstance(first, FlowRequested) and row is not None

        made = start_json(start({**what, **fields}), "r", plan=plan_hash if "plan" in what else None)

        assert made == first.request
        assert list(made) == list(first.request)
        assert request_digest(made) == row.request_digest

    def test_what_only_this_shell_has_is_kept(self) -> None:
        made = start_json(start(OF_EVERY_KIND["start"]), "r")

        assert {name: made[name] for name in ("tools", "joins", "parameters", "principal")} == {
            name: OF_EVERY_KIND["start"][name] for name in ("tools", "joins", "parameters", "principal")
        }

    def test_no_tools_differs_from_all_tools(self) -> None:
        assert "tools" not in start_json(start(PROMPT), "r")
        assert start_json(start({**PROMPT, "tools": []}), "r")["tools"] == []

    def test_a_plan_is_named_by_its_hash_else_by_what_was_given(self) -> None:
        assert start_json(start({"plan": "refund"}), "r", plan=HASH)["plan"] == HASH
        assert start_json(start({"plan": "refund"}), "r")["plan"] == "refund"
        invalid = [start_json(start({"plan": {"nodes": nodes}}), "r")["plan"] for nodes in ([], [1])]
        assert len(set(invalid)) == 2

    def test_the_digest_is_of_the_content_alone(self) -> None:
        one = start({"runId": "a", "prompt": "x", "options": {"timeout": "1s", "maxSteps": 50}})
        other = start({"options": {"timeout": 1000}, "prompt": "x", "type": "start"}, b"b")

        assert request_digest(start_json(one, "a")) == request_digest(start_json(other, "b"))
        assert request_digest(start_json(one, "a")) != request_digest(start_json(start(PROMPT), "a"))


class TestMakingOne:
    def test_a_start(self) -> None:
        made = start_request(prompt="x", run_id="r", input={"a": 1}, tools=["t"], labels={"tenant": "a"})

        assert made == {
            "type": "start", "runId": "r", "prompt": "x", "input": {"a": 1}, "tools": ["t"], "labels": {"tenant": "a"},
        }  # fmt: skip
        assert start_request(plan=PLAN) == {"type": "start", "plan": PLAN}

    @pytest.mark.parametrize("name", [name for name, one in OF_EVERY_KIND.items() if one.get("type") in CONTROLS])
    def test_a_control_record(self, name: str) -> None:
        given = OF_EVERY_KIND[name]

        assert control_request(given["type"], **_snake(given)) == given

    def test_with_names_as_in_python(self) -> None:
        made = control_request("resolve", "r", node_id="pay", resolution="fail")

        assert made == {"type": "resolve", "runId": "r", "nodeId": "pay", "resolution": "fail"}

    @pytest.mark.parametrize(
        ("make", "code"),
        [
            (lambda: start_request(prompt=""), "REQUEST_INVALID"),
            (lambda: start_request(prompt="x", input={1, 2}), "INVALID_JSON"),
            (lambda: start_request(prompt="x", input=float("nan")), "INVALID_JSON"),
            (lambda: start_request(prompt="x", input="y" * 1024 * 1024), "REQUEST_TOO_LARGE"),
            (lambda: control_request("stop", "r"), "UNKNOWN_REQUEST_TYPE"),
            (lambda: control_request("cancel", "a b"), "INVALID_RUN_ID"),
        ],
    )
    def test_that_no_worker_would_take_is_refused(self, make: Any, code: str) -> None:
        with pytest.raises(RequestInvalid) as raised:
            make()

        assert raised.value.code == code


def _snake(request: dict[str, Any]) -> dict[str, Any]:
    names = {"runId": "run_id", "nodeId": "node_id", "planHash": "plan_hash"}
    return {names.get(name, name): part for name, part in request.items() if name != "type"}
