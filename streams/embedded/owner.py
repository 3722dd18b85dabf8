"""One process drives a file. The kernel frees its lock when it dies, however it dies."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from ...errors import JournalError
from ...values import NotJson, decode, encode, format_time
from .database import SQLITE_ERRORS, connect

PATIENCE_SECONDS = 0.25
"""Others look at the lock by taking it for a moment; an owner on its way out needs one too."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who drives a journal. ``pid`` 0: it has only just begun, or cannot be read."""

    pid: int = 0
    host: str = ""
    started: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Tool id -> digest of its schemas."""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        tools = ", ".join(sorted(self.tools)) or "none"
        return f"process {self.pid} on {self.host} since {self.started} (its tools: {tools})"


def myself(tools: Mapping[str, str]) -> Owner:
    """This process, as an owner."""
    return Owner(os.getpid(), socket.gethostname(), format_time(datetime.now(UTC)), dict(tools))


class Ownership:
    """The exclusive right to drive a file, held until :meth:`release` or the end of the process."""

    def __init__(self, path: str) -> None:
        """Raises JournalError JOURNAL_OWNED, naming the owner, or JOURNAL_READ_ONLY."""
        self._lock = _lock(path)
        self.pid = os.getpid()
        try:
            self._lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=0.01)
        except Timeout as error:
            if not os.path.exists(self._lock.lock_file):  # a file system that takes no new files: nobody holds anything
                message = f"the lock beside {path} cannot be made there; name a file in another folder"
                raise JournalError("JOURNAL_READ_ONLY", message) from error
            owner = written_owner(path) or Owner()
            message = (
                f"{path} is driven by {owner}. One process drives a file: end that one, use another file, or give it "
                "the work; `runs`, `show`, `approve` and `cancel` work beside it"
            )
            raise JournalError("JOURNAL_OWNED", message) from error
        except OSError as error:
            message = (
                f"the lock beside {path} cannot be written: {error.strerror}. Make the folder writable, or name "
                "another file; `runs` and `show` work as it is"
            )
            raise JournalError("JOURNAL_READ_ONLY", message) from error

    def release(self) -> None:
        """Another process may drive the file. Does nothing in a forked child, whose parent still holds it."""
        if self.pid == os.getpid():
            self._lock.release()


def owner_of(path: str | os.PathLike[str]) -> Owner | None:
    """Who drives the file now; None when nobody does. Needs no right to write."""
    path = os.fspath(path)
    if not os.path.exists(path + ".lock") or not os.access(path + ".lock", os.W_OK):
        owner = written_owner(path)
        return owner if owner is not None and os.path.exists(path + ".lock") and _alive(owner) else None
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return written_owner(path) or Owner()
    except OSError:
        return None
    lock.release()
    return None


def _alive(owner: Owner) -> bool:
    """As far as can be told without the lock: a process of that number lives on that host."""
    if owner.host != socket.gethostname() or not owner.pid:
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _lock(path: str) -> FileLock:
    return FileLock(os.path.abspath(path) + ".lock", thread_local=False)


def write_owner(connection: sqlite3.Connection, owner: Owner | None) -> None:
    """Say in the file who drives it; None: nobody, it was closed properly."""
    if owner is None:
        connection.execute("DELETE FROM meta WHERE name = 'owner'")
    else:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('owner', ?)", (encode(asdict(owner)).decode(),))


def written_owner(path: str) -> Owner | None:
    """The owner the file names, alive or not."""
    with suppress(*SQLITE_ERRORS):
        connection = connect(path, "ro")
        try:
            return read_owner(connection)
        finally:
            connection.close()
    return None


def read_owner(connection: sqlite3.Connection) -> Owner | None:
    """The owner the file names. Raises sqlite3.Error."""
    found = connection.execute("SELECT value FROM meta WHERE name = 'owner'").fetchone()
    try:
        told = decode(found[0]) if found and isinstance(found[0], str) else None
    except NotJson:
        return None
    if not isinstance(told, dict):
        return None
    match told:
        case {"pid": int(pid), "host": str(host), "started": str(started), "tools": dict(tools)}:
            return Owner(pid, host, started, {str(name): str(digest) for name, digest in tools.items()})
    return None
