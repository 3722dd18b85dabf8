"""The process of a worker: its event loop (uvloop where it is installed, Python's own elsewhere), threads, garbage."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")

GARBAGE: Final = (50_000, 20, 50)
"""Thresholds of Python's collector. With its own (700, 10, 10) it looks through young objects at every tenth step."""


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What ``asyncio.Runner`` makes its loop with; None stands for Python's own."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop


def settle() -> None:
    """For a process that is about to start: what is loaded stays, and is not looked through for garbage again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


async def on_a_thread(call: Callable[[], T]) -> T:
    """What users' code gives, called off the loop. Unlike a pool's, its thread keeps no process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle_with(settle: Callable[[], None]) -> None:
        if not done.done():
            settle()

    def run() -> None:
        try:
            made = call()
        except Exception as error:
            settle = partial(done.set_exception, error)
        else:
            settle = partial(done.set_result, made)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle_with, settle)

    threading.Thread(target=run, name="dynamicflow-joins", daemon=True).start()
    return await done
