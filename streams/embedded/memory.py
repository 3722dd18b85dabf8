"""The journal in memory, for tests and simulation: the same contract, nothing survives the process.

Without a thread: ``submit`` commits before it returns and calls back on the caller's thread, so that a simulation is
the same every time. What a callback submits is committed after the batch it was called for.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from ...values import Json, format_time
from .journal import (
    Committed,
    OnCommand,
    OnDurable,
    OnFailure,
    Posted,
    Refused,
    RunRow,
    RunTaken,
    RunUnknown,
    Write,
    check_limit,
    checked,
    closed,
    decode_command,
    encode_command,
    missing_value,
)

_WHERE = "the journal in memory"


class MemoryJournal:
    """A journal in this process's memory. Thread-safe."""

    def __init__(self) -> None:
        self._on_durable: OnDurable | None = None
        self._on_command: OnCommand | None = None
        self._lock = threading.RLock()
        self._queue: deque[Sequence[Write]] = deque()
        self._draining = False
        self._closed = True
        self._position = 0
        self._rows: dict[str, RunRow] = {}
        self._records: dict[str, list[tuple[int, bytes]]] = {}
        self._values: dict[str, bytes] = {}
        self._inbox: dict[int, Posted] = {}
        self._posted = 0
        self._replies: dict[int, bytes] = {}

    @classmethod
    def open(
        cls, *, on_durable: OnDurable, on_failure: OnFailure, on_command: OnCommand | None = None
    ) -> MemoryJournal:
        """An empty journal with an owner."""
        return cls().attach(on_durable=on_durable, on_failure=on_failure, on_command=on_command)

    def attach(
        self, *, on_durable: OnDurable, on_failure: OnFailure, on_command: OnCommand | None = None
    ) -> MemoryJournal:
        """The same journal under a new owner, as when a file is opened again. ``on_failure``: memory does not fail."""
        with self._lock:
            self._on_durable, self._on_command, self._closed = on_durable, on_command, False
            self._queue.clear()
            if on_command is not None and self._inbox:
                on_command(list(self._inbox.values()))
        return self

    # --- the owner ------------------------------------------------------------------------------------------------

    def submit(self, writes: Sequence[Write]) -> None:
        """Commit and report, unless a callback of this very call is running: then right after it."""
        checked(writes)
        with self._lock:
            self._refuse_closed()
            self._queue.append(list(writes))
            self._drain()

    def _drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            while self._queue:
                batch = [write for writes in self._queue for write in writes]
                self._queue.clear()
                if batch and self._on_durable is not None:
                    self._on_durable([self._commit(write) for write in batch])
        finally:
            self._draining = False

    def _commit(self, write: Write) -> Committed:
        if (error := self._refusal(write)) is not None:
            return Committed(write, error, 0)
        for digest, content in write.values.items():
            self._values.setdefault(digest, content)
        if write.run is not None:
            self._rows[write.run_id] = write.run
        first = self._position + 1 if write.records else 0
        for record in write.records:
            self._position += 1
            self._records.setdefault(write.run_id, []).append((self._position, record))
        if write.consumed is not None:
            self._inbox.pop(write.consumed, None)
            if write.reply is not None:
                self._replies[write.consumed] = write.reply
        return Committed(write, None, first)

    def _refusal(self, write: Write) -> Refused | None:
        row = self._rows.get(write.run_id)
        if row is not None:
            return RunTaken(row) if write.create else None
        return RunUnknown(write.run_id) if write.records and write.run is None else None

    def post(self, command: Mapping[str, Json]) -> int:
        """Put a command into the inbox and hand it out; its id."""
        stored = decode_command(encode_command(command)) or {}
        with self._lock:
            self._refuse_closed()
            self._posted += 1
            posted = self._inbox[self._posted] = Posted(self._posted, format_time(datetime.now(UTC)), stored)
            if self._on_command is not None:
                self._on_command([posted])
            return posted.id

    def reply(self, inbox_id: int, answer: Mapping[str, Json]) -> None:
        """Answer a command and take it out of the inbox."""
        self.submit([Write("", consumed=inbox_id, reply=encode_command(answer))])

    def flush(self, timeout: float | None = None) -> None:
        """Nothing is ever left to wait for."""
        with self._lock:
            self._refuse_closed()

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more; what there is can still be read. Again is harmless."""
        with self._lock:
            self._closed = True

    def _refuse_closed(self) -> None:
        if self._closed:
            raise closed(_WHERE)

    # --- readers --------------------------------------------------------------------------------------------------

    def read(self, run_id: str, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position, record) of a run with ``position > after``, ascending. No such run: nothing."""
        with self._lock:
            found = list(self._records.get(run_id, ()))
        return iter([(position, record) for position, record in found if position > after])

    def count(self, run_id: str) -> int:
        """Records of a run; 0 for an unknown one."""
        with self._lock:
            return len(self._records.get(run_id, ()))

    def runs(
        self, *, statuses: Collection[str] | None = None, limit: int | None = None, newest_first: bool = True
    ) -> list[RunRow]:
        """Rows of the index in the order the runs were created; all statuses by default."""
        check_limit(limit)
        with self._lock:
            rows = list(self._rows.values())
        if newest_first:
            rows.reverse()
        return [row for row in rows if statuses is None or row.status in statuses][:limit]

    def run(self, run_id: str) -> RunRow | None:
        """The row of one run."""
        with self._lock:
            return self._rows.get(run_id)

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Large values by digest, checked against it. Raises JOURNAL_CORRUPT for one that is missing or differs."""
        loaded = {}
        for digest in digests:
            with self._lock:
                content = self._values.get(digest)
            if content is None or hashlib.sha256(content).hexdigest() != digest.removeprefix("sha256:"):
                raise missing_value(_WHERE, digest)
            loaded[digest] = content
        return loaded

    def commands(self, *, after: int = 0) -> list[Posted]:
        """Commands that wait in the inbox with ``id > after``, in order."""
        with self._lock:
            return [posted for posted in self._inbox.values() if posted.id > after]

    def reply_to(self, inbox_id: int) -> dict[str, Json] | None:
        """The owner's answer to a command; None as long as there is none."""
        with self._lock:
            stored = self._replies.get(inbox_id)
        return None if stored is None else decode_command(stored)
