"""Whether a step may be started, as its run's log says: rules over the records of one stretch. No IO.

An executor that is not sure to be the first (a record asked for again, or lying there since before it came) looks into
the log. The same reading decides between two claims: the first in the log has it, as for the fold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ...values import NotJson
from ..core.state import Path
from .records import decode_record, header

Place: TypeAlias = tuple[str, str, Path]
"""(run, node, item)."""

_SPEAKS: Final = frozenset({b"tool-output", b"tool-error", b"tool-start", b"tool-lost", b"step-resolved"})
_ENDS: Final = frozenset({b"flow-complete", b"cancel-requested"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A step somebody would start, and from which offset of its log its start could be found."""

    place: Place
    attempt: int
    since: int


@dataclass(slots=True)
class _Step:
    settled: list[tuple[int, int | None]] = field(default_factory=list)
    """(offset, attempt) of outcomes; attempt None: whatever the attempt."""
    claims: list[tuple[int, int, str]] = field(default_factory=list)
    """(offset, attempt, claim) of starts, in the order of the log."""
    lost: set[str] = field(default_factory=set)


class LogView:
    """What a stretch of one partition says about the wanted steps. Feed it records in order."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._steps: dict[Place, _Step] = {}
        self._ended: dict[str, int] = {}
        for one in wanted:
            self._steps.setdefault(one.place, _Step())
        self._runs = {place[0].encode() for place in self._steps}

    def feed(self, records: Iterable[Any]) -> None:
        for record in records:
            if record.key not in self._runs:
                continue
            kind = header(record.headers, "ce_type")
            if kind in _ENDS or kind == b"timer-fired":
                self._end(record, kind)
            elif kind in _SPEAKS:
                self._speak(record, kind)

    def _end(self, record: Any, kind: bytes | None) -> None:
        if kind == b"timer-fired":
            made = _read(record)
            if made.get("kind") != "deadline" or made.get("nodeId") is not None:
                return
        self._ended.setdefault(record.key.decode(), record.offset)

    def _speak(self, record: Any, kind: bytes | None) -> None:
        made = _read(record)
        place = (str(made.get("runId")), str(made.get("nodeId")), tuple(made.get("item") or ()))
        step = self._steps.get(place)
        if step is None:
            return
        if kind == b"tool-start":
            step.claims.append((record.offset, int(made.get("attempt") or 0), str(made.get("claim"))))
        elif kind == b"tool-lost":
            step.lost.add(str(made.get("claim")))
        elif kind == b"step-resolved":
            if made.get("resolution") != "retry":
                step.settled.append((record.offset, None))
        else:
            attempt = None if kind == b"tool-output" else made.get("attempt")
            step.settled.append((record.offset, attempt))

    def settled(self, wanted: Wanted, before: int | None = None) -> bool:
        """The step, or its run, has ended (before an offset)."""
        last = before if before is not None else 1 << 62
        if self._ended.get(wanted.place[0], last) < last:
            return True
        return any(
            wanted.since <= offset < last and attempt in (None, wanted.attempt)
            for offset, attempt in self._steps[wanted.place].settled
        )

    def holder(self, wanted: Wanted) -> str | None:
        """The claim that has the step: the first since it was asked for that was not lost."""
        step = self._steps[wanted.place]
        for offset, attempt, claim in step.claims:
            if offset >= wanted.since and attempt == wanted.attempt and claim not in step.lost:
                return claim
        return None


def _read(record: Any) -> dict[str, Any]:
    try:
        return decode_record(record.value)
    except NotJson:
        return {}
