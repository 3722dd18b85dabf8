"""Wakes whoever waits; costs nothing when nobody does."""

from __future__ import annotations

import asyncio


class Signal:
    """Told that something has changed. Waiters look for themselves what it is."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Until the next ``notify``."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        await future

    def notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)
