"""What a tool is told about its call, and how it answers other than by returning: progress, tokens, failure."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..values import Json

_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})


class ToolFailed(Exception):
    """Raised by a tool to say how it failed. ``retryable`` None: not stated; ``retry_after`` is in seconds."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "TOOL_EXECUTION_FAILED",
        retryable: bool | None = None,
        retry_after: float | None = None,
        details: Json = None,
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.retryable = message, code, retryable
        self.retry_after, self.details = retry_after, details

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message,), self.__dict__)


class NetworkError(ToolFailed):
    """The other side could not be reached, or fell silent. Retryable unless the request may have been carried out."""


class RateLimitError(ToolFailed):
    """The other side asks for fewer calls (HTTP 429)."""


class ToolTimeout(ToolFailed):
    """The call did not end within its time limit; whatever it still does is ignored."""


class ToolCancelled(BaseException):
    """The call was cancelled. Not an Exception, so that no handler of a tool swallows it on the way."""


class NotBegun(Exception):
    """The outcome of a call that was not begun because it came too late (``ToolHost(may_begin=…)``)."""


def _ignore(*_: object) -> None:
    return None


class ToolContext:
    """One call of a tool: who asks, for how long, and where tokens and progress go. Safe to use from any thread.

    ``idempotency_key`` is the same for every attempt of a step: hand it to services that know such keys.
    ``deadline`` is in seconds of ``time.monotonic()``; it is set when the call begins. ``ToolContext()`` is enough to
    call a function directly in a test.
    """

    __slots__ = (
        "_cancelled",
        "_lock",
        "_on_heartbeat",
        "_on_progress",
        "_on_token",
        "_wakers",
        "attempt",
        "deadline",
        "idempotency_key",
        "item",
        "labels",
        "metadata",
        "node_id",
        "run_id",
        "variables",
    )

    def __init__(
        self,
        run_id: str = "",
        node_id: str = "",
        item: tuple[int, ...] = (),
        attempt: int = 1,
        idempotency_key: str = "",
        *,
        deadline: float = math.inf,
        variables: Mapping[str, Json] = _NOTHING,
        labels: Mapping[str, Json] = _NOTHING,
        metadata: Mapping[str, Json] = _NOTHING,
        on_token: Callable[[str], object] = _ignore,
        on_progress: Callable[[float, float | None, str], object] = _ignore,
        on_heartbeat: Callable[[], object] = _ignore,
    ) -> None:
        self.run_id, self.node_id, self.item, self.attempt = run_id, node_id, item, attempt
        self.idempotency_key = idempotency_key
        self.deadline = deadline
        self.variables, self.labels, self.metadata = variables, labels, metadata
        self._on_token, self._on_progress, self._on_heartbeat = on_token, on_progress, on_heartbeat
        self._cancelled = False
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], object]] = []

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Of this call: its records carry ``run_id``, ``node_id``, ``item`` and ``attempt``."""
        facts = {"run_id": self.run_id, "node_id": self.node_id, "item": self.item, "attempt": self.attempt}
        return logging.LoggerAdapter(logging.getLogger("dynamicflow.tool"), facts)

    def remaining(self) -> float:
        """Seconds until the deadline, 0 when it has passed, infinite when there is none."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Has the call been cancelled, or run out of time? Its outcome is then ignored."""
        return self._cancelled

    def check_cancelled(self) -> None:
        """Raises ToolCancelled when the call has been cancelled: the way out of a long loop in a sync tool."""
        if self._cancelled:
            raise ToolCancelled(f"{self.node_id or 'the call'} was cancelled")

    async def wait_cancelled(self) -> None:
        """Returns when the call has been cancelled."""
        loop = asyncio.get_running_loop()
        happened = asyncio.Event()
        waker = self._wake_by(lambda: loop.call_soon_threadsafe(happened.set))
        try:
            await happened.wait()
        finally:
            self._forget(waker)

    def wait(self, seconds: float) -> bool:
        """Blocks a sync tool for at most ``seconds``; True at once when the call has been cancelled."""
        happened = threading.Event()
        waker = self._wake_by(happened.set)
        try:
            return happened.wait(min(seconds, threading.TIMEOUT_MAX))
        finally:
            self._forget(waker)

    def cancel(self) -> None:
        """Marks the call as cancelled and wakes whoever waits for it. The host's; a second time does nothing."""
        with self._lock:
            wakers, self._wakers = self._wakers, []
            self._cancelled = True
        for wake in wakers:
            try:
                wake()
            except RuntimeError:  # the loop that waited is closed: nobody waits any more
                continue

    def emit_token(self, text: str) -> None:
        """Sends a piece of a model's answer to whoever watches the run. Never recorded."""
        self._on_token(text)

    def emit_progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tells whoever watches the run how far the call is: ``done`` of ``total``. Never recorded."""
        self._on_progress(done, total, message)

    def heartbeat(self) -> None:
        """Says that the call is alive."""
        self._on_heartbeat()

    def _wake_by(self, wake: Callable[[], object]) -> Callable[[], object]:
        with self._lock:
            if not self._cancelled:
                self._wakers.append(wake)
                return wake
        wake()
        return wake

    def _forget(self, wake: Callable[[], object]) -> None:
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)
