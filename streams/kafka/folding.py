"""Folding what comes: a record of the log is a fact for a run of the ledger, what follows from it is carried out.

A run whose fact has a long consequence is worked off in a task of its own, a slice at a time, so that the others and
the heartbeats go on. Timers and leases that come due become facts here too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError

from ...errors import BrokerError, DynamicFlowError
from ...values import NotJson
from ..core import commands as c
from ..core.events import ControlRefused, Event, FlowComplete, ToolStart
from ..core.fold import CannotFold, needs, outstanding
from ..metrics import Metrics
from . import ledger as rules
from .broker_clock import BrokerClock
from .dead_letter import DeadLetters
from .effects import Effects, Owned
from .ledger import Tracked
from .reader import FetchedRecord
from .records import ANNOUNCEMENTS, event_of, header, trace_in, trace_of
from .upkeep import Upkeep
from .values import ValueStore
from .writer import Writer

log = logging.getLogger(__name__)

SLICE_S: Final = 0.05
"""How long folding keeps the loop from its heartbeats."""
LEASE: Final = "lease/"
MOST_UNACKNOWLEDGED: Final = 20_000
"""Records on their way above which folding waits."""


class Folding:
    """Folds the records of owned partitions. Lives on one event loop."""

    def __init__(
        self,
        *,
        writer: Writer,
        values: ValueStore,
        effects: Effects,
        upkeep: Upkeep,
        clock: BrokerClock,
        dead_letters: DeadLetters,
        metrics: Metrics,
        lease_s: float,
        end_of: Callable[[int], Awaitable[int]],
    ) -> None:
        """``end_of`` a partition of the log: the offset after its last record, as of now."""
        self._writer, self._values, self._effects, self._upkeep = writer, values, effects, upkeep
        self._clock, self._dead_letters, self._metrics = clock, dead_letters, metrics
        self._lease_s, self._end_of = lease_s, end_of
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False

    async def fold(self, owned: Owned, records: list[FetchedRecord], still_mine: Callable[[], Awaitable[bool]]) -> None:
        """Fold a batch of a partition, in slices; ``still_mine`` is asked between two."""
        began = time.monotonic()
        for record in records:
            if not owned.ready:
                return
            if record.offset < owned.ledger.position:
                continue
            await self._take(owned, record)
            owned.ledger.position = record.offset + 1
            if time.monotonic() - began > SLICE_S:
                await asyncio.sleep(0)
                await self._writer.below(MOST_UNACKNOWLEDGED)
                if not await still_mine():
                    return
                began = time.monotonic()
        self._clock.heard(records[-1].timestamp)

    async def _take(self, owned: Owned, record: FetchedRecord) -> None:
        kind = header(record.headers, "ce_type")
        if kind in ANNOUNCEMENTS:
            return
        try:
            event = event_of(record.value, record.key, kind)
        except NotJson as error:
            await self._dead_letters.put(record, "UNREADABLE_EVENT", str(error))
            return
        if isinstance(event, FlowComplete):
            tracked = owned.ledger.runs.get(event.run_id)
            if tracked is not None and tracked.completed_at < 0:
                tracked.completed_at = record.offset
                self._upkeep.maybe_mark(owned, tracked)
        elif event.folded:
            await self._take_fact(owned, record, event)

    async def _take_fact(self, owned: Owned, record: FetchedRecord, event: Event) -> None:
        known = owned.ledger.runs.get(event.run_id)
        trace = known.trace if known is not None else trace_in(record.headers) or trace_of(event.run_id)
        met = owned.ledger.receive(event, record.offset, trace, record.timestamp)
        if isinstance(met, ControlRefused):
            await self.refuse(owned, met.id, met, trace)
            met = owned.ledger.runs.get(event.run_id)
        if met is None:
            return
        if event.large:
            self._values.heard(record.headers)
        if met.advancing or met.broken:
            return  # whoever folds it comes to this one
        met.advancing = True
        await self._advance(owned, met, one_slice=True)

    async def _advance(self, owned: Owned, tracked: Tracked, *, one_slice: bool) -> None:
        """Fold what waits of a run. One that needs more than a slice goes on in a task of its own."""
        try:
            while tracked.later and not tracked.broken:
                await self._slice(owned, tracked)
                if tracked.later and one_slice:
                    self.spawn(self._advance(owned, tracked, one_slice=False))
                    return
                if tracked.later:
                    await asyncio.sleep(0)
            tracked.advancing = False
        except CannotFold as error:
            await self._park(owned, tracked, error)
        except Exception as error:  # a fault of ours parks this run, the others go on
            log.exception("run %s: the fold failed", tracked.run_id)
            await self._park(owned, tracked, error)

    async def _slice(self, owned: Owned, tracked: Tracked) -> None:
        wanted = needs(tracked.state, tracked.later[0][0])
        values = await self._load(wanted) if wanted else {}
        for asked, event, offset in owned.ledger.advance(tracked, values):
            await self._effects.carry_out(owned, tracked, asked, offset, again=offset < owned.sure_from)
            if isinstance(event, ToolStart):
                self._keep_lease(owned, tracked, event)
            if tracked.turn is not None or (tracked.later and needs(tracked.state, tracked.later[0][0])):
                return

    async def _load(self, wanted: frozenset[str]) -> Mapping[str, bytes]:
        """Large values, asked for until a broker gives them: an outage parks no run."""
        while wanted:
            try:
                return await self._values.load(wanted)
            except (KafkaError, BrokerError) as error:
                log.warning("values of a run cannot be had: %r; trying again", error)
                await asyncio.sleep(0.5)
        return {}

    async def _park(self, owned: Owned, tracked: Tracked, error: Exception) -> None:
        tracked.advancing = False
        owned.ledger.park(tracked, error)
        owned.timers.drop(tracked.run_id)
        await self._effects.announce(owned, tracked, rules.parked(tracked, self._clock.now_ms()))

    async def refuse(self, owned: Owned, ident: str, refusal: Event, trace: str) -> None:
        """Tell that a request cannot be carried out; until it is told the low-water mark stays before the request."""

        def told(offset: int, error: Exception | None) -> None:
            owned.ledger.refusals.pop(ident, None)

        await self._effects.append(owned, refusal, trace, told)

    def spawn(self, work: Any) -> None:
        """Carry out something beside the loop; ended with it."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- after a take-over --------------------------------------------------------------------------------------------

    async def go_on(self, owned: Owned) -> None:
        """Tell what was not told, publish what is finished and not done, ask again for what is outstanding."""
        began = time.monotonic()
        for ident, (_, refusal) in list(owned.ledger.refusals.items()):
            await self.refuse(owned, ident, refusal, trace_of(refusal.run_id))
        for tracked in list(owned.ledger.runs.values()):
            if time.monotonic() - began > SLICE_S:
                await asyncio.sleep(0)
                await self._writer.below(MOST_UNACKNOWLEDGED)
                if owned.dropped:
                    return
                began = time.monotonic()
            try:
                await self._go_on_with(owned, tracked)
            except Exception as error:  # a fault of ours parks this run, the others go on
                log.exception("run %s cannot go on", tracked.run_id)
                await self._park(owned, tracked, error)

    async def _go_on_with(self, owned: Owned, tracked: Tracked) -> None:
        untold, tracked.untold = list(tracked.untold.values()), {}
        for event in untold:
            await self._effects.announce(owned, tracked, event)
        if tracked.broken:
            await self._effects.announce(owned, tracked, rules.parked(tracked, self._clock.now_ms()))
        elif tracked.state.end is not None:
            await self._effects.publish(owned, tracked, rules.end_of(tracked))
        else:
            await self._ask_again(owned, tracked)

    async def _ask_again(self, owned: Owned, tracked: Tracked) -> None:
        """Steps that somebody holds are left alone until the lease of the claim ends."""
        claimed = {key: live for key, live in tracked.state.in_flight.items() if live.claim is not None}
        for key, live in claimed.items():
            if key not in tracked.leases:  # of a snapshot that knew of none
                until = self._clock.now_ms() + self._lease_s * 1000
                tracked.leases[key] = rules.Lease(live.claim or "", until, live.attempt, live.delivery)
            self._time_lease(owned, tracked, key)
        again = [
            command
            for command in outstanding(tracked.state)
            if not isinstance(command, c.Dispatch) or (command.node_id, command.item) not in claimed
        ]
        await self._effects.carry_out(owned, tracked, again, tracked.last, again=True)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _keep_lease(self, owned: Owned, tracked: Tracked, event: ToolStart) -> None:
        key = (event.node_id or "", event.item or ())
        if key in tracked.leases:
            self._time_lease(owned, tracked, key)

    @staticmethod
    def _time_lease(owned: Owned, tracked: Tracked, key: rules.StepKey) -> None:
        name = f"{LEASE}{key[0]}/{'.'.join(map(str, key[1]))}"
        owned.timers.start(tracked.run_id, name, "lease", tracked.leases[key].until_ms)

    def due(self, owned: Owned, run_id: str, name: str, kind: str) -> None:
        """A timer's moment has come: append the fact of it."""
        tracked = owned.ledger.runs.get(run_id)
        if tracked is None or tracked.broken or self.draining:
            return
        now = self._clock.now_ms()
        if kind != "lease":
            self._metrics.timer_fired(kind)
            self.spawn(self._effects.append(owned, rules.timer_fired(tracked, name, kind, now), tracked.trace))
            return
        node, _, item = name.removeprefix(LEASE).rpartition("/")
        key = (node, tuple(int(part) for part in item.split(".") if part))
        lease = tracked.leases.get(key)
        if lease is not None and lease.until_ms <= now:
            self.spawn(self._lose(owned, tracked, key, lease, name))

    async def _lose(self, owned: Owned, tracked: Tracked, key: rules.StepKey, lease: rules.Lease, name: str) -> None:
        """Append that a claim is lost, unless the log tells otherwise.

        This process may have stood still while the claim was renewed, or nobody could renew it, for the brokers were
        away: from a moment when they answer its holder has the time that a renewal takes, a third of a lease, and
        everything that was in the log then is folded before it is judged.
        """
        try:
            await self._end_of(owned.ledger.partition)
            await asyncio.sleep(self._lease_s / 3)
            end = await self._end_of(owned.ledger.partition)
        except (KafkaError, DynamicFlowError) as error:
            log.warning("whether a step of run %s is lost: %s; looking again", tracked.run_id, error)
            owned.timers.start(tracked.run_id, name, "lease", self._clock.now_ms() + 1000)
            return
        while owned.ready and not tracked.broken and (owned.ledger.position < end or tracked.later):  # noqa: ASYNC110 - rare
            await asyncio.sleep(0.05)
        if owned.ready and not self.draining and tracked.leases.get(key) is lease:
            self._metrics.step_lost()
            await self._effects.append(owned, rules.tool_lost(tracked, key, lease, self._clock.now_ms()), tracked.trace)
