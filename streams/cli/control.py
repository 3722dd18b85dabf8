"""``cancel``, ``pause``, ``resume`` and ``resolve``: what a person may ask of a run, wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from ...errors import UsageError
from ...values import Json
from ..core.state import ENDED
from .errors import exit_code
from .inputs import json_argument, read_item
from .output import document, err
from .places import Place
from .report import report

Asked = Literal["cancel", "pause", "resume"]

_DONE: Final[dict[str, frozenset[str]]] = {"cancel": frozenset({"cancelled", "cancelling"})}
"""How the run must stand for the request to have been carried out; the others are done when they are in the log."""


def ask_command(place: Place, asked: Asked, run_id: str, by: str, reason: str, *, json_out: bool) -> int:
    """0 when that is done now, whatever becomes of the run."""

    async def act(run: Any) -> None:
        await getattr(run, asked)(reason, by=by)

    with place:
        record = place.settled(run_id, act, {"type": asked, "runId": run_id, "by": by, "reason": reason})
    _tell(place, record, json_out=json_out)
    done = record["status"] in _DONE.get(asked, (record["status"],))
    return 0 if done else exit_code(record["status"], record["error"])


def resolve_command(
    place: Place,
    run_id: str,
    node: str,
    chosen: Sequence[tuple[Literal["done", "fail", "retry"], str | None]],
    item: str,
    by: str,
    reason: str,
    *,
    json_out: bool,
) -> int:
    """0 when the step is settled now, whatever becomes of the run."""
    if len(chosen) != 1:
        raise UsageError("USAGE", "say how it went: exactly one of --done JSON, --fail, --retry")
    resolution, given = chosen[0]
    output: Json = None if given is None else json_argument(given, "--done")
    path = read_item(item)

    async def act(run: Any) -> None:
        await run.resolve(node, resolution, output=output, reason=reason, item=path, by=by)

    command: dict[str, Json] = {
        "type": "resolve",
        "runId": run_id,
        "nodeId": node,
        "item": list(path),
        "resolution": resolution,
        "output": output,
        "by": by,
        "reason": reason,
    }
    with place:
        record = place.settled(run_id, act, command)
    _tell(place, record, json_out=json_out)
    return 0


def _tell(place: Place, record: dict[str, Json], *, json_out: bool) -> None:
    if json_out:
        document(record)
        return
    report(record, flags=place.flags)
    if record["status"] in ENDED or record["status"] == "paused":
        return
    how = f"watch {record['runId']}{place.flags}" if place.driven else ""
    how = how or f"run{place.flags} --run-id {record['runId']} --tools FILE.py"
    err().print(f"{'follow it' if place.driven else 'go on'} with: dynamicflow {how}", markup=False)
