"""A handle on one run: its result, its events, and what a person may ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ...errors import DynamicFlowError, UsageError
from ...values import Json
from ..core import events as e
from ..core.derive import Deriver
from ..core.events import SEMANTICS, VERSION, Event
from ..core.fold import needs
from ..core.graph import result_record
from ..core.state import ENDED, RunState
from .driven import Driven
from .replay import event_at

if TYPE_CHECKING:
    from .engine import Engine


class Run:
    """One run of an engine. ``id`` names it; a rejected start has a result and nothing in the log."""

    def __init__(
        self, engine: Engine, driven: Driven | None, rejected: dict[str, Json] | None = None, run_id: str = ""
    ) -> None:
        self._engine, self._driven, self._rejected = engine, driven, rejected
        self.id = driven.run_id if driven is not None else run_id

    @property
    def status(self) -> str:
        """One of pending, planning, running, suspended, paused, parked; at the end completed, failed, …"""
        if self._driven is not None:
            return self._driven.status
        return str((self._rejected or {}).get("status", "rejected"))

    async def result(self, *, max_wait: float | None = None) -> dict[str, Json]:
        """The result record (canonical.md §5) once the run has ended, or as it stands when it needs a person.

        Its ``status`` is then suspended, paused or parked. A wait for a time is waited out, unless it is more than
        ``max_wait`` seconds away. Raises JournalError when the log became unusable meanwhile.
        """
        if self._driven is None:
            return dict(self._rejected or {})
        driven = self._driven
        while driven.result is None:
            if self._engine.failure is not None:
                raise self._engine.failure
            if self._needs_someone(driven, max_wait):
                return self._standing(driven)
            await driven.settled.wait()
        return driven.result

    def _needs_someone(self, driven: Driven, max_wait: float | None) -> bool:
        status = driven.status
        if status in ("parked", "paused"):
            return True
        if status != "suspended":
            return False
        timers = driven.state.timers.values()
        if any(timer.kind == "deadline" and timer.node_id is not None for timer in timers):
            return True
        due = min((timer.due_ms for timer in timers), default=None)  # the run's own deadline moves it on as well
        return due is not None and max_wait is not None and due - self._engine.clock.now_ms() > max_wait * 1000

    def _standing(self, driven: Driven) -> dict[str, Json]:
        record = result_record(driven.state, self._engine.now(), driven.status, None)
        if driven.parked is not None:
            nowhere = {"nodeId": None, "item": None, "details": None}
            record["error"] = {"code": "PARKED", "message": driven.parked, **nowhere}
        due = min((timer.due_ms for timer in driven.state.timers.values()), default=None)
        record["metadata"]["waitsUntil"] = self._engine.stamp(due) if due is not None else None
        return record

    async def events(self, *, after: int = 0, derived: bool = True, follow: bool = True) -> AsyncIterator[Event]:
        """The run's events in the order of the log, until it has ended (``follow``) or as far as the log goes.

        ``after`` skips that many records. ``derived`` adds those that follow from the log: node-start, node-complete …
        """
        if self._driven is None:
            return
        engine, position, index = self._engine, 0, 0
        deriver = Deriver(self.id)
        while True:
            for position, record in engine.journal.read(self.id, after=position):  # noqa: B020 - where to go on from
                event = event_at(record, self.id, position)
                index += 1
                wanted = needs(deriver.state, event)
                shown = deriver.feed(event, engine.journal.load(wanted) if wanted else {}) if derived else [event]
                if index > after:
                    for one in shown:
                        yield one
                if isinstance(event, e.FlowComplete):
                    return
            if not follow or engine.failure is not None or self._driven.parked is not None:
                return
            await self._moved()

    async def _moved(self) -> None:
        driven = self._driven
        if driven is not None:
            try:
                await asyncio.wait_for(driven.changed.wait(), 0.25)
            except TimeoutError:
                return  # an announcement may have been written without a fact after it

    # --- what a person may ask --------------------------------------------------------------------------------------

    @property
    def rejected(self) -> dict[str, Json] | None:
        """The result of a start that was refused, None for a run that is in the log."""
        return self._rejected

    async def cancel(self, reason: str = "", *, by: str = "", control_id: str = "") -> None:
        """End the run as cancelled. Raises UsageError when it has ended already.

        ``control_id`` identifies the request: the same twice is one.
        """
        control = {"type": "cancel", "by": by, "reason": reason}
        self._control(e.CancelRequested, "cancel", control_id, reason=reason, control=control)

    async def resolve(
        self,
        node_id: str,
        resolution: str,
        *,
        output: Json = None,
        reason: str = "",
        item: tuple[int, ...] = (),
        by: str = "",
        control_id: str = "",
    ) -> None:
        """Settle a step whose outcome is unknown: ``done`` (with its output), ``fail``, or ``retry``."""
        if resolution not in ("done", "fail", "retry"):
            raise UsageError("USAGE", f"resolution {resolution!r}: expected done, fail or retry")
        driven = self._running("resolve")
        live = driven.state.live_at(node_id, item)
        if live is None or live.status != "uncertain":
            waiting = sorted(uncertain(driven.state))
            hint = f"waiting: {', '.join(waiting)}" if waiting else "none is waiting"
            raise UsageError("NOT_UNCERTAIN", f"step {node_id} of run {self.id} has no unknown outcome; {hint}")
        control = {"type": "resolve", "nodeId": node_id, "item": list(item), "by": by, "reason": reason}
        self._control(
            e.StepResolved,
            "resolve",
            control_id,
            node_id=node_id,
            item=item or None,
            resolution=resolution,
            output=output,
            reason=reason,
            control=control,
        )

    def _running(self, asked: str) -> Driven:
        driven = self._driven
        if driven is None or driven.status in ENDED:
            raise UsageError("RUN_ENDED", f"run {self.id} has ended ({self.status}); there is nothing to {asked}")
        return driven

    def _control(self, kind: type[e.Control], name: str, control_id: str, **fields: Json) -> None:
        driven = self._running(name)
        serial = control_id or self._engine.next_control()
        fact = kind.model_validate(
            {
                "id": f"{self.id}/{fields.get('node_id') or '-'}/-/-/{name}/{serial}",
                "run_id": self.id,
                "timestamp": self._engine.now(),
                "v": VERSION,
                "semantics": SEMANTICS,
                **fields,
            }
        )
        self._engine.append(driven, fact)


def uncertain(state: RunState) -> list[str]:
    """Node ids of steps whose outcome nobody knows."""
    lives = (live for frame in state.frames.values() for live in frame.live.values())
    return [live.step.id for live in lives if live.status == "uncertain"]


def rejected_record(run_id: str, error: DynamicFlowError, at: str, name: str | None = None) -> dict[str, Json]:
    """The result of a start that was refused: nothing is recorded, the id stays free."""
    record = result_record(RunState(run_id), at, "rejected", None)
    record["error"] = {
        "code": error.code,
        "message": error.message,
        "nodeId": None,
        "item": None,
        "details": {"problems": [problem.to_json() for problem in error.problems]},
    }
    record["metadata"] |= {"name": name, "startedAt": at, "completedAt": at}
    return record
