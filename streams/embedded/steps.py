"""Steps under way: from a Dispatch to a call of the tool host, from its delivery to the fact of the outcome.

A step that must not run twice is *held* first: its ``tool-start`` is durable, under a random claim, before the tool is
called. Any other that runs longer than two seconds is held meanwhile, so that a crash counts against it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ...tools.call import CallError, CallResult
from ...tools.context import ToolContext
from ...tools.entry import Call, Delivered
from ...tools.joins import Join
from ...tools.spec import Tool
from ...values import Json, stamp
from ..clock import Clock
from ..core import commands as c
from ..core.events import RunParked, ToolLost, ToolStart, envelope, event_id
from ..core.state import Live
from ..executor import inputs_digest, outcome, prepare, result_of
from .driven import Driven

if TYPE_CHECKING:
    from .runner import Runner

HOLD_AFTER_S: Final = 2.0
LEASE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What steps are run with."""

    tools: Mapping[str, Tool]
    joins: Mapping[tuple[str, str], Join]
    """By (from tool, to tool)."""


@dataclass(slots=True, eq=False)
class Running:
    """One call under way."""

    driven: Driven
    step: c.Dispatch
    inputs: Json
    digest: str
    warnings: tuple[str, ...]
    started_ms: float
    held: bool = False
    result: CallResult | CallError | None = None
    elapsed_ms: float = 0.0
    ready_s: float = 0.0
    began_s: float = 0.0
    """Seconds since 1970: when the fold asked for it (0: nobody measures), when the tool was called."""

    @property
    def key(self) -> tuple[str, str, tuple[int, ...]]:
        return self.step.run_id, self.step.node_id, self.step.item


def now_of(driven: Driven, ident: str, clock: Clock) -> dict[str, Any]:
    """The envelope of a fact about a run under way, as of now."""
    program = driven.state.program
    made = envelope(ident, driven.run_id, stamp(clock.now_ms()), plan_hash=program.hash if program else None)
    return made | {"tenant": driven.state.tenant}


def lost(driven: Driven, live: Live, clock: Clock) -> ToolLost:
    """The fact that whoever held a step is gone."""
    item = live.frame.path or None
    ident = event_id(driven.run_id, live.step.id, item, live.attempt, "tool-lost", live.claim)
    fields = now_of(driven, ident, clock)
    return ToolLost(
        **fields, node_id=live.step.id, item=item, attempt=live.attempt, delivery=live.delivery, claim=live.claim
    )


def parked(driven: Driven, reason: str, clock: Clock) -> RunParked:
    """The announcement that a run cannot go on here; the same reason is one announcement."""
    ident = event_id(driven.run_id, None, None, None, "run-parked", sha256(reason.encode()).hexdigest()[:12])
    return RunParked(**now_of(driven, ident, clock), reason=reason)


class Steps:
    """The calls of all runs."""

    def __init__(self, runner: Runner, toolbox: Toolbox) -> None:
        self.runner, self.toolbox = runner, toolbox
        self.calls: dict[tuple[str, str, tuple[int, ...]], Running] = {}
        self._sweep: asyncio.TimerHandle | None = None

    # --- towards the tool -----------------------------------------------------------------------------------------

    def dispatch(self, driven: Driven, command: c.Dispatch) -> None:
        """Run a step, or record at once why it cannot run."""
        runner = self.runner
        if runner.draining or driven.parked is not None:
            return
        tool = self.toolbox.tools.get(command.tool_id)
        if tool is None:
            why = f"tool {command.tool_id} is not loaded; open the journal with the tools file that has it"
            runner.park(driven, why)
            return
        digest = inputs_digest(command.inputs)
        ready = prepare(command, tool.spec, self.toolbox.joins)
        now = runner.clock.now_ms()
        if isinstance(ready, CallError):
            self._record(Running(driven, command, None, digest, (), now, result=ready))
            return
        running = Running(driven, command, ready.inputs, digest, tuple(ready.warnings), now)
        self.calls[running.key] = running
        if runner.observer is not None:
            runner.observer.dispatched(running)
        if command.held:
            self._hold(running)
        else:
            self._call(tool, running)

    def _hold(self, running: Running) -> None:
        """Append ``tool-start``; the call follows when it is durable and has been folded."""
        step, runner = running.step, self.runner
        running.held = True
        claim = secrets.token_hex(8)
        ident = event_id(step.run_id, step.node_id, step.item or None, step.attempt, "tool-start", claim)
        fact = ToolStart(
            **now_of(running.driven, ident, runner.clock),
            node_id=step.node_id,
            item=step.item or None,
            attempt=step.attempt,
            delivery=step.delivery,
            claim=claim,
            causation_id=step.causation_id,
            tool_id=step.tool_id,
            inputs_digest=running.digest,
            lease=stamp(runner.clock.now_ms() + LEASE_MS),
        )
        runner.append(running.driven, [fact])

    def started(self, driven: Driven, event: ToolStart) -> None:
        """A claim is durable: call, if it was for a step that waits for it."""
        key = (driven.run_id, event.node_id or "", event.item or ())
        running = self.calls.get(key)
        live = driven.state.live_at(event.node_id, event.item or ())
        if running is None or live is None or live.claim != event.claim or not running.step.held:
            return
        tool = self.toolbox.tools.get(running.step.tool_id)
        if tool is not None:
            running.started_ms = self.runner.clock.now_ms()
            self._call(tool, running)

    def _call(self, tool: Tool, running: Running) -> None:
        step, state = running.step, running.driven.state
        context = ToolContext(
            run_id=step.run_id,
            node_id=step.node_id,
            item=step.item,
            attempt=step.attempt,
            idempotency_key=step.idempotency_key,
            variables=state.values.variables,
            labels=state.values.about.get("labels") or {},
        )
        mode: Any = step.validation
        self.runner.hand_over(Call(tool, running.inputs, context, step.timeout_ms / 1000, running, mode))
        if self._sweep is None:
            self._sweep = self.runner.loop.call_later(HOLD_AFTER_S / 2, self._hold_long)

    def _hold_long(self) -> None:
        """Hold what has run for two seconds. Calls are kept in the order they began."""
        self._sweep = None
        before = self.runner.clock.now_ms() - HOLD_AFTER_S * 1000
        for running in self.calls.values():
            if running.started_ms > before:
                break
            if not running.held:
                self._hold(running)
        if self.calls:
            self._sweep = self.runner.loop.call_later(HOLD_AFTER_S / 2, self._hold_long)

    # --- back from it ---------------------------------------------------------------------------------------------

    def checked(self, delivery: Delivered) -> Running:
        """Check what a tool gave. On the host's thread: a value's own serialiser is user code."""
        running = delivery.call.token
        if not isinstance(running, Running):
            raise TypeError(f"not a call of ours: {running!r}")
        running.began_s, running.elapsed_ms = delivery.started_at, delivery.elapsed_ms
        running.result = result_of(delivery)
        return running

    def ended(self, running: Running) -> None:
        """Record the outcome of a call, unless it was cancelled meanwhile."""
        if self.calls.get(running.key) is running:
            del self.calls[running.key]
            self._record(running)

    def _record(self, running: Running) -> None:
        runner, step = self.runner, running.step
        if running.result is None:
            raise ValueError(f"{running.key} has no outcome")
        if runner.observer is not None:
            runner.observer.ended(running)
        now = runner.clock.now_ms()
        started = now if runner.clock.virtual else now - running.elapsed_ms
        program = running.driven.state.program
        fact = outcome(
            step,
            running.digest,
            running.result,
            started_at=stamp(started),
            ended_at=stamp(now),
            execution_ms=running.elapsed_ms,
            plan_hash=program.hash if program else None,
            tenant=running.driven.state.tenant,
            warnings=running.warnings,
        )
        runner.append(running.driven, [fact])

    def cancel(self, command: c.CancelStep) -> None:
        """The outcome of a step no longer matters."""
        running = self.calls.pop((command.run_id, command.node_id, command.item), None)
        if running is not None:
            self._let_go(running)

    def forget(self, run_id: str) -> None:
        """Cancel every call of a run."""
        for key in [key for key in self.calls if key[0] == run_id]:
            self._let_go(self.calls.pop(key))

    def _let_go(self, running: Running) -> None:
        self.runner.host.cancel(running)
        if self.runner.observer is not None:
            self.runner.observer.cancelled(running)

    def stop(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.calls.clear()
