"""The bare loops that the engine is measured against: the same durability, one JSON record a step, and no engine.

A writer thread drains a queue and commits what has gathered in one transaction (WAL, ``synchronous=FULL``); each of the
concurrent runs awaits the commit of its row before it goes on.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
import time
from pathlib import Path


def record(run: int, step: int) -> bytes:
    """What a durable step has to write at the least: its outcome as JSON, as long as the engine's record."""
    return json.dumps({**_RECORD, "runId": run, "output": {"n": step}}, separators=(",", ":")).encode()


_RECORD = {
    "id": "0190f0a0-0000-7000-8000-000000000000/s5/-/1/tool-output",
    "type": "tool-output",
    "runId": "0190f0a0-0000-7000-8000-000000000000",
    "timestamp": "2026-01-01T00:00:00.000000Z",
    "v": 1,
    "semantics": 1,
    "planHash": "sha256:" + "0" * 64,
    "nodeId": "s5",
    "attempt": 1,
    "delivery": 1,
    "causationId": "0190f0a0-0000-7000-8000-000000000000/s4/-/1/tool-output",
    "toolId": "step",
    "output": {"n": 5},
    "inputsDigest": "sha256:" + "0" * 64,
    "startedAt": "2026-01-01T00:00:00.000000Z",
    "executionTime": 0.01,
}


class GroupCommit:
    """A queue of rows, a writer thread, one commit for all that has gathered."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: queue.SimpleQueue[tuple[int, bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._path = path
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def append(self, run: int, step: int) -> asyncio.Future[None]:
        """Durable when the future is done."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((run, record(run, step), future))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(
            "CREATE TABLE event (position INTEGER PRIMARY KEY, run INTEGER NOT NULL, body BLOB NOT NULL)"
        )
        connection.execute("CREATE INDEX event_by_run ON event (run, position)")
        going = True
        while going:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            if None in batch:
                going = False
            rows = [entry for entry in batch if entry is not None]
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO event (run, body) VALUES (?, ?)", [(run, body) for run, body, _ in rows]
            )
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_done, [future for _, _, future in rows])
        connection.close()


def _done(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


async def group_commit(path: Path, *, runs: int, steps: int, in_flight: int, width: int = 1) -> float:
    """Steps per second of ``runs`` × ``steps``, ``in_flight`` runs at a time, ``width`` steps of a run side by side."""
    log = GroupCommit(path, asyncio.get_running_loop())
    gate = asyncio.Semaphore(in_flight)

    async def run(number: int) -> None:
        async with gate:
            for step in range(steps // width):
                if width == 1:
                    await log.append(number, step)
                else:
                    await asyncio.gather(*(log.append(number, step) for _ in range(width)))

    began = time.perf_counter()
    await asyncio.gather(*(run(number) for number in range(runs)))
    took = time.perf_counter() - began
    log.close()
    return runs * steps / took


def read_rows(path: Path) -> float:
    """Rows per second read from a journal and parsed as JSON, nothing more."""
    connection = sqlite3.connect(path)
    began = time.perf_counter()
    count = 0
    for (body,) in connection.execute("SELECT body FROM event ORDER BY position"):
        json.loads(body)
        count += 1
    connection.close()
    return count / (time.perf_counter() - began)
