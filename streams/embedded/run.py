"""A handle on one run: its result, its events, and what a person may ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...values import Json, NotJson, plain
from ..core import events as e
from ..core.derive import Deriver
from ..core.events import Event, envelope
from ..core.fold import needs
from ..core.result import needs_someone, standing_record, uncertain
from ..core.state import ENDED
from ..replay import event_at
from .driven import Driven

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
            if driven.parked is not None or needs_someone(driven.state, self._engine.clock.now_ms(), max_wait):
                return standing_record(driven.state, self._engine.now(), parked=driven.parked)
            await driven.settled.wait()
        return driven.result

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
        """End the run as cancelled; durable on return. Raises UsageError when it has ended already.

        ``control_id`` identifies the request: the same twice is one.
        """
        await self._ask(e.CancelRequested, "cancel", reason, by, control_id)

    async def pause(self, reason: str = "", *, by: str = "", control_id: str = "") -> None:
        """Start nothing new of the run until it is resumed; what runs is let end. Durable on return."""
        await self._ask(e.PauseRequested, "pause", reason, by, control_id)

    async def resume(self, reason: str = "", *, by: str = "", control_id: str = "") -> None:
        """Go on with a run that was paused. Durable on return."""
        await self._ask(e.ResumeRequested, "resume", reason, by, control_id)

    async def _ask(self, kind: type[e.Control], name: str, reason: str, by: str, control_id: str) -> None:
        if not self._applied(name, None, control_id):
            await self._control(
                kind, name, control_id, reason=reason, control={"type": name, "by": by, "reason": reason}
            )

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
        """Settle a step whose outcome is unknown: ``done`` (with its output), ``fail``, or ``retry``.

        Durable on return. Raises UsageError when the run has no such step.
        """
        if resolution not in ("done", "fail", "retry"):
            raise UsageError("USAGE", f"resolution {resolution!r}: expected done, fail or retry")
        if self._applied("resolve", node_id, control_id):
            return
        driven = self._running("resolve")
        live = driven.state.live_at(node_id, item)
        if live is None or live.status != "uncertain":
            waiting = sorted(uncertain(driven.state))
            hint = f"waiting: {', '.join(waiting)}" if waiting else "none is waiting"
            raise UsageError("NOT_UNCERTAIN", f"step {node_id} of run {self.id} has no unknown outcome; {hint}")
        control = {"type": "resolve", "nodeId": node_id, "item": list(item), "by": by, "reason": reason}
        await self._control(
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

    def _control_fact(self, name: str, node_id: str | None, serial: str) -> str:
        return f"{self.id}/{node_id or '-'}/-/-/{name}/{serial}"

    def _applied(self, name: str, node_id: str | None, control_id: str) -> bool:
        """Was this very request carried out before, by a process that died before it could say so?"""
        controls = self._driven.state.controls if self._driven is not None else {}
        return bool(control_id) and self._control_fact(name, node_id, control_id) in controls

    async def _control(self, kind: type[e.Control], name: str, control_id: str, **fields: Json) -> None:
        driven = self._running(name)
        serial = control_id or self._engine.next_control()
        ident = self._control_fact(name, fields.get("node_id"), serial)
        try:
            given = plain({key: value for key, value in fields.items() if key != "item"})[0]
        except (NotJson, OverflowError) as error:
            raise UsageError("USAGE", f"what was given to {name} is not JSON: {error}") from error
        fact = kind.model_validate(envelope(ident, self.id, self._engine.now()) | fields | given)
        await self._engine.ask(driven, fact)
        if ident not in driven.state.controls and driven.state.end is not None:
            raise UsageError("RUN_ENDED", f"run {self.id} ended ({self.status}) before it could be asked to {name}")
