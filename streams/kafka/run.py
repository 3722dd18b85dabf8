"""A handle on one run in the topics: its result, its events, and what a person may ask of it.

The same as the embedded engine's handle; it reads the run's own partition of the log and nothing else.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from ...errors import BrokerError, RunNotFound, UsageError
from ...values import Json, NotJson, stamp
from ..core.derive import Deriver
from ..core.events import Control, ControlRefused, Event, FlowComplete, FlowRequested
from ..core.fold import CannotFold, apply, ends_all, needs, whole
from ..core.result import needs_someone, standing_record, uncertain
from ..core.state import ENDED, RunState, new_run
from ..requests import control_request
from .broker_clock import BrokerClock
from .finding import Finder
from .records import event_of
from .tail import Logged, Watched
from .values import ValueStore

Ask: TypeAlias = "Callable[[dict[str, Json]], Awaitable[None]]"
"""Puts a control record on ``flow-requests``."""

_STANDS: Final = frozenset(
    {b"input-requested", b"run-parked", b"pause-requested", b"resume-requested", b"step-resolved", b"tool-refused"}
)
ANSWER_S: Final = 30.0
"""How long the answer to a control record may take before the workers count as gone."""
LOOK_S: Final = 0.25
"""How often a wait for a time is looked at."""


class KafkaRun:
    """One run. ``id`` names it; a rejected start has a result and nothing in the log."""

    def __init__(
        self,
        run_id: str,
        watched: Watched | None,
        *,
        finder: Finder,
        values: ValueStore,
        clock: BrokerClock,
        ask: Ask,
        rejected: dict[str, Json] | None = None,
    ) -> None:
        self.id, self._watched, self._rejected = run_id, watched, rejected
        self._finder, self._values, self._clock, self._ask = finder, values, clock, ask
        self._state: RunState = new_run(run_id)
        self._folded = 0
        self._folding = asyncio.Lock()
        self._broken = False

    @property
    def rejected(self) -> dict[str, Json] | None:
        """The result of a start that was refused, None for a run that is in the log."""
        return self._rejected

    @property
    def status(self) -> str:
        """As far as the log has been read: pending, planning, running, suspended, …; at the end completed, failed, …"""
        if self._rejected is not None:
            return str(self._rejected["status"])
        for one in reversed(self._watched.records if self._watched is not None else ()):
            if one.kind == b"flow-complete" and isinstance(event := self._read(one), FlowComplete):
                return event.status
        return self._state.public_status

    async def _log(self) -> Watched:
        """The run's log, from its beginning. Raises RunNotFound."""
        watched = self._watched
        if watched is None or not await self._finder.read(watched):
            how = "`dynamicflow runs`, with its --bootstrap and --prefix, lists those there are"
            raise RunNotFound("RUN_NOT_FOUND", f"no run {self.id} in this log; {how}")
        return watched

    # --- how it stands ----------------------------------------------------------------------------------------------

    async def result(self, *, max_wait: float | None = None) -> dict[str, Json]:
        """The result record (canonical.md §5) once the run has ended, or as it stands when it needs a person.

        Its ``status`` is then suspended, paused or parked. A wait for a time is waited out, unless it is more than
        ``max_wait`` seconds away. Raises RunNotFound, BrokerError.
        """
        if self._rejected is not None:
            return dict(self._rejected)
        watched = await self._log()
        seen = 0
        while True:
            fresh = watched.records[seen:]
            seen += len(fresh)
            for one in reversed(fresh):
                if one.kind == b"flow-complete" and isinstance(event := self._read(one), FlowComplete):
                    return dict((await self._whole(one, event))["result"])
            if max_wait is not None or any(one.kind in _STANDS for one in fresh):
                state = await self.state()
                if needs_someone(state, self._clock.now_ms(), max_wait):
                    return standing_record(state, self._now(), parked=state.parked)
            await self._moved(watched, seen, LOOK_S if max_wait is not None else 5.0)

    async def standing(self) -> dict[str, Json]:
        """The result record as of now, ended or not."""
        state = await self.state()
        if state.result is not None:
            return state.result
        return standing_record(state, self._now(), parked=state.parked)

    async def state(self) -> RunState:
        """The fold of the log as far as it goes. It belongs to this handle: read it, change nothing."""
        watched = await self._log()
        async with self._folding:
            while self._folded < len(watched.records):
                one = watched.records[self._folded]
                event = self._read(one)
                if event is not None and event.folded and (not self._broken or ends_all(event)):
                    await self._fold(one, event)
                self._folded += 1
        return self._state

    async def _fold(self, one: Logged, event: Event) -> None:
        wanted = needs(self._state, event)
        if wanted:
            self._values.heard(one.headers)
        try:
            self._state.parked, self._broken = (None, False) if self._broken else (self._state.parked, False)
            apply(self._state, event, await self._values.load(wanted))
        except CannotFold as error:
            self._state.parked, self._broken = str(error), True

    def _read(self, one: Logged) -> Event | None:
        """The event of a record; None for what is none: it lies in the dead letter, and nobody folds it."""
        try:
            return event_of(one.value, self.id.encode(), one.kind)
        except NotJson:
            return None

    async def event(self, one: Logged) -> Event:
        """The event of a record, its large values in their places. Raises NotJson for what is none."""
        event = self._read(one)
        if event is None:
            raise NotJson(f"the record at {one.offset} is no event of run {self.id}")
        return await self._whole(one, event)

    async def requested(self) -> FlowRequested | None:
        """The request that it came of, its input in its place; None as long as that has not been read."""
        for one in self._watched.records if self._watched is not None else ():
            if one.kind == b"flow-requested" and isinstance(event := self._read(one), FlowRequested):
                made = await self._whole(one, event)
                return made if isinstance(made, FlowRequested) else None
        return None

    async def _whole(self, one: Logged, event: Event) -> Event:
        if not event.large:
            return event
        self._values.heard(one.headers)
        wanted = {str(place["sha256"]) for place in event.large.values()}
        return whole(event, await self._values.load(wanted))

    async def _moved(self, watched: Watched, seen: int, seconds: float) -> None:
        if len(watched.records) > seen:
            return
        try:
            await asyncio.wait_for(watched.changed.wait(), seconds)
        except TimeoutError:
            return  # time passes as well

    def _now(self) -> str:
        return stamp(self._clock.now_ms())

    # --- its log ------------------------------------------------------------------------------------------------------

    async def records(self) -> list[Logged]:
        """The run's records as of now. Raises RunNotFound."""
        return list((await self._log()).records)

    async def events(self, *, after: int = 0, derived: bool = True, follow: bool = True) -> AsyncIterator[Event]:
        """The run's events in the order of the log, until it has ended (``follow``) or as far as the log goes.

        ``after`` skips that many records. ``derived`` adds those that follow from the log: node-start, node-complete …
        """
        if self._rejected is not None:
            return
        watched = await self._log()
        deriver = Deriver(self.id)
        index = 0
        while True:
            while index < len(watched.records):
                one = watched.records[index]
                index += 1
                event = self._read(one)
                if event is None:
                    continue
                shown = await self._shown(deriver, one, event) if derived else [event]
                if index > after:
                    for each in shown:
                        yield each
                if isinstance(event, FlowComplete):
                    return
            if not follow:
                return
            await self._moved(watched, index, 5.0)

    async def _shown(self, deriver: Deriver, one: Logged, event: Event) -> list[Event]:
        wanted = needs(deriver.state, event)
        if wanted:
            self._values.heard(one.headers)
        return deriver.feed(event, await self._values.load(wanted) if wanted else {})

    async def load(self) -> Mapping[str, bytes]:
        """Every large value that the run's log names, by SHA-256."""
        found: dict[str, bytes] = {}
        for one in await self.records():
            event = self._read(one)
            if event is not None and event.large:
                self._values.heard(one.headers)
                wanted = {str(place["sha256"]) for place in event.large.values()}
                found.update(await self._values.load(wanted - found.keys()))
        return found

    # --- what a person may ask ----------------------------------------------------------------------------------------

    async def cancel(self, reason: str = "", *, by: str = "", control_id: str = "") -> None:
        """End the run as cancelled; in its log on return. Raises UsageError when it has ended already."""
        await self._control("cancel", control_id, by=by, reason=reason)

    async def pause(self, reason: str = "", *, by: str = "", control_id: str = "") -> None:
        """Start nothing new of the run until it is resumed."""
        await self._control("pause", control_id, by=by, reason=reason)

    async def resume(self, reason: str = "", *, by: str = "", control_id: str = "") -> None:
        """Go on with a run that is paused or parked."""
        await self._control("resume", control_id, by=by, reason=reason)

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

        In the run's log on return. Raises UsageError when the run has no such step.
        """
        if resolution not in ("done", "fail", "retry"):
            raise UsageError("USAGE", f"resolution {resolution!r}: expected done, fail or retry")
        state = await self.state()
        live = state.live_at(node_id, item)
        if state.end is None and (live is None or live.status != "uncertain"):
            waiting = sorted(uncertain(state))
            hint = f"waiting: {', '.join(waiting)}" if waiting else "none is waiting"
            raise UsageError("NOT_UNCERTAIN", f"step {node_id} of run {self.id} has no unknown outcome; {hint}")
        fields: dict[str, Json] = {"node_id": node_id, "resolution": resolution, "by": by, "reason": reason}
        if resolution == "done":
            fields["output"] = output
        if item:
            fields["item"] = list(item)
        await self._control("resolve", control_id, **fields)

    async def _control(self, kind: str, control_id: str, **fields: Json) -> None:
        if self._rejected is not None or self._watched is None:
            raise UsageError("RUN_ENDED", f"run {self.id} has ended ({self.status}); there is nothing to {kind}")
        watched = await self._log()
        if watched.ended and not control_id:
            raise UsageError("RUN_ENDED", f"run {self.id} has ended ({self.status}); there is nothing to {kind}")
        ident = control_id or secrets.token_hex(8)
        given = {name: value for name, value in fields.items() if value != "" or name == "output"}
        seen = 0 if control_id else len(watched.records)
        await self._ask(control_request(kind, self.id, id=ident, **given))
        await self._answer(watched, seen, kind, ident)

    async def _answer(self, watched: Watched, seen: int, kind: str, ident: str) -> None:
        """Wait for the fact that the request became, or for the refusal."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + ANSWER_S
        while loop.time() < ends:
            for one in watched.records[seen:]:
                seen += 1
                event = self._read(one) if one.kind in _ANSWERS else None
                if not isinstance(event, Control | ControlRefused) or event.control.get("id") != ident:
                    continue
                if isinstance(event, ControlRefused):
                    raise UsageError(event.code, event.message)
                state = await self.state()
                if state.end is not None and event.id not in state.controls:  # its refusal is on the way
                    message = f"run {self.id} ended ({state.end}) before it could be asked to {kind}"
                    raise UsageError("RUN_ENDED", message)
                await self._settle(watched, kind)
                return
            await self._moved(watched, seen, 1.0)
        message = f"no worker answered the request to {kind} run {self.id} within {ANSWER_S:.0f} s; it is in the topic"
        raise BrokerError("NO_WORKER", message)

    async def _settle(self, watched: Watched, kind: str) -> None:
        """A refusal follows its fact at once; whoever cancels wants to see the end."""
        if kind == "cancel":
            loop = asyncio.get_running_loop()
            ends = loop.time() + ANSWER_S
            while not watched.ended and loop.time() < ends:
                await self._moved(watched, len(watched.records), 1.0)

    @property
    def ended(self) -> bool:
        """It has, as far as the log has been read."""
        return self.status in ENDED


_ANSWERS: Final = frozenset(
    {b"cancel-requested", b"pause-requested", b"resume-requested", b"step-resolved", b"control-refused"}
)
