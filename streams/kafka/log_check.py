"""Whether a step may be started, as its run's log says: rules over the records of one stretch. No IO.

An executor that is not sure to be the first (a record asked for again, or lying there since before it came) looks into
the log. The same reading decides between two claims: the first in the log has it, as for the fold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ...values import NotJson
from ..core import events as e
from ..core.events import Event
from ..core.state import Path
from .records import LAST_OFFSET, event_of, header

Place: TypeAlias = tuple[str, str, Path]
"""(run, node, item)."""

_SPEAKS: Final = frozenset(
    {
        b"tool-output",
        b"tool-error",
        b"tool-start",
        b"tool-lost",
        b"step-resolved",
        b"flow-complete",
        b"cancel-requested",
        b"timer-fired",
        None,  # somebody appended it without headers: the fold goes by the value
    }
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A step somebody would start, and from which offset of its log its start could be found."""

    place: Place
    attempt: int
    delivery: int
    since: int


@dataclass(slots=True)
class _Step:
    settled: list[tuple[int, int | None]] = field(default_factory=list)
    """(offset, attempt) of outcomes; attempt None: whatever the attempt."""
    claims: list[tuple[int, int, str]] = field(default_factory=list)
    """(offset, attempt, claim) of starts, in the order of the log."""
    lost: list[tuple[int, int, int, str]] = field(default_factory=list)
    """(offset, attempt, delivery, claim) of claims that were lost. Where it had the step, another delivery follows."""


class LogView:
    """What a stretch of one partition says about the wanted steps. Feed it records in order."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._steps: dict[Place, _Step] = {}
        self._ended: dict[str, list[int]] = {}
        """Offsets at which a run has ended; an id may be used again when its window is over."""
        for one in wanted:
            self._steps.setdefault(one.place, _Step())
        self._runs = {place[0].encode() for place in self._steps}

    def feed(self, records: Iterable[Any]) -> None:
        for record in records:
            if record.key in self._runs and (kind := header(record.headers, "ce_type")) in _SPEAKS:
                try:
                    self._hear(event_of(record.value, record.key, kind), record.offset)
                except NotJson:
                    continue  # the fold takes nothing from it either

    def _hear(self, event: Event, offset: int) -> None:
        if isinstance(event, e.FlowComplete | e.CancelRequested):
            self._ended.setdefault(event.run_id, []).append(offset)
            return
        if isinstance(event, e.TimerFired):
            if event.kind == "deadline" and event.node_id is None:
                self._ended.setdefault(event.run_id, []).append(offset)
            return
        step = self._steps.get((event.run_id, event.node_id or "", event.item or ()))
        if step is None:
            return
        if isinstance(event, e.ToolStart):
            step.claims.append((offset, event.attempt or 0, event.claim or ""))
        elif isinstance(event, e.ToolLost):
            step.lost.append((offset, event.attempt or 0, event.delivery or 0, event.claim or ""))
        elif isinstance(event, e.ToolError):
            step.settled.append((offset, event.attempt))
        elif isinstance(event, e.ToolOutput) or (isinstance(event, e.StepResolved) and event.resolution != "retry"):
            step.settled.append((offset, None))

    def settled(self, wanted: Wanted) -> bool:
        """The step, this delivery of it, or its run has ended.

        After a claim as well as before it: whoever called the step without one may have been slow to say so.
        """
        if any(offset >= wanted.since for offset in self._ended.get(wanted.place[0], ())):
            return True
        step = self._steps[wanted.place]
        return any(
            offset >= wanted.since and attempt in (None, wanted.attempt) for offset, attempt in step.settled
        ) or any(
            offset >= wanted.since
            and attempt == wanted.attempt
            and delivery >= wanted.delivery
            and self.holder(wanted, offset) in (None, claim)  # one that came second and gave up ends nothing
            for offset, attempt, delivery, claim in step.lost
        )

    def holder(self, wanted: Wanted, before: int = LAST_OFFSET) -> str | None:
        """The claim that has the step: the first since it was asked for that was not lost (before an offset)."""
        step = self._steps[wanted.place]
        lost = {claim for offset, _, _, claim in step.lost if offset < before}
        for offset, attempt, claim in step.claims:
            if wanted.since <= offset < before and attempt == wanted.attempt and claim not in lost:
                return claim
        return None
