"""What an engine tells ``Metrics``, where it was opened with some. It looks on: nothing depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sized
from typing import TYPE_CHECKING, Any

from ...tools.call import CallResult
from ..core import events as e
from ..core.events import Event
from ..replay import Rebuilt, RunLog, rebuild

if TYPE_CHECKING:
    from ..metrics import Metrics
    from .steps import Running


class Observer:
    """Sees what becomes durable, and steps as they come and go. ``runs`` and ``calls`` are those under way."""

    def __init__(self, metrics: Metrics, runs: Sized, calls: Sized) -> None:
        # Not at the top: it loads prometheus_client, which an engine without metrics spares.
        from ..metrics import outcome_of

        self.metrics, self._outcome_of = metrics, outcome_of
        self.stop: Callable[[], None] = metrics.watch(lambda: len(runs), lambda: len(calls))
        """After this the engine's runs and steps are not counted as live any more."""
        self._notes: dict[type[Event], Callable[[Any], None]] = {
            e.FlowRequested: lambda event: metrics.run_accepted(),
            e.FlowStart: lambda event: metrics.run_started(),
            e.FlowComplete: lambda event: metrics.run_ended(str(event.result.get("status"))),
            e.ToolStart: lambda event: metrics.step_held(),
            e.ToolLost: lambda event: metrics.step_lost(),
            e.TimerFired: lambda event: metrics.timer_fired(event.kind),
        }

    def recorded(self, events: Iterable[Event]) -> None:
        """They are durable."""
        for event in events:
            note = self._notes.get(type(event))
            if note is not None:
                note(event)

    def dispatched(self, running: Running) -> None:
        """The fold asks for a step."""
        running.ready_s = time.time()
        if running.step.attempt > 1:
            self.metrics.retried(running.step.tool_id)

    def ended(self, running: Running) -> None:
        """A step has its outcome, whether its tool was called or not."""
        if running.inputs is None:
            self._step_ended(running, "refused", 0.0, None)
            return
        code = None if isinstance(running.result, CallResult) or running.result is None else running.result.code
        queued_s = max(0.0, running.began_s - running.ready_s)
        self._step_ended(running, self._outcome_of(code), running.elapsed_ms / 1000, queued_s)

    def cancelled(self, running: Running) -> None:
        """The outcome of a step is not waited for any more."""
        self._step_ended(running, "cancelled", max(0.0, time.time() - running.ready_s), None)

    def planned(self, fact: e.PlanPublished | e.PlanningFailed, seconds: float) -> None:
        """The planner answered."""
        if isinstance(fact, e.PlanPublished):
            self.metrics.plan_made("published", seconds, fact.attempts)
        else:
            self.metrics.plan_made("failed", seconds, len(fact.tried) or None)

    def _step_ended(self, running: Running, outcome: str, seconds: float, queued_s: float | None) -> None:
        step, program = running.step, running.driven.state.program
        node = program.steps.get(step.node_id) if program is not None else None
        self.metrics.step_ended(step.tool_id, node.kind if node is not None else "tool", outcome, seconds, queued_s)


def rebuilt_for(metrics: Metrics | None, journal: RunLog, run_id: str) -> Rebuilt:
    """``rebuild``, with its length and duration told."""
    began = time.perf_counter()
    rebuilt = rebuild(journal, run_id)
    if metrics is not None:
        metrics.replayed(rebuilt.records, time.perf_counter() - began)
    return rebuilt
