"""One batch of Writes as one transaction of a few large statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final

from .database import event_crc, row_crc
from .inbox import reply_row
from .journal import COLUMNS, Committed, Refused, RunRow, RunTaken, RunUnknown, Write, columns_of
from .reader import SqliteReader

KNOWN: Final = 50_000
"""Runs whose key and length are remembered between batches."""
_ROWS: Final = 256
"""Rows a statement takes at most; SQLite allows 32 766 parameters."""


class Gathered:
    """The rows of one batch, flat, as the statements take them."""

    def __init__(self) -> None:
        self.done: list[Committed] = []
        self.events: list[Any] = []
        self.rows: dict[int, RunRow] = {}
        self.values: list[tuple[str, bytes]] = []
        self.consumed: list[int] = []
        self.replies: list[tuple[int, str, bytes, int]] = []


class Transaction:
    """Turns batches into rows. Knows where the log and each run end, because nobody else appends."""

    def __init__(self, connection: sqlite3.Connection, reader: SqliteReader) -> None:
        """Raises sqlite3.Error."""
        self._connection = connection
        self._reader = reader
        self._position = _first(connection, "SELECT max(position) FROM event")
        self._key = _first(connection, "SELECT max(key) FROM run")
        self._known: dict[str, list[int]] = {}
        """Run id -> [key, number of records]."""

    def commit(self, batch: Sequence[Write]) -> list[Committed]:
        """Store a batch durably, or nothing of it. Raises sqlite3.Error, JournalError."""
        self._look_up(batch)
        gathered = self._gather(batch)
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._store(gathered)
            connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        if len(self._known) > KNOWN:
            for run_id in list(self._known)[: KNOWN // 2]:
                del self._known[run_id]
        return gathered.done

    def _look_up(self, batch: Sequence[Write]) -> None:
        """Learn the runs of a batch that are stored already."""
        known = self._known
        asked = list({write.run_id for write in batch if write.run_id not in known and (write.records or write.run)})
        for part in _parts(asked, 1):
            sql = f"SELECT key, run_id FROM run WHERE run_id IN ({', '.join('?' * len(part))})"
            for key, run_id in self._connection.execute(sql, part).fetchall():
                known[run_id] = [key, self._reader.records(key, run_id)]

    def _gather(self, batch: Sequence[Write]) -> Gathered:
        gathered = Gathered()
        known, done, events = self._known, gathered.done, gathered.events
        position = self._position
        for write in batch:
            entry = known.get(write.run_id)
            if entry is None or write.create:
                entry, error = self._begin(write, entry, gathered)
                if error is not None:
                    done.append(Committed(write, error, 0))
                    continue
            first = position + 1
            if write.records and entry is not None:
                key, n = entry
                for record in write.records:
                    position += 1
                    events += (position, key, n, event_crc(position, key, n, record), record)
                    n += 1
                entry[1] = n
            if write.run is not None and entry is not None:
                gathered.rows[entry[0]] = write.run
            if write.values or write.consumed is not None:
                _beside(write, gathered)
            done.append(Committed(write, None, first if write.records else 0))
        self._position = position
        return gathered

    def _begin(
        self, write: Write, entry: list[int] | None, gathered: Gathered
    ) -> tuple[list[int] | None, Refused | None]:
        """(the run's entry, why the write is refused)."""
        if entry is not None:
            existing = gathered.rows.get(entry[0]) or self._reader.existing(write.run_id)
            return entry, RunTaken(existing)
        if write.run is None:
            return None, RunUnknown(write.run_id) if write.records else None
        self._key += 1
        entry = self._known[write.run_id] = [self._key, 0]
        return entry, None

    def _store(self, gathered: Gathered) -> None:
        connection = self._connection
        if gathered.values:
            connection.executemany("INSERT OR IGNORE INTO value VALUES (?, ?)", gathered.values)
        if gathered.rows:
            runs = [column for key, row in gathered.rows.items() for column in _run_columns(key, row)]
            for part in _parts(runs, len(COLUMNS) + 2):
                connection.execute(_upsert_runs(_padded(part, len(COLUMNS) + 2)), part)
        for part in _parts(gathered.events, 5):
            connection.execute(_insert_events(_padded(part, 5)), part)
        if gathered.consumed:
            connection.executemany("DELETE FROM inbox WHERE id = ?", [(one,) for one in gathered.consumed])
        if gathered.replies:
            connection.executemany("INSERT OR REPLACE INTO reply VALUES (?, ?, ?, ?)", gathered.replies)


def _beside(write: Write, gathered: Gathered) -> None:
    gathered.values.extend(write.values.items())
    if write.consumed is not None:
        gathered.consumed.append(write.consumed)
        if write.reply is not None:
            gathered.replies.append(reply_row(write.consumed, write.reply))


def _run_columns(key: int, row: RunRow) -> tuple[int | str | None, ...]:
    columns = (key, *columns_of(row))
    return (*columns, row_crc(columns))


def _first(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0] or 0)


def _parts(flat: list[Any], width: int) -> Iterator[list[Any]]:
    """Slices of at most _ROWS rows."""
    for start in range(0, len(flat), _ROWS * width):
        yield flat[start : start + _ROWS * width]


def _padded(part: list[Any], width: int) -> int:
    """Rows of a statement for ``part``, filled up with NULLs: a power of two, so that few are ever prepared."""
    rows = 1 << (len(part) // width - 1).bit_length()
    part.extend([None] * (rows * width - len(part)))
    return rows


@cache
def _insert_events(rows: int) -> str:
    return f"INSERT INTO event SELECT * FROM ({_rows(rows, 5)}) WHERE column1 IS NOT NULL"


@cache
def _upsert_runs(rows: int) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS, "crc"))
    given = f"SELECT * FROM ({_rows(rows, len(COLUMNS) + 2)}) WHERE column1 IS NOT NULL"
    return f"INSERT INTO run {given} ON CONFLICT (key) DO UPDATE SET {changed}"


def _rows(rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return "VALUES " + ", ".join([row] * rows)
