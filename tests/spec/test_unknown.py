"""What this version cannot fold parks the run at its last good position; it is not crashed on (design §3)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from dynamicflow.streams.core.codec import UnknownEvent, decode_event, encode_event, to_json
from dynamicflow.streams.core.events import SEMANTICS, VERSION
from dynamicflow.streams.core.fold import CannotFold, apply
from dynamicflow.streams.embedded.engine import Engine
from dynamicflow.values import NotJson
from tests.engine.engine_kit import Gate, call, plan
from tests.spec.given import Given, step


def record(**fields: Any) -> bytes:
    made = {
        "id": "r/-/-/-/x",
        "type": "tool-output",
        "runId": "r",
        "timestamp": "2024-01-15T10:30:00.000000Z",
        "v": 1,
        "semantics": 1,
        **fields,
    }
    return json.dumps(made).encode()


class TestAFactOfAnUnknownKind:
    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"type": "step-teleported", "to": "Mars"}, "type"),
            ({"type": "tool-output"}, "shape"),
            ({"type": "timer-fired", "timer": "t", "kind": "sundial"}, "shape"),
        ],
    )
    def test_is_read_and_cannot_be_folded(self, fields: dict[str, Any], why: str) -> None:
        run = Given(step("a"))
        before = run.digest

        event = decode_event(record(**fields))

        assert isinstance(event, UnknownEvent)
        assert event.why == why
        with pytest.raises(CannotFold, match="does not know"):
            apply(run.state, event, {})
        assert run.digest == before

    @pytest.mark.parametrize("fields", [{"item": "first"}, {"id": None}, {"v": "one"}, {"type": 5}])
    def test_whose_envelope_is_broken_is_no_event(self, fields: dict[str, Any]) -> None:
        with pytest.raises(NotJson, match="not an event"):
            decode_event(record(**{"type": "step-teleported", **fields}))

    def test_the_run_goes_on_where_it_stood_once_the_fact_is_understood(self) -> None:
        run = Given(step("a"))
        with pytest.raises(CannotFold):
            apply(run.state, decode_event(record(type="step-teleported")), {})

        run.output("a", 1)

        assert run.result["output"] == 1


class TestNewerRulesOrForms:
    @pytest.mark.parametrize(
        ("newer", "why"),
        [({"semantics": SEMANTICS + 1}, f"semantics {SEMANTICS + 1}"), ({"v": VERSION + 1}, f"form {VERSION + 1}")],
        ids=["rules", "form"],
    )
    def test_are_not_guessed_at(self, newer: dict[str, int], why: str) -> None:
        run = Given(step("a"))
        before = run.digest
        made = {**json.loads(run.facts[-1]), **newer}

        with pytest.raises(CannotFold, match=why):
            apply(run.state, decode_event(json.dumps(made).encode()), {})

        assert run.digest == before

    def test_of_an_announcement_do_not_matter(self) -> None:
        run = Given(step("a"))
        (told,) = run.told("flow-start")

        assert apply(run.state, told.model_copy(update={"semantics": SEMANTICS + 1}), {}) == []


class TestAPlanThatCannotBeRead:
    @pytest.mark.parametrize("broken", [None, 5, [], {}, {"version": "9.0", "nodes": [{"id": "a", "type": "quantum"}]}])
    def test_parks_the_run(self, broken: Any) -> None:
        run = Given(step("a"), planned=False)
        run.requested(plan="given")
        made = record(type="plan-published", id="r/-/-/-/plan-published/0", plan=broken, planHash="sha256:1")

        with pytest.raises(CannotFold, match="cannot be read"):
            apply(run.state, decode_event(made), {})

        assert run.state.public_status == "planning"


class TestFieldsOfALaterVersion:
    def test_are_kept_and_written_back(self) -> None:
        made = record(type="tool-lost", claim="c", nodeId="a", gpu={"model": "x"})

        event = decode_event(made)

        assert to_json(event)["gpu"] == {"model": "x"}
        assert json.loads(encode_event(event).record) == json.loads(made)


class TestARunThatHasStoppedAtOne:
    async def test_is_ended_by_a_cancel_all_the_same(self) -> None:
        gate = Gate()
        async with Engine.in_memory(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("g", "gate", {"x": 1})), run_id="r")
            engine.runner.append(engine.runner.runs["r"], [decode_event(record(type="step-teleported"))])
            standing = await asyncio.wait_for(run.result(), 10)
            await asyncio.wait_for(run.cancel("it is of no use"), 10)
            result = await asyncio.wait_for(run.result(), 10)
            gate.open()

        assert standing["status"] == "parked"
        assert result["status"] == "cancelled"
