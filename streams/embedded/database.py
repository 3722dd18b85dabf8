"""The journal's SQLite file: how it is opened, recognised and checked, and what its errors mean to a person."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata, resources
from typing import Any, Final, Literal
from urllib.parse import quote
from zlib import crc32

from ...errors import JournalError
from .journal import RESTORE

APPLICATION_ID: Final = 0x44464C57  # "DFLW"
FORMAT: Final = 1
"""``user_version``: grows when an older release could not read the file."""
BUSY_SECONDS: Final = 30.0
"""How long a short transaction of another process may hold us up."""
CHECK_ALWAYS_BYTES: Final = 64 * 1024 * 1024
"""Up to here every page is checked on every open by the owner: 0.1 s, measured at 0.8 GB/s."""
CHECK_AFTER_CRASH_BYTES: Final = 1024 * 1024 * 1024
"""Up to here the pages are checked when the last owner did not close the file: 1 s."""
CHECK_READER_BYTES: Final = 8 * 1024 * 1024

Access = Literal["rwc", "rw", "ro"]
Part = Literal["all", "pages", "runs"]
_CHECK: Final[dict[Part, str]] = {
    "all": "PRAGMA integrity_check(1)",
    "pages": "PRAGMA quick_check(1)",  # not whether tables and indexes agree
    "runs": "PRAGMA integrity_check(run)",
}


def release() -> str:
    """The version of this package, as far as it is installed."""
    try:
        return metadata.version("dynamicflow")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def connect(path: str, access: Access, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, used under the caller's lock. Opens lazily: errors come with the first query."""
    uri = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode={access}{'&immutable=1' if immutable else ''}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS, cached_statements=256
    )
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Turns what SQLite raises into a JournalError."""
    try:
        yield
    except SQLITE_ERRORS as error:
        raise explain(error, path) from error


SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""A damaged schema is quoted in SQLite's message, which then need not be text."""


def explain(error: Exception, path: str) -> JournalError:
    """The JournalError of a SQLite error: what happened, and what to do next."""
    code, message = _MEANING.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, _DAMAGED)
    if code == "JOURNAL_IO" and getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE":
        code, message = _FULL  # the first page of the shared index found no room
    return JournalError(code, message.format(path=path, error=error))


_DAMAGED: Final = ("JOURNAL_CORRUPT", "{path} is damaged ({error}). " + RESTORE)
_FULL: Final = (
    "JOURNAL_FULL",
    "the disk of {path} is full ({error}). What was recorded before is safe, nothing of the last batch was stored. "
    "Free some space and start again: unfinished runs go on",
)
_READ_ONLY: Final = (
    "JOURNAL_READ_ONLY",
    "{path} cannot be written ({error}). Make the file and its folder writable, or name another file; "
    "`runs` and `show` work as it is",
)
_MEANING: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_NOTADB: ("JOURNAL_CORRUPT", "{path} is not a SQLite file, or its first page is damaged. " + RESTORE),
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: (
        "JOURNAL_NOT_FOUND",
        "{path} cannot be opened ({error}). Look at the path and the permissions of its folder",
    ),
    sqlite3.SQLITE_BUSY: (
        "JOURNAL_BUSY",
        f"another process kept {{path}} locked for {BUSY_SECONDS:.0f} s ({{error}}). End it, then try again",
    ),
    sqlite3.SQLITE_LOCKED: ("JOURNAL_BUSY", "{path} is locked by this process ({error}). Try again"),
    sqlite3.SQLITE_IOERR: (
        "JOURNAL_IO",
        "the disk of {path} refused ({error}). What was recorded before is safe. Check the disk, then start again",
    ),
    sqlite3.SQLITE_TOOBIG: ("JOURNAL_IO", "a record is too large for {path} ({error})"),
    sqlite3.SQLITE_NOMEM: ("JOURNAL_IO", "no memory left for {path} ({error})"),
}


def look(path: str) -> int:
    """Size of the file in bytes; -1 when there is none yet. Raises JOURNAL_NOT_FOUND for a path that cannot be one.

    Never opens the file: closing any descriptor of it would free the locks SQLite holds in this process.
    """
    folder = os.path.dirname(os.path.abspath(path)) if "\0" not in path else ""
    if not os.path.isdir(folder):
        message = f"the folder of {path!r} does not exist. Create it, or name another file"
        raise JournalError("JOURNAL_NOT_FOUND", message)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return -1
    except OSError as error:
        message = f"{path} cannot be opened: {error.strerror}. Look at the path and its permissions"
        raise JournalError("JOURNAL_NOT_FOUND", message) from error
    if not os.path.isfile(path):
        raise JournalError("JOURNAL_NOT_FOUND", f"{path} is a folder or a device, not a file. Name a file")
    return status.st_size


def empty(path: str) -> JournalError:
    """The error of a file that no owner has opened yet."""
    message = f"{path} does not exist or holds no journal yet: no run was ever started in it. Look at the path"
    return JournalError("JOURNAL_NOT_FOUND", message)


def recognise(connection: sqlite3.Connection, path: str) -> bool:
    """True for a journal of this format, False for an empty database.

    Raises JournalError JOURNAL_FOREIGN, JOURNAL_NEWER, JOURNAL_CORRUPT.
    """
    with guarded(path):
        application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
        found = set(connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall())
    if not application and not version and not found:
        return False
    if application != APPLICATION_ID:
        message = f"{path} is a SQLite file of another program. Nothing was changed; name another file"
        raise JournalError("JOURNAL_FOREIGN", message)
    if version > FORMAT:
        wrote = written_by(connection) or "a later one"
        message = f"{path} has format {version}, written by release {wrote}; this is release {release()}, which reads "
        raise JournalError("JOURNAL_NEWER", f"{message}format {FORMAT}. Update dynamicflow; nothing was changed")
    if version < FORMAT:
        raise JournalError("JOURNAL_CORRUPT", f"{path} says it has format {version}, which never was. {RESTORE}")
    if lost := sorted(name for kind, name, sql in schema() if (kind, name, sql) not in found):
        raise JournalError("JOURNAL_CORRUPT", f"{path} lacks {', '.join(lost)}, or has it changed. {RESTORE}")
    with guarded(path):
        if _pragma(connection, "encoding") != "UTF-8":
            raise JournalError("JOURNAL_CORRUPT", f"the first page of {path} is damaged (text encoding). {RESTORE}")
    return True


def written_by(connection: sqlite3.Connection) -> str | None:
    """The release that made the file, if it says so."""
    with suppress(sqlite3.Error):
        for (value,) in connection.execute("SELECT value FROM meta WHERE name = 'written_by'"):
            return str(value)
    return None


@cache
def schema() -> frozenset[tuple[str, str, str | None]]:
    """(type, name, sql) of everything `schema.sql` makes."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_script())
        return frozenset(connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall())
    finally:
        connection.close()


def _script() -> str:
    return resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")


def create(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables in an empty database, all or nothing."""
    with guarded(path):
        use_wal(connection, path)
        connection.executescript(
            f"BEGIN IMMEDIATE; {_script()}; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT};"
        )
        connection.execute("INSERT INTO meta VALUES ('written_by', ?)", (release(),))
        connection.execute("COMMIT")


def use_wal(connection: sqlite3.Connection, path: str) -> None:
    """Write ahead, and let nothing count as stored before the disk has it."""
    with guarded(path):
        mode = _pragma(connection, "journal_mode=WAL")
        if mode != "wal":
            message = f"the file system of {path} has no shared memory, which the journal needs. Name a local file"
            raise JournalError("JOURNAL_IO", message)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=4000")  # pages: 16 MiB between two copies into the file
        connection.execute("PRAGMA journal_size_limit=67108864")  # after a burst the write-ahead file shrinks again
        connection.execute("PRAGMA secure_delete=OFF")


def check_pages(connection: sqlite3.Connection, path: str, part: Part) -> None:
    """Raises JOURNAL_CORRUPT when a page is damaged.

    Of a file too large for "all", at least "runs" is checked: a run that its index does not find would not be missed,
    while a record that is not found leaves a gap.
    """
    with guarded(path):
        found = connection.execute(_CHECK[part]).fetchone()
    if found != ("ok",):
        message = f"{path} is damaged ({str(found[0]) if found else 'no answer'}). {RESTORE}"
        raise JournalError("JOURNAL_CORRUPT", message)


def _pragma(connection: sqlite3.Connection, pragma: str) -> Any:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def event_crc(position: int, run: int, n: int, body: bytes) -> int:
    """Checksum of a row of ``event``: of its content and of where it stands."""
    return crc32(body, (position * 0x9E3779B1 + run * 0x85EBCA77 + n) & 0xFFFFFFFF)


def row_crc(columns: Sequence[int | str | bytes | None]) -> int:
    """Checksum of any other row, of all its columns before ``crc``."""
    return crc32(ascii(tuple(columns)).encode())
