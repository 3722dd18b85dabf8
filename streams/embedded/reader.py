"""Reads a journal's file: the owner's own eyes, and those of every other process while the owner writes."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, NoReturn

from ...errors import JournalError
from ...values import Json
from . import database
from .database import CHECK_READER_BYTES, event_crc, guarded, row_crc
from .journal import (
    COLUMNS,
    MAX_ID,
    RESTORE,
    Posted,
    RunRow,
    check_limit,
    closed,
    decode_command,
    encodable,
    missing_value,
)

CHUNK: Final = 512
"""Rows a query takes: a long read holds up neither the owner's checkpoints nor memory."""
POLL_SECONDS: Final = 0.025
"""How often a waiting reader looks."""

_RUN: Final = f"key, {', '.join(COLUMNS)}, crc"
_EVENTS: Final = (
    "SELECT position, n, crc, body, (SELECT records FROM tail WHERE run = ?) "
    "FROM event WHERE run = ? AND position > ? ORDER BY position LIMIT ?"
)


class SqliteReader:
    """Read-only access to a journal. Thread-safe; works beside an owner, and on a read-only file or disk."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = connection
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._seen = -1

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SqliteReader:
        """Raises JournalError: JOURNAL_NOT_FOUND, _FOREIGN, _NEWER, _CORRUPT, _READ_ONLY."""
        path = os.fspath(path)
        size = database.look(path)
        if size <= 0:
            raise database.empty(path)
        connection = _connect(path)
        try:
            if not database.recognise(connection, path):
                raise database.empty(path)
            database.check_pages(connection, path, "all" if size <= CHECK_READER_BYTES else "runs")
            reader = cls(connection, path)
            reader._seen = reader._version()
        except JournalError:
            connection.close()
            raise
        return reader

    def __enter__(self) -> SqliteReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Again is harmless."""
        if self._pid != os.getpid():
            return  # a forked child has nothing of its own to close
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    # --- runs -----------------------------------------------------------------------------------------------------

    def runs(
        self, *, statuses: Collection[str] | None = None, limit: int | None = None, newest_first: bool = True
    ) -> list[RunRow]:
        """Rows of the index in the order the runs were created; all statuses by default."""
        check_limit(limit)
        wanted = None if statuses is None else [_text(status) for status in set(statuses)]
        if wanted == []:
            return []
        where = f"WHERE status IN ({', '.join('?' * len(wanted))})" if wanted else ""
        order = "DESC" if newest_first else "ASC"
        rows = self._all(
            f"SELECT {_RUN} FROM run {where} ORDER BY key {order} LIMIT ?",
            (*(wanted or ()), -1 if limit is None else limit),
        )
        return [self._row(columns)[1] for columns in rows]

    def run(self, run_id: str) -> RunRow | None:
        """The row of one run."""
        found = self.find(run_id)
        return found[1] if found else None

    def existing(self, run_id: str) -> RunRow:
        """The row of a run that is there. Raises JOURNAL_CORRUPT when it is not."""
        row = self.run(run_id)
        if row is None:
            raise JournalError("JOURNAL_CORRUPT", f"{self.path}: the row of run {run_id} is missing. {RESTORE}")
        return row

    def find(self, run_id: str) -> tuple[int, RunRow] | None:
        """(key, row) of one run."""
        rows = self._all(f"SELECT {_RUN} FROM run WHERE run_id = ?", (_text(run_id),))
        return self._row(rows[0]) if rows else None

    def _row(self, columns: tuple[Any, ...]) -> tuple[int, RunRow]:
        if row_crc(columns[:-1]) != columns[-1]:
            raise JournalError("JOURNAL_CORRUPT", f"{self.path}: the row of run {columns[1]!r} is damaged. {RESTORE}")
        return columns[0], RunRow(*columns[1:-1])

    # --- records --------------------------------------------------------------------------------------------------

    def read(self, run_id: str, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position, record) of a run with ``position > after``, ascending. No such run: nothing.

        Raises JournalError JOURNAL_CORRUPT, naming run and position, where a record is damaged or missing.
        """
        found = self.find(run_id)
        if found is None:
            return
        key, n = found[0], 0
        if after > 0:
            before = self._all(
                "SELECT n FROM event WHERE run = ? AND position <= ? ORDER BY position DESC LIMIT 1",
                (key, _id(after)),
            )
            n = before[0][0] + 1 if before and isinstance(before[0][0], int) else 0
        at_least, position = self._tail(key), _id(after)
        while True:
            rows = self._all(_EVENTS, (key, key, position, CHUNK))
            for position, number, crc, body, _ in rows:
                if number != n or not isinstance(body, bytes) or event_crc(position, key, n, body) != crc:
                    self._damaged(run_id, position, n)
                yield position, body
                n += 1
            if len(rows) < CHUNK:
                records = rows[-1][4] if rows else max(n, at_least)
                if n != records:
                    self._damaged(run_id, position, n)
                return

    def count(self, run_id: str) -> int:
        """Records of a run; 0 for an unknown one."""
        found = self.find(run_id)
        return self.records(found[0], run_id) if found else 0

    def records(self, key: int, run_id: str) -> int:
        """Records of the run of that key, counted in two ways. Raises JOURNAL_CORRUPT when they differ."""
        last = self._all(
            "SELECT n + 1, (SELECT records FROM tail WHERE run = ?), position FROM event WHERE run = ? "
            "ORDER BY position DESC LIMIT 1",
            (key, key),
        )
        counted, told, position = last[0] if last else (0, self._tail(key), 0)
        if not isinstance(counted, int) or counted != told:
            self._damaged(run_id, position, told)
        return counted

    def _tail(self, key: int) -> int:
        rows = self._all("SELECT records FROM tail WHERE run = ?", (key,))
        return int(rows[0][0]) if rows and isinstance(rows[0][0], int) else 0

    def _damaged(self, run_id: str, position: object, n: object) -> NoReturn:
        message = f"{self.path}: record {n} of run {run_id}, at or after position {position}, is damaged or missing. "
        raise JournalError("JOURNAL_CORRUPT", message + RESTORE)

    # --- values, commands -----------------------------------------------------------------------------------------

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Large values by digest, checked against it. Raises JOURNAL_CORRUPT for one that is missing or differs."""
        loaded: dict[str, bytes] = {}
        for digest in digests:
            rows = self._all("SELECT body FROM value WHERE digest = ?", (_text(digest),))
            body = rows[0][0] if rows else None
            if not isinstance(body, bytes) or hashlib.sha256(body).hexdigest() != digest.removeprefix("sha256:"):
                raise missing_value(self.path, digest)
            loaded[digest] = body
        return loaded

    def commands(self, *, after: int = 0) -> list[Posted]:
        """Commands that wait in the inbox with ``id > after``, in order. Raises JOURNAL_CORRUPT for a damaged one."""
        commands = []
        rows = self._all("SELECT id, created_at, command, crc FROM inbox WHERE id > ? ORDER BY id", (_id(after),))
        for identity, created_at, stored, crc in rows:
            command = decode_command(stored) if row_crc((identity, created_at, stored)) == crc else None
            if command is None:
                message = f"{self.path}: command {identity} of the inbox is damaged. {RESTORE}"
                raise JournalError("JOURNAL_CORRUPT", message)
            commands.append(Posted(identity, created_at, command))
        return commands

    def reply_to(self, inbox_id: int) -> dict[str, Json] | None:
        """The owner's answer to a command; None as long as there is none."""
        rows = self._all("SELECT id, created_at, answer, crc FROM reply WHERE id = ?", (_id(inbox_id),))
        if not rows:
            return None
        answer = decode_command(rows[0][2]) if row_crc(rows[0][:3]) == rows[0][3] else None
        if answer is None:
            raise JournalError("JOURNAL_CORRUPT", f"{self.path}: the reply to command {inbox_id} is damaged. {RESTORE}")
        return answer

    # --- waiting, checking ----------------------------------------------------------------------------------------

    def wait_for_change(self, timeout: float) -> bool:
        """True as soon as something was committed since the last call (or the opening); False after ``timeout`` s.

        May be true once too often, never once too seldom.
        """
        until = time.monotonic() + timeout
        while (version := self._version()) == self._seen:
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(POLL_SECONDS, left))
        self._seen = version
        return True

    def _version(self) -> int:
        return int(self._all("PRAGMA data_version", ())[0][0])

    def verify(self) -> None:
        """Read everything there is. Raises JOURNAL_CORRUPT at the first damage."""
        with self._lock:
            database.check_pages(self._open(), self.path, "all")
        for row in self.runs(newest_first=False):
            for _ in self.read(row.run_id):
                pass
        last = ""
        while rows := self._all("SELECT digest FROM value WHERE digest > ? ORDER BY digest LIMIT 64", (last,)):
            for (last,) in rows:
                self.load([last])

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        with self._lock, guarded(self.path):
            return self._open().execute(sql, parameters).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            raise closed(self.path)
        return self._connection


def _text(given: str) -> str | None:
    """The same text, or None for one that no file can hold: NULL equals nothing, so it is simply not found."""
    return given if encodable(given) else None


def _id(given: int) -> int:
    """The same number within what SQLite's integers hold."""
    return max(0, min(given, MAX_ID))


def _connect(path: str) -> sqlite3.Connection:
    """A read-only connection; where not even SQLite's own index can be made, the file is taken as it lies there."""
    connection = database.connect(path, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except database.SQLITE_ERRORS as error:
        connection.close()
        blocked = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in blocked:
            raise database.explain(error, path) from error
        if not os.access(path, os.R_OK):
            message = f"{path} cannot be read: permission denied. Ask its owner for the right to read"
            raise JournalError("JOURNAL_READ_ONLY", message) from error
        if os.path.exists(path + "-wal") and os.path.getsize(path + "-wal") > 0:
            message = (
                f"{path} was not closed, and its folder cannot be written, so {path}-wal cannot be read. Copy both "
                "files into a folder of your own and read them there"
            )
            raise JournalError("JOURNAL_READ_ONLY", message) from error
        return database.connect(path, "ro", immutable=True)
    return connection
