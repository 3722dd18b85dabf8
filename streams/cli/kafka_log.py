"""The log of one run in the topics: read from the run's own partition, and from nowhere else but its large values.

Positions are offsets plus one, so that the first is above 0, as in a journal.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import Any, TypeAlias, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ...values import NotJson
from ..core.events import FlowComplete
from ..kafka.connection import Connection
from ..kafka.finding import Finder
from ..kafka.reader import FetchedRecord, Reader
from ..kafka.records import decode_record, event_of, header, snapshot_place
from ..kafka.settings import Settings
from ..kafka.tail import Tail
from ..kafka.topics import Topics
from ..kafka.values import ValueStore

T = TypeVar("T")
Do: TypeAlias = Callable[[Coroutine[Any, Any, T]], T]


async def low_water(connection: Connection, topics: Topics) -> dict[int, int]:
    """Partition -> the low-water mark that its scheduler committed; nothing where there is none, or we may not know."""
    client = AIOKafkaAdminClient(**connection.client_options())
    try:
        await client.start()
        found = await client.list_consumer_group_offsets(Settings(connection, topics).group("scheduler"))
    except (KafkaError, AttributeError):  # not allowed; the latter: aiokafka 0.14 stumbles over a partition's error
        return {}
    finally:
        await client.close()
    return {at.partition: told.offset for at, told in found.items() if at.topic == topics.events and told.offset >= 0}


class RunStretch:
    """Where the run lies, and its records as they come."""

    def __init__(
        self, topics: Topics, reader: Reader, values: ValueStore, run_id: str, partition: int, first: int = 0
    ) -> None:
        """``first``: offset of its first record; :meth:`find` finds it."""
        self._topics, self._reader, self._values = topics, reader, values
        self._run_id, self._key, self._partition = run_id, run_id.encode(), partition
        self._first = first
        self._last: int | None = None
        """Offset of its end, once that is known."""
        self._read_to = first
        """Every record before has been looked at."""
        self._given = 0
        """Position of the newest record of the run among them."""
        self._searched_to = 0
        """There is no request of the run before, as :meth:`find` has seen."""

    async def find(self, connection: Connection) -> bool:
        """False when the log holds no such run."""
        _, end = await self._reader.bounds(self._topics.events, self._partition)
        self._searched_to = end
        tail = Tail(connection, self._topics.events)  # never started: it only says where the log ends now
        tail.starts[self._partition] = tail.positions[self._partition] = end
        finder = Finder(self._reader, tail, self._topics)
        mark = await finder.mark(self._run_id, self._partition)
        if mark is not None:
            self._first, self._last = mark.first, mark.last
            return True
        first = None if _tells_time(self._run_id) else await self._alive(connection, end)
        first = await finder.first_offset(self._run_id, self._partition) if first is None else first
        self._first = self._read_to = first or 0
        return first is not None

    async def _alive(self, connection: Connection, end: int) -> int | None:
        """Its first offset if it lives: a scheduler would find it at its snapshot, or after its low-water mark."""
        found = await self._in_snapshots()
        start = None if found is not None else (await low_water(connection, self._topics)).get(self._partition)
        return found if start is None else await self._request_in(start, end)

    async def came(self) -> bool:
        """The run was requested since :meth:`find` looked for it, or since this was asked."""
        _, end = await self._reader.bounds(self._topics.events, self._partition)
        first = await self._request_in(self._searched_to, end)
        self._searched_to = end
        if first is not None:
            self._first = self._read_to = first
        return first is not None

    async def _request_in(self, start: int, end: int) -> int | None:
        async with aclosing(self._read(self._topics.events, start, end)) as records:
            async for record in records:
                if record.key == self._key and header(record.headers, "ce_type") == b"flow-requested":
                    return int(record.offset)
        return None

    async def _in_snapshots(self) -> int | None:
        found: dict[int, int] = {}
        start, end = await self._reader.bounds(self._topics.snapshots, self._partition)
        async for record in self._read(self._topics.snapshots, start, end):
            place = snapshot_place(record.key or b"")
            if place is not None and place[0] == self._run_id:
                found.pop(place[1], None)
                with suppress(NotJson, LookupError, TypeError, ValueError):  # deleted, or whatever somebody put there
                    found[place[1]] = int(decode_record(record.value)["shell"]["first"])
        return max(found.values(), default=None)

    async def fetch(self, after: int) -> list[tuple[int, bytes]]:
        """(position, record) with ``position > after``, as far as the log goes now, or to the run's end.

        Raises BrokerError LOG_EXPIRED when the log no longer reaches back to its beginning.
        """
        start = self._read_to if after and after == self._given else max(after, self._first)
        _, end = await self._reader.bounds(self._topics.events, self._partition)
        end = end if self._last is None else self._last + 1
        found: list[tuple[int, bytes]] = []
        async with aclosing(self._read(self._topics.events, start, end)) as records:
            async for record in records:
                if self._last is not None and record.offset > self._last:
                    break
                if record.key == self._key and self._take(record):
                    found.append((record.offset + 1, record.value))
        self._read_to, self._given = max(start, end), found[-1][0] if found else after
        return found

    def _take(self, record: FetchedRecord) -> bool:
        """False for what is no event: no scheduler has folded it, as its dead letter says."""
        try:
            event = event_of(record.value, record.key, header(record.headers, "ce_type"))
        except NotJson:
            return False
        self._values.heard(record.headers)
        if self._last is None and isinstance(event, FlowComplete):
            self._last = record.offset  # what follows under the same id is answers to those who come too late
        return True

    def _read(self, topic: str, start: int, end: int) -> AsyncGenerator[FetchedRecord, None]:
        return self._reader.records(topic, self._partition, start, end)

    async def grown(self) -> bool:
        """There is something in the partition that has not been looked at."""
        return (await self._reader.bounds(self._topics.events, self._partition))[1] > self._read_to


class KafkaLog:
    """The same for callers without an event loop."""

    def __init__(self, stretch: RunStretch, values: ValueStore, do: Do[Any]) -> None:
        self._stretch, self._values, self._do = stretch, values, do

    def read(self, run_id: str, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position, record) of the run, ascending. Raises BrokerError."""
        yield from self._do(self._stretch.fetch(after))

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Large values by digest. Raises JournalError, BrokerError."""
        wanted = list(digests)
        return self._do(self._values.load(wanted)) if wanted else {}


def _tells_time(run_id: str) -> bool:
    try:
        return uuid.UUID(run_id).version == 7
    except ValueError:
        return False
