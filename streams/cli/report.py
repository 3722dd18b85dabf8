"""How a run ended, for people: its output on standard output, everything else on standard error."""

from __future__ import annotations

from ...errors import Problem
from ...values import Json
from .errors import show_problems
from .following import WAITING
from .output import err, pretty
from .view import duration_text

_STYLES = {"completed": "bold green", "suspended": "bold yellow", "parked": "bold yellow", "paused": "bold yellow"}


def report(record: dict[str, Json], *, flags: str | None = None) -> None:
    """Print a result record; ``flags``: how a command line means the place of the run, None for one in memory."""
    metadata, error = record["metadata"], record["error"]
    status = record["status"]
    line = f"{status}  {record['runId']}"
    if status != "rejected":
        line += f"  {_count(metadata['stepCount'], 'step')}, {duration_text(metadata['duration'] or 0)}"
    err().print(line, style=_STYLES.get(status, "bold red"), markup=False)
    if error is not None:
        _error(error)
    _hints(record, flags)
    if status in ("completed", "partial") or record["output"] is not None:
        pretty(record["output"])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _error(error: dict[str, Json]) -> None:
    where = f" in {error['nodeId']}" if error.get("nodeId") else ""
    if error.get("item"):
        where += f" (item {'.'.join(map(str, error['item']))})"
    err().print(f"{error['code']}{where}: {error['message']}", markup=False, soft_wrap=True)
    details = error.get("details")
    problems = details.get("problems") if isinstance(details, dict) else None
    if isinstance(problems, list):
        show_problems([Problem.from_json(given) for given in problems if isinstance(given, dict)])


def _hints(record: dict[str, Json], flags: str | None) -> None:
    metadata = record["metadata"]
    for node in metadata.get("uncertain") or ():
        ways = "--done JSON | --fail | --retry"
        err().print(
            f"nobody knows whether {node} was done: dynamicflow resolve {record['runId']} {node}{flags or ''} {ways}"
        )
    if record["status"] == "suspended" and metadata.get("waitsUntil"):
        err().print(f"it waits until {metadata['waitsUntil']}", markup=False)
    if record["status"] == "paused" and flags is not None:
        err().print(f"go on with: dynamicflow resume {record['runId']}{flags}", markup=False)
    if record["status"] in WAITING and flags is None:
        err().print("it ran in memory and is gone; with --db FILE --run-id ID it is kept", markup=False)
