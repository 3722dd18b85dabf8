"""What nobody could understand: the payload, cut, with the reason and where it stood."""

from __future__ import annotations

import base64
import logging
from typing import Any, Final

from aiokafka.errors import KafkaError

from ...values import Json, encode
from ..metrics import Metrics
from .records import Record, partition_of
from .topics import Topics
from .writer import Writer

log = logging.getLogger(__name__)

KEPT_BYTES: Final = 16 * 1024
"""Of a payload that could not be understood."""


class DeadLetters:
    """Writes to ``flow-dead-letter``."""

    def __init__(self, writer: Writer, topics: Topics, metrics: Metrics) -> None:
        self._writer, self._topic, self._metrics = writer, topics.dead_letter, metrics

    async def put(self, record: Any, code: str, message: str, problems: Json = None) -> None:
        """Durable on return: the first 16 KiB of the record as it came, why, and its coordinates."""
        value = record.value or b""
        text = value[:KEPT_BYTES].decode("utf-8", "replace").encode().decode()
        letter: dict[str, Json] = {
            "code": code,
            "message": message,
            "problems": problems or [],
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "bytes": len(value),
            "isNull": record.value is None,
            "text": text,
            "base64": base64.b64encode(value[:KEPT_BYTES]).decode(),
        }
        coordinates = f"{record.topic}/{record.partition}/{record.offset}"
        headers = [("reason", code.encode()), ("coordinates", coordinates.encode())]
        key = record.key or coordinates.encode()
        count = await self._writer.partitions(self._topic)
        self._metrics.dead_letter(code)
        log.warning("%s: %s (%s); see %s", coordinates, message[:500], code, self._topic)
        try:
            await self._writer.put([Record(self._topic, partition_of(key, count), key[:1024], encode(letter), headers)])
        except KafkaError:
            log.exception("the dead letter of %s was refused", coordinates)
