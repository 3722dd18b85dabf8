"""Commands of other processes are carried out once, wherever the owner dies, and answered (design §5)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dynamicflow.streams.embedded import inbox
from dynamicflow.values import Json
from tests.fault.fault_kit import KILLED, check_journal, ended, log_of, process, run_process
from tests.fault.fault_process import beginning, held_back, noting, one_step, posting, serving
from tests.fault.flow_process import NEVER, Place, Point, Where, engine_of

COMMANDS: list[dict[str, Json]] = [
    {"type": "start", "runId": "new", "plan": one_step("note"), "input": {"n": 1}},
    {"type": "cancel", "runId": "stuck", "reason": "enough"},
    {"type": "resolve", "runId": "paid", "nodeId": "t", "resolution": "done", "output": "paid by hand"},
]
WAITING: dict[str, Json] = {"version": "1.0", "nodes": [{"id": "w", "type": "wait", "duration": 3_600_000}]}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def prepared(place: Place) -> None:
    """A journal with a run of unknown outcome and one that waits for an hour, and the commands posted."""
    place.folder.mkdir(exist_ok=True)
    plans = {"paid": one_step("charge")}
    assert run_process(beginning, str(place.folder), plans, "charge") == KILLED

    async def wait() -> None:
        async with engine_of(place, [noting(place, "charge", config={"sideEffect": "non_idempotent"})]) as engine:
            await engine.start(WAITING, run_id="stuck")

    asyncio.run(wait())
    for command in COMMANDS:
        inbox.post(place.journal, command)


def served(place: Place) -> None:
    """All three had their effect, once."""
    assert place.answer("rows") == {"new": "completed", "stuck": "cancelled", "paid": "completed"}
    check_journal(place)
    log = log_of(place)
    assert [event.type for event in log["stuck"]].count("cancel-requested") == 1
    assert [event.type for event in log["paid"]].count("step-resolved") == 1
    ends = [event["result"] for event in log["paid"] if event.type == "flow-complete"]
    assert [end["output"] for end in ends if isinstance(end, dict)] == ["paid by hand"]
    assert not [line for line in place.lines() if line.tool == "charge"]


async def answers(place: Place) -> list[dict[str, Json] | None]:
    async with engine_of(place, [], resume=False) as engine:
        return [engine.journal.reply_to(one + 1) for one in range(len(COMMANDS))]


@pytest.mark.slow
class TestAnOwnerKilledBetweenCommandAndEffect:
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_is_followed_by_one_that_carries_it_out(self, where: Where, tmp_path: Path) -> None:
        whole = Place(tmp_path / "whole")
        prepared(whole)
        assert run_process(serving, str(whole.folder), NEVER, len(COMMANDS)) == 0
        served(whole)

        for n in range(1, whole.answer("counts")[where] + 1):
            place = Place(tmp_path / str(n))
            prepared(place)
            if run_process(serving, str(place.folder), Point(where, n), len(COMMANDS)) == KILLED:
                assert run_process(serving, str(place.folder), NEVER, len(COMMANDS)) == 0
            served(place)
            told = asyncio.run(answers(place))
            assert [answer and answer.get("runId") for answer in told] == ["new", "stuck", "paid"], f"{where} {n}"


class TestAnotherProcess:
    async def test_starts_and_cancels_while_the_owner_runs(self, place: Place) -> None:
        tools = [noting(place, "note", "noted"), held_back(place, "wait")]
        commands: list[dict[str, Json]] = [
            {"type": "start", "runId": "new", "plan": one_step("note")},
            {"type": "start", "runId": "new", "plan": one_step("note")},
            {"type": "start", "runId": "new", "plan": one_step("wait")},
            {"type": "cancel", "runId": "held"},
            {"type": "cancel", "runId": "nobody"},
        ]
        async with engine_of(place, tools, drain_s=0) as engine:
            held = await engine.start(one_step("wait"), run_id="held")
            child = process(posting, str(place.folder), commands)
            assert (await asyncio.wait_for(held.result(), 20))["status"] == "cancelled"
            assert await asyncio.to_thread(ended, child) == 0
            assert (await engine.run("new").result())["output"] == "noted"

        first, again, other, cancelled, nobody = place.answer("answers")
        assert first["runId"] == again["runId"] == "new"
        assert other["error"]["code"] == "RUN_EXISTS"
        assert cancelled["runId"] == "held"
        assert nobody["error"]["code"] == "RUN_NOT_FOUND"
        assert [line.tool for line in place.lines()].count("note") == 1


MALFORMED: list[Any] = [
    {},
    {"type": None},
    {"type": "explode", "runId": "a"},
    {"type": "start"},
    {"type": "start", "plan": 5},
    {"type": "start", "plan": [], "runId": 7},
    {"type": "start", "plan": one_step("note"), "runId": "../x"},
    {"type": "start", "plan": one_step("note"), "runId": {"a": 1}},
    {"type": "start", "plan": one_step("note"), "labels": "x"},
    {"type": "start", "plan": one_step("note"), "labels": {"a": 1}},
    {"type": "start", "plan": one_step("note"), "options": 5},
    {"type": "start", "plan": one_step("note"), "options": {"maxConcurrency": "many"}},
    {"type": "start", "prompt": 5},
    {"type": "start", "prompt": "", "model": 5},
    {"type": "cancel"},
    {"type": "cancel", "runId": []},
    {"type": "cancel", "runId": "held", "reason": {"a": 1}, "by": 5},
    {"type": "resolve", "runId": "stuck"},
    {"type": "resolve", "runId": "stuck", "nodeId": "w", "item": "abc", "resolution": "done"},
    {"type": "resolve", "runId": "stuck", "nodeId": "w", "item": 5, "resolution": "done"},
    {"type": "resolve", "runId": "stuck", "nodeId": {"a": 1}, "item": [[1]], "resolution": ["done"]},
    {"type": "drive", "runId": "nobody"},
]


class TestAMalformedCommand:
    async def test_is_answered_and_harms_nobody(self, place: Place) -> None:
        tools = [noting(place, "note", "noted")]
        async with engine_of(place, tools) as engine:
            await engine.start(WAITING, run_id="stuck")
            await engine.start(WAITING, run_id="held")
            posted = [engine.journal.post(command) for command in MALFORMED]
            for one, command in zip(posted, MALFORMED, strict=True):
                answer = await asyncio.to_thread(inbox.await_reply, place.journal, one, 10)
                assert answer is not None, command
            run = await engine.start(one_step("note"))
            assert (await run.result())["status"] == "completed"
            assert engine.run("stuck").status == "suspended"
