"""The process of a worker: its event loop (uvloop where it is installed, Python's own elsewhere) and its garbage."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

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
