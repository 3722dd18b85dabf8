"""Runs that no log holds: their request waits in its topic, or was put aside. For those who ask after one too early."""

from __future__ import annotations

import contextlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError

from ...values import NotJson
from ..requests import RequestInvalid, StartRequest, read_request
from .admin import describe_partitions
from .admission import Coordinates, run_id_at
from .connection import Connection
from .reader import FetchedRecord, Reader
from .records import decode_record
from .settings import Settings
from .topics import Topics

NEWEST_LETTERS: Final = 500
"""Dead letters of a partition that are looked through, from its end."""
MESSAGE_CHARS: Final = 500
"""Of what a dead letter says."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request was put aside, and where its dead letter lies."""

    code: str
    message: str
    partition: int
    offset: int


class Unadmitted:
    """Looks into the topic of requests and that of dead letters. Raises BrokerError and what aiokafka raises.

    While no broker answers it waits, as aiokafka does for what a group has committed.
    """

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self._connection, self._topics = connection, topics
        self._settled = Reader(connection, isolation="read_committed")
        self._reader = Reader(connection)
        self._group: Any = None

    async def close(self) -> None:
        await self._settled.close()
        await self._reader.close()
        if self._group is not None:
            with contextlib.suppress(Exception):
                await self._group.stop()

    async def waiting(self, run_id: str) -> Coordinates | None:
        """Where a request of that run waits for a worker that looks at it; None when none is known to."""
        topic = self._topics.requests
        count = await describe_partitions(self._connection, topic) or 0
        ends = await self._reader.all_bounds(topic, range(count))
        for partition, (first, settled) in (await self._settled.all_bounds(topic, range(count))).items():
            try:
                start = max(first, await self._committed(partition))
            except GroupAuthorizationFailedError:  # this client may not know
                return None
            # Behind an open transaction nothing is admitted either; whether that part counts is not known yet.
            for reader, low, high in (
                (self._settled, start, settled),
                (self._reader, max(start, settled), ends[partition][1]),
            ):
                async with aclosing(reader.records(topic, partition, low, high)) as records:
                    async for record in records:
                        place = Coordinates(topic, partition, record.offset, record.timestamp)
                        if _run_of(record, place) == run_id:
                            return place
        return None

    async def passed(self, place: Coordinates) -> bool:
        """A worker has looked at the request there: it is in a log, or was put aside."""
        return await self._committed(place.partition) > place.offset

    async def refused(self, run_id: str) -> Refused | None:
        """The newest dead letter of a request of that run."""
        topic, found = self._topics.dead_letter, None
        count = await describe_partitions(self._connection, topic) or 0
        for partition, (first, end) in (await self._reader.all_bounds(topic, range(count))).items():
            low = max(first, end - NEWEST_LETTERS)
            async with aclosing(self._reader.records(topic, partition, low, end)) as records:
                async for record in records:
                    found = _refusal(record, run_id, self._topics.requests) or found
        return found

    async def _committed(self, partition: int) -> int:
        """Every request of a partition before it has been looked at."""
        if self._group is None:
            settings = Settings(self._connection, self._topics)
            group = AIOKafkaConsumer(
                **self._connection.client_options(), group_id=settings.group("intake"), enable_auto_commit=False
            )
            try:
                await group.start()  # it subscribes to nothing: it never is a member of the group
            except BaseException:
                await group.stop()
                raise
            self._group = group
        return await self._group.committed(TopicPartition(self._topics.requests, partition)) or 0


def _run_of(record: FetchedRecord, place: Coordinates) -> str | None:
    """The id of the run that a request starts, or would start if it were right."""
    try:
        request = read_request(record.value, record.key)
    except RequestInvalid as error:
        return error.run_id
    return (request.run_id or run_id_at(place)) if isinstance(request, StartRequest) else None


def _refusal(record: FetchedRecord, run_id: str, requests: str) -> Refused | None:
    """What a dead letter says, if it is of a request of that run: by its key or, if it had none, by its own text."""
    with contextlib.suppress(NotJson, KeyError):  # whatever somebody put there
        letter = decode_record(record.value)
        if letter["topic"] == requests and (record.key == run_id.encode() or _named_in(letter, run_id)):
            message = " ".join(str(letter["message"]).split())[:MESSAGE_CHARS]
            return Refused(str(letter["code"]), message, record.partition, record.offset)
    return None


def _named_in(letter: dict[str, Any], run_id: str) -> bool:
    with contextlib.suppress(NotJson):  # cut, or no JSON
        return bool(decode_record(str(letter["text"]).encode("utf-8", "replace")).get("runId") == run_id)
    return False
