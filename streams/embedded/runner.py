"""Drives runs: what is durable is folded, what the fold asks for is carried out (design §3, §5).

The loop is: outcome -> journal queue -> (writer thread commits) -> ``_durable`` on this loop -> ``apply`` -> commands.
Everything happens in batches: one wake-up, one journal submission and one hand-over to the tool host for all that a
commit brought. No rules live here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from ...errors import JournalError
from ...tools.host import Call, Delivered, ToolHost
from ...values import stamp
from ..clock import Clock
from ..core import commands as c
from ..core.codec import encode_event
from ..core.events import Event, FlowComplete, PlanningFailed, PlanPublished, TimerFired, ToolStart, event_id
from ..core.fold import CannotFold, begin, claimed, outstanding, work
from ..core.state import ENDED
from ..timers import Timers
from . import steps
from .driven import Driven
from .journal import Committed, Journal, OnCommand, OnDurable, OnFailure, Posted, RunRow, Write
from .observing import Observer

if TYPE_CHECKING:
    from ..metrics import Metrics

log = logging.getLogger(__name__)

JournalOf = Callable[[OnDurable, OnFailure, OnCommand], Journal]
"""Opens the journal with the callbacks it is to call from its own thread."""

SLICE = 2000
"""Consequences of one fact that are worked off before other runs have their turn: some 20 ms."""
MOST_UNWRITTEN = 2000
"""Writes on their way to the disk above which no run makes more out of turn."""


@dataclass(slots=True, eq=False)
class Batch:
    """What a Write carried, kept until it is durable."""

    driven: Driven
    events: Sequence[Event]
    created: asyncio.Future[bool] | None = None
    """Set when the Write created the run: True, or False when the id was taken."""


@dataclass(slots=True)
class Outbox:
    """What one turn of the loop has to hand over."""

    writes: list[Write] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


class Runner:
    """Owns the runs under way. Lives on one event loop; the journal and the host call in from their threads."""

    def __init__(
        self,
        *,
        journal_of: JournalOf,
        toolbox: steps.Toolbox,
        clock: Clock,
        plan: Callable[[Driven, c.Plan], None],
        command: Callable[[list[Posted]], None],
        metrics: Metrics | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = clock
        self.runs: dict[str, Driven] = {}
        self.failure: JournalError | None = None
        self.draining = self.stopped = False
        self.idle = asyncio.Event()
        self._plan = plan
        self._box = Outbox()
        self._flushing = False
        self._unwritten = 0
        self._sliced = 0
        self._held_back: deque[Driven] = deque()
        self.planning = 0
        self._arrived: deque[steps.Running] = deque()
        self._woken = False
        self._command = command
        self.journal = journal_of(self._on_durable, self._on_failure, self._on_command)
        self.host = ToolHost(deliver=self._deliver)
        self.steps = steps.Steps(self, toolbox)
        self.observer = None if metrics is None else Observer(metrics, self.runs, self.steps.calls)
        self.timers = Timers(self.loop, clock, self._timer_due)

    # --- into the log ---------------------------------------------------------------------------------------------

    def append(
        self,
        driven: Driven,
        events: Sequence[Event],
        *,
        row: RunRow | None = None,
        created: asyncio.Future[bool] | None = None,
    ) -> None:
        """Queue events of a run; facts among them are applied once they are durable."""
        values: dict[str, bytes] = {}
        records = []
        for event in events:
            encoded = encode_event(event, large=driven.inline_limit)
            driven.inline_bytes += len(encoded.record)
            records.append(encoded.record)
            values.update(encoded.values)
        batch, new = Batch(driven, events, created), created is not None
        self.write(Write(run_id=driven.run_id, records=records, values=values, run=row, create=new, token=batch))

    def write(self, write: Write) -> None:
        """Queue a Write that no fold waits for."""
        self._box.writes.append(write)
        self._flush_soon()

    def hand_over(self, call: Call) -> None:
        """Queue a call for the tool host."""
        self._box.calls.append(call)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        box, self._box = self._box, Outbox()
        if self.stopped:
            return  # the journal is being closed; what was asked for is asked for again by the next owner
        if box.writes and self.failure is None:
            self._unwritten += len(box.writes)
            try:
                self.journal.submit(box.writes)
            except JournalError as error:
                self._failed(error)  # its own report is on the way: this one was quicker
        if box.calls:
            self.host.submit(box.calls)
        self._look_idle()

    # --- out of the log -------------------------------------------------------------------------------------------

    def _on_durable(self, committed: list[Committed]) -> None:
        """On the writer's thread."""
        self._from_thread(self._durable, committed)

    def _from_thread(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self.loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: the process ends, the journal has everything
            log.debug("the loop is gone; %s not called", call)

    @contextmanager
    def _one_batch(self) -> Iterator[None]:
        """What is asked for inside goes out together, at once: not a turn of the loop later."""
        pending, self._flushing = self._flushing, True
        yield
        if not pending:
            self._flush()

    def _durable(self, committed: list[Committed]) -> None:
        with self._one_batch():
            self._take(committed)

    def _take(self, committed: list[Committed]) -> None:
        self._unwritten -= len(committed)
        while self._held_back and self._unwritten <= MOST_UNWRITTEN:
            self.loop.call_soon(self._go_on, self._held_back.popleft())
        for done in committed:
            batch = done.write.token
            if not isinstance(batch, Batch):
                continue
            if batch.created is not None and not batch.created.done():
                if done.error is not None and self.runs.get(batch.driven.run_id) is batch.driven:
                    del self.runs[batch.driven.run_id]  # the id was taken: this one never began
                batch.created.set_result(done.error is None)
            if done.error is None:
                self._fold(batch.driven, batch.events)

    def _fold(self, driven: Driven, events: Sequence[Event]) -> None:
        if self.observer is not None:
            self.observer.recorded(events)
        for event in events:
            if event.folded:
                driven.take(event)
            elif isinstance(event, FlowComplete):
                self.runs.pop(driven.run_id, None)  # not before: the same start meanwhile is this run
        if driven.turn is None:
            self._work(driven)
        driven.changed.notify()

    def _work(self, driven: Driven) -> None:
        """Apply the facts of a run that are due, a slice at a time, so that a long one keeps no other run waiting."""
        try:
            while not driven.broken and (driven.turn is not None or driven.later):
                turn = driven.turn or begin(driven.state, driven.later[0], {})
                over = turn is None or work(turn, SLICE)
                driven.turn = None if over else turn
                if turn is not None:
                    asked, turn.commands = turn.commands, []
                    self.carry_out(driven, asked, turn.event)
                if not over:
                    self._go_on_later(driven)
                    return
                self._applied(driven, driven.later.popleft())
        except CannotFold as error:
            self.park(driven, str(error), broken=True)
        except Exception as error:  # a fault of ours: it parks this run, the others go on
            at = driven.later[0].id if driven.later else "-"
            log.exception("run %s: the fold failed at %s", driven.run_id, at)
            self.park(driven, f"the fold failed at {at}: {error!r}", broken=True)

    def _applied(self, driven: Driven, event: Event) -> None:
        if isinstance(event, ToolStart):
            self.steps.started(driven, event)

    def _go_on_later(self, driven: Driven) -> None:
        self._sliced += 1
        if self._unwritten > MOST_UNWRITTEN:
            self._held_back.append(driven)  # the disk is behind: go on when it has caught up
        else:
            self.loop.call_soon(self._go_on, driven)

    def _go_on(self, driven: Driven) -> None:
        self._sliced -= 1
        self._work(driven)
        driven.changed.notify()
        self._look_idle()

    def carry_out(self, driven: Driven, asked: Sequence[c.Command], event: Event) -> None:
        """Do what the fold asks for because of ``event``."""
        told: list[Event] = []
        for command in asked:
            if isinstance(command, c.Announce):
                if command.event.id not in driven.told:
                    told.append(command.event)
            else:
                self._do(driven, command)
        if not told and asked and isinstance(asked[-1], c.Dispatch) and driven.row.status == "running":
            return  # one step led to the next, as nearly always
        status = driven.status
        row = None
        if status != driven.row.status:
            at = event.timestamp
            if status in ENDED:
                row = driven.moved(status=status, updated_at=at, completed_at=at, error_code=_error_code(driven))
            else:
                row = driven.moved(status=status, updated_at=at)
        if told or row is not None:
            self.append(driven, told, row=row)
        driven.settled.notify()

    def park(self, driven: Driven, reason: str, *, broken: bool = False) -> None:
        """Stop driving a run that cannot go on here; nothing of it is lost, and it can still be cancelled."""
        driven.parked, driven.broken = reason, broken
        self.timers.drop(driven.run_id)
        self.steps.forget(driven.run_id)
        now = stamp(self.clock.now_ms())
        told = steps.parked(driven, reason, self.clock)
        row = driven.moved(status="parked", updated_at=now, error_code="PARKED")
        self.append(driven, [] if told.id in driven.told else [told], row=row)
        driven.changed.notify()
        driven.settled.notify()

    def _on_command(self, posted: list[Posted]) -> None:
        """On the writer's thread: commands of other processes."""
        self._from_thread(self._command, posted)

    def _on_failure(self, error: JournalError) -> None:
        """On the writer's thread: the journal takes nothing more."""
        self._from_thread(self._failed, error)

    def _failed(self, error: JournalError) -> None:
        if self.failure is not None:
            return
        self.failure = error
        self.idle.set()
        for driven in self.runs.values():
            driven.changed.notify()
            driven.settled.notify()
            if driven.created is not None and not driven.created.done():
                driven.created.set_exception(error)

    # --- commands -------------------------------------------------------------------------------------------------

    def _do(self, driven: Driven, command: c.Command) -> None:
        match command:
            case c.Dispatch():
                self.steps.dispatch(driven, command)
            case c.CancelStep():
                self.steps.cancel(command)
            case c.StartTimer():
                self.timers.start(driven.run_id, command.timer, command.kind, command.due_ms)
            case c.CancelTimer():
                self.timers.cancel(driven.run_id, command.timer)
            case c.Publish():
                driven.result = command.event.result  # follows from durable facts; its announcement is on its way
            case c.Plan():
                self.planning += 1
                self._plan(driven, command)
            case c.Announce():
                raise ValueError("announcements are gathered by carry_out")
            case _:
                assert_never(command)

    def planned(self, driven: Driven, fact: PlanPublished | PlanningFailed, seconds: float) -> None:
        """The planner's answer, and how long it took."""
        self.planning -= 1
        if self.observer is not None:
            self.observer.planned(fact, seconds)
        self.append(driven, [fact], row=driven.moved(plan_hash=fact.plan_hash) if fact.plan_hash else None)

    def _timer_due(self, run_id: str, name: str, kind: str) -> None:
        driven = self.runs.get(run_id)
        if driven is None or self.draining:
            return
        timer = driven.state.timers.get(name)
        node, item = (timer.node_id, timer.item) if timer else (None, ())
        fact = TimerFired.model_validate(
            {
                **steps.now_of(driven, event_id(run_id, node, item, None, "timer-fired", name), self.clock),
                "node_id": node,
                "item": item or None,
                "timer": name,
                "kind": kind,
            }
        )
        self.append(driven, [fact])

    # --- the tool host --------------------------------------------------------------------------------------------

    def _deliver(self, deliveries: list[Delivered]) -> None:
        """On the host's threads: many outcomes, one wake-up."""
        self._arrived.extend(self.steps.checked(delivery) for delivery in deliveries)
        if not self._woken:
            self._woken = True
            self._from_thread(self._outcomes)

    def _outcomes(self) -> None:
        self._woken = False
        with self._one_batch():
            while self._arrived:
                self.steps.ended(self._arrived.popleft())

    # --- taking up, going away ------------------------------------------------------------------------------------

    def take_up(self, driven: Driven) -> None:
        """Drive a run rebuilt from its log: what was asked for and has no outcome is asked for again."""
        self.runs[driven.run_id] = driven
        lost = [steps.lost(driven, live, self.clock) for live in claimed(driven.state)]
        held = {(fact.node_id, fact.item or ()) for fact in lost}
        for command in outstanding(driven.state):
            if isinstance(command, c.Dispatch) and (command.node_id, command.item) in held:
                continue
            self._do(driven, command)
        if lost:
            self.append(driven, lost)

    def _look_idle(self) -> None:
        busy = self._unwritten or self.steps.calls or self.planning or self._sliced or self._box.writes or self._arrived
        if busy and self.failure is None:  # of a journal that takes nothing more nothing is to be expected
            self.idle.clear()
            return
        self.idle.set()
        if self.clock.virtual and not self.draining:
            self.timers.jump()

    async def drain(self, seconds: float) -> bool:
        """Start nothing new, wait for what runs to end and be recorded. False when that took too long."""
        self.draining = True
        self._look_idle()
        try:
            await asyncio.wait_for(self.idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Let go of everything; what is not recorded will be asked for again by the next owner."""
        self.draining = self.stopped = True
        self.timers.stop()
        self.steps.stop()
        if self.observer is not None:
            self.observer.stop()


def _error_code(driven: Driven) -> str | None:
    error = (driven.state.result or {}).get("error")
    return str(error["code"]) if isinstance(error, dict) else None
