"""What the fold asks for, as records: work, announcements, results, cancels; timers are set. No rules live here.

Every record may stand in its topic twice (two owners for a moment, a retry): whoever reads them expects that.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from aiokafka.errors import UnknownTopicOrPartitionError

from ...values import Json, stamp
from ..core import commands as c
from ..core.events import Event, FlowComplete, FlowStart
from ..metrics import Metrics
from ..timers import Timers
from . import ledger as rules
from .broker_clock import BrokerClock
from .ledger import Ledger, Tracked
from .records import HeaderMaker, Record, Work, encode_result, encode_small, encode_work, work_key
from .topics import Topics
from .values import ValueStore
from .writer import Acknowledged, Writer

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Owned:
    """A partition of the log that this worker owns."""

    ledger: Ledger
    timers: Timers
    ready: bool = False
    """Taken over: its records are folded as they come."""
    dropped: bool = False
    """It went to another worker."""
    failed: str | None = None
    """Why it cannot be taken over."""
    committed: int = -1
    sure_from: int = 0
    """What follows from records before this offset may have been asked for by another owner already."""
    swept: float = 0.0
    """When left-over snapshots were last looked for, on this process's monotonic clock."""
    folding: int = 0
    """Runs whose facts are worked off in a task of their own."""


class Effects:
    """Carries out commands by appending records."""

    def __init__(
        self,
        writer: Writer,
        values: ValueStore,
        topics: Topics,
        clock: BrokerClock,
        ended: Callable[[Owned, Tracked], None],
        metrics: Metrics,
    ) -> None:
        self._writer, self._values, self._topics, self._clock = writer, values, topics, clock
        self._metrics = metrics
        self._headers = HeaderMaker(topics)
        self._ended = ended
        """Called when a run's result is in ``flow-complete``."""
        self._queues: dict[str, tuple[str, int]] = {}

    async def carry_out(
        self, owned: Owned, tracked: Tracked, asked: Sequence[c.Command], offset: int, *, again: bool = False
    ) -> None:
        """Do what the fold asks for because of the fact at ``offset``. ``again``: it may have been asked for before."""
        for command in asked:
            match command:
                case c.Dispatch():
                    await self._dispatch(owned, tracked, command, again)
                case c.Announce():
                    await self.announce(owned, tracked, command.event)
                case c.Publish():
                    await self.publish(owned, tracked, command.event)
                case c.StartTimer():
                    owned.timers.start(tracked.run_id, command.timer, command.kind, command.due_ms)
                case c.CancelTimer():
                    owned.timers.cancel(tracked.run_id, command.timer)
                case c.CancelStep():
                    self._cancel(owned, tracked, command, offset)
                case c.Plan():
                    await self._plan(owned, tracked, command, offset, again)
                case _:
                    assert_never(command)

    # --- into the log ---------------------------------------------------------------------------------------------

    async def append(self, owned: Owned, event: Event, trace: str, acknowledged: Acknowledged | None = None) -> None:
        """Queue an event for the run's log."""
        encoded = encode_small(event)
        headers = self._headers.of(event, trace)
        if encoded.values:
            headers.extend(await self._values.store(encoded.values))
        key = event.run_id.encode()
        self._writer.append(
            Record(self._topics.events, owned.ledger.partition, key, encoded.record, headers), acknowledged
        )

    async def announce(self, owned: Owned, tracked: Tracked, event: Event) -> None:
        """Queue an announcement; until it is acknowledged the run is not snapshotted."""
        tracked.unacknowledged += 1
        if isinstance(event, FlowStart):
            self._metrics.run_started()

        def told(offset: int, error: Exception | None) -> None:
            tracked.unacknowledged -= 1

        await self.append(owned, event, tracked.trace, told)

    async def publish(self, owned: Owned, tracked: Tracked, event: FlowComplete) -> None:
        """Queue the result of a run for ``flow-complete``."""
        encoded = encode_result(event.result)
        headers = self._headers.make(event.id, "flow-complete", event.run_id, event.timestamp, tracked.trace)
        if encoded.values:
            headers.extend(await self._values.store(encoded.values))

        def published(offset: int, error: Exception | None) -> None:
            if error is not None:  # it stays a live run, and is published again by whoever takes it over
                log.error("the result of run %s is refused: %s", tracked.run_id, error)
                return
            tracked.published = True
            self._ended(owned, tracked)

        key = event.run_id.encode()
        self._writer.append(
            Record(self._topics.complete, owned.ledger.partition, key, encoded.record, headers), published
        )

    # --- work -----------------------------------------------------------------------------------------------------

    async def _dispatch(self, owned: Owned, tracked: Tracked, step: c.Dispatch, again: bool) -> None:
        state, ledger = tracked.state, owned.ledger
        key = (step.node_id, step.item)
        queue = str(state.policies.get(step.tool_id, {}).get("queue", "default"))
        place = self._queues.get(queue) or await self._queue(queue)
        if place is None:
            why = f"no topic {self._topics.node_ready(queue)}: make it with `dynamicflow topics create --queue {queue}`"
            await self._undeliverable(owned, tracked, step, "QUEUE_NOT_FOUND", why)
            return
        now = self._clock.now_ms()
        labels = state.values.about.get("labels")
        work = Work(
            step,
            state.program.hash if state.program else None,
            state.tools.get(step.tool_id, ""),
            now,
            state.tenant,
            ledger.partition,
            tracked.since.get(key, tracked.first),
            ledger.position,
            again,
            state.values.variables,
            labels if isinstance(labels, dict) else {},
        )
        encoded = encode_work(work.to_json())
        name = work_key(step.run_id, step.node_id, step.item)
        ident = f"{name.decode()}/{step.attempt}/node-ready/{step.delivery}"
        headers = self._headers.make(ident, "node-ready", step.run_id, stamp(now), tracked.trace)
        if encoded.values:
            headers.extend(await self._values.store(encoded.values))
        topic, count = place
        self._writer.append(
            Record(topic, zlib.crc32(name) % count, name, encoded.record, headers),
            partial(self._work_refused, owned, tracked, step),
        )

    def _work_refused(
        self, owned: Owned, tracked: Tracked, step: c.Dispatch, offset: int, error: Exception | None
    ) -> None:
        if error is not None:
            fact = rules.undeliverable(tracked, step, "WORK_REFUSED", f"no broker takes its work: {error}", self._now())
            record = encode_small(fact).record
            headers = self._headers.of(fact, tracked.trace)
            self._writer.append(
                Record(self._topics.events, owned.ledger.partition, fact.run_id.encode(), record, headers)
            )

    async def _undeliverable(self, owned: Owned, tracked: Tracked, step: c.Dispatch, code: str, why: str) -> None:
        await self.append(owned, rules.undeliverable(tracked, step, code, why, self._now()), tracked.trace)

    async def _queue(self, queue: str) -> tuple[str, int] | None:
        """(topic, partitions) of a queue; None when there is no such topic."""
        topic = self._topics.node_ready(queue)
        try:
            count = await self._writer.partitions(topic)
        except UnknownTopicOrPartitionError:
            return None
        self._queues[queue] = (topic, count)
        return topic, count

    async def _plan(self, owned: Owned, tracked: Tracked, command: c.Plan, offset: int, again: bool) -> None:
        topic = self._topics.plan_ready
        now = stamp(self._now())
        encoded = encode_work(
            {
                "type": "plan-ready",
                "runId": command.run_id,
                "request": command.request,
                "readyAt": now,
                "logPartition": owned.ledger.partition,
                "since": tracked.first,
                "seen": owned.ledger.position,
                "again": again,
            }
        )
        headers = self._headers.make(
            f"{command.run_id}/-/-/-/plan-ready", "plan-ready", command.run_id, now, tracked.trace
        )
        headers.extend(await self._values.store(encoded.values))
        key = command.run_id.encode()
        partition = zlib.crc32(key) % await self._writer.partitions(topic)
        self._writer.append(Record(topic, partition, key, encoded.record, headers))

    def _cancel(self, owned: Owned, tracked: Tracked, command: c.CancelStep, offset: int) -> None:
        made: dict[str, Json] = {
            "type": "cancel-step",
            "runId": command.run_id,
            "nodeId": command.node_id,
            "item": list(command.item),
            "logPartition": owned.ledger.partition,
            "at": offset,
        }
        ident = f"{work_key(command.run_id, command.node_id, command.item).decode()}/cancel-step"
        headers = self._headers.make(ident, "cancel-step", command.run_id, stamp(self._now()), tracked.trace)
        self._writer.append(Record(self._topics.control, 0, command.run_id.encode(), encode_work(made).record, headers))

    def _now(self) -> float:
        return self._clock.now_ms()
