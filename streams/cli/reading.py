"""Commands that only read a journal; they work beside the process that drives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import UsageError
from ...values import Json, decode, encode
from ..core.codec import to_json
from ..embedded.journal import RunRow
from ..embedded.reader import SqliteReader
from ..replay import rebuild, state_json
from .errors import exit_code, show_problems
from .following import Follower, Seen, Watch, go_on, no_run, standing
from .output import document, err, one_line, out, pretty, text
from .report import report
from .stdout import reader_gone
from .view import between, view_for_people

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


def runs_command(db: str, statuses: Sequence[str], limit: int, *, json_out: bool) -> int:
    """A table, or ``{"runs": [...]}``."""
    unknown = [status for status in statuses if status not in STATUSES]
    if unknown:
        raise UsageError("USAGE", f"--status {unknown[0]}: expected one of {', '.join(STATUSES)}")
    with SqliteReader.open(db) as reader:
        rows = reader.runs(statuses=statuses or None, limit=limit)
    if json_out:
        document({"runs": [row_json(row) for row in rows]})
    elif not rows:
        err().print(f"no runs in {db}", markup=False)
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


def _row(reader: SqliteReader, db: str, run_id: str) -> RunRow:
    row = reader.run(run_id)
    if row is None:
        raise no_run(db, run_id)
    return row


def stands(db: str, run_id: str) -> dict[str, Json]:
    """The result record of a run, or how it stands. Raises RunNotFound, JournalError."""
    with SqliteReader.open(db) as reader:
        row = _row(reader, db, run_id)
        follower = Follower(reader, run_id)
        follower.more()
    parked = f"the process that had it could not go on; {go_on(db, run_id)}" if row.status == "parked" else None
    return standing(follower, parked=parked)


def show_command(db: str, run_id: str, *, json_out: bool) -> int:
    """The exit code says how it stands."""
    record = stands(db, run_id)
    if json_out:
        document(record)
    else:
        report(record, db=db)
        if record["nodes"]:
            err().print("outputs by node:", markup=False)
            pretty(record["nodes"])
    return exit_code(record["status"], record["error"])


def events_command(db: str, run_id: str, *, follow: bool, after: int, raw: bool, json_out: bool) -> int:
    """One event a line."""
    with Watch(db, run_id) as watch:
        while True:
            for seen in watch.follower.more():
                if seen.number >= after and not (raw and seen.derived):
                    _event(seen, json_out)
                if reader_gone():
                    return 0
            if not follow or watch.follower.completed:
                return 0
            watch.wait(_WAIT_S)


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


def watch_command(db: str, run_id: str, *, json_out: bool) -> int:
    """Follow until there is nothing to wait for; then as ``show``."""
    view = None if json_out else view_for_people()
    try:
        with Watch(db, run_id, max_wait=None) as watch:
            record = None
            while record is None:
                seen = watch.follower.more()
                if view is not None:
                    view.show(seen, watch.follower.state)
                record = watch.halted()
                if record is None:
                    watch.wait(_WAIT_S)
    finally:
        if view is not None:
            view.close()
    if json_out:
        document(record)
    else:
        report(record, db=db)
    code = (record["error"] or {}).get("code")
    return 3 if code == "NOT_DRIVEN" else exit_code(record["status"], record["error"])


def rebuild_command(db: str, run_id: str, *, at: int | None, verify: bool, json_out: bool) -> int:
    """0 when the log says what it should; 1 when an announcement differs or the fold had to stop."""
    with SqliteReader.open(db) as reader:
        _row(reader, db, run_id)
        rebuilt = rebuild(reader, run_id, at=at, verify=verify)
    made = state_json(rebuilt)
    bad = bool(rebuilt.problems) or rebuilt.stopped is not None
    if json_out:
        document(made)
        return int(bad)
    facts = f"{made['facts']} facts in {made['records']} records"
    out().print(f"{run_id}  {made['status']}  {facts}", markup=False)
    out().print(f"state {made['stateDigest']}", markup=False)
    if rebuilt.stopped is not None:
        err().print(f"stopped: {rebuilt.stopped}", style="bold red", markup=False)
    if verify:
        show_problems(rebuilt.problems)
        if not bad:
            out().print("every announcement follows from the facts, byte for byte", style="green", markup=False)
    if rebuilt.state.result is not None:
        pretty(rebuilt.state.result["output"])
    return int(bad)
