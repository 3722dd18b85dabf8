"""Kill, full disk, damaged bytes: what was reported is there, what is damaged is an error, never another history."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded import database, reader
from dynamicflow.streams.embedded.inbox import post
from dynamicflow.streams.embedded.journal import Committed, Write
from dynamicflow.streams.embedded.sqlite import SqliteJournal, SqliteReader
from tests.journal.journal_kit import CHILD_ENV, WAIT_S, Listener, Place, begin, bodies, everything, row, store

FAST = """
import os, sys, zlib
from dynamicflow.streams.embedded.journal import RunRow, Write
from dynamicflow.streams.embedded.sqlite import SqliteJournal
path, name = sys.argv[1:]
def next_write(run, n):
    pair = [b"%s %d a " % (run.encode(), n) + b"x" * 300, b"%s %d b" % (run.encode(), n)]
    row = RunRow(run, "running", "", None, "", "", "", run) if n == 0 else None
    return Write(run, pair, run=row, create=n == 0, token=n + 1)
def durable(done):
    os.write(1, b"".join(b"%s %d %d\\n" % (d.write.run_id.encode(), d.write.token - 1, d.position) for d in done))
    journal.submit([next_write(d.write.run_id, d.write.token) for d in done])
journal = SqliteJournal.open(path, on_durable=durable, on_failure=print)
journal.submit([next_write(f"{name}-{n}", 0) for n in range(20)])
sys.stdin.read()
"""


def killed_while_writing(path: Path, name: str, acknowledged: int) -> list[tuple[str, int, int]]:
    """(run, n, position) of all that a process reported before it was killed with SIGKILL."""
    told: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", FAST, path, name],
        env=CHILD_ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            told.append(line)
            if len(told) == acknowledged:
                child.send_signal(signal.SIGKILL)
    return [(run, int(n), int(at)) for run, n, at in (line.split() for line in told if line.endswith("\n"))]


class TestAKilledOwner:
    def test_leaves_every_write_it_reported_whole_and_in_order(self, file: Place) -> None:
        told: list[tuple[str, int, int]] = []
        for turn, acknowledged in enumerate((40, 1_000, 5_000)):
            told += killed_while_writing(file.path, f"t{turn}", acknowledged)
        with SqliteReader.open(file.path) as log:
            log.verify()
            logs = {found.run_id: list(log.read(found.run_id)) for found in log.runs()}
        for run, records in logs.items():
            pairs = [(record.split()[:3], at) for at, record in records]
            assert len(pairs) % 2 == 0
            for n in range(len(pairs) // 2):
                (first, at), (second, then) = pairs[2 * n : 2 * n + 2]
                assert (first, second) == ([run.encode(), b"%d" % n, b"a"], [run.encode(), b"%d" % n, b"b"])
                assert then == at + 1
        for run, n, at in told:
            assert logs[run][2 * n][0] == at
        ends = {run: max(n for other, n, _ in told if other == run) for run, _, _ in told}
        assert len(ends) == 60

    def test_is_followed_by_one_that_goes_on(self, file: Place) -> None:
        killed_while_writing(file.path, "t", 500)
        journal = file.open()
        count = journal.count("t-3")
        store(journal, Write("t-3", [b"more"]))
        assert bodies(journal, "t-3")[-1] == b"more"
        assert journal.count("t-3") == count + 1


class TestAFullDisk:
    def fill(self, journal: SqliteJournal, heard: Listener) -> int:
        """Write until it fails; how many Writes were reported."""
        store(journal, begin("a", b"0"))
        with contextlib.suppress(JournalError):
            while not heard.failures:
                store(journal, *(Write("a", [b"x" * 5_000]) for _ in range(20)))
        heard.wait(lambda it: bool(it.failures))
        return len(heard.committed)

    def check(self, file: Place, heard: Listener, journal: SqliteJournal) -> None:
        reported = self.fill(journal, heard)
        assert [error.code for error in heard.failures] == ["JOURNAL_FULL"]
        assert "start again" in heard.failures[0].message
        with pytest.raises(JournalError, match="JOURNAL_FULL"):
            journal.submit([begin("b")])
        with pytest.raises(JournalError, match="JOURNAL_FULL"):
            journal.flush()
        assert journal.count("a") == reported
        journal.close()

    def test_loses_nothing_and_takes_nothing_more(self, file: Place) -> None:
        heard = Listener()
        journal = file.open(heard)
        assert isinstance(journal, SqliteJournal)
        journal.flush()
        journal._writer.execute("PRAGMA max_page_count = 150")
        self.check(file, heard, journal)
        again = file.open()
        assert again.count("a") == len(heard.committed)
        store(again, Write("a", [b"more"]))

    @pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root may mount a small disk")
    def test_a_real_one(self, tmp_path: Path) -> None:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=False).returncode:
            pytest.skip("no right to mount")
        heard, place = Listener(), Place("sqlite", tmp_path / "runs.db")
        try:
            journal = place.open(heard)
            assert isinstance(journal, SqliteJournal)
            self.check(place, heard, journal)
            subprocess.run(["mount", "-o", "remount,size=8m", tmp_path], check=True)
            again = place.open()
            assert again.count("a") == len(heard.committed)
            store(again, Write("a", [b"more"]))
        finally:
            place.close()
            subprocess.run(["umount", tmp_path], check=True)


class TestACallbackThatRaises:
    def test_stops_the_journal_and_is_seen(self, file: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        raised: list[BaseException | None] = []
        monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))
        heard = Listener()

        def broken(committed: list[Committed]) -> None:
            raise ZeroDivisionError

        heard.on_durable = broken  # type: ignore[method-assign]
        journal = file.open(heard)
        journal.submit([begin("a", b"0")])
        heard.wait(lambda it: bool(it.failures))
        with pytest.raises(JournalError, match="a callback of"):
            journal.submit([begin("b")])
        journal.close(WAIT_S)
        assert [type(error) for error in raised] == [ZeroDivisionError]
        assert bodies(file.open(), "a") == [b"0"]


VALUE = b"v" * 3_000
DIGEST = hashlib.sha256(VALUE).hexdigest()
RUNS = [f"run-{n}" for n in range(20)]


def write_some(journal: Any) -> None:
    for turn in range(4):
        for n, run_id in enumerate(RUNS):
            index = row(run_id, "completed" if turn == 3 and n % 2 else "running", name=f"Flow {n}")
            body = b"%s %d " % (run_id.encode(), turn) * 10
            store(journal, Write(run_id, [body, b"x" * n], run=index, create=turn == 0, values={DIGEST: VALUE}))
    journal.post({"n": 1})


@cache
def closed_file() -> tuple[bytes, object]:
    """The bytes of a closed journal, and all that is in it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place("sqlite", Path(folder) / "runs.db")
        journal = place.open()
        write_some(journal)
        kept = contents(journal)
        place.close()
        return place.path.read_bytes(), kept


@cache
def unmerged_files() -> tuple[bytes, bytes, list[int]]:
    """File and write-ahead file of an owner that was cut off, and the size of the latter after each commit."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place("sqlite", Path(folder) / "runs.db")
        journal, sizes = place.open(), []
        wal = Path(f"{place.path}-wal")
        store(journal, begin("a", b"0"))
        for n in range(1, 30):
            store(journal, Write("a", [b"%d" % n * 50]))
            sizes.append(wal.stat().st_size)
        files = place.path.read_bytes(), wal.read_bytes(), sizes
        place.close()
        return files


def contents(log: Any) -> object:
    return (
        *everything(log, RUNS),
        [log.count(name) for name in RUNS],
        log.load([DIGEST]),
        log.commands(),
        log.run(RUNS[3]),
    )


@contextlib.contextmanager
def folder_with(**files: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for suffix, content in files.items():
            (Path(folder) / f"runs.db{suffix.replace('_', '-')}").write_bytes(content)
        yield Path(folder) / "runs.db"


def flipped(content: bytes, where: float, by: int) -> bytes:
    changed = bytearray(content)
    changed[int(where * (len(content) - 1))] ^= by
    return bytes(changed)


places = st.floats(0, 1)
flips = st.integers(1, 255)


class TestDamagedBytes:
    @settings(max_examples=120, deadline=None)
    @given(places, flips)
    @example(0.0, 1)
    def test_are_an_error_or_harmless_to_a_reader(self, where: float, by: int) -> None:
        content, kept = closed_file()
        with folder_with(**{"": flipped(content, where, by)}) as path:
            with contextlib.suppress(JournalError), SqliteReader.open(path) as log:
                log.verify()
                assert contents(log) == kept

    @settings(max_examples=60, deadline=None)
    @given(places, flips)
    def test_are_an_error_or_harmless_to_an_owner(self, where: float, by: int) -> None:
        content, kept = closed_file()
        with folder_with(**{"": flipped(content, where, by)}) as path:
            place = Place("sqlite", path)
            try:
                with contextlib.suppress(JournalError):
                    journal = place.open()
                    assert contents(journal) == kept
                    store(journal, Write(RUNS[0], [b"more"]))
                    assert bodies(journal, RUNS[0])[-1] == b"more"
            finally:
                place.close()

    @settings(max_examples=80, deadline=None)
    @given(places, flips)
    def test_in_a_file_too_large_to_check_first_never_change_a_run(self, where: float, by: int) -> None:
        content, kept = closed_file()
        expected = kept[1]  # type: ignore[index]
        with pytest.MonkeyPatch.context() as patch, folder_with(**{"": flipped(content, where, by)}) as path:
            patch.setattr(reader, "CHECK_READER_BYTES", 0)
            with contextlib.suppress(JournalError), SqliteReader.open(path) as log:
                for found in log.runs():
                    assert list(log.read(found.run_id)) == expected[found.run_id]

    @settings(max_examples=60, deadline=None)
    @given(places)
    def test_a_file_cut_short_too(self, where: float) -> None:
        content, kept = closed_file()
        with folder_with(**{"": content[: int(where * len(content))]}) as path:
            with contextlib.suppress(JournalError), SqliteReader.open(path) as log:
                assert contents(log) == kept

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE event SET body = CAST(replace(body, '1', '2') AS BLOB) WHERE position = 63",
            "UPDATE event SET body = 'text' WHERE position = 63",
            "UPDATE event SET run = run + 1 WHERE position = 63",
            "UPDATE event SET n = n + 1 WHERE run = 12 AND position = 63",
            "DELETE FROM event WHERE position = 63",
            "DELETE FROM event WHERE run = 12 AND position > 120",
            "DELETE FROM event WHERE run = 12",
            "DELETE FROM tail WHERE run = 12",
            "UPDATE tail SET records = records - 1 WHERE run = 12",
            "UPDATE event SET body = (SELECT body FROM event WHERE position = 65) WHERE position = 63",
        ],
    )
    def test_of_one_record_name_the_run(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "runs.db"
        path.write_bytes(closed_file()[0])
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(damage)
        connection.close()
        with SqliteReader.open(path) as log:
            with pytest.raises(JournalError, match=r"record \S+ of run run-11, at or after position \d+") as caught:
                list(log.read("run-11"))
            assert caught.value.code == "JOURNAL_CORRUPT"
            with pytest.raises(JournalError):
                log.verify()
            assert len(list(log.read("run-3"))) == 8

    @pytest.mark.parametrize("table", ["run", "inbox"])
    def test_of_any_other_row_are_noticed(self, tmp_path: Path, table: str) -> None:
        path = tmp_path / "runs.db"
        path.write_bytes(closed_file()[0])
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(f"UPDATE {table} SET created_at = '2025'")
        connection.close()
        with SqliteReader.open(path) as log, pytest.raises(JournalError, match="JOURNAL_CORRUPT"):
            log.runs()
            log.commands()


class TestADamagedWriteAheadFile:
    @settings(max_examples=80, deadline=None)
    @given(places, flips)
    @example(0.0, 1)
    @example(0.9633377083544541, 1)
    def test_costs_at_most_the_last_two_commits(self, where: float, by: int) -> None:
        """One byte that turns the last commit but one's mark makes both look like one torn transaction."""
        content, wal, _ = unmerged_files()
        with folder_with(**{"": content, "_wal": flipped(wal, where, by)}) as path:
            place = Place("sqlite", path)
            try:
                with contextlib.suppress(JournalError):
                    assert place.open().count("a") >= 28
            finally:
                place.close()

    def test_is_refused_and_not_cut_off(self) -> None:
        content, wal, sizes = unmerged_files()
        damaged = flipped(wal, sizes[10] / len(wal), 1)
        with folder_with(**{"": content, "_wal": damaged}) as path:
            for opening in (Place("sqlite", path).open, lambda: post(path, {})):
                with pytest.raises(JournalError, match="-wal is damaged behind frame"):
                    opening()
                assert Path(f"{path}-wal").read_bytes() == damaged

    def test_a_torn_last_commit_is_not_damage(self) -> None:
        content, wal, sizes = unmerged_files()
        with folder_with(**{"": content, "_wal": wal[: sizes[-1] - 100]}) as path:
            place = Place("sqlite", path)
            assert place.open().count("a") == 29
            place.close()

    @pytest.mark.parametrize("left", [{}, {"": b""}])
    def test_without_its_database_is_kept(self, left: dict[str, bytes]) -> None:
        with folder_with(**left, **{"_wal": unmerged_files()[1]}) as path:
            with pytest.raises(JournalError, match="still holds records"):
                Place("sqlite", path).open()
            assert Path(f"{path}-wal").read_bytes() == unmerged_files()[1]

    def test_an_undamaged_one_is_read_to_its_end(self) -> None:
        content, wal, _ = unmerged_files()
        with folder_with(**{"": content, "_wal": wal}) as path, SqliteReader.open(path) as log:
            assert log.count("a") == 30


class TestSuspicion:
    def test_a_large_file_is_checked_when_its_owner_was_killed(
        self, file: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checks: list[str] = []
        check = database.check_pages

        def counted(connection: sqlite3.Connection, path: str, part: database.Part) -> None:
            checks.append(part)
            check(connection, path, part)

        monkeypatch.setattr(database, "check_pages", counted)
        monkeypatch.setattr("dynamicflow.streams.embedded.sqlite.CHECK_ALWAYS_BYTES", -1)
        store(file.open(), begin("a"))
        file.close()
        file.open()
        file.close()
        assert checks == ["runs"]
        killed_while_writing(file.path, "t", 20)
        file.open()
        assert checks == ["runs", "runs", "pages"]
