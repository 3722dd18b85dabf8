"""Builders for journals: rows, writes, a listener that can be waited for, and the two ways to make a journal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded.journal import Committed, Journal, Posted, RunRow, Write
from dynamicflow.streams.embedded.memory import MemoryJournal
from dynamicflow.streams.embedded.sqlite import SqliteJournal

WAIT_S = 10.0
TIME = "2024-01-15T10:30:00.000000Z"
CHILD_ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def row(run_id: str, status: str = "running", **fields: Any) -> RunRow:
    given: dict[str, Any] = {
        "request_digest": "sha256:00",
        "plan_hash": None,
        "name": "Flow",
        "created_at": TIME,
        "updated_at": TIME,
        "root_run_id": run_id,
    }
    return RunRow(run_id=run_id, status=status, **{**given, **fields})


def begin(run_id: str, *records: bytes, **fields: Any) -> Write:
    """The first Write of a run."""
    return Write(run_id, records or (b"first",), run=row(run_id), create=True, **fields)


class Listener:
    """What a journal called back with."""

    def __init__(self) -> None:
        self.committed: list[Committed] = []
        self.batches: list[int] = []
        self.failures: list[JournalError] = []
        self.commands: list[Posted] = []
        self._changed = threading.Condition()

    def on_durable(self, committed: list[Committed]) -> None:
        with self._changed:
            self.committed += committed
            self.batches.append(len(committed))
            self._changed.notify_all()

    def on_failure(self, error: JournalError) -> None:
        with self._changed:
            self.failures.append(error)
            self._changed.notify_all()

    def on_command(self, commands: list[Posted]) -> None:
        with self._changed:
            self.commands += commands
            self._changed.notify_all()

    def wait(self, until: Callable[[Listener], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: until(self), WAIT_S), "it never came to that"

    @property
    def errors(self) -> list[object]:
        return [done.error for done in self.committed]


class Place:
    """Where a journal lives; ``open`` again is what the next process would do."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind, self.path = kind, path
        self._memory = MemoryJournal()
        self._opened: list[Journal] = []

    def open(self, listener: Listener | None = None, **settings: Any) -> Journal:
        heard = listener or Listener()
        callbacks: dict[str, Any] = {
            "on_durable": heard.on_durable,
            "on_failure": heard.on_failure,
            "on_command": heard.on_command,
        }
        if self.kind == "memory":
            journal: Journal = self._memory.attach(**callbacks)
        else:
            journal = SqliteJournal.open(self.path, **callbacks, **settings)
        self._opened.append(journal)
        return journal

    def close(self) -> None:
        for journal in self._opened:
            journal.close(WAIT_S)
        self._opened.clear()


def store(journal: Journal, *writes: Write) -> None:
    """Submit and wait until it is durable."""
    journal.submit(writes)
    journal.flush(WAIT_S)


def bodies(journal: Any, run_id: str) -> list[bytes]:
    return [record for _, record in journal.read(run_id)]


def everything(journal: Any, run_ids: Sequence[str]) -> tuple[list[RunRow], dict[str, list[tuple[int, bytes]]]]:
    """All that can be read of these runs."""
    return journal.runs(newest_first=False), {run_id: list(journal.read(run_id)) for run_id in run_ids}
