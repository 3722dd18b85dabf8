"""Runs that no log holds: their request waits in its topic, or was put aside. For those who ask after one too early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ...values import NotJson
from ..requests import RequestInvalid, StartRequest, read_request
from .admin import describe_partitions
from .admission import Coordinates, run_id_at
from .connection import Connection
from .reader import FetchedRecord, Reader
from .records import decode_record, partition_of
from .settings import Settings
from .topics import Topics

NEWEST_LETTERS: Final = 1000
"""Dead letters of a partition that are looked through, from its end."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request was put aside, and where its dead letter lies."""

    code: str
    message: str
    partition: int
    offset: int


async def committed(connection: Connection, group: str) -> dict[TopicPartition, int] | None:
    """What a group has committed; None where this client may not know."""
    client = AIOKafkaAdminClient(**connection.client_options())
    try:
        await client.start()
        found = await client.list_consumer_group_offsets(group)
    except (KafkaError, AttributeError):  # not allowed; the latter: aiokafka 0.14 stumbles over a partition's error
        return None
    finally:
        await client.close()
    return {place: told.offset for place, told in found.items() if told.offset >= 0}


class Unadmitted:
    """Looks into the topic of requests and that of dead letters. Raises BrokerError and what aiokafka raises."""

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self._connection, self._topics = connection, topics
        self._reader = Reader(connection, isolation="read_committed")  # as those who admit them

    async def close(self) -> None:
        await self._reader.close()

    async def waiting(self, run_id: str) -> Coordinates | None:
        """Where the start of a run waits for a worker that admits it; None when none is known to."""
        topic = self._topics.requests
        through = await committed(self._connection, Settings(self._connection, self._topics).group("intake"))
        if through is None:
            return None
        count = await describe_partitions(self._connection, topic) or 0
        for partition, (first, end) in (await self._reader.all_bounds(topic, range(count))).items():
            start = max(first, through.get(TopicPartition(topic, partition), first))
            async for batch in self._reader.read(topic, partition, start, end):
                for record in batch:
                    place = Coordinates(topic, partition, record.offset, record.timestamp)
                    if _starts(record, place) == run_id:
                        return place
        return None

    async def refused(self, run_id: str) -> Refused | None:
        """The newest dead letter of a request whose key was the run's id."""
        topic, key = self._topics.dead_letter, run_id.encode()
        count = await describe_partitions(self._connection, topic)
        if not count:
            return None
        partition = partition_of(key, count)
        first, end = await self._reader.bounds(topic, partition)
        found = None
        async for batch in self._reader.read(topic, partition, max(first, end - NEWEST_LETTERS), end):
            for record in batch:
                if record.key == key:
                    found = _refusal(record) or found
        return found


def _starts(record: FetchedRecord, place: Coordinates) -> str | None:
    """The id of the run that a request starts."""
    try:
        request = read_request(record.value, record.key)
    except RequestInvalid:
        return None
    return (request.run_id or run_id_at(place)) if isinstance(request, StartRequest) else None


def _refusal(record: FetchedRecord) -> Refused | None:
    try:
        made = decode_record(record.value)
        return Refused(str(made["code"]), str(made["message"]), record.partition, record.offset)
    except (NotJson, KeyError):  # whatever somebody put there
        return None
