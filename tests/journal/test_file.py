"""Files that are no journal, or none that can be used: each is refused with its code, and left as it was."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded.inbox import post
from dynamicflow.streams.embedded.sqlite import SqliteJournal, SqliteReader
from tests.journal.journal_kit import CHILD_ENV, Listener, Place, begin, bodies, store

Opening = Callable[[Path], object]


def as_owner(path: Path) -> object:
    heard = Listener()
    return SqliteJournal.open(path, on_durable=heard.on_durable, on_failure=heard.on_failure)


def as_client(path: Path) -> object:
    return post(path, {"type": "cancel"})


EVERY_WAY: list[Opening] = [as_owner, SqliteReader.open, as_client]


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def refusal(opening: Opening, path: Path) -> JournalError:
    with pytest.raises(JournalError) as caught:
        opening(path)
    return caught.value


@pytest.fixture
def journal(file: Place) -> Path:
    """A closed journal with one run."""
    store(file.open(), begin("a", b"0"))
    file.close()
    return file.path


@pytest.mark.parametrize("opening", EVERY_WAY)
class TestAFileThatIsNoJournal:
    @pytest.mark.parametrize("content", [b"hello", b"x" * 10_000, b"SQLite format 3\0" + b"\xff" * 5_000])
    def test_is_not_taken_for_one(self, tmp_path: Path, opening: Opening, content: bytes) -> None:
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        assert refusal(opening, path).code == "JOURNAL_CORRUPT"
        assert path.read_bytes() == content

    def test_of_another_program_is_left_alone(self, tmp_path: Path, opening: Opening) -> None:
        path = tmp_path / "other.db"
        edit(path, "CREATE TABLE theirs (a)")
        before = path.read_bytes()
        assert refusal(opening, path).code == "JOURNAL_FOREIGN"
        assert path.read_bytes() == before

    def test_of_a_later_release_says_who_wrote_it_and_who_reads(self, journal: Path, opening: Opening) -> None:
        edit(journal, "PRAGMA user_version = 7", "UPDATE meta SET value = '9.4.2' WHERE name = 'written_by'")
        error = refusal(opening, journal)
        assert error.code == "JOURNAL_NEWER"
        assert "format 7, written by release 9.4.2" in error.message
        assert "format 1" in error.message

    @pytest.mark.parametrize(
        "part", ["TABLE event", "TABLE meta", "TABLE value", "INDEX event_of_run", "TRIGGER event_counted"]
    )
    def test_lacking_a_part_names_it(self, journal: Path, opening: Opening, part: str) -> None:
        edit(journal, f"DROP {part}")
        error = refusal(opening, journal)
        assert (error.code, part.split()[1] in error.message) == ("JOURNAL_CORRUPT", True)

    def test_in_no_folder_is_not_found(self, tmp_path: Path, opening: Opening) -> None:
        error = refusal(opening, tmp_path / "none" / "runs.db")
        assert (error.code, "Create it" in error.message) == ("JOURNAL_NOT_FOUND", True)

    def test_that_is_a_folder_is_not_found(self, tmp_path: Path, opening: Opening) -> None:
        assert refusal(opening, tmp_path).code == "JOURNAL_NOT_FOUND"

    def test_with_an_impossible_name_is_not_found(self, tmp_path: Path, opening: Opening) -> None:
        assert refusal(opening, tmp_path / "a\0b").code == "JOURNAL_NOT_FOUND"
        assert refusal(opening, tmp_path / ("x" * 300)).code == "JOURNAL_NOT_FOUND"


class TestAFileThatIsNotThereYet:
    @pytest.mark.parametrize("opening", [SqliteReader.open, as_client])
    @pytest.mark.parametrize("there", [False, True])
    def test_is_made_by_an_owner_only(self, tmp_path: Path, opening: Opening, there: bool) -> None:
        path = tmp_path / "runs.db"
        if there:
            path.touch()
        assert refusal(opening, path).code == "JOURNAL_NOT_FOUND"
        assert path.exists() is there

    @pytest.mark.parametrize("name", ["a b?c#d%20&mode=ro.db", "ü☃.db", ":memory:"])
    def test_may_have_any_name(self, tmp_path: Path, name: str) -> None:
        place = Place("sqlite", tmp_path / name)
        store(place.open(), begin("a", b"0"))
        place.close()
        with SqliteReader.open(tmp_path / name) as reader:
            assert bodies(reader, "a") == [b"0"]

    def test_is_durable_on_every_commit(self, file: Place) -> None:
        journal = file.open()
        assert isinstance(journal, SqliteJournal)
        store(journal, begin("a"))
        ask = journal._writer.execute
        assert [ask(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")] == ["wal", 2]


READ_ONLY_CHILD = """
import os, sys
from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded.database import schema
from dynamicflow.streams.embedded.inbox import post
from dynamicflow.streams.embedded.owner import owner_of
from dynamicflow.streams.embedded.sqlite import SqliteJournal, SqliteReader

def codes(path):
    for way in (lambda: post(path, {}), lambda: SqliteJournal.open(path, on_durable=print, on_failure=print).close()):
        try:
            way()
            yield "no error"
        except JournalError as error:
            yield error.code

path, other = sys.argv[1:]
list(codes(other)), schema()  # everything is imported and read now: an ordinary user may not see where
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with SqliteReader.open(path) as reader:
    print([record for row in reader.runs() for _, record in reader.read(row.run_id)], reader.wait_for_change(0))
print(owner_of(path), *codes(path))
"""


class TestAReadOnlyFile:
    """As an ordinary user: root may write everywhere."""

    @pytest.fixture
    def closed(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            place = Place("sqlite", Path(folder) / "runs.db")
            store(place.open(), begin("a", b"0"))
            place.close()
            yield place.path
            os.chmod(folder, 0o755)

    @staticmethod
    def told(path: Path, other: Path) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY_CHILD, path, other],
            env=CHILD_ENV,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    @pytest.mark.parametrize("folder", [0o555, 0o777])
    def test_can_be_read_and_not_owned(self, closed: Path, tmp_path: Path, folder: int) -> None:
        os.chmod(closed, 0o444)
        os.chmod(closed.parent, folder)
        assert self.told(closed, tmp_path / "other.db") == ["[b'0'] False", "None JOURNAL_READ_ONLY JOURNAL_READ_ONLY"]
