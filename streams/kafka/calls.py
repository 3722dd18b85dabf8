"""Calls of tools under way in this process: from a work record to the fact of its outcome.

A step that must not run twice is held before its call; any other that runs longer than ``hold_after_s`` meanwhile. A
hold is a ``tool-start`` under a random claim with a lease, renewed as long as the call runs.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from ...tools.call import CallError, CallResult
from ...tools.context import NotBegun, ToolContext
from ...tools.entry import Call, Delivered
from ...tools.host import ToolHost
from ...tools.joins import Join
from ...tools.spec import Tool
from ...values import Json, stamp
from ..core.events import Event, ToolLost, ToolRefused, ToolStart, envelope, event_id
from ..executor import Ready, inputs_digest, joins_in_python, outcome, prepare, result_of
from ..metrics import Metrics, outcome_of
from .broker_clock import BrokerClock
from .event_loop import on_a_thread
from .log_check import Place
from .records import Work
from .settings import Settings

log = logging.getLogger(__name__)

Append: TypeAlias = "Callable[[Running, Event, Callable[[], None] | None], None]"
"""(of which call, the fact, what follows once it is acknowledged)."""


@dataclass(slots=True, eq=False)
class Running:
    """One work record that was taken on."""

    work: Work
    tool: Tool
    trace: str
    finished: Callable[[], None]
    """The record needs nothing more: its outcome or its hold is acknowledged, or it is not to be run."""
    taken: float = field(default_factory=time.monotonic)
    """When its executor last knew, on this process's monotonic clock, that its partition was its own."""
    digest: str = ""
    inputs: Json = None
    warnings: tuple[str, ...] = ()
    claim: str | None = None
    lease_ms: float = 0.0
    """Until when its claim holds, by the log's time."""
    began: float = field(default_factory=time.monotonic)
    claimed: float = 0.0
    """When its claim, or the newest renewal that is in the log, was made, on this process's monotonic clock."""
    asked: float = 0.0
    """When the newest one was made."""
    again: Callable[[Running], None] | None = None
    """It came too late to be called: see whether it is still to be done. Given the step, and not bound to it: a cycle
    for each step would be left to the garbage collector, a quarter of an executor's time."""
    too_late: bool = False
    begun: bool = False
    """The function is called, or has been."""
    called: bool = False
    result: CallResult | CallError | None = None
    elapsed_ms: float = 0.0
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        step = self.work.step
        self.place = (step.run_id, step.node_id, step.item)


class Calls:
    """The calls of one executor, and the tool host that runs them. Lives on one event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        joins: Mapping[tuple[str, str], Join],
        clock: BrokerClock,
        append: Append,
        metrics: Metrics,
    ) -> None:
        self._settings, self._joins, self._clock = settings, joins, clock
        self._append, self._metrics = append, metrics
        self._loop = asyncio.get_running_loop()
        self._host = ToolHost(self._deliver, threads=settings.threads, may_begin=self._may_begin)
        self._arrived: deque[Running] = deque()
        self._woken = False
        self._submitting: list[Call] = []
        self.running: dict[Place, Running] = {}
        self.room = asyncio.Event()
        """Something has ended: there may be room for more."""

    def start(self) -> None:
        self._host.start()

    @property
    def waiting(self) -> int:
        """Steps taken on and not called yet: their claim is being decided."""
        return sum(not running.called for running in self.running.values())

    # --- towards the tool -----------------------------------------------------------------------------------------

    @staticmethod
    def fits(running: Running, ready: Ready | CallError) -> bool:
        """The tool is the one the plan was checked with, or has changed so that it still takes these inputs."""
        return running.work.schema_digest in ("", running.tool.spec.digest) or isinstance(ready, Ready)

    def joins_in_python(self, work: Work) -> bool:
        """Users' code takes part in making its inputs."""
        return bool(work.step.joins) and joins_in_python(work.step, self._joins)

    def ready(self, work: Work, tool: Tool) -> Ready | CallError:
        """What the tool is called with, or why it cannot be called."""
        return prepare(work.step, tool.spec, self._joins)

    async def joined(self, work: Work, tool: Tool) -> Ready | CallError:
        """The same, worked out on a thread, within the step's timeout."""
        seconds = work.step.timeout_ms / 1000
        try:
            return await asyncio.wait_for(on_a_thread(partial(self.ready, work, tool)), seconds)
        except TimeoutError:
            message = f"the joins into {work.step.tool_id} did not end within its limit of {seconds:.6g} s"
            return CallError(code="JOIN_FAILED", message=message, retryable=False)
        except Exception as error:  # a fault of ours: the step has an outcome, and its record does not wait for ever
            log.exception("the joins into %s", work.step.tool_id)
            return CallError(code="INTERNAL", message=f"its inputs could not be made: {error!r}", retryable=False)

    def prepare(self, running: Running, ready: Ready | CallError) -> bool:
        """Note what the tool is called with; False when it cannot be called, which is then its outcome."""
        running.digest = inputs_digest(running.work.step.inputs)
        if isinstance(ready, CallError):
            running.result = ready
            self._record(running)
            return False
        running.inputs, running.warnings = ready.inputs, tuple(ready.warnings)
        return True

    def call(self, running: Running) -> None:
        """Queue the call; the host gets all that this turn of the loop brings at once."""
        work, step = running.work, running.work.step
        context = ToolContext(
            run_id=step.run_id,
            node_id=step.node_id,
            item=step.item,
            attempt=step.attempt,
            idempotency_key=step.idempotency_key,
            variables=work.variables,
            labels=work.labels,
        )
        mode: Any = step.validation
        running.called, running.began = True, time.monotonic()
        if not self._submitting:
            self._loop.call_soon(self._submit)
        self._submitting.append(Call(running.tool, running.inputs, context, step.timeout_ms / 1000, running, mode))

    def _submit(self) -> None:
        calls, self._submitting = self._submitting, []
        calls = [call for call in calls if self.running.get(call.token.place) is call.token]
        if calls:
            self._host.submit(calls)

    def _may_begin(self, running: Running) -> bool:
        """On the host's threads, right before the call. A process that stood still since may have lost the step."""
        running.begun = self.lease_holds(running) if running.claim is not None else self._is_young(running)
        return running.begun

    def _is_young(self, running: Running) -> bool:
        return time.monotonic() - running.taken < self._settings.session_s / 2

    def can_be_held(self, running: Running) -> bool:
        """Nobody has a claim on it, and nobody else can have it: it runs, or was taken a moment ago."""
        return running.called and running.claim is None and (running.begun or self._is_young(running))

    # --- holding ----------------------------------------------------------------------------------------------------

    def start_fact(self, running: Running) -> ToolStart:
        """The fact that this process holds the step; the first makes its claim, the others renew it."""
        running.asked = time.monotonic()
        if running.claim is None:
            running.claim, running.claimed = secrets.token_hex(8), running.asked
        step = running.work.step
        now = self._clock.now_ms()
        longest = step.timeout_ms + self._settings.lease_s * 500
        running.lease_ms = now + min(self._settings.lease_s * 1000, max(longest, 1000.0))
        ident = event_id(step.run_id, step.node_id, step.item or None, step.attempt, "tool-start", running.claim)
        fields = self._about(running, ident) | {
            "claim": running.claim,
            "tool_id": step.tool_id,
            "inputs_digest": running.digest,
            "lease": stamp(running.lease_ms),
        }
        return ToolStart.trusted(fields)

    def hold_long(self) -> None:
        """Hold what has run for a while, renew what is held. Called every now and then."""
        now = time.monotonic()
        for running in list(self.running.values()):
            if self.can_be_held(running):
                if now - running.began >= self._settings.hold_after_s:
                    self.hold(running)
            elif running.called and running.claim is not None and now - running.asked >= self._settings.lease_s / 3:
                fact = self.start_fact(running)
                self._append(running, fact, partial(self.renewed, running, running.asked))

    def renewed(self, running: Running, made: float) -> None:
        """A start that was made then is in the log: others count its lease from there."""
        running.claimed = max(running.claimed, made)

    def hold(self, running: Running) -> None:
        """Put the start into the log; after that the record needs nothing more."""
        self._metrics.step_held()
        self._append(running, self.start_fact(running), running.finished)

    def lease_holds(self, running: Running) -> bool:
        """The claim is young enough to call under it: nobody can have declared it lost."""
        return time.monotonic() - running.claimed < self._settings.lease_s * 0.8

    def give_up(self, running: Running) -> None:
        """Leave a held step to others before its lease ends."""
        step = running.work.step
        self.running.pop(running.place, None)
        self._host.cancel(running)
        if running.claim is not None:
            ident = event_id(step.run_id, step.node_id, step.item or None, step.attempt, "tool-lost", running.claim)
            self._metrics.step_lost()
            self._append(running, ToolLost.trusted(self._about(running, ident) | {"claim": running.claim}), None)

    # --- back from the tool -------------------------------------------------------------------------------------------

    def _deliver(self, deliveries: list[Delivered]) -> None:
        """On the host's threads: many outcomes, one wake-up. What a tool gave is checked here, off the loop."""
        for delivery in deliveries:
            running: Running = delivery.call.token
            running.elapsed_ms = delivery.elapsed_ms
            if isinstance(delivery.outcome, NotBegun):
                running.too_late = True
            else:
                running.result = result_of(delivery)
            self._arrived.append(running)
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._outcomes)
            except RuntimeError:  # the loop is closed: the process ends, the log tells the next one
                log.debug("the loop is gone")

    def _outcomes(self) -> None:
        self._woken = False
        while self._arrived:
            running = self._arrived.popleft()
            if self.running.get(running.place) is not running:
                continue
            if not running.too_late:
                del self.running[running.place]
                self._record(running)
            elif running.claim is None and running.again is not None:
                running.too_late = running.called = False
                running.again(running)
            else:  # its lease is over: who declares it lost has it done by others
                del self.running[running.place]
        self.room.set()

    def _record(self, running: Running) -> None:
        self.running.pop(running.place, None)
        result = running.result
        if result is None:
            raise ValueError(f"{running.place} has no outcome")
        now = self._clock.now_ms()
        fact = outcome(
            running.work.step,
            running.digest,
            result,
            started_at=stamp(now - running.elapsed_ms),
            ended_at=stamp(now),
            execution_ms=running.elapsed_ms,
            plan_hash=running.work.plan_hash,
            tenant=running.work.tenant,
            warnings=running.warnings,
        )
        self._append(running, fact, running.finished)
        self._observe(running, now)

    def _observe(self, running: Running, now: float) -> None:
        step, result = running.work.step, running.result
        if running.called:
            told = outcome_of(None if isinstance(result, CallResult) or result is None else result.code)
            queued = max(0.0, now - running.elapsed_ms - running.work.ready_ms) / 1000
            self._metrics.step_ended(step.tool_id, "tool", told, running.elapsed_ms / 1000, queued)
        else:
            self._metrics.step_ended(step.tool_id, "tool", "refused", 0.0)
        if step.attempt > 1:
            self._metrics.retried(step.tool_id)

    def failure(self, work: Work, code: str, message: str) -> Event:
        """The outcome of a step that could not be called at all."""
        now = stamp(self._clock.now_ms())
        return outcome(
            work.step,
            "",
            CallError(code=code, message=message, retryable=False),
            started_at=now,
            ended_at=now,
            execution_ms=0.0,
            plan_hash=work.plan_hash,
            tenant=work.tenant,
        )

    def refusal(self, work: Work, reason: str) -> ToolRefused:
        """The fact that this executor cannot run a step at all."""
        step = work.step
        ident = event_id(step.run_id, step.node_id, step.item or None, step.attempt, "tool-refused", step.delivery)
        fields = self._named(work, ident) | {"tool_id": step.tool_id, "reason": reason}
        return ToolRefused.trusted(fields)

    def _about(self, running: Running, ident: str) -> dict[str, Any]:
        return self._named(running.work, ident)

    def _named(self, work: Work, ident: str) -> dict[str, Any]:
        step = work.step
        made = envelope(ident, step.run_id, stamp(self._clock.now_ms()), plan_hash=work.plan_hash)
        return made | {
            "node_id": step.node_id,
            "item": step.item or None,
            "attempt": step.attempt,
            "delivery": step.delivery,
            "causation_id": step.causation_id,
            "tenant": work.tenant,
        }

    # --- ends ---------------------------------------------------------------------------------------------------------

    def cancel_before(self, place: Place, at: int) -> None:
        """Cancel a step because of the fact at that offset; what that fact or a later one led to is another attempt."""
        running = self.running.get(place)
        if running is not None and running.work.since < at:
            self.cancel(place)

    def cancel(self, place: Place) -> None:
        """The outcome of a step no longer matters."""
        running = self.running.pop(place, None)
        if running is not None:
            self._host.cancel(running)
            running.finished()
            self.room.set()
            waited = max(0.0, self._clock.now_ms() - running.work.ready_ms) / 1000
            self._metrics.step_ended(running.work.step.tool_id, "tool", "cancelled", waited)

    async def idle(self, seconds: float) -> None:
        """Wait until nothing runs, at most so long."""
        ends = time.monotonic() + seconds
        while self.running and (left := ends - time.monotonic()) > 0:
            self.room.clear()
            try:
                await asyncio.wait_for(self.room.wait(), min(left, 0.5))
            except TimeoutError:
                self.hold_long()

    async def stop(self) -> None:
        """Let go of what runs: it has no outcome here. The log tells the next one what there is to do."""
        self.running.clear()
        await asyncio.to_thread(self._host.close, 0.0)
