"""How a worker stands: once a second for Prometheus, and for /readyz whenever it is asked.

It looks on: nothing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from ..metrics import Metrics
from .broker_clock import BrokerClock

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
FRESH_MS: Final = 2000.0
"""A partition whose last fetch is older is asked for its end: nothing is fetched of one that is full or paused."""
ANSWER_S: Final = 2.0
SILENT_S: Final = 10.0
"""When no broker has answered for so long, a worker is not ready."""


class Watch:
    """Looks at the roles of a worker. Everything but ``not_ready`` lives on the worker's loop.

    A role's ``reading()`` gives its consumers, each with the partitions that it takes records from.
    """

    def __init__(self, roles: Mapping[str, Any], metrics: Metrics, clock: BrokerClock) -> None:
        self._roles, self._metrics, self._clock = roles, metrics, clock
        self._why: str | None = "the worker is starting"
        self._troubles: dict[str, str] = {}
        self._heard = time.monotonic()
        """When a broker answered last."""
        self._aged: set[int] = set()
        """Partitions whose low-water age is told."""

    def stands(self, why: str | None) -> None:
        """Why the worker as a whole is not ready; None when it is up."""
        self._why, self._heard = why, time.monotonic()

    def trouble(self, role: str, why: str | None) -> None:
        """Why a role does not run; None when it does."""
        if why is None:
            self._troubles.pop(role, None)
        else:
            self._troubles[role] = why

    # --- for people ---------------------------------------------------------------------------------------------------

    def not_ready(self) -> str | None:
        """Why work should not be sent here; None when it may be. For any thread."""
        silent = time.monotonic() - self._heard
        if self._why is not None:
            return self._why
        if self._troubles:
            return "; ".join(f"the {role} failed: {why}" for role, why in sorted(dict(self._troubles).items()))
        if silent > SILENT_S:
            return f"no broker has answered for {silent:.0f} s"
        return self._not_taken_over()

    def _not_taken_over(self) -> str | None:
        scheduler = self._roles.get("scheduler")
        owned = dict(scheduler.owned) if scheduler is not None else {}
        waiting = sorted(number for number, one in owned.items() if not one.ready)
        if not waiting:
            return None
        for number in waiting:
            if owned[number].failed is not None:
                return f"partition {number} of the log cannot be taken over: {owned[number].failed}"
        shown = ", ".join(map(str, waiting[:20])) + (", …" if len(waiting) > 20 else "")
        return f"partition{'s' * (len(waiting) > 1)} {shown} of the log: being taken over"

    # --- for Prometheus -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if self._why is None:
                    await self._look()
            except Exception:  # of a role that goes at this moment; what is told must not stop who works
                log.debug("the worker could not be looked at", exc_info=True)

    async def _look(self) -> None:
        idle = True
        for name, role in list(self._roles.items()):
            count = 0
            for consumer, places in role.reading():
                count += len(consumer.assignment())
                for topic in consumer.subscription():
                    records = await self._lag(consumer, places)
                    if records is not None:
                        self._metrics.lag(name, topic, records)
            self._metrics.partitions_owned(name, count)
            idle = idle and not count
        if idle:
            self._heard = time.monotonic()
        self._look_at_marks()

    async def _lag(self, consumer: Any, places: Iterable[TopicPartition]) -> int | None:
        """Records that are there and not yet taken; None when it is not to be known now."""
        now = time.time() * 1000
        try:
            async with asyncio.timeout(ANSWER_S):
                told = {place: consumer.last_poll_timestamp(place) for place in places}
                late = [place for place, polled in told.items() if polled is None or now - polled > FRESH_MS]
                ends = {place: consumer.highwater(place) for place in told if place not in late}
                if late:
                    ends |= await consumer.end_offsets(late)
                lag: int = sum([max(0, end - await consumer.position(place)) for place, end in ends.items()])
        except (KafkaError, TimeoutError, AssertionError):  # no broker, or the partitions are just going elsewhere
            return None
        if ends:
            self._heard = time.monotonic()
        return lag

    def _look_at_marks(self) -> None:
        scheduler = self._roles.get("scheduler")
        owned = {} if scheduler is None else {number: one for number, one in scheduler.owned.items() if one.ready}
        now = self._clock.now_ms()
        for number, one in owned.items():
            oldest = one.ledger.oldest_ms
            self._metrics.low_water_age(number, 0.0 if oldest is None else max(0.0, now - oldest) / 1000)
        for number in self._aged - owned.keys():
            self._metrics.low_water_age(number, None)
        self._aged = set(owned)
