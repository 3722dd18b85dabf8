"""Large values beside the log, in ``flow-values``: chunks under their SHA-256, written before what names them.

Where a value lies (partition, first offset) travels in the header ``df-large`` of that record, so that loading one is a
single read. A record without the header is still readable: the value's partition is scanned.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from ...errors import JournalError
from .reader import Reader
from .records import Headers, Record, header, partition_of
from .topics import Topics
from .writer import Writer

CHUNK_BYTES: Final = 800_000
KEPT_BYTES: Final = 64 * 1024 * 1024
"""Of values read or written lately that stay in memory."""
KEPT_PLACES: Final = 50_000
STORED_S: Final = 21_600.0
"""How long what this process has stored counts as being there: the topic deletes by time, and one value may be part of
requests for years."""
HEADER: Final = "df-large"

Places: TypeAlias = dict[str, tuple[int, int]]
"""SHA-256 in hex -> (partition, offset of the first chunk)."""


class ValueStore:
    """Writes values once and reads them again. Lives on one event loop."""

    def __init__(self, writer: Writer, reader: Reader, topics: Topics, *, stored_s: float = STORED_S) -> None:
        self._writer, self._reader, self._topic, self._stored_s = writer, reader, topics.values, stored_s
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._places: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._stored: OrderedDict[str, float] = OrderedDict()
        """SHA-256 -> when this process stored it, on its monotonic clock; oldest first."""

    async def store(self, values: Mapping[str, bytes], *, anew: bool = False) -> Headers:
        """Append what this process has not stored lately; the header for the record that names the values.

        ``anew``: append them in any case, so that their retention begins again.
        """
        if not values:
            return []
        count = await self._writer.partitions(self._topic)
        places: Places = {}
        for sha, body in values.items():
            if anew or not self._is_stored(sha):
                partition = partition_of(sha.encode(), count)
                chunks = range(0, len(body), CHUNK_BYTES) or range(1)
                records = [
                    Record(
                        self._topic,
                        partition,
                        f"{sha}/{index}".encode(),
                        body[start : start + CHUNK_BYTES],
                        [("bytes", str(len(body)).encode())],
                    )
                    for index, start in enumerate(chunks)
                ]
                began = time.monotonic()
                self._place(sha, (partition, (await self._writer.put(records))[0]))
                self._stored[sha] = began
                self._stored.move_to_end(sha)
            self._keep(sha, body)
            places[sha] = self._places[sha]
        while len(self._stored) > KEPT_PLACES:
            self._stored.popitem(last=False)
        return [(HEADER, json.dumps(places).encode())]

    def _is_stored(self, sha: str) -> bool:
        stored = self._stored.get(sha)
        return sha in self._places and stored is not None and time.monotonic() - stored < self._stored_s

    def heard(self, headers: Headers) -> None:
        """Remember where values lie that a record names."""
        found = header(headers, HEADER)
        if found is not None:
            try:
                places = {str(sha): (int(place[0]), int(place[1])) for sha, place in json.loads(found).items()}
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                return  # not of ours; the values are found by scanning
            for sha, place in places.items():
                self._place(sha, place)

    async def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The values. Raises JournalError VALUE_MISSING for one that is not there or damaged."""
        made = {}
        for sha in digests:
            found = self._kept.get(sha)
            if found is None:
                found = await self._read(sha)
                self._keep(sha, found)
            made[sha] = found
        return made

    async def _read(self, sha: str) -> bytes:
        place = self._places.get(sha)
        if place is None:
            place = (partition_of(sha.encode(), await self._writer.partitions(self._topic)), 0)
        first, end = await self._reader.bounds(self._topic, place[0])
        parts: dict[int, bytes] = {}
        total = got = 0
        async for batch in self._reader.read(self._topic, place[0], max(place[1], first), end):
            for record in batch:
                name, _, index = (record.key or b"").decode().partition("/")
                if name == sha and int(index) not in parts:
                    parts[int(index)] = record.value
                    got += len(record.value)
                    total = int(header(record.headers, "bytes") or 0)
            if parts and got >= total:
                body = b"".join(parts[index] for index in sorted(parts))
                if hashlib.sha256(body).hexdigest() == sha:
                    return body
        message = f"the value {sha} is not in {self._topic}, or damaged: its retention may have ended"
        raise JournalError("VALUE_MISSING", message)

    def _keep(self, sha: str, body: bytes) -> None:
        if sha not in self._kept:
            self._kept[sha] = body
            self._kept_bytes += len(body)
            while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped)

    def _place(self, sha: str, place: tuple[int, int]) -> None:
        self._places[sha] = place
        self._places.move_to_end(sha)
        if len(self._places) > KEPT_PLACES:
            self._places.popitem(last=False)

    async def close(self) -> None:
        """Let go of the reader."""
        await self._reader.close()


def has_values(headers: Headers) -> bool:
    """A part of the record with these headers lies in ``flow-values``."""
    return header(headers, HEADER) is not None
