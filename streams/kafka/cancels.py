"""Cancels of steps, from ``flow-control``: every executor reads all that it holds (an hour), without a group."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from ...values import NotJson
from .log_check import Place
from .reader import FetchedRecord
from .records import Work, decode_record
from .settings import Settings

log = logging.getLogger(__name__)

MOST: Final = 100_000
"""Cancelled steps that are remembered, the newest: their work may still lie in its topic."""


class Cancels:
    """Hands on the places of steps whose outcome no longer matters, and remembers them.

    One that is missed costs time; a step that must not run twice may then be done though nobody waits for it.
    """

    def __init__(self, settings: Settings, cancel: Callable[[Place, int], None]) -> None:
        """``cancel`` a step, if a fact before this offset led to its work."""
        self._settings, self._cancel = settings, cancel
        self._consumer: Any = None
        self._cancelled: dict[Place, tuple[int, int]] = {}
        """Step -> (partition of its log, offset of the fact that cancelled it)."""

    async def start(self) -> None:
        """Everything that was there has been read on return."""
        place = TopicPartition(self._settings.topics.control, 0)
        self._consumer = AIOKafkaConsumer(
            **self._settings.connection.client_options(), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await self._consumer.start()
        self._consumer.assign([place])
        end = (await self._consumer.end_offsets([place]))[place]
        await self._consumer.seek_to_beginning(place)
        while await self._consumer.position(place) < end:
            await self._read()

    def covers(self, work: Work) -> bool:
        """A fact later than the one that led to this work cancelled the step. (What a later one led to is wanted.)"""
        step = work.step
        partition, at = self._cancelled.get((step.run_id, step.node_id, step.item), (-1, -1))
        return partition == work.log_partition and at > work.since

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self._read()

    async def _read(self) -> None:
        for records in (await self._consumer.getmany(timeout_ms=500)).values():
            for record in records:
                try:
                    self._take(record)
                except (NotJson, KeyError, TypeError) as error:
                    log.warning("%s, offset %d is no control record: %r", record.topic, record.offset, error)

    def _take(self, record: FetchedRecord) -> None:
        made = decode_record(record.value)
        if made["type"] != "cancel-step":
            return
        place = (made["runId"], made["nodeId"], tuple(made["item"]))
        partition, at = made["logPartition"], made["at"]
        if type(partition) is not int or type(at) is not int:
            raise TypeError(f"logPartition and at are {partition!r:.50} and {at!r:.50}")
        self._cancel(place, at)
        self._cancelled.pop(place, None)
        self._cancelled[place] = (partition, at)
        if len(self._cancelled) > MOST:
            del self._cancelled[next(iter(self._cancelled))]

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
