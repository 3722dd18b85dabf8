"""Nobody is held up: not by a tool that blocks its loop, not by slow calls, not by a fault of the host's owner."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue
from typing import Any

import pytest

from dynamicflow.tools import (
    Call,
    ToolContext,
    ToolHost,
    tool,
)
from dynamicflow.tools.host import Delivered
from tests.tools.tool_kit import WAIT_S, deck


@tool
async def double(n: int) -> int:
    return 2 * n


@tool
def half(n: int) -> float:
    return n / 2


class TestOthersAreNotHeldUp:
    def test_by_an_async_tool_that_blocks(self, caplog: pytest.LogCaptureFixture) -> None:
        release = threading.Event()

        @tool
        async def block(n: int) -> int:
            release.wait(WAIT_S)
            return n

        with deck() as d:
            blocked = Call(block, {"n": 1}, ToolContext(), WAIT_S, "blocked")
            others = [Call(double, {"n": n}, ToolContext(), WAIT_S, n) for n in range(5)]
            d.host.submit([blocked, *others])
            for n in range(5):
                assert d.wait(n).outcome == 2 * n
            assert d.outcome(double, "new", n=9) == 18
            d.submit(block, "again", n=2)
            assert d.outcome(double, "newer", n=9) == 18
            release.set()
            assert d.wait("blocked").outcome == 1
            assert d.wait("again").outcome == 2
        assert "block blocks its event loop" in caplog.text

    def test_what_had_begun_beside_it_ends_when_it_lets_go(self) -> None:
        begun, release = threading.Event(), threading.Event()

        @tool
        async def waits() -> str:
            begun.set()
            await asyncio.sleep(0)
            return "through"

        @tool
        async def block() -> None:
            release.wait(WAIT_S)

        with deck() as d:
            d.host.submit([Call(t, {}, ToolContext(), WAIT_S, t.id) for t in (waits, block)])
            assert begun.wait(WAIT_S)
            assert d.outcome(double, "other", n=1) == 2
            release.set()
            assert d.wait("waits").outcome == "through"

    def test_by_a_sync_tool_that_was_quick_before(self) -> None:
        release = threading.Event()

        @tool
        def moody(n: int) -> int:
            if n == 50:
                release.wait(WAIT_S)
            return n

        with deck() as d:
            for n in range(20):
                assert d.outcome(moody, n, n=n) == n
            d.host.submit([Call(moody, {"n": n}, ToolContext(), WAIT_S, n) for n in range(49, 60)])
            for n in range(51, 60):
                assert d.wait(n).outcome == n
            assert d.wait(49).outcome == 49
            release.set()
            assert d.wait(50).outcome == 50

    def test_by_more_slow_calls_than_the_pool_has_threads(self) -> None:
        release = threading.Event()

        @tool
        def slow() -> None:
            release.wait(WAIT_S)

        with deck(threads=2) as d:
            for n in range(4):
                d.submit(slow, n)
            assert d.outcome(half, "other", n=2) == 1
            release.set()

    def test_by_a_fault_of_the_owner(self, caplog: pytest.LogCaptureFixture) -> None:
        outcomes: SimpleQueue[Any] = SimpleQueue()
        failed = threading.Event()

        def deliver(batch: list[Delivered]) -> None:
            if not failed.is_set():
                failed.set()
                raise RuntimeError("owner")
            outcomes.put(batch[0].outcome)

        host = ToolHost(deliver)
        host.start()
        host.submit([Call(double, {"n": 1}, ToolContext(), None, "lost")])
        assert failed.wait(WAIT_S)
        host.submit([Call(double, {"n": 2}, ToolContext(), None, "next")])
        assert outcomes.get(timeout=WAIT_S) == 4
        host.close()
        assert "could not be delivered" in caplog.text
