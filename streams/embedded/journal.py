"""The log of every run, and what storage must promise of it. Every implementation passes tests/journal.

The log is append-only; a *position* is a row id that grows over the whole log. What is here is data and the contract:
`sqlite.py` keeps it in a file, `memory.py` in memory.

A journal that cannot be used raises :class:`JournalError`, whose code is one of

    JOURNAL_NOT_FOUND   no such file or folder          JOURNAL_FOREIGN  a SQLite file of another program
    JOURNAL_READ_ONLY   the file or folder is           JOURNAL_NEWER    a later release wrote it
    JOURNAL_OWNED       another process drives it       JOURNAL_CORRUPT  its content is damaged
    JOURNAL_FULL        the disk is full                JOURNAL_BUSY     another process holds it for too long
    JOURNAL_IO          the disk refuses                JOURNAL_CLOSED   it was closed before this call
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from ...errors import JournalError, UsageError
from ...values import MAX_RECORD_NESTING, Json, NotJson, decode, plain

MAX_RECORD_BYTES: Final = 512 * 1024 * 1024
"""Of one record or value; SQLite's own bound is a billion."""

MAX_ID: Final = 2**63 - 1
"""Largest position or id."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """The index by run: derived from the log and written in the same transaction. Times are RFC 3339, UTC."""

    run_id: str
    status: str
    request_digest: str
    plan_hash: str | None
    name: str
    created_at: str
    updated_at: str
    root_run_id: str
    parent_run_id: str | None = None
    error_code: str | None = None
    labels: str = "{}"
    """A JSON object."""
    completed_at: str | None = None


COLUMNS: Final = tuple(field.name for field in fields(RunRow))
columns_of: Final[Callable[[RunRow], tuple[str | None, ...]]] = attrgetter(*COLUMNS)
_NULLABLE: Final = frozenset({"plan_hash", "parent_run_id", "error_code", "completed_at"})


class Write(NamedTuple):
    """One atomic unit: all of it is stored or nothing. (A named tuple: made once a step, in a quarter of the time.)"""

    run_id: str
    records: Sequence[bytes] = ()
    values: Mapping[str, bytes] = MappingProxyType({})
    """SHA-256 (hex, with or without ``sha256:``) -> content; one that is already there stays."""
    run: RunRow | None = None
    """The run's row from now on. The first write of a run carries it."""
    create: bool = False
    """The run must not exist: if it does, nothing of this Write is stored and the rest of the batch is kept."""
    token: object = None
    """The caller's; handed back."""
    consumed: int | None = None
    """Id of the inbox command that this Write carries out; it leaves the inbox in the same transaction."""
    reply: bytes | None = None
    """JSON answer to the command ``consumed``."""


@dataclass(frozen=True, slots=True)
class RunTaken:
    """A ``create`` found a run of that id."""

    existing: RunRow


@dataclass(frozen=True, slots=True)
class RunUnknown:
    """Records for a run that was never created: its first Write carries a RunRow."""

    run_id: str


Refused: TypeAlias = RunTaken | RunUnknown


class Committed(NamedTuple):
    """What became of a Write. It is durable when ``error`` is None, else nothing of it is stored."""

    write: Write
    error: Refused | None
    position: int
    """Of its first record; the others follow without a gap. 0 when it has none or was refused."""


class Posted(NamedTuple):
    """A command of another process, as it lies in the inbox."""

    id: int
    created_at: str
    command: dict[str, Json]


OnDurable: TypeAlias = Callable[[list[Committed]], None]
"""Called after each commit with its Writes, in the order of the log."""
OnFailure: TypeAlias = Callable[[JournalError], None]
"""Called once, when the journal takes nothing more; of the batch that failed nothing is stored."""
OnCommand: TypeAlias = Callable[[list[Posted]], None]
"""Called with commands that came in, in order; each at least once until a Write consumes it."""


class Log(Protocol):
    """What can be read, by the owner or by any other process. Everything that is read is durable."""

    def read(self, run_id: str, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position, record) of a run with ``position > after``, ascending. No such run: nothing.

        Raises JournalError JOURNAL_CORRUPT, naming run and position, where a record is damaged or missing.
        """

    def count(self, run_id: str) -> int:
        """Records of a run; 0 for an unknown one."""

    def runs(
        self, *, statuses: Collection[str] | None = None, limit: int | None = None, newest_first: bool = True
    ) -> list[RunRow]:
        """Rows of the index in the order the runs were created; all statuses by default."""

    def run(self, run_id: str) -> RunRow | None:
        """The row of one run."""

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Large values by digest, checked against it. Raises JOURNAL_CORRUPT for one that is missing or differs."""

    def commands(self, *, after: int = 0) -> list[Posted]:
        """Commands that wait in the inbox with ``id > after``, in order."""

    def reply_to(self, inbox_id: int) -> dict[str, Json] | None:
        """The owner's answer to a command; None as long as there is none."""


class Journal(Log, Protocol):
    """The owner's side. Thread-safe."""

    def submit(self, writes: Sequence[Write]) -> None:
        """Queue and return at once; the order of submission is the order of the log.

        Raises the JournalError the journal failed with, JOURNAL_CLOSED, or UsageError for a malformed Write.
        """

    def post(self, command: Mapping[str, Json]) -> int:
        """Put a command into the own inbox; its id."""

    def reply(self, inbox_id: int, answer: Mapping[str, Json]) -> None:
        """Answer a command and take it out of the inbox."""

    def flush(self, timeout: float | None = None) -> None:
        """Return when all that was submitted before is durable and reported. Raises JournalError."""

    def close(self, timeout: float | None = None) -> None:
        """Commit all that was submitted, then let go of everything. Again is harmless."""


def checked(writes: Sequence[Write]) -> Sequence[Write]:
    """The same writes, fit to be stored. Raises UsageError, so that one bad Write cannot spoil a batch."""
    for write in writes:
        for record in write.records:
            _check_bytes(write, record)
        if write.values:
            for digest, content in write.values.items():
                _check_text(write, "digest", digest)
                _check_bytes(write, content)
        if write.run is not None:
            _check_row(write, write.run)
        elif write.create:
            raise UsageError("USAGE", f"a Write that creates run {write.run_id!r} carries its row")
        if write.consumed is not None and not 0 <= write.consumed <= MAX_ID:
            raise UsageError("USAGE", f"run {write.run_id!r}: {write.consumed} is no id of an inbox command")
    return writes


def _check_bytes(write: Write, content: Any) -> None:
    if not isinstance(content, bytes) or len(content) > MAX_RECORD_BYTES:
        what = f"{len(content)} bytes" if isinstance(content, bytes) else type(content).__name__
        raise UsageError("USAGE", f"run {write.run_id!r}: a record or value is bytes, at most 512 MiB; this is {what}")


def _check_row(write: Write, row: RunRow) -> None:
    if row.run_id != write.run_id:
        raise UsageError("USAGE", f"a Write for run {write.run_id!r} carries the row of {row.run_id!r}")
    for name, value in zip(COLUMNS, columns_of(row), strict=True):
        if value is not None or name not in _NULLABLE:
            _check_text(write, name, value)


def _check_text(write: Write, name: str, value: Any) -> None:
    if not isinstance(value, str) or not encodable(value):
        raise UsageError("USAGE", f"run {write.run_id!r}: {name} is {value!r:.80}, not a text of characters")


def encodable(text: str) -> bool:
    """False for a text with half of a surrogate pair, which UTF-8 has no bytes for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode_command(command: Mapping[str, Json]) -> bytes:
    """A command or answer as it is stored. Raises UsageError when it is no JSON object."""
    try:
        return plain(dict(command))[1]
    except (NotJson, OverflowError) as error:
        raise UsageError("USAGE", f"a command is a JSON object: {error}") from error


def decode_command(stored: bytes) -> dict[str, Json] | None:
    """What :func:`encode_command` stored; None when it is something else."""
    try:
        value = decode(stored, max_nesting=MAX_RECORD_NESTING)
    except NotJson:
        return None
    return value if isinstance(value, dict) else None


def check_limit(limit: int | None) -> None:
    """Raises UsageError for a negative number of rows."""
    if limit is not None and limit < 0:
        raise UsageError("USAGE", f"at most {limit} runs cannot be listed; a limit is 0 or more")


def closed(path: str) -> JournalError:
    """The error of a call that came too late."""
    return JournalError("JOURNAL_CLOSED", f"the journal {path} was closed before this call; open it again")


def missing_value(where: str, digest: str) -> JournalError:
    """The error of a large value that is not there or is damaged."""
    message = f"{where} lacks the value {digest}, or holds it damaged. {RESTORE}"
    return JournalError("JOURNAL_CORRUPT", message)


RESTORE: Final = (
    "Nothing was changed: keep a copy of the file, restore a backup, or save what can be read with "
    "`sqlite3 FILE .recover`"
)
