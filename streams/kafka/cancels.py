"""Cancels of running steps, from ``flow-control``: every executor reads it from its end, without a group."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from ...values import NotJson
from .log_check import Place
from .records import decode_record
from .settings import Settings

log = logging.getLogger(__name__)


class Cancels:
    """Hands on the places of steps whose outcome no longer matters. One that is missed costs time, nothing else."""

    def __init__(self, settings: Settings, cancel: Callable[[Place], None]) -> None:
        self._settings, self._cancel = settings, cancel
        self._consumer: Any = None

    async def start(self) -> None:
        place = TopicPartition(self._settings.topics.control, 0)
        self._consumer = AIOKafkaConsumer(
            **self._settings.connection.client_options(), enable_auto_commit=False, auto_offset_reset="latest"
        )
        await self._consumer.start()
        self._consumer.assign([place])
        await self._consumer.seek_to_end(place)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    try:
                        made = decode_record(record.value)
                        if made["type"] == "cancel-step":
                            self._cancel((made["runId"], made["nodeId"], tuple(made["item"])))
                    except (NotJson, KeyError, TypeError) as error:
                        log.warning("%s, offset %d is no control record: %r", record.topic, record.offset, error)

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
