"""Rebuild a run from its log: no user code, no model, no tool, no clock takes part (design §1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from ..errors import JournalError, Problem, RunNotFound
from ..values import Json, NotJson, digest
from .core.codec import decode_event, encode_event
from .core.commands import Announce
from .core.events import ControlRefused, Event, FlowComplete, RunParked
from .core.fold import CannotFold, apply, ends_all, needs
from .core.state import RunState, new_run


class RunLog(Protocol):
    """Where the records of a run can be read, in their order."""

    def read(self, run_id: str) -> Iterator[tuple[int, bytes]]:
        """(position, record), ascending; nothing for a run that is not there."""

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Large values by digest. Raises JournalError for one that is missing."""


@dataclass(slots=True)
class Rebuilt:
    """A run as its log says."""

    state: RunState
    records: int = 0
    told: set[str] = field(default_factory=set)
    """Ids of the announcements in the log."""
    untold: dict[str, Event] = field(default_factory=dict)
    """Announcements that the facts lead to and the log lacks: the process died between the two."""
    stopped: str | None = None
    """Why the fold could not go on, if it could not; the state is then that of the last good position."""
    problems: list[Problem] = field(default_factory=list)
    """With ``verify``: announcements that do not follow from the facts, or are missing."""
    bytes_read: int = 0

    @property
    def digest(self) -> str:
        """Digest of the state: the same for the same facts, on every machine."""
        return digest(self.state.to_json())


def rebuild(log: RunLog, run_id: str, *, at: int | None = None, verify: bool = False) -> Rebuilt:
    """Fold the first ``at`` records of a run, or all. Raises RunNotFound, JournalError for a damaged record."""
    made = Rebuilt(new_run(run_id))
    ended, seen = False, dict[str, bytes]()
    for position, record in islice(log.read(run_id), at):
        event = event_at(record, run_id, position)
        made.records += 1
        made.bytes_read += len(record)
        if event.folded:
            if made.stopped is None or ends_all(event):
                made.stopped = None
                _fold(made, event, log)
            continue
        if verify and seen.get(event.id) != record:  # a shell that sends again tells the same twice
            _compare(made, record, event)
            seen[event.id] = record
        ended = ended or isinstance(event, FlowComplete)
        made.told.add(event.id)
        made.untold.pop(event.id, None)
    if not made.records and at != 0:
        raise no_such_run(run_id)
    if verify and at is None and made.stopped is None and ended:  # before, they may be on their way
        message = "the facts lead to it, but it is not in the log"
        made.problems += [Problem("ANNOUNCEMENT_MISSING", name, message) for name in made.untold]
    return made


def _fold(made: Rebuilt, event: Event, log: RunLog) -> None:
    try:
        asked = apply(made.state, event, log.load(needs(made.state, event)) if event.large else {})
    except CannotFold as error:
        made.stopped = str(error)
        return
    for command in asked:
        if isinstance(command, Announce):
            made.untold[command.event.id] = command.event


def no_such_run(run_id: str) -> RunNotFound:
    """The error for an id that no run has."""
    message = f"no run {run_id} in this journal; `dynamicflow runs` lists those there are"
    return RunNotFound("RUN_NOT_FOUND", message)


def _compare(made: Rebuilt, record: bytes, event: Event) -> None:
    if isinstance(event, RunParked | ControlRefused):
        return  # the shell of its time leads to it: what tools it had, what it had forgotten; not the facts
    expected = made.untold.get(event.id)
    if expected is None:
        message = "it is in the log, but the facts before it do not lead to it"
        made.problems.append(Problem("ANNOUNCEMENT_UNEXPECTED", event.id, message))
    elif event.large is None and encode_event(expected).record != record:
        message = "the facts lead to other bytes than the log has"
        made.problems.append(Problem("ANNOUNCEMENT_DIFFERS", event.id, message))


def event_at(record: bytes, run_id: str, position: int) -> Event:
    """The event of a record. Raises JournalError naming the place when it is none."""
    try:
        return decode_event(record)
    except NotJson as error:
        message = f"record {position} of run {run_id} cannot be read: {error}. Restore the journal from a backup"
        raise JournalError("JOURNAL_CORRUPT", message) from error


def state_json(rebuilt: Rebuilt) -> dict[str, Json]:
    """What `dynamicflow rebuild --json` prints."""
    state = rebuilt.state
    return {
        "runId": state.run_id,
        "status": state.public_status,
        "records": rebuilt.records,
        "facts": state.seq,
        "late": state.late,
        "stateDigest": rebuilt.digest,
        "planHash": state.program.hash if state.program else None,
        "stopped": rebuilt.stopped,
        "result": state.result,
        "problems": [problem.to_json() for problem in rebuilt.problems],
    }
