"""Reads a run's log as it grows, whoever drives the run, and says how it stands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ...errors import RunNotFound
from ...values import Json, stamp
from ..clock import SystemClock
from ..core.derive import Deriver
from ..core.events import ControlRefused, Event, FlowComplete, ResumeRequested, RunParked
from ..core.fold import needs, whole
from ..core.result import needs_someone, run_error, standing_record
from ..core.state import ENDED, RunState
from ..embedded.owner import owner_of
from ..embedded.reader import SqliteReader
from ..replay import RunLog, event_at

WAITING = frozenset({"suspended", "paused", "parked"})
_OWNER_SECONDS = 1.0
"""How often a follower looks whether anybody drives the run."""


class Readable(RunLog, Protocol):
    """The log of a run that may be growing."""

    def read(self, run_id: str, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position, record) with ``position > after``, ascending; the first position is above 0."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as it is shown: ``number`` is its record's, counted from 0; derived ones carry that of their cause."""

    number: int
    event: Event
    derived: bool
    items: int | None = None
    """How many items a collection has, where the event is its node-start."""


class Follower:
    """A reader's place in a run's log, and the fold of what it has read so far."""

    def __init__(self, log: Readable, run_id: str) -> None:
        self.run_id = run_id
        self._log, self._deriver, self._position, self._number = log, Deriver(run_id), 0, 0
        self.completed = False
        """Whether ``flow-complete`` has been read: nothing follows."""
        self.parked: str | None = None
        """Why its owner says that it cannot go on, if that is the last it said."""
        self._told: dict[str, Json] | None = None
        """How it ended as the log says, where this release cannot fold what led to it."""

    @property
    def state(self) -> RunState:
        return self._deriver.state

    @property
    def records(self) -> int:
        return self._number

    def more(self) -> list[Seen]:
        """What was appended since the last call, with what follows from it. Raises JournalError."""
        seen: list[Seen] = []
        for position, record in self._log.read(self.run_id, after=self._position):
            event = event_at(record, self.run_id, position)
            wanted = needs(self.state, event)
            shown = self._deriver.feed(event, self._log.load(wanted) if wanted else {})
            seen += [Seen(self._number, one, one is not event, self._items(one)) for one in shown]
            self._position, self._number = position, self._number + 1
            self._note(event)
        return seen

    def _note(self, event: Event) -> None:
        if isinstance(event, RunParked):
            self.parked = event.reason
        elif isinstance(event, ResumeRequested) or not (event.folded or isinstance(event, ControlRefused)):
            self.parked = None
        if isinstance(event, FlowComplete):
            self.completed = True
            if self.state.result is None:
                large = {str(place["sha256"]) for place in (event.large or {}).values()}
                self._told = dict(whole(event, self._log.load(large))["result"])

    @property
    def result(self) -> dict[str, Json] | None:
        """How it ended, if it has."""
        return self.state.result or self._told

    def _items(self, event: Event) -> int | None:
        if event.type != "node-start" or event.item or event.node_id is None:
            return None
        live = self.state.live_at(event.node_id, ())
        return None if live is None or live.items is None else len(live.items)


def standing(follower: Follower, *, parked: str | None = None) -> dict[str, Json]:
    """The result record of a run that has ended, or how it stands; ``parked`` says why it cannot go on."""
    return follower.result or standing_record(follower.state, stamp(SystemClock().now_ms()), parked=parked)


class Watch:
    """Follows a run in a file that another process may be driving."""

    def __init__(self, path: str | os.PathLike[str], run_id: str, *, max_wait: float | None = None) -> None:
        self.log = SqliteReader.open(path)
        self.path, self.run_id = path, run_id
        self._max_wait = max_wait
        self._next_look = 0.0
        if self.log.run(run_id) is None:
            self.log.close()
            raise no_run(path, run_id)
        self.follower = Follower(self.log, run_id)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def wait(self, seconds: float) -> None:
        """Until something was committed, at most ``seconds``."""
        self.log.wait_for_change(seconds)

    def halted(self) -> dict[str, Json] | None:
        """How the run stands, if there is nothing to wait for: it ended, needs somebody, or nobody drives it."""
        follower = self.follower
        row = self.log.run(self.run_id)
        if follower.completed or (row is not None and row.status in ENDED and follower.state.result is not None):
            return standing(follower)
        if row is not None and row.status == "parked":
            return standing(follower, parked="it lacks something here, its tools most likely; see the owner's words")
        if needs_someone(follower.state, SystemClock().now_ms(), self._max_wait):
            return standing(follower)
        return self._left_alone()

    def standing(self) -> dict[str, Json]:
        """How the run ended or stands, as far as the follower has read."""
        row = self.log.run(self.run_id)
        parked = row is not None and row.status == "parked"
        why = f"the process that had it could not go on; {go_on(self.path, self.run_id)}" if parked else None
        return standing(self.follower, parked=why)

    def _left_alone(self) -> dict[str, Json] | None:
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + _OWNER_SECONDS
        if owner_of(self.path) is not None or self.log.count(self.run_id) > self.follower.records:
            return None
        record = standing(self.follower)
        record["error"] = run_error("NOT_DRIVEN", f"no process drives this run now; {go_on(self.path, self.run_id)}")
        return record


def go_on(path: str | os.PathLike[str], run_id: str) -> str:
    """How to take a run up again."""
    return f"go on with `dynamicflow run --db {os.fspath(path)} --run-id {run_id} --tools FILE.py`"


def no_run(path: str | os.PathLike[str], run_id: str) -> RunNotFound:
    """The error of a run that is not there."""
    message = f"no run {run_id!r} in {os.fspath(path)}; `dynamicflow runs --db {os.fspath(path)}` lists those there are"
    return RunNotFound("RUN_NOT_FOUND", message)
