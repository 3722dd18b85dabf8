"""Rounds that do not follow each other too closely: what comes between two is taken together."""

from __future__ import annotations

import asyncio
from typing import Final

ROUND_S: Final = 0.003
"""A request costs a broker and its client a tenth of a millisecond each, a record in it a hundredth of that: under
load, rounds of some milliseconds serve more steps. One step alone takes longer than a round and waits for none."""


class Pace:
    """Keeps a loop from going round more often than once in ``seconds``."""

    def __init__(self, seconds: float = ROUND_S) -> None:
        self._seconds = seconds
        self._last = 0.0

    async def __call__(self) -> None:
        """Wait until the next round may begin; at once when the last is long ago."""
        loop = asyncio.get_running_loop()
        wait = self._last + self._seconds - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        self._last = loop.time()
