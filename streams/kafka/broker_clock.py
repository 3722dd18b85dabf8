"""Time as the brokers tell it: a worker whose own clock is an hour off stamps and fires nothing wrong (design §6)."""

from __future__ import annotations

import time
from collections.abc import Callable


class BrokerClock:
    """The newest broker timestamp heard, plus the time that has passed here since. Never goes backwards.

    Every topic is ``LogAppendTime``, so each record read and each acknowledgement of an append tells the broker's time.
    It lags by the way of the last message, never leads: nothing is due early. Before the first is heard it shows 1970.
    """

    virtual = False

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset_ms = -monotonic() * 1000
        """Broker time minus monotonic time."""

    def heard(self, timestamp_ms: float) -> None:
        """A record was appended at that moment."""
        offset = timestamp_ms - self._monotonic() * 1000
        if offset > self._offset_ms:
            self._offset_ms = offset

    def now_ms(self) -> float:
        return self._monotonic() * 1000 + self._offset_ms

    def advance_to(self, ms: float) -> None:
        """Time goes by itself."""
