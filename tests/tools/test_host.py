"""The host runs users' code and blocks nobody: neither its caller nor other tools, whatever a tool does."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue
from typing import Any

import pytest

from dynamicflow.errors import UsageError
from dynamicflow.tools import (
    Call,
    Tool,
    ToolCancelled,
    ToolContext,
    ToolFailed,
    ToolHost,
    ToolTimeout,
    describe_exception,
    tool,
)
from dynamicflow.tools.context import NotBegun
from dynamicflow.tools.host import Delivered
from tests.tools.tool_kit import WAIT_S, deck, takes


@tool
async def double(n: int) -> int:
    return 2 * n


@tool
def half(n: int) -> float:
    return n / 2


@tool
async def nap(context: ToolContext) -> str:
    await context.wait_cancelled()
    return "woken"


class TestACall:
    def test_delivers_what_the_tool_returns(self) -> None:
        with deck() as d:
            assert d.outcome(double, "a", n=3) == 6
            assert d.outcome(half, "b", n=3) == 1.5
            one = d.wait("a")
        assert one.elapsed_ms >= 0
        assert one.started_at > 1_600_000_000

    def test_a_batch_comes_back_whole(self) -> None:
        with deck() as d:
            calls = [Call((double, half)[n % 2], {"n": n}, ToolContext(), None, n) for n in range(1000)]
            d.host.submit(calls)
            for n in range(1000):
                assert d.wait(n).outcome == (n / 2 if n % 2 else n * 2)
        assert len(d.outcomes) == 1000

    def test_runs_on_threads_of_the_host(self) -> None:
        @tool
        def where() -> str:
            return threading.current_thread().name

        with deck() as d:
            assert d.outcome(where).startswith("dynamicflow-tools")

    def test_what_the_tool_does_to_its_inputs_stays_with_it(self) -> None:
        @tool
        def spoil(order: dict[str, Any]) -> dict[str, Any]:
            order["items"].append("x")
            return order

        with deck() as d:
            call = d.submit(spoil, order={"items": []})
            assert d.wait().outcome == {"items": ["x"]}
        assert call.inputs == {"order": {"items": []}}

    def test_the_deadline_is_set_when_it_begins(self) -> None:
        @tool
        def left(context: ToolContext) -> float:
            return context.remaining()

        with deck() as d:
            assert 4 < d.outcome(left, timeout=5) <= 5

    def test_an_async_function_behind_a_sync_one(self) -> None:
        @tool
        def hidden(n: int) -> Any:
            return double(n)

        with deck() as d:
            assert d.outcome(hidden, n=4) == 8

    def test_the_mode_of_the_call_reaches_the_tool(self) -> None:
        @tool
        def raw(n: int) -> str:
            return repr(n)

        with deck() as d:
            d.submit(raw, "warn", mode="warn", n="many")
            assert d.wait("warn").outcome == "'many'"
            assert d.outcome(raw, "strict", n="many").code == "TOOL_INPUT_INVALID"


class TestAToolThatRaises:
    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])
    def test_ends_its_call_and_nothing_else(self, error: BaseException) -> None:
        @tool
        def sync_one() -> None:
            raise error

        @tool
        async def async_one() -> None:
            raise error

        with deck() as d:
            for name, one in (("s", sync_one), ("a", async_one)):
                assert d.outcome(one, name) is error
                assert describe_exception(d.wait(name).outcome).code == "TOOL_EXECUTION_FAILED"
            assert d.outcome(double, "after", n=1) == 2
            assert d.outcome(half, "too", n=2) == 1

    def test_or_returns_an_exception(self) -> None:
        with deck() as d:
            outcome = d.outcome(tool(lambda: ValueError("oops"), id="f"))
        assert isinstance(outcome, ToolFailed)
        assert outcome.code == "TOOL_OUTPUT_INVALID"

    def test_a_background_task_that_ends_the_process_does_not(self, caplog: pytest.LogCaptureFixture) -> None:
        async def die() -> None:
            raise SystemExit(1)

        @tool
        async def careless() -> str:
            task = asyncio.create_task(die())
            await asyncio.wait([task])
            return "done"

        with deck() as d:
            assert d.outcome(careless) == "done"
            assert d.outcome(double, "after", n=1) == 2
        assert "tried to end the event loop" in caplog.text


class TestTheTimeout:
    def test_ends_an_async_tool(self) -> None:
        seen = threading.Event()

        @tool
        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.set()

        with deck() as d:
            outcome = d.outcome(hang, timeout=0.05)
            assert seen.wait(WAIT_S)
        assert isinstance(outcome, ToolTimeout)
        error = describe_exception(outcome)
        assert (error.code, error.message) == ("TIMEOUT", "hang did not end within its limit of 0.05 s")

    def test_ends_a_sync_tool_that_never_returns(self) -> None:
        release = threading.Event()
        context = ToolContext()

        @tool
        def hang() -> str:
            release.wait(WAIT_S)
            return "late"

        with deck() as d:
            d.submit(hang, timeout=0.05, context=context)
            assert isinstance(d.wait().outcome, ToolTimeout)
            assert context.cancelled
            release.set()
            assert d.outcome(half, "next", n=2) == 1
        assert len(d.outcomes) == 2

    def test_ends_an_async_tool_that_blocks_its_loop(self) -> None:
        release = threading.Event()

        @tool
        async def block() -> None:
            release.wait(WAIT_S)

        with deck() as d:
            assert isinstance(d.outcome(block, timeout=0.05), ToolTimeout)
            assert d.outcome(double, "other", n=1) == 2
            release.set()

    def test_ends_one_that_ignores_being_cancelled(self) -> None:
        release = threading.Event()

        @tool
        async def stubborn() -> None:
            while not release.is_set():
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    release.wait(WAIT_S)

        with deck() as d:
            assert isinstance(d.outcome(stubborn, timeout=0.05), ToolTimeout)
            release.set()

    def test_is_the_tools_own_where_the_call_names_none(self) -> None:
        @tool(timeout=0.05)
        async def hang() -> None:
            await asyncio.Event().wait()

        with deck() as d:
            d.host.submit([Call(hang, {}, ToolContext(), None, "t")])
            assert isinstance(d.wait().outcome, ToolTimeout)

    def test_threads_that_hang_are_replaced(self) -> None:
        release = threading.Event()

        @tool
        def hang() -> None:
            release.wait(WAIT_S)

        with deck(threads=2) as d:
            for n in range(2):
                d.submit(hang, n, timeout=0.05)
            for n in range(2):
                assert isinstance(d.wait(n).outcome, ToolTimeout)
            assert d.outcome(half, "next", n=2) == 1
            release.set()


class TestCancelling:
    def test_ends_a_running_call_at_once(self) -> None:
        begun, ended = threading.Event(), threading.Event()

        @tool
        async def hang() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        with deck() as d:
            d.submit(hang)
            assert begun.wait(WAIT_S)
            d.host.cancel("t")
            assert isinstance(d.wait().outcome, ToolCancelled)
            assert ended.wait(WAIT_S)

    def test_is_seen_by_a_sync_tool(self) -> None:
        begun, seen = threading.Event(), threading.Event()

        @tool
        def loop(context: ToolContext) -> None:
            begun.set()
            if context.wait(WAIT_S):
                seen.set()
            context.check_cancelled()

        with deck() as d:
            d.submit(loop)
            assert begun.wait(WAIT_S)
            d.host.cancel("t")
            assert isinstance(d.wait().outcome, ToolCancelled)
            assert seen.wait(WAIT_S)

    def test_of_something_unknown_or_ended_does_nothing(self) -> None:
        with deck() as d:
            assert d.outcome(double, n=1) == 2
            d.host.cancel("t")
            d.host.cancel("never")
            assert d.outcome(double, "next", n=1) == 2
        assert len(d.outcomes) == 2

    def test_keeps_a_call_in_a_queue_from_beginning(self) -> None:
        begun: list[int] = []
        release = threading.Event()

        @tool(concurrency_limit=1)
        def one(n: int) -> None:
            begun.append(n)
            release.wait(WAIT_S)

        with deck() as d:
            for n in range(3):
                d.submit(one, n, n=n)
            d.host.cancel(1)
            assert isinstance(d.wait(1).outcome, ToolCancelled)
            release.set()
            d.wait(2)
        assert begun == [0, 2]


class TestClosing:
    def test_waits_for_what_runs(self) -> None:
        begun = threading.Event()
        release = threading.Event()

        @tool
        def slow() -> str:
            begun.set()
            release.wait(WAIT_S)
            return "done"

        with deck() as d:
            d.submit(slow)
            assert begun.wait(WAIT_S)
            threading.Timer(0.05, release.set).start()
        assert d.wait().outcome == "done"

    def test_cancels_what_does_not_end(self) -> None:
        with deck() as d:
            d.submit(nap)
            d.host.close(timeout=0)
            assert isinstance(d.wait().outcome, ToolCancelled)

    def test_leaves_a_stuck_thread_behind(self) -> None:
        begun, release = threading.Event(), threading.Event()

        @tool
        async def block() -> None:
            begun.set()
            release.wait(WAIT_S)

        with deck() as d:
            d.submit(block)
            assert begun.wait(WAIT_S)
            d.host.close(timeout=0)
            assert isinstance(d.wait().outcome, ToolCancelled)
            release.set()

    def test_refuses_new_calls(self) -> None:
        with deck() as d:
            d.host.close()
            d.host.close()
            with pytest.raises(UsageError, match="not running"):
                d.submit(double, n=1)


def test_inputs_of_every_size_are_copied() -> None:
    deep: Any = 1
    for _ in range(249):
        deep = [deep]
    with deck() as d:
        assert d.outcome(takes({}), x=deep) == {"x": deep}


class TestACallThatMayNotBegin:
    @pytest.mark.parametrize("one", [double, half])
    def test_is_told_and_not_made(self, one: Tool) -> None:
        delivered: SimpleQueue[list[Delivered]] = SimpleQueue()
        host = ToolHost(delivered.put, may_begin=lambda token: token != "late")
        host.start()
        host.submit([Call(one, {"n": 2}, ToolContext(), WAIT_S, name) for name in ("late", "early")])
        outcomes: dict[str, Any] = {}
        while len(outcomes) < 2:
            outcomes |= {done.call.token: done.outcome for done in delivered.get(timeout=WAIT_S)}
        host.close()

        assert isinstance(outcomes["late"], NotBegun)
        assert outcomes["early"] == (1 if one is half else 4)
