"""Whatever a tool does is the failure of its step: with a code, in the log, and beside other runs that go on."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynamicflow.streams.embedded.engine import Engine
from dynamicflow.tools import ToolContext
from tests.fault.fault_kit import KILLED, check_journal, log_of, run_process, steps
from tests.fault.fault_process import chain, made, noting, one_step, poisoned
from tests.fault.flow_process import Place, engine_of


class Hostile:
    """A value that fails however one looks at it."""

    def __iter__(self) -> Any:
        raise RuntimeError("no")

    def model_dump(self, **_: Any) -> Any:
        sys.exit(3)

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def raising(error: BaseException) -> Callable[..., Any]:
    def execute(inputs: Any, context: ToolContext) -> Any:
        raise error

    return execute


def raising_later(error: BaseException) -> Callable[..., Any]:
    async def execute(inputs: Any, context: ToolContext) -> Any:
        await asyncio.sleep(0)
        raise error

    return execute


def returning(value: Callable[[], Any]) -> Callable[..., Any]:
    return lambda inputs, context: value()


BAD = {
    "raises": (raising(ValueError("bad")), "TOOL_EXECUTION_FAILED"),
    "raises without a text": (raising(Mute()), "TOOL_EXECUTION_FAILED"),
    "raises half a character": (raising(ValueError("\ud800")), "TOOL_EXECUTION_FAILED"),
    "exits": (raising(SystemExit(1)), "TOOL_EXECUTION_FAILED"),
    "exits on the loop": (raising_later(SystemExit(1)), "TOOL_EXECUTION_FAILED"),
    "is interrupted": (raising(KeyboardInterrupt()), "TOOL_EXECUTION_FAILED"),
    "is interrupted on the loop": (raising_later(KeyboardInterrupt()), "TOOL_EXECUTION_FAILED"),
    "cancels itself": (raising_later(asyncio.CancelledError()), "TOOL_EXECUTION_FAILED"),
    "stops an iteration": (raising(StopIteration(1)), "TOOL_EXECUTION_FAILED"),
    "stops one on the loop": (raising_later(StopAsyncIteration(1)), "TOOL_EXECUTION_FAILED"),
    "recurses": (raising(RecursionError()), "TOOL_EXECUTION_FAILED"),
    "has no memory": (raising(MemoryError()), "TOOL_EXECUTION_FAILED"),
    "returns an object": (returning(object), "TOOL_OUTPUT_INVALID"),
    "returns a hostile one": (returning(Hostile), "TOOL_OUTPUT_INVALID"),
    "returns hostile ones": (returning(lambda: {"a": [Hostile()]}), "TOOL_OUTPUT_INVALID"),
    "returns a function": (returning(lambda: print), "TOOL_OUTPUT_INVALID"),
    "returns NaN": (returning(lambda: float("nan")), "TOOL_OUTPUT_INVALID"),
    "returns half a character": (returning(lambda: "\ud800"), "TOOL_OUTPUT_INVALID"),
    "returns a deep value": (returning(lambda: nested(100_000)), "TOOL_OUTPUT_INVALID"),
    "returns a cycle": (returning(cyclic), "TOOL_OUTPUT_INVALID"),
    "returns too much": (returning(lambda: "x" * (33 * 1024 * 1024)), "TOOL_OUTPUT_TOO_LARGE"),
    "returns an exception": (returning(lambda: ValueError("bad")), "TOOL_OUTPUT_INVALID"),
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestABadToolFailsItsStepOnly:
    async def test_whatever_it_does(self, place: Place) -> None:
        tools = [made(f"t{index}", execute) for index, (execute, _) in enumerate(BAD.values())]
        expected = {name: ("failed", code, "t") for name, (_, code) in BAD.items()}

        async with engine_of(place, [*tools, noting(place, "note", "noted")]) as engine:
            runs = [await engine.start(one_step(tool.spec.id)) for tool in tools]
            results = [await asyncio.wait_for(run.result(), 20) for run in runs]
            other = await (await engine.start(chain("note", "note"))).result()

        told = [(one["status"], one["error"]["code"], one["error"]["nodeId"]) for one in results]
        assert dict(zip(BAD, told, strict=True)) == expected
        assert other["status"] == "completed"
        check_journal(place)


class TestAToolThatHangs:
    async def test_is_timed_out_and_its_late_outcome_changes_nothing(self, place: Place) -> None:
        release, left = threading.Event(), threading.Semaphore(0)

        def deaf(inputs: Any, context: ToolContext) -> str:
            release.wait(20)
            left.release()
            return "late"

        async def stubborn(inputs: Any, context: ToolContext) -> str:
            while not release.is_set():
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    continue
            left.release()
            return "late"

        async def blocking(inputs: Any, context: ToolContext) -> str:
            release.wait(20)
            left.release()
            return "late"

        tools = [made("deaf", deaf), made("stubborn", stubborn), made("blocking", blocking)]
        async with engine_of(place, [*tools, noting(place, "note", "noted")]) as engine:
            runs = [await engine.start(one_step(tool.spec.id, timeout=100), run_id=tool.spec.id) for tool in tools]
            other = await (await engine.start(chain("note", "note"))).result()
            results = [await asyncio.wait_for(run.result(), 20) for run in runs]
            release.set()
            for _ in tools:
                assert await asyncio.to_thread(left.acquire, timeout=20)

        assert [(one["status"], one["error"]["code"]) for one in results] == [("failed", "TIMEOUT")] * 3
        assert other["status"] == "completed"
        assert not steps(log_of(place), "tool-output") & steps({name: log_of(place)[name] for name in ("deaf",)})
        check_journal(place)


class TestWhatAToolReceivesIsItsOwn:
    async def test_and_changing_it_changes_no_log(self, place: Place) -> None:
        def greedy(inputs: Any, context: ToolContext) -> Any:
            inputs["list"].append("mine")
            inputs["list"][0]["deep"] = "changed"
            inputs.clear()
            return {"seen": len(inputs)}

        given = {"list": [{"deep": "as given"}]}
        inputs = {"list": "$input.list"}
        plan = {
            "version": "1.0",
            "nodes": [
                {"id": "a", "type": "tool", "toolId": "greedy", "inputs": inputs},
                {"id": "b", "type": "value", "value": "$input"},
            ],
            "edges": [{"from": "a", "to": "b"}],
            "output": "$b",
        }
        async with Engine.in_memory(tools=[made("greedy", greedy)]) as engine:
            result = await (await engine.start(plan, input=given)).result()

        assert result["output"] == {"list": [{"deep": "as given"}]} == given


@pytest.mark.slow
class TestAToolThatKillsItsProcess:
    def test_is_given_up_after_three_held_starts(self, place: Place) -> None:
        for _ in range(3):
            assert run_process(poisoned, str(place.folder)) == KILLED

        assert run_process(poisoned, str(place.folder)) == 0

        other, result = place.answer("result")
        assert other["status"] == "completed"
        assert (result["status"], result["error"]["code"]) == ("failed", "EXECUTOR_LOST")
        calls = [line for line in place.lines() if line.tool == "poison"]
        assert [(line.key, line.attempt) for line in calls] == [("poisoned/t/-", 1)] * 3
        check_journal(place)


class TestManyHangingCallsKeepNobodyWaiting:
    async def test_beside_other_runs(self, place: Place) -> None:
        release = threading.Event()
        hang = made("hang", lambda inputs, context: release.wait(20))
        async with engine_of(place, [hang, noting(place, "note", "noted")], drain_s=0) as engine:
            for _ in range(40):
                await engine.start(one_step("hang"))
            begun = time.monotonic()
            other = await asyncio.wait_for((await engine.start(chain("note", "note"))).result(), 10)
            assert other["status"] == "completed"
            assert time.monotonic() - begun < 5
            release.set()
