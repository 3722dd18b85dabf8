"""Commands of other processes: written into the owner's file, carried out by the owner, once its log says so.

A command stays in the inbox until the transaction that carries its effect takes it out: a killed owner finds it again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta

from ...values import Json, format_time
from . import database, wal
from .database import guarded, row_crc
from .journal import encode_command
from .owner import owner_of
from .reader import SqliteReader

KEEP_REPLIES = timedelta(days=1)
"""How long an answer waits for the process that asked."""


def post(path: str | os.PathLike[str], command: Mapping[str, Json]) -> int:
    """Put a command into the inbox of a journal, durably, whether or not an owner is there now. Its id.

    Raises UsageError for what is no JSON object, and JournalError.
    """
    encoded, path = encode_command(command), os.fspath(path)
    if database.look(path) <= 0:
        raise database.empty(path)
    with guarded(path), closing(database.connect(path, "ro")) as look:
        if not database.recognise(look, path):
            raise database.empty(path)
    if owner_of(path) is None:  # then our connection is the one that merges the write-ahead file on closing
        wal.check(path)
    with guarded(path), closing(database.connect(path, "rw")) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        return _insert(connection, encoded)


def _insert(connection: sqlite3.Connection, encoded: bytes) -> int:
    now = format_time(datetime.now(UTC))
    connection.execute("BEGIN IMMEDIATE")
    try:
        made = connection.execute("INSERT INTO inbox (created_at, command, crc) VALUES (?, ?, 0)", (now, encoded))
        identity = made.lastrowid or 0
        connection.execute("UPDATE inbox SET crc = ? WHERE id = ?", (row_crc((identity, now, encoded)), identity))
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return identity


def reply_row(inbox_id: int, answer: bytes) -> tuple[int, str, bytes, int]:
    """A row of ``reply``."""
    columns = (inbox_id, format_time(datetime.now(UTC)), answer)
    return (*columns, row_crc(columns))


def forget_old_replies(connection: sqlite3.Connection) -> None:
    """Drop answers nobody fetched."""
    connection.execute("DELETE FROM reply WHERE created_at < ?", (format_time(datetime.now(UTC) - KEEP_REPLIES),))


def await_reply(path: str | os.PathLike[str], inbox_id: int, timeout: float) -> dict[str, Json] | None:
    """The owner's answer to a command; None after ``timeout`` seconds: the command still waits in the inbox."""
    until = time.monotonic() + timeout
    with SqliteReader.open(path) as reader:
        while True:
            if (answer := reader.reply_to(inbox_id)) is not None:
                return answer
            left = until - time.monotonic()
            if left <= 0:
                return None
            reader.wait_for_change(left)
