"""The context of a call: time left, cancellation from any thread, and where tokens and progress go."""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import threading
import time

import pytest

from dynamicflow.tools import ToolCancelled, ToolContext, ToolFailed
from tests.tools.tool_kit import WAIT_S


class TestAContext:
    def test_is_made_of_nothing_for_a_direct_call(self) -> None:
        context = ToolContext()
        context.emit_token("x")
        context.emit_progress(1, 2, "half")
        context.heartbeat()
        assert (context.attempt, context.item, context.cancelled, context.remaining()) == (1, (), False, math.inf)

    def test_hands_on_tokens_and_progress(self) -> None:
        seen: list[object] = []
        context = ToolContext(
            on_token=seen.append, on_progress=lambda *args: seen.append(args), on_heartbeat=lambda: seen.append("beat")
        )
        context.emit_token("x")
        context.emit_progress(1, 4, "a quarter")
        context.heartbeat()
        assert seen == ["x", (1, 4, "a quarter"), "beat"]

    def test_counts_down(self) -> None:
        assert ToolContext(deadline=time.monotonic() - 1).remaining() == 0
        assert 9 < ToolContext(deadline=time.monotonic() + 10).remaining() <= 10

    def test_has_a_logger_that_says_where(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "dynamicflow.tool"):
            ToolContext("run", "node", (2, 0)).logger.info("hello")
        record = caplog.records[0].__dict__
        assert (record["run_id"], record["node_id"], record["item"]) == ("run", "node", (2, 0))


class TestCancelling:
    def test_is_seen_by_a_check(self) -> None:
        context = ToolContext(node_id="n")
        context.check_cancelled()
        context.cancel()
        with pytest.raises(ToolCancelled, match="n was cancelled"):
            context.check_cancelled()

    def test_wakes_a_thread_that_waits(self) -> None:
        context = ToolContext()
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(context.wait(WAIT_S)))
        thread.start()
        context.cancel()
        thread.join()
        assert answers == [True]
        assert context.wait(0) is True
        assert ToolContext().wait(0) is False

    async def test_wakes_a_task_that_waits(self) -> None:
        context = ToolContext()
        task = asyncio.create_task(context.wait_cancelled())
        await asyncio.sleep(0)
        await asyncio.to_thread(context.cancel)
        await asyncio.wait_for(task, WAIT_S)
        await asyncio.wait_for(context.wait_cancelled(), WAIT_S)


def test_a_failure_survives_pickling() -> None:
    failed = ToolFailed("m", code="C", retryable=True, retry_after=1, details={"a": 1})
    again = pickle.loads(pickle.dumps(failed))
    assert (again.message, again.code, again.retryable, again.retry_after, again.details) == (
        "m",
        "C",
        True,
        1,
        {"a": 1},
    )
