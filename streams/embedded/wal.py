"""Notices damage in the write-ahead file, where SQLite itself takes the first bad frame for the end of the log.

After a crash the last transaction may lie there torn; that one was never acknowledged. But SQLite begins a transaction
only after the one before is on disk: two commits *behind* the end it found mean that the end is damage, not a tear.
One limit is left: damage to the very mark of the last commit but one makes the last two look like one torn transaction.
Format: sqlite.org/fileformat2.html#walformat. The file is read without SQLite, which keeps no lock on this one.
"""

from __future__ import annotations

import os
import struct
from contextlib import closing
from typing import Final

from ...errors import JournalError
from .database import connect, guarded
from .journal import RESTORE

_HEADER: Final = struct.Struct(">8I")
"""magic, version, page size, checkpoint number, salt 1, salt 2, checksum 1, checksum 2."""
_FRAME: Final = struct.Struct(">4I")
"""page number, size of the database after a commit (else 0), salt 1, salt 2; two checksums follow."""
_FRAME_BYTES: Final = 24
_MAGIC: Final = frozenset({0x377F0682, 0x377F0683})


def check(path: str) -> None:
    """Raises JournalError JOURNAL_CORRUPT when the write-ahead file holds commits that SQLite does not see.

    Leaves the files as they are: the connection that closes last may only read, so it merges and deletes nothing.
    """
    if size(path) <= _HEADER.size:
        return
    with guarded(path), closing(connect(path, "ro")) as last:
        last.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with closing(connect(path, "rw")) as writer, closing(connect(path, "rw")) as counter:
            writer.execute("BEGIN IMMEDIATE")  # nobody appends or starts the file anew while we compare
            seen = max(0, counter.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
            unseen = commits_after(path + "-wal", seen)
            writer.execute("ROLLBACK")
    if unseen >= 2:
        message = f"{path}-wal is damaged behind frame {seen}: {unseen} transactions cannot be read. {RESTORE}"
        raise JournalError("JOURNAL_CORRUPT", message)


def size(path: str) -> int:
    """Bytes of the write-ahead file; 0 when there is none."""
    try:
        return os.path.getsize(path + "-wal")
    except OSError:
        return 0


def check_orphan(path: str) -> None:
    """Raises JOURNAL_CORRUPT when a write-ahead file has lost its database: SQLite would delete it."""
    if size(path) > 0:
        message = f"{path} is missing or empty, but {path}-wal still holds records of it. {RESTORE}"
        raise JournalError("JOURNAL_CORRUPT", message)


def commits_after(path: str, frames: int) -> int:
    """Commits of the current generation behind the first ``frames`` frames; 2 for a header that is damaged."""
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        raw = file.read(_HEADER.size)
        if len(raw) < _HEADER.size or not any(raw):
            return 0
        magic, _, page, _, salt1, salt2, sum1, sum2 = _HEADER.unpack(raw)
        if magic not in _MAGIC or checksum(raw[:24], big=bool(magic & 1)) != (sum1, sum2):
            return 2
        commits = 0
        step = _FRAME_BYTES + page
        for start in range(_HEADER.size + frames * step, end - step + 1, step):
            file.seek(start)
            _, after_commit, frame1, frame2 = _FRAME.unpack(file.read(_FRAME.size))
            commits += (frame1, frame2) == (salt1, salt2) and after_commit > 0
        return commits


def checksum(content: bytes, *, big: bool) -> tuple[int, int]:
    """SQLite's: a Fibonacci-weighted sum over pairs of 32-bit words."""
    first = second = 0
    words = struct.unpack(f"{'>' if big else '<'}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
