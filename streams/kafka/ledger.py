"""What the owner of one partition of the log knows: its runs, folded, and the marks of those that have ended. No IO.

Facts go in with their offsets, commands come out; what they lead to is the scheduler's. The *low-water mark* is the
smallest offset that is still needed: a take-over reads from there (design §6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeAlias

from ...values import stamp, time_ms
from ..core import events as e
from ..core.commands import Announce, CancelStep, Command, Dispatch
from ..core.events import Event, envelope, event_id
from ..core.fold import CannotFold, begin, ends_all, work
from ..core.state import Path, RunState, new_run, step_key
from ..core.turn import Turn
from ..requests import request_digest
from .records import Mark
from .topics import WINDOW_MS

StepKey: TypeAlias = tuple[str, Path]

SLICE: Final = 2000
"""Consequences of one fact that are worked off before other runs have their turn: some 20 ms."""


@dataclass(slots=True)
class Lease:
    """A claim on a step under way, and until when it holds (milliseconds of the log's time)."""

    claim: str
    until_ms: float
    attempt: int
    delivery: int


@dataclass(slots=True, eq=False)
class Tracked:
    """A run of this partition that has not been put aside."""

    state: RunState
    first: int
    """Offset of its first record."""
    last: int
    """Offset of its newest fact."""
    digest: str
    """Of its request."""
    trace: str
    needed_ms: float = 0.0
    """When the first record that a take-over would need was appended; 0: it would need none."""
    last_ms: float = 0.0
    """When its newest fact was appended."""
    covered: int = -1
    """Every fact up to here is in a durable snapshot; -1: there is none."""
    snapshots: list[int] = field(default_factory=list)
    """Offsets in the keys of its snapshots, oldest first."""
    beside_ms: float = 0.0
    """When the newest snapshot was appended, if a part of it lies in ``flow-values``; 0: it is whole, or none."""
    since: dict[StepKey, int] = field(default_factory=dict)
    """Step in flight -> offset of the fact that led to it: it cannot have started before."""
    leases: dict[StepKey, Lease] = field(default_factory=dict)
    untold: dict[str, Event] = field(default_factory=dict)
    """Announcements that the facts lead to and that have not been seen in the log. Kept during a take-over only."""
    unacknowledged: int = 0
    """Announcements on their way."""
    turn: Turn | None = None
    """A fact whose consequences are still being worked off."""
    later: deque[tuple[Event, int]] = field(default_factory=deque)
    """Facts that came meanwhile, with their offsets."""
    advancing: bool = False
    """Somebody folds its facts; others leave theirs in ``later``."""
    broken: bool = False
    """The fold cannot go on: the state is that of the last good position."""
    spoiled: bool = False
    """The fold failed half-way: the state is good for nothing but to be shown."""
    completed_at: int = -1
    """Offset of its flow-complete in the log."""
    published: bool = False
    """Its result is in ``flow-complete``."""
    marking: bool = False
    """Its mark is on the way."""

    @property
    def run_id(self) -> str:
        return self.state.run_id

    @property
    def quiet(self) -> bool:
        """Nothing of it is under way in this process, so that a snapshot holds all there is."""
        return not self.advancing and not self.later and not self.unacknowledged and not self.spoiled

    def snapshotted(self, offset: int) -> None:
        """A snapshot that covers every fact up to there is durable."""
        self.covered = max(self.covered, offset)
        if offset not in self.snapshots:
            self.snapshots.append(offset)
        self.needed_ms = 0.0 if self.covered >= self.last and not self.later else self.last_ms

    def needed(self, position: int) -> int:
        """The smallest offset that a take-over would need for it."""
        if self.covered >= self.last and not self.later:
            return position
        return self.covered + 1 if self.covered >= 0 else self.first


class Ledger:
    """The runs of one partition. ``position``: every record before it has been taken."""

    def __init__(self, partition: int, position: int = 0, window_s: float = WINDOW_MS / 1000) -> None:
        """``window_s``: how long the id of a run that has ended stands for that run."""
        self.partition, self.position, self._window_ms = partition, position, window_s * 1000
        self.runs: dict[str, Tracked] = {}
        self.done: dict[str, Mark] = {}
        self.refusals: dict[str, tuple[int, e.ControlRefused]] = {}
        """Answers that are not known to be in the log: id -> (offset of the request, the answer)."""

    # --- facts in -------------------------------------------------------------------------------------------------

    def receive(
        self, event: Event, offset: int, trace: str, appended_ms: float = 0.0
    ) -> Tracked | e.ControlRefused | None:
        """Take in a fact: the run that is to be folded, an answer to somebody who asks in vain, or nothing."""
        met = self._receive(event, offset, trace, appended_ms)
        if isinstance(met, e.ControlRefused):
            self.refusals[met.id] = (offset, met)
        elif met is not None:
            met.last_ms = appended_ms
            met.needed_ms = met.needed_ms or appended_ms
        return met

    def _receive(self, event: Event, offset: int, trace: str, appended_ms: float) -> Tracked | e.ControlRefused | None:
        run_id = event.run_id
        mark = self.done.get(run_id)
        if isinstance(event, e.FlowRequested) and mark is not None and self._is_over(mark, offset, appended_ms):
            del self.done[run_id]
            mark = None
        if mark is not None:
            return self._of_the_past(event, mark, offset)
        tracked = self.runs.get(run_id)
        if tracked is None:
            if not isinstance(event, e.FlowRequested):
                if isinstance(event, e.Control):
                    return refused(event, "RUN_NOT_FOUND", f"no run {run_id} is known here: it was never requested")
                return None  # of a run whose window is over
            tracked = Tracked(new_run(run_id), offset, offset, digest_of(event), trace)
            self.runs[run_id] = tracked
        elif isinstance(event, e.FlowRequested) and offset > tracked.first:
            answer = self._same_again(event, tracked.digest)
            if answer is not None:
                tracked.later.append((event, offset))  # it changes nothing, and is counted as late
                return answer
        if tracked.broken and ends_all(event):
            self._let_go(tracked)
        tracked.later.append((event, offset))
        return tracked

    @staticmethod
    def _let_go(tracked: Tracked) -> None:
        """A run that cannot be folded is given up on request: what it could not fold is passed over.

        Until then it needs its log from there on, which holds the mark of the partition back.
        """
        if tracked.spoiled:
            given, tracked.state = tracked.state, new_run(tracked.run_id)
            tracked.state.tenant, tracked.state.started_at = given.tenant, given.started_at
        tracked.broken = tracked.spoiled = False
        tracked.state.parked, tracked.turn = None, None
        tracked.later.clear()

    def _is_over(self, mark: Mark, offset: int, appended_ms: float) -> bool:
        """The window of the mark was over when a request came: it is for another run. (Marks lie longer than that.)"""
        return offset > mark.last and appended_ms - mark.at_ms > self._window_ms

    def _of_the_past(self, event: Event, mark: Mark, offset: int) -> e.ControlRefused | None:
        if isinstance(event, e.FlowRequested):
            return self._same_again(event, mark.digest)
        if isinstance(event, e.Control) and offset > mark.last:
            return refused(event, "RUN_ENDED", f"run {mark.run_id} has ended ({mark.status}); nothing was changed")
        return None

    @staticmethod
    def _same_again(event: e.FlowRequested, first: str) -> e.ControlRefused | None:
        if digest_of(event) == first:
            return None
        why = f"run {event.run_id} was requested before with another plan, prompt, input or options; choose another id"
        return refused(event, "RUN_EXISTS", why)

    def advance(self, tracked: Tracked, values: Mapping[str, bytes]) -> Iterator[tuple[list[Command], Event, int]]:
        """Fold what has come in for a run: (commands, the fact, its offset), a slice at a time.

        ``values`` holds the large values of the facts that wait. Raises CannotFold; the fact stays where it is.
        """
        while not tracked.broken and (tracked.turn is not None or tracked.later):
            event, offset = tracked.later[0]
            asked_before = event.id in tracked.state.controls
            turn = tracked.turn or begin(tracked.state, event, values)
            over = turn is None or work(turn, SLICE)
            tracked.turn = None if over else turn
            if over:
                tracked.later.popleft()
                tracked.last = max(tracked.last, offset)
                self._after(tracked, event)
            if turn is not None:
                asked, turn.commands = turn.commands, []
                for command in asked:
                    if isinstance(command, Dispatch):
                        tracked.since[command.node_id, command.item] = offset
                    elif isinstance(command, CancelStep):
                        tracked.since.pop((command.node_id, command.item), None)
                yield asked, event, offset
            elif isinstance(event, e.Control) and not asked_before:
                yield [Announce(_in_vain(event, tracked.state.end))], event, offset

    def _after(self, tracked: Tracked, event: Event) -> None:
        """What the shell keeps beside the state: leases of claims that the fold accepted, where steps began."""
        if isinstance(event, e.ToolOutput | e.ToolError | e.ToolLost):
            key = (event.node_id or "", event.item or ())
            lease, live = tracked.leases.get(key), tracked.state.in_flight.get(key)
            if lease is not None and (live is None or live.claim != lease.claim):
                del tracked.leases[key]  # what an earlier attempt still says leaves the one under way alone
            if not isinstance(event, e.ToolLost) and key not in tracked.state.in_flight:
                tracked.since.pop(key, None)
        elif isinstance(event, e.ToolStart):
            live = tracked.state.in_flight.get((event.node_id or "", event.item or ()))
            if live is not None and live.claim == event.claim and event.claim is not None:
                lease = Lease(event.claim, time_ms(event.lease), live.attempt, live.delivery)
                tracked.leases[step_key(live)] = lease

    def park(self, tracked: Tracked, error: Exception) -> None:
        """The fold cannot go on with a run; the others do."""
        tracked.broken = True
        tracked.spoiled = not isinstance(error, CannotFold)
        tracked.state.parked = str(error) if isinstance(error, CannotFold) else f"the fold failed: {error!r}"

    # --- what is still needed -------------------------------------------------------------------------------------

    @property
    def low_water(self) -> int:
        """The smallest offset that a take-over would have to read."""
        lowest = min((tracked.needed(self.position) for tracked in self.runs.values()), default=self.position)
        return min(lowest, min((offset for offset, _ in self.refusals.values()), default=lowest))

    @property
    def oldest_ms(self) -> float | None:
        """When the oldest record that a live run still needs was appended; None: none is needed."""
        return min((tracked.needed_ms for tracked in self.runs.values() if tracked.needed_ms), default=None)

    def mark_of(self, tracked: Tracked, now_ms: float) -> Mark:
        """The mark of a run that has ended."""
        status = tracked.state.end or "failed"
        return Mark(tracked.run_id, status, tracked.first, tracked.completed_at, tracked.digest, now_ms)

    def forget(self, before_ms: float) -> None:
        """Drop marks whose window is over. They stand in the order they were appended."""
        while self.done:
            oldest = next(iter(self.done.values()))
            if oldest.at_ms >= before_ms:
                return
            del self.done[oldest.run_id]

    def put_aside(self, mark: Mark) -> None:
        """The mark is durable: nothing else of the run is needed."""
        self.done[mark.run_id] = mark
        self.runs.pop(mark.run_id, None)


def digest_of(event: e.FlowRequested) -> str:
    """What tells one request from another under the same run id; what lies beside the fact counts by its digest."""
    return request_digest(event.request if event.large is None else {**event.request, "large": event.large})


def refused(event: Event, code: str, message: str) -> e.ControlRefused:
    """The answer to a request that cannot be carried out. Its id and time come from the request.

    Two starts under one id have the same id as facts: what they ask for tells their answers apart.
    """
    asked = (
        event.request if isinstance(event, e.FlowRequested) else event.control if isinstance(event, e.Control) else {}
    )
    about = {key: value for key, value in asked.items() if key not in ("input", "plan")}
    at = asked.get("at")
    if isinstance(event, e.FlowRequested):
        serial = digest_of(event).removeprefix("sha256:")[:12]
    elif isinstance(at, dict):
        serial = f"{at.get('topic')}.{at.get('partition')}.{at.get('offset')}"
    else:
        serial = event.id
    place = envelope(event_id(event.run_id, None, None, None, "control-refused", serial), event.run_id, event.timestamp)
    fields = {"control": about, "code": code, "message": message, "causation_id": event.id, "tenant": event.tenant}
    return e.ControlRefused.trusted({**place, **fields})


def _in_vain(event: e.Control, end: str | None) -> e.ControlRefused:
    """The answer to a request that the fold did not accept."""
    if end is not None:
        return refused(event, "RUN_ENDED", f"run {event.run_id} has ended ({end}); nothing was changed")
    why = f"step {event.node_id} of run {event.run_id} has no unknown outcome; nothing was changed"
    return refused(event, "NOT_UNCERTAIN", why)


# --- facts that the owner adds ------------------------------------------------------------------------------------


def _place(tracked: Tracked, ident: str, now_ms: float) -> dict[str, Any]:
    program = tracked.state.program
    made = envelope(ident, tracked.run_id, stamp(now_ms), plan_hash=program.hash if program else None)
    return made | {"tenant": tracked.state.tenant}


def timer_fired(tracked: Tracked, name: str, kind: str, now_ms: float) -> e.TimerFired:
    """The fact that a timer's moment has come."""
    timer = tracked.state.timers.get(name)
    node, item = (timer.node_id, timer.item) if timer else (None, ())
    ident = event_id(tracked.run_id, node, item, None, "timer-fired", name)
    fields = {"node_id": node, "item": item or None, "timer": name, "kind": kind}
    return e.TimerFired.trusted(_place(tracked, ident, now_ms) | fields)


def tool_lost(tracked: Tracked, key: StepKey, lease: Lease, now_ms: float) -> e.ToolLost:
    """The fact that the lease of a claim has ended without an outcome."""
    node, item = key
    ident = event_id(tracked.run_id, node, item or None, lease.attempt, "tool-lost", lease.claim)
    fields = {"node_id": node, "item": item or None, "attempt": lease.attempt, "delivery": lease.delivery}
    return e.ToolLost.trusted(_place(tracked, ident, now_ms) | fields | {"claim": lease.claim})


def undeliverable(tracked: Tracked, step: Dispatch, code: str, message: str, now_ms: float) -> e.ToolError:
    """The outcome of a step whose work record no broker takes, or whose queue is not there."""
    item = step.item or None
    ident = event_id(tracked.run_id, step.node_id, item, step.attempt, "tool-error")
    fields = {
        "node_id": step.node_id,
        "item": item,
        "attempt": step.attempt,
        "delivery": step.delivery,
        "tool_id": step.tool_id,
        "error": {"code": code, "message": message, "retryable": False},
        "inputs_digest": "",
        "started_at": stamp(now_ms),
        "execution_time": 0.0,
    }
    return e.ToolError.trusted(_place(tracked, ident, now_ms) | fields)


def parked(tracked: Tracked, now_ms: float) -> e.RunParked:
    """The announcement that a run cannot go on here; the same reason is one announcement."""
    reason = tracked.state.parked or "it cannot be folded"
    ident = event_id(tracked.run_id, None, None, None, "run-parked", sha256(reason.encode()).hexdigest()[:12])
    return e.RunParked.trusted(_place(tracked, ident, now_ms) | {"reason": reason})


def end_of(tracked: Tracked) -> e.FlowComplete:
    """The flow-complete of a run that has ended: the same bytes as when it ended."""
    result = tracked.state.result or {}
    metadata: dict[str, Any] = result.get("metadata") or {}
    at = str(metadata.get("completedAt"))
    program = tracked.state.program
    place = envelope(
        event_id(tracked.run_id, None, None, None, "flow-complete"),
        tracked.run_id,
        at,
        plan_hash=program.hash if program else None,
    )
    fields = {
        "status": tracked.state.end,
        "result": result,
        "error": result.get("error"),
        "total_execution_time": metadata.get("duration", 0.0),
        "tenant": tracked.state.tenant,
    }
    return e.FlowComplete.trusted({**place, **fields})
