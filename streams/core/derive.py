"""Events that readers expect and nobody stores: they follow from the log (canonical.md §4, "Derived on reading").

Each carries ``derived: true``, and its id and time come from the record it follows from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from ...values import Json
from . import events
from .events import Event, envelope, event_id
from .fold import CannotFold, apply, ends_all
from .state import RunState, new_run

_BEFORE_THE_END: Final[Mapping[str, tuple[str, ...]]] = {
    "failed": ("flow-error", "error"),
    "timed_out": ("flow-error", "error"),
    "rejected": ("flow-error", "error"),
    "cancelled": ("flow-cancelled",),
    "partial": ("flow-partial",),
}
"""How a run ended -> what is told before ``flow-complete``."""


class Derived(Event):
    """plan-validated, node-ready, node-start, tool-start, node-complete, node-retry, flow-progress, state-change, …"""

    type: str
    derived: Literal[True] = True


class Deriver:
    """Reads a run's log in order and gives what a reader should see. Holds the fold of what it has read."""

    def __init__(self, run_id: str) -> None:
        self.state: RunState = new_run(run_id)
        self._status = "pending"
        self._done = 0
        self._serial = 0
        self._broken = False

    def feed(self, event: Event, values: Mapping[str, bytes]) -> list[Event]:
        """The event and what follows from it, in the order to show."""
        before = self._before(event)
        trace: list[tuple[str, str, tuple[int, ...], dict[str, Json]]] = []
        seq = self.state.seq
        if not self._broken or ends_all(event):
            self._broken = False
            try:
                apply(self.state, event, values, trace)
            except CannotFold:
                self._broken = True
        if event.folded and self.state.seq == seq:
            return [event]  # late, or a repeat: it changed nothing
        made = [*before, event, *self._after(event)]
        for name, node_id, item, fields in trace:
            made.append(self._derived(name, event, node_id, item, fields))
            if name == "node-complete" and not item:
                made += self._progress(event, node_id)
        return made + self._status_moved(event)

    def _before(self, event: Event) -> list[Event]:
        if isinstance(event, events.ToolOutput | events.ToolError):
            live = self.state.live_at(event.node_id, event.item or ())
            if live is not None and live.claim is None:
                fields: dict[str, Json] = {"toolId": event.tool_id, "timestamp": event.started_at}
                return [self._derived("tool-start", event, event.node_id, event.item or (), fields, event.attempt)]
        if isinstance(event, events.FlowComplete):
            names = _BEFORE_THE_END.get(event.status, ())
            return [self._derived(name, event, None, (), {"error": event.error}) for name in names]
        return []

    def _after(self, event: Event) -> list[Event]:
        if isinstance(event, events.PlanPublished):
            return [self._derived("plan-validated", event, None, (), {})]
        if isinstance(event, events.NodeError):
            return [self._derived("error", event, event.node_id, event.item or (), {"error": event.error})]
        return []

    def _progress(self, event: Event, node_id: str) -> list[Event]:
        program = self.state.program
        if program is None or program.steps[node_id].owner is not None:
            return []
        self._done += 1
        return [self._derived("flow-progress", event, None, (), {"step": self._done, "total": len(program.top)})]

    def _status_moved(self, event: Event) -> list[Event]:
        status, was = self.state.public_status, self._status
        if status == was:
            return []
        self._status = status
        made: list[Event] = [self._derived("state-change", event, None, (), {"state": {"status": status, "from": was}})]
        if status == "suspended":
            made.append(self._derived("flow-suspended", event, None, (), {}))
        elif was == "suspended" and status == "running":
            made.append(self._derived("flow-resumed", event, None, (), {}))
        return made

    def _derived(
        self,
        name: str,
        event: Event,
        node_id: str | None,
        item: tuple[int, ...],
        fields: dict[str, Json],
        attempt: int | None = None,
    ) -> Derived:
        self._serial += 1
        ident = event_id(event.run_id, node_id, item, attempt, name, self._serial)
        about = {"type": name, "node_id": node_id, "item": item or None, "attempt": attempt, "causation_id": event.id}
        common = envelope(ident, event.run_id, event.timestamp, plan_hash=event.plan_hash)
        return Derived.model_validate(common | about | fields)
