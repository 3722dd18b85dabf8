"""The runs of a cluster as rows: what its schedulers would find if they took over, and the marks of what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...errors import DynamicFlowError
from ...values import Json, NotJson, encode, stamp, time_ms
from ..core.state import RunState
from ..embedded.journal import RunRow
from ..kafka.connection import Connection
from ..kafka.ledger import Ledger, Tracked
from ..kafka.reader import Reader
from ..kafka.records import Mark, decode_record
from ..kafka.takeover import TakeOver
from ..kafka.topics import Topics
from ..kafka.values import ValueStore
from .kafka_log import low_water

NAME_CHARS: Final = 80
"""Of a prompt that stands for a name, as in a journal."""
GAP: Final = 200
"""Records that are read rather than skipped: a request costs as much."""
FETCH_BYTES: Final = 256 * 1024
"""Of one look at a few records; the brokers give a whole batch in any case."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of the list; ``when`` (milliseconds) is its newest fact, or its end."""

    when: float
    partition: int
    status: str
    alive: Tracked | None = None
    mark: Mark | None = None


async def rows_of(
    connection: Connection,
    topics: Topics,
    partitions: int,
    values: ValueStore,
    statuses: Sequence[str],
    limit: int,
) -> list[RunRow]:
    """The ``limit`` runs that moved last, of these statuses (none: of all), in the order they were requested."""
    marks = await low_water(connection, topics)
    reader = Reader(connection)
    found: list[Entry] = []
    try:
        for partition in range(partitions):
            ledger = await TakeOver(partition, reader, values, topics).run(marks.get(partition))
            found += _entries(partition, ledger)
    finally:
        await reader.close()
    chosen = [entry for entry in found if not statuses or entry.status in statuses]
    chosen = sorted(chosen, key=lambda entry: entry.when, reverse=True)[:limit]
    rows = [_row_alive(entry.alive) for entry in chosen if entry.alive is not None]
    rows += await _rows_ended(connection, topics, chosen)
    return sorted(rows, key=lambda row: row.created_at, reverse=True)


def _entries(partition: int, ledger: Ledger) -> list[Entry]:
    alive = [Entry(_moved_ms(one), partition, one.state.public_status, alive=one) for one in ledger.runs.values()]
    return alive + [Entry(mark.at_ms, partition, mark.status, mark=mark) for mark in ledger.done.values()]


def _moved_ms(tracked: Tracked) -> float:
    """When its newest fact was appended; one that was found in a snapshot does not tell."""
    began = tracked.state.started_at
    return tracked.last_ms or (0.0 if began is None else time_ms(began))


def _row_alive(tracked: Tracked) -> RunRow:
    state = tracked.state
    request, result = state.request or {}, state.result or {}
    metadata: dict[str, Any] = result.get("metadata") or {}
    return _row(
        state.run_id,
        state.public_status,
        tracked.digest,
        name=_plan_name(state),
        plan_hash=state.program.hash if state.program else None,
        created_at=state.started_at or "",
        updated_at=stamp(_moved_ms(tracked)),
        completed_at=metadata.get("completedAt"),
        error=result.get("error") or ({"code": "PARKED"} if state.parked is not None else None),
        request=request,
    )


def _plan_name(state: RunState) -> str | None:
    return state.program.plan.metadata.name if state.program is not None else None


def _row(
    run_id: str,
    status: str,
    digest: str,
    *,
    name: str | None,
    plan_hash: str | None,
    created_at: str,
    updated_at: str,
    completed_at: str | None,
    error: Mapping[str, Json] | None,
    request: Mapping[str, Json],
) -> RunRow:
    return RunRow(
        run_id=run_id,
        status=status,
        request_digest=digest,
        plan_hash=plan_hash,
        name=name or str(request.get("prompt") or "")[:NAME_CHARS],
        created_at=created_at,
        updated_at=updated_at,
        root_run_id=str(request.get("rootRunId") or run_id),
        error_code=None if error is None else str(error.get("code")),
        labels=encode(request.get("labels") or {}).decode(),
        completed_at=completed_at,
    )


# --- what has ended -----------------------------------------------------------------------------------------------


async def _rows_ended(connection: Connection, topics: Topics, chosen: Sequence[Entry]) -> list[RunRow]:
    ended = [(entry.partition, entry.mark) for entry in chosen if entry.mark is not None]
    reader = Reader(connection, fetch_bytes=FETCH_BYTES)
    try:
        told: dict[tuple[int, int], dict[str, Any]] = {}
        for partition in {partition for partition, _ in ended}:
            marks = [mark for at, mark in ended if at == partition]
            offsets = {offset for mark in marks for offset in (mark.first, mark.last)}
            for offset, made in (await _records_at(reader, topics.events, partition, offsets)).items():
                told[partition, offset] = made
    finally:
        await reader.close()
    return [
        _row_ended(mark, told.get((partition, mark.first), {}), told.get((partition, mark.last), {}))
        for partition, mark in ended
    ]


def _row_ended(mark: Mark, first: Mapping[str, Any], last: Mapping[str, Any]) -> RunRow:
    """Of the mark, the request and the end; without the latter two where the log has expired."""
    result: dict[str, Any] = last.get("result") or {}
    metadata: dict[str, Any] = result.get("metadata") or {}
    ended = str(metadata.get("completedAt") or stamp(mark.at_ms))
    return _row(
        mark.run_id,
        mark.status,
        mark.digest,
        name=metadata.get("name"),
        plan_hash=metadata.get("planHash"),
        created_at=str(first.get("timestamp") or metadata.get("startedAt") or ended),
        updated_at=ended,
        completed_at=ended,
        error=result.get("error"),
        request=first.get("request") or {},
    )


async def _records_at(reader: Reader, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The records at these offsets, decoded; those that have expired are missing."""
    low, end = await reader.bounds(topic, partition)
    wanted = {offset for offset in offsets if low <= offset < end}
    found: dict[int, dict[str, Any]] = {}
    for start, stop in _stretches(sorted(wanted)):
        async for batch in reader.read(topic, partition, start, stop):
            for record in batch:
                if record.offset in wanted:
                    found[record.offset] = _decoded(record.value)
    return found


def _stretches(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges that cover ascending offsets; what is near each other is one."""
    made: list[tuple[int, int]] = []
    for offset in offsets:
        if made and offset - made[-1][1] <= GAP:
            made[-1] = (made[-1][0], offset + 1)
        else:
            made.append((offset, offset + 1))
    return made


def _decoded(value: bytes | None) -> dict[str, Any]:
    try:
        return decode_record(value)
    except (NotJson, DynamicFlowError):
        return {}
