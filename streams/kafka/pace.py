"""Rounds that do not follow each other too closely: what comes between two is taken together."""

from __future__ import annotations

import asyncio
from typing import Final

ROUND_S: Final = 0.003
"""A request costs a broker and its client a tenth of a millisecond each, a record in it a hundredth of that: under
load, rounds of some milliseconds serve more steps. Where there is little to do nothing waits."""
import os

ROUND_S = float(os.environ.get("ROUND", "0.0"))
POLL_S = float(os.environ.get("PACE", "0.0"))
FEW: Final = 4
"""Records of a round below which there is no load to speak of."""


class Pace:
    """Keeps a loop from going round more often than once in ``seconds``."""

    def __init__(self, seconds: float = POLL_S) -> None:
        self._seconds = seconds
        self._last = 0.0

    async def __call__(self, last: int) -> None:
        """Wait until the next round may begin; at once when the ``last`` brought little, or is long ago."""
        loop = asyncio.get_running_loop()
        wait = self._last + self._seconds - loop.time()
        if wait > 0 and last >= FEW:
            await asyncio.sleep(wait)
        self._last = loop.time()
