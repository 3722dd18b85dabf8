"""One owner, and any number of others that read its file and send it commands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded.inbox import await_reply, post
from dynamicflow.streams.embedded.journal import Committed, Journal, Posted, Write
from dynamicflow.streams.embedded.owner import owner_of
from dynamicflow.streams.embedded.sqlite import SqliteJournal, SqliteReader
from tests.journal.journal_kit import CHILD_ENV, WAIT_S, Listener, Place, begin, bodies, row, store

OWNER = """
import sys
from dynamicflow.streams.embedded.sqlite import SqliteJournal
tools = {"score": "sha256:1", "ask": "sha256:2"}
journal = SqliteJournal.open(sys.argv[1], on_durable=print, on_failure=print, tools=tools)
print("owned", flush=True)
sys.stdin.read()
journal.close()
"""


@contextmanager
def another_owner(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the file until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", OWNER, path], env=CHILD_ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "owned\n"
        yield child


def owned(way: Callable[[], object]) -> JournalError:
    with pytest.raises(JournalError) as caught:
        way()
    assert caught.value.code == "JOURNAL_OWNED"
    return caught.value


class TestOneProcessOwnsAFile:
    def test_a_second_is_refused_and_told_who_the_first_is(self, file: Place) -> None:
        with another_owner(file.path) as child:
            message = owned(file.open).message
            for part in (
                f"process {child.pid}",
                f"on {socket.gethostname()}",
                "since 20",
                "ask, score",
                "use another file",
            ):
                assert part in message
            found = owner_of(file.path)
            assert found is not None
            assert (found.pid, found.tools) == (child.pid, {"score": "sha256:1", "ask": "sha256:2"})

    def test_the_same_process_cannot_own_it_twice(self, file: Place) -> None:
        file.open()
        assert f"process {os.getpid()}" in owned(file.open).message

    def test_a_killed_owner_owns_nothing(self, file: Place) -> None:
        with another_owner(file.path) as child:
            child.send_signal(signal.SIGKILL)
            child.wait(WAIT_S)
            assert owner_of(file.path) is None
            store(file.open(), begin("a"))

    def test_an_owner_that_closed_owns_nothing(self, file: Place) -> None:
        file.open()
        file.close()
        assert owner_of(file.path) is None
        with another_owner(file.path):
            pass

    def test_nobody_owns_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert owner_of(tmp_path / "none" / "runs.db") is None

    def test_a_refused_opening_leaves_the_file_free(self, tmp_path: Path) -> None:
        place = Place("sqlite", tmp_path / "runs.db")
        place.path.write_bytes(b"not a journal")
        with pytest.raises(JournalError):
            place.open()
        place.path.unlink()
        store(place.open(), begin("a"))
        place.close()

    def test_a_forked_child_is_refused(self, file: Place) -> None:
        script = """
import os, sys
from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded.journal import RunRow, Write
from dynamicflow.streams.embedded.sqlite import SqliteJournal
def opened():
    return SqliteJournal.open(sys.argv[1], on_durable=lambda done: None, on_failure=print)
journal = opened()
child = os.fork()
if not child:
    for way in (lambda: journal.submit([Write("a")]), lambda: journal.run("a"), lambda: journal.flush(), opened):
        try:
            way()
        except JournalError as error:
            print(error.code, flush=True)
    journal.close()
    os._exit(0)
os.waitpid(child, 0)
print(len(journal.runs()))
try:
    opened()
except JournalError as error:
    print(error.code)
journal.close()
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, file.path],
            env=CHILD_ENV,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert done.stdout.split() == ["JOURNAL_CLOSED"] * 3 + ["JOURNAL_OWNED", "0", "JOURNAL_OWNED"]


class TestAReaderBesideTheOwner:
    def test_sees_what_was_reported(self, file: Place) -> None:
        journal = file.open()
        store(journal, begin("a", b"0"))
        with SqliteReader.open(file.path) as reader:
            assert bodies(reader, "a") == [b"0"]
            store(journal, Write("a", [b"1"], run=row("a", "completed")), begin("b"))
            assert bodies(reader, "a") == [b"0", b"1"]
            assert [found.status for found in reader.runs()] == ["running", "completed"]
            reader.verify()

    def test_in_another_process_follows_while_the_owner_writes(self, file: Place) -> None:
        follow = """
import sys
from dynamicflow.streams.embedded.sqlite import SqliteReader
with SqliteReader.open(sys.argv[1]) as reader:
    print("open", flush=True)
    at, seen = 0, 0
    while seen < 1000:
        assert reader.wait_for_change(10)
        for at, record in reader.read("a", after=at):
            assert record == b"%d" % seen
            seen += 1
"""
        journal = file.open()
        store(journal, begin("b"))
        with subprocess.Popen(
            [sys.executable, "-c", follow, file.path], env=CHILD_ENV, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            store(journal, begin("a", b"0"))
            for start in range(1, 1000, 27):
                store(journal, *(Write("a", [b"%d" % n]) for n in range(start, min(start + 27, 1000))))
            assert child.wait(WAIT_S) == 0

    def test_waits_for_a_change_and_no_longer(self, file: Place) -> None:
        journal = file.open()
        with SqliteReader.open(file.path) as reader:
            assert not reader.wait_for_change(0)
            store(journal, begin("a"))
            assert reader.wait_for_change(0)
            assert not reader.wait_for_change(0.01)

    def test_that_is_closed_says_so(self, file: Place) -> None:
        file.open()
        reader = SqliteReader.open(file.path)
        reader.close()
        reader.close()
        with pytest.raises(JournalError, match="JOURNAL_CLOSED"):
            reader.runs()


class TestCommandsFromOtherProcesses:
    def test_are_answered(self, file: Place) -> None:
        listener = Listener()

        def answer(commands: list[Posted]) -> None:
            for posted in commands:
                journal.reply(posted.id, {"saw": posted.command})

        listener.on_command = answer  # type: ignore[method-assign]
        journal = file.open(listener)
        asked = post(file.path, {"type": "cancel", "runId": "a"})
        assert await_reply(file.path, asked, WAIT_S) == {"saw": {"type": "cancel", "runId": "a"}}
        assert journal.commands() == []

    def test_wait_for_the_next_owner(self, file: Place, heard: Listener) -> None:
        file.open()
        file.close()
        asked = post(file.path, {"n": 1})
        assert await_reply(file.path, asked, 0) is None
        file.open(heard)
        heard.wait(lambda it: [posted.id for posted in it.commands] == [asked])

    def test_get_in_while_the_owner_writes_as_fast_as_it_can(self, file: Place) -> None:
        heard, stop = Listener(), threading.Event()
        journal: Journal

        def again(committed: list[Committed]) -> None:
            if not stop.is_set():
                journal.submit([Write("a", [b"x" * 400]) for _ in committed])

        heard.on_durable = again  # type: ignore[method-assign]
        journal = file.open(heard)
        journal.submit([begin("a", b"x"), *(Write("a", [b"x"]) for _ in range(49))])
        try:
            ids = [post(file.path, {"n": n}) for n in range(20)]
            heard.wait(lambda it: len(it.commands) == 20)
        finally:
            stop.set()
        assert [posted.id for posted in heard.commands] == ids

    def test_are_handed_out_again_after_a_kill(self, file: Place) -> None:
        with another_owner(file.path) as child:
            asked = post(file.path, {"n": 1})
            child.send_signal(signal.SIGKILL)
        heard = Listener()
        journal = file.open(heard)
        heard.wait(lambda it: [posted.id for posted in it.commands] == [asked])
        assert isinstance(journal, SqliteJournal)
        assert isinstance(heard.commands[0], Posted)
