"""The journal as a SQLite file with one writer thread (design.md §5).

Writes queue up; the thread takes what has gathered and commits it as one transaction. Few, large statements: SQLite
gives up the interpreter's lock in every call and has to win it back, which under load costs more than the row itself
(measured: 500 rows in one statement instead of 500 are 15 times faster beside a busy thread).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from queue import Empty, SimpleQueue
from typing import Final

from ...errors import JournalError, UsageError
from ...values import Json
from . import database, inbox, wal
from .database import CHECK_AFTER_CRASH_BYTES, CHECK_ALWAYS_BYTES, guarded
from .journal import OnCommand, OnDurable, OnFailure, Write, checked, closed, encode_command
from .owner import Ownership, myself, read_owner, write_owner
from .reader import SqliteReader as SqliteReader
from .transaction import Transaction

INBOX_SECONDS: Final = 0.05
"""How often the owner looks for commands."""


class SqliteJournal(SqliteReader):
    """A journal this process owns."""

    _queue: SimpleQueue[Sequence[Write] | threading.Event | None]

    @classmethod
    def open(  # type: ignore[override]  # an owner hands in what a reader has no use for
        cls,
        path: str | os.PathLike[str],
        *,
        on_durable: OnDurable,
        on_failure: OnFailure,
        on_command: OnCommand | None = None,
        tools: Mapping[str, str] | None = None,
        max_batch: int = 2_000,
        max_bytes: int = 4 * 1024 * 1024,
    ) -> SqliteJournal:
        """Own the file, made if it is not there, until ``close``. The callbacks are called on the writer thread.

        ``tools`` (id -> schema digest) is what other processes learn of this owner. Raises JournalError: JOURNAL_OWNED,
        JOURNAL_NOT_FOUND, JOURNAL_READ_ONLY, JOURNAL_FOREIGN, JOURNAL_NEWER, JOURNAL_CORRUPT, JOURNAL_FULL, JOURNAL_IO.
        """
        path = os.fspath(path)
        size = _look(path)
        ownership = Ownership(path)
        with ExitStack() as undo:
            undo.callback(ownership.release)
            there = _examine(path, size)
            with guarded(path):
                writer = undo.enter_context(closing(database.connect(path, "rwc")))
                reader = undo.enter_context(closing(database.connect(path, "rwc")))
                _take_over(writer, path, there, tools or {})
                journal = cls(reader, path)
                journal._begin(writer, ownership, on_durable, on_failure, on_command, max_batch, max_bytes)
            undo.pop_all()
        return journal

    def _begin(
        self,
        connection: sqlite3.Connection,
        ownership: Ownership,
        on_durable: OnDurable,
        on_failure: OnFailure,
        on_command: OnCommand | None,
        max_batch: int,
        max_bytes: int,
    ) -> None:
        self._writer = connection
        self._ownership = ownership
        self._on_durable, self._on_failure, self._on_command = on_durable, on_failure, on_command
        self._max_batch, self._max_bytes = max_batch, max_bytes
        self._queue = SimpleQueue()
        self._left: Iterator[Write] = iter(())
        self._failure: JournalError | None = None
        self._closing = False
        self._handed_out = 0
        self._next_look = 0.0
        self._data_version = -1
        self._transaction = Transaction(connection, self)
        self._thread = threading.Thread(target=self._work, name=f"journal {self.path}", daemon=True)
        self._thread.start()

    # --- any thread -----------------------------------------------------------------------------------------------

    def submit(self, writes: Sequence[Write]) -> None:
        """Queue and return at once; the order of submission is the order of the log."""
        self._refuse_unusable()
        self._queue.put(checked(writes))

    def post(self, command: Mapping[str, Json]) -> int:
        """Put a command into the own inbox; its id."""
        self._refuse_unusable()
        return inbox.post(self.path, command)

    def reply(self, inbox_id: int, answer: Mapping[str, Json]) -> None:
        """Answer a command and take it out of the inbox."""
        self.submit([Write("", consumed=inbox_id, reply=encode_command(answer))])

    def flush(self, timeout: float | None = None) -> None:
        """Return when all that was submitted before is durable and reported. Raises JournalError."""
        self._refuse_unusable()
        mark = threading.Event()
        self._queue.put(mark)
        until = None if timeout is None else time.monotonic() + timeout
        while not mark.wait(0.05 if until is None else max(0.0, min(0.05, until - time.monotonic()))):
            if not self._thread.is_alive():
                break
            if until is not None and time.monotonic() >= until:
                raise self._late(timeout)
        self._refuse_failed()

    def close(self, timeout: float | None = None) -> None:
        """Commit all that was submitted, then let go of the file. Again is harmless."""
        if self._pid != os.getpid():
            return
        if threading.current_thread() is self._thread:
            raise UsageError("USAGE", "a journal is not closed from its own callbacks; close it from another thread")
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise self._late(timeout)
        super().close()
        with suppress(sqlite3.Error):
            if self._failure is None:
                write_owner(self._writer, None)
        self._writer.close()
        self._ownership.release()

    def _late(self, timeout: float | None) -> JournalError:
        message = (
            f"{self.path} did not take all writes within {timeout} s; they are still queued. Call again to wait on"
        )
        return JournalError("JOURNAL_BUSY", message)

    def _refuse_unusable(self) -> None:
        if self._closing or self._pid != os.getpid():
            raise closed(self.path)
        self._refuse_failed()

    def _refuse_failed(self) -> None:
        if self._failure is not None:
            raise JournalError(self._failure.code, self._failure.message)

    # --- the writer thread ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        message = f"a callback of {self.path} raised; see its traceback. Everything that was reported is recorded"
        failure: JournalError | None = JournalError("JOURNAL_CLOSED", message)
        try:
            while self._turn():
                pass
            failure = None
        except JournalError as error:
            failure = error
        finally:  # also when a callback raises: its traceback is on its way, and nothing may wait for us
            self._failure = failure
            if failure is not None:
                self._on_failure(failure)

    def _turn(self) -> bool:
        """Commit what has gathered. False when nothing more will come."""
        batch, mark = self._gather()
        if batch:
            with guarded(self.path):
                done = self._transaction.commit(batch)
            self._on_durable(done)
        if isinstance(mark, threading.Event):
            mark.set()
        elif mark is not None:
            return False
        self._look_into_inbox()
        return True

    def _gather(self) -> tuple[list[Write], threading.Event | str | None]:
        """(what one transaction takes, what was asked for behind it)."""
        batch: list[Write] = []
        size = 0
        while len(batch) < self._max_batch and size < self._max_bytes:
            write = next(self._left, None)
            if write is not None:
                batch.append(write)
                size += _bytes_of(write)
                continue
            try:
                item = self._queue.get_nowait() if batch else self._wait()
            except Empty:
                break
            if item is None:
                return batch, "close"
            if isinstance(item, threading.Event):
                return batch, item
            self._left = iter(item)
        return batch, None

    def _wait(self) -> Sequence[Write] | threading.Event | None:
        if self._on_command is None:
            return self._queue.get()
        return self._queue.get(timeout=max(0.0, min(INBOX_SECONDS, self._next_look - time.monotonic())))

    def _look_into_inbox(self) -> None:
        if self._on_command is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + INBOX_SECONDS
        with guarded(self.path):
            version = self._writer.execute("PRAGMA data_version").fetchone()[0]
        if version == self._data_version:
            return
        self._data_version = version
        if commands := self.commands(after=self._handed_out):
            self._handed_out = commands[-1].id
            self._on_command(commands)


def _bytes_of(write: Write) -> int:
    size = 0
    for record in write.records:
        size += len(record)
    for content in write.values.values():
        size += len(content)
    return size


def _look(path: str) -> int:
    """Size of the file, -1 for none. Raises JOURNAL_NOT_FOUND, and JOURNAL_READ_ONLY before anything is touched."""
    size = database.look(path)
    folder = os.path.dirname(os.path.abspath(path))
    for place in [folder, path] if size >= 0 else [folder]:
        if not os.access(place, os.W_OK):
            message = (
                f"{place} cannot be written. Make it writable or name another file; `runs` and `show` work as it is"
            )
            raise JournalError("JOURNAL_READ_ONLY", message)
    return size


def _examine(path: str, size: int) -> bool:
    """True for a sound journal, False for none yet. Only reads: a file that is refused stays as it is."""
    if size <= 0:
        wal.check_orphan(path)
        return False
    with guarded(path), closing(database.connect(path, "ro")) as look:
        there = database.recognise(look, path)
        if there:
            crashed = read_owner(look) is not None
            database.check_pages(look, path, "all" if size <= CHECK_ALWAYS_BYTES else "runs")
            if crashed and CHECK_ALWAYS_BYTES < size <= CHECK_AFTER_CRASH_BYTES:
                database.check_pages(look, path, "pages")
    wal.check(path)
    return there


def _take_over(writer: sqlite3.Connection, path: str, there: bool, tools: Mapping[str, str]) -> None:
    """Make the file if it is not there; say in it who owns it."""
    if there:
        database.use_wal(writer, path)
    else:
        database.create(writer, path)
    inbox.forget_old_replies(writer)
    write_owner(writer, myself(tools))
