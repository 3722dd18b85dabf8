"""Where a run lies in its partition of the log: by its mark, by what was seen since, by its id's time, by scanning."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Final

from ...values import NotJson
from .reader import Reader
from .records import Mark, header
from .tail import Logged, Tail, Watched, logged
from .topics import Topics

BEFORE_MS: Final = 60_000
"""How long before the time in its id a run's first record may have been appended."""


@dataclass(slots=True)
class _Marks:
    position: int = 0
    marks: dict[str, Mark] = field(default_factory=dict)
    """In the order they were appended, as ``offsets``."""
    offsets: dict[str, int] = field(default_factory=dict)

    def add(self, mark: Mark, offset: int) -> None:
        self.marks.pop(mark.run_id, None)
        self.offsets.pop(mark.run_id, None)
        self.marks[mark.run_id], self.offsets[mark.run_id] = mark, offset

    def forget_before(self, first: int) -> None:
        """Their window is over; a client that lives for long would keep all there ever were."""
        while self.offsets and next(iter(self.offsets.values())) < first:
            run_id = next(iter(self.offsets))
            del self.offsets[run_id], self.marks[run_id]


class Finder:
    """Looks runs up. What it has read of ``flow-done`` it keeps; the next look reads what is new."""

    def __init__(self, reader: Reader, tail: Tail, topics: Topics) -> None:
        self._reader, self._tail, self._topics = reader, tail, topics
        self._done: dict[int, _Marks] = {}
        self._scanned: dict[int, dict[str, int]] = {}
        """Partition -> run id -> offset of its first record, before the tail began."""

    async def mark(self, run_id: str, partition: int) -> Mark | None:
        """The mark of a run that has ended within the window."""
        return (await self.marks(partition)).get(run_id)

    async def marks(self, partition: int) -> dict[str, Mark]:
        """Every mark of a partition."""
        known = self._done.setdefault(partition, _Marks())
        first, end = await self._reader.bounds(self._topics.done, partition)
        async for batch in self._reader.read(self._topics.done, partition, max(known.position, first), end):
            for record in batch:
                try:
                    mark = Mark.decode(record.value)
                except (NotJson, KeyError, TypeError):
                    continue
                known.add(mark, record.offset)
                self._tail.has_ended(mark.run_id, partition)
                self._scanned.get(partition, {}).pop(mark.run_id, None)
        known.forget_before(first)
        known.position = max(known.position, end)
        return known.marks

    async def first_offset(self, run_id: str, partition: int) -> int | None:
        """Offset of a run's first record; None when the log has none of it."""
        mark = await self.mark(run_id, partition)
        if mark is not None:
            return mark.first
        start = await self._by_time(run_id, partition)
        if start is None:
            found = (await self._scan(partition)).get(run_id)
        else:
            found = await self._first_from(run_id, partition, start)
        return found if found is not None else self._tail.requested_in(partition).get(run_id)

    async def _by_time(self, run_id: str, partition: int) -> int | None:
        """Where to begin for an id that says when it was made; None for one that does not."""
        try:
            made = uuid.UUID(run_id)
        except ValueError:
            return None
        if made.version != 7:
            return None
        moment = (made.int >> 80) - BEFORE_MS
        found = await self._reader.offset_at(self._topics.events, partition, max(moment, 0))
        return found if found is not None else self._tail.positions.get(partition, 0)

    async def _first_from(self, run_id: str, partition: int, start: int) -> int | None:
        key = run_id.encode()
        first, end = await self._reader.bounds(self._topics.events, partition)
        async for batch in self._reader.read(self._topics.events, partition, max(start, first), end):
            for record in batch:
                if record.key == key and header(record.headers, "ce_type") == b"flow-requested":
                    return int(record.offset)  # not what was asked of a run that nobody had requested
        return None

    async def _scan(self, partition: int) -> dict[str, int]:
        """First offsets of all runs that were requested before the tail began. Read once."""
        known = self._scanned.get(partition)
        if known is None:
            known = self._scanned[partition] = {}
            first, _ = await self._reader.bounds(self._topics.events, partition)
            end = self._tail.starts.get(partition, first)
            async for batch in self._reader.read(self._topics.events, partition, first, end):
                for record in batch:
                    if header(record.headers, "ce_type") == b"flow-requested":
                        known.setdefault((record.key or b"").decode("utf-8", "replace"), record.offset)
        return known

    async def unfinished(self, partition: int) -> list[str]:
        """Ids of the runs of a partition that have no mark (of the window), in the order they were requested."""
        marks = await self.marks(partition)
        begun = {**await self._scan(partition), **self._tail.requested_in(partition)}
        return [run_id for run_id in begun if run_id not in marks]

    async def read(self, watched: Watched) -> bool:
        """Read what the log has of a run before the tail; False when there is nothing of it anywhere."""
        if watched.complete:
            return bool(watched.records)
        first = await self.first_offset(watched.run_id, watched.partition)
        if first is None:
            return False
        mark = await self.mark(watched.run_id, watched.partition)
        end = watched.tailed_from if mark is None else min(mark.last + 1, watched.tailed_from)
        watched.put_before(await self.stretch(watched.run_id, watched.partition, first, end))
        return True

    async def stretch(self, run_id: str, partition: int, start: int, end: int) -> list[Logged]:
        """The run's records with ``start <= offset < end``."""
        key = run_id.encode()
        found: list[Logged] = []
        low, _ = await self._reader.bounds(self._topics.events, partition)
        async for batch in self._reader.read(self._topics.events, partition, max(start, low), end):
            found += [logged(record) for record in batch if record.key == key]
        return found
