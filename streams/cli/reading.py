"""Commands that only read; they work beside whoever drives the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import UsageError
from ...values import Json, decode, encode
from ..core.codec import to_json
from ..embedded.journal import RunRow
from ..replay import rebuild, state_json
from .errors import exit_code, show_problems
from .following import Seen
from .output import document, err, one_line, out, pretty, text
from .places import Place, Watching
from .report import report
from .stdout import reader_gone
from .view import View, between, view_for_people

STATUSES: Final = (
    "pending", "planning", "awaiting_approval", "running", "suspended", "paused", "parked", "cancelling",
    "completed", "partial", "failed", "cancelled", "timed_out", "rejected",
)  # fmt: skip
_WAIT_S: Final = 0.25
_SAID: Final = frozenset({
    "id", "type", "runId", "timestamp", "v", "semantics", "planHash", "nodeId", "item", "attempt", "causationId",
    "derived", "plan", "certificate", "policies", "tools", "joined", "inputsDigest",
})  # fmt: skip
"""Fields of an event that its line shows otherwise, or that are for programs."""


def runs_command(place: Place, statuses: Sequence[str], limit: int, *, json_out: bool) -> int:
    """A table, or ``{"runs": [...]}``."""
    unknown = [status for status in statuses if status not in STATUSES]
    if unknown:
        raise UsageError("USAGE", f"--status {unknown[0]}: expected one of {', '.join(STATUSES)}")
    with place:
        rows = place.runs(statuses, limit)
    if json_out:
        document({"runs": [row_json(row) for row in rows]})
    elif not rows:
        err().print(f"no runs in {place.title}", markup=False)
    else:
        _table(rows)
    return 0


def row_json(row: RunRow) -> dict[str, Json]:
    """One run of the list."""
    return {
        "runId": row.run_id,
        "status": row.status,
        "name": row.name,
        "planHash": row.plan_hash,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
        "completedAt": row.completed_at,
        "errorCode": row.error_code,
        "rootRunId": row.root_run_id,
        "parentRunId": row.parent_run_id,
        "labels": decode(row.labels),
    }


def _table(rows: Sequence[RunRow]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not out().is_terminal:
        for row in rows:
            text("\t".join((row.run_id, row.status, row.created_at, one_line(row.name).replace("\t", " "))))
        return
    table = Table("run", "status", "name", "created", "took", box=None, header_style="bold")
    for row in rows:
        style = "green" if row.status == "completed" else "red" if row.status in ("failed", "rejected") else "yellow"
        created = row.created_at[:19].replace("T", " ")
        took = between(row.created_at, row.completed_at)
        table.add_row(Text(row.run_id), Text(row.status, style=style), Text(one_line(row.name)), created, took)
    out().print(table)


def stands(place: Place, run_id: str) -> dict[str, Json]:
    """The result record of a run, or how it stands. Raises RunNotFound, JournalError, BrokerError."""
    with place, place.watch(run_id) as watch:
        watch.follower.more()
        return watch.standing()


def show_command(place: Place, run_id: str, *, json_out: bool) -> int:
    """The exit code says how it stands."""
    record = stands(place, run_id)
    if json_out:
        document(record)
    else:
        report(record, flags=place.flags)
        if record["nodes"]:
            err().print("outputs by node:", markup=False)
            pretty(record["nodes"])
    return exit_code(record["status"], record["error"])


def events_command(place: Place, run_id: str, *, follow: bool, after: int, raw: bool, json_out: bool) -> int:
    """One event a line."""
    with place, place.watch(run_id, waits=_waits if follow else None) as watch:
        while True:
            for seen in watch.follower.more():
                if seen.number >= after and not (raw and seen.derived):
                    _event(seen, json_out)
                if reader_gone():
                    return 0
            if not follow or watch.follower.completed:
                return 0
            watch.wait(_WAIT_S)


def _waits(message: str) -> None:
    err().print(message, markup=False, soft_wrap=True)  # it holds a command to be copied


def _event(seen: Seen, json_out: bool) -> None:
    made = to_json(seen.event)
    if json_out:
        document(made)
        return
    where = made.get("nodeId") or ""
    if made.get("item"):
        where += f"[{'.'.join(map(str, made['item']))}]"
    rest = encode({key: value for key, value in made.items() if key not in _SAID}).decode("utf-8", "replace")
    number = "   ·" if seen.derived else f"{seen.number:4}"
    shown = rest if len(rest) <= 120 else rest[:119] + "…"
    line = f"{number}  {made['timestamp'][11:23]}  {made['type']:<18} {where:<20} {'' if shown == '{}' else shown}"
    text(line.rstrip())


def watch_command(place: Place, run_id: str, *, json_out: bool) -> int:
    """Follow until there is nothing to wait for; then as ``show``."""
    with place, place.watch(run_id, waits=_waits) as watch:
        record = watched(watch, None if json_out else view_for_people())
    if json_out:
        document(record)
    else:
        report(record, flags=place.flags)
    code = (record["error"] or {}).get("code")
    return 3 if code == "NOT_DRIVEN" else exit_code(record["status"], record["error"])


def watched(watch: Watching, view: View | None) -> dict[str, Json]:
    """Show what happens until there is nothing to wait for; how the run stands then."""
    try:
        while True:
            seen = watch.follower.more()
            if view is not None:
                view.show(seen, watch.follower.state)
            record = watch.halted()
            if record is not None:
                return record
            watch.wait(_WAIT_S)
    finally:
        if view is not None:
            view.close()


def rebuild_command(place: Place, run_id: str, *, at: int | None, verify: bool, json_out: bool) -> int:
    """0 when the log says what it should; 1 when an announcement differs or the fold had to stop."""
    with place, place.watch(run_id) as watch:
        rebuilt = rebuild(watch.log, run_id, at=at, verify=verify)
    made = state_json(rebuilt)
    bad = bool(rebuilt.problems) or rebuilt.stopped is not None
    if json_out:
        document(made)
        return int(bad)
    facts = f"{made['facts']} facts in {made['records']} records"
    out().print(f"{run_id}  {made['status']}  {facts}", markup=False)
    out().print(f"state {made['stateDigest']}", markup=False)
    if at is not None and at > rebuilt.records:
        err().print(f"the log has {rebuilt.records} records, fewer than the {at} asked for: all of them were taken")
    if rebuilt.stopped is not None:
        err().print(f"stopped: {rebuilt.stopped}", style="bold red", markup=False)
    if verify:
        show_problems(rebuilt.problems)
        if not bad:
            out().print("every announcement follows from the facts, byte for byte", style="green", markup=False)
    if rebuilt.state.result is not None:
        pretty(rebuilt.state.result["output"])
    return int(bad)
