"""SIGTERM and SIGINT of a process that works until it is told to stop: the first asks, the second ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_AT_ONCE: Final = b"stopped at once; steps that ran are taken up by others when they are missed\n"


class Stopped(KeyboardInterrupt):
    """The process was told to stop before its event loop ran. A KeyboardInterrupt: users' modules may be loading."""


class Stop:
    """Knows whether the process was told to stop. Signals are its own from entering to leaving.

    The handlers are Python's, not the event loop's: a loop that is blocked does not keep the second signal waiting.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The first that came."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: asyncio.Event | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin(self) -> asyncio.Event:
        """From now on a signal sets the event and raises nothing. To be called on the loop."""
        self._asked, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self.signal is not None:  # somebody's code took the exception for its own
            self._asked.set()
        return self._asked

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            end_at_once(128 + number)
        self.signal = signal.Signals(number)
        if self._loop is None or self._asked is None:
            raise Stopped
        self._loop.call_soon_threadsafe(self._asked.set)


def end_at_once(code: int) -> NoReturn:
    """No handler, no thread and no buffer is waited for: what counts is in the log of the runs."""
    os.write(2, _AT_ONCE)
    os._exit(code)
