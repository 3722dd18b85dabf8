"""Limits of one tool: how many run, how many begin in a window; first come, first served."""

from __future__ import annotations

import threading

import pytest

from dynamicflow.tools import Call, RateLimit, Tool, ToolContext, ToolTimeout, tool
from dynamicflow.tools.limits import Rate
from tests.tools.tool_kit import WAIT_S, Deck, deck


def calls(one: Tool, count: int) -> list[Call]:
    return [Call(one, {"n": n}, ToolContext(), WAIT_S, n) for n in range(count)]


class TestTheConcurrencyLimit:
    def test_holds_across_calls_and_in_their_order(self) -> None:
        lock = threading.Lock()
        running: set[int] = set()
        begun: list[int] = []
        most: list[int] = []

        @tool(concurrency_limit=2)
        def limited(n: int) -> None:
            with lock:
                running.add(n)
                begun.append(n)
                most.append(len(running))
            with lock:
                running.discard(n)

        with deck() as d:
            d.host.submit(calls(limited, 40))
            for n in range(40):
                d.wait(n)
        assert max(most) <= 2
        assert sorted(begun) == list(range(40))

    def test_one_at_a_time_is_in_order(self) -> None:
        begun: list[int] = []

        @tool(concurrency_limit=1)
        async def limited(n: int) -> None:
            begun.append(n)

        with deck() as d:
            d.host.submit(calls(limited, 20))
            d.wait(19)
        assert begun == list(range(20))

    def test_does_not_hold_up_other_tools(self) -> None:
        release = threading.Event()

        @tool(concurrency_limit=1)
        def limited(n: int) -> None:
            release.wait(WAIT_S)

        with deck() as d:
            d.host.submit(calls(limited, 3))
            assert d.outcome(tool(lambda: 1, id="free"), "free") == 1
            release.set()

    def test_time_in_the_queue_is_not_the_calls(self) -> None:
        hold = threading.Event()

        @tool(concurrency_limit=1)
        def limited(n: int) -> int:
            if n == 0:
                hold.wait(WAIT_S)
            return n

        with deck() as d:
            d.submit(limited, 0, n=0)
            d.submit(limited, 1, timeout=0.05, n=1)
            d.submit(tool(lambda: hold.wait(WAIT_S), id="clock"), "clock", timeout=0.2)
            assert isinstance(d.wait("clock").outcome, ToolTimeout)
            assert [one.call.token for one in d.outcomes] == ["clock"]
            hold.set()
            assert d.wait(1).outcome == 1

    def test_a_place_is_free_again_after_a_timeout(self) -> None:
        hold = threading.Event()

        @tool(concurrency_limit=1)
        def limited(n: int) -> int:
            if n == 0:
                hold.wait(WAIT_S)
            return n

        with deck() as d:
            d.submit(limited, 0, timeout=0.05, n=0)
            assert d.outcome(limited, 1, n=1) == 1
            assert isinstance(d.wait(0).outcome, ToolTimeout)
            hold.set()


class TestTheRateLimit:
    @pytest.mark.parametrize("strategy", ["sliding", "fixed"])
    def test_queues_in_order(self, strategy: str) -> None:
        begun: list[int] = []

        @tool(rate_limit={"maxCalls": 3, "windowMs": 50, "strategy": strategy})
        async def limited(n: int) -> None:
            begun.append(n)

        def run(d: Deck) -> float:
            d.host.submit(calls(limited, 7))
            d.wait(6)
            return d.wait(6).started_at - d.wait(0).started_at

        with deck() as d:
            took = run(d)
        assert begun == list(range(7))
        assert took >= 0.049

    def test_a_sliding_window_is_any_span(self) -> None:
        rate = Rate(RateLimit(2, 1000))
        assert [rate.take(now) for now in (0.0, 0.5, 0.9, 1.0, 1.4, 1.5)] == [True, True, False, True, False, True]

    def test_fixed_windows_follow_one_another(self) -> None:
        rate = Rate(RateLimit(2, 1000, "fixed"))
        assert [rate.take(now) for now in (0.8, 0.9, 0.95, 1.0, 1.1, 1.2)] == [True, True, False, True, True, False]
