"""``cancel`` and ``resolve``: through the process that drives the file, or by this one where nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from ...errors import JournalError, UsageError
from ...values import Json
from ..core.state import ENDED
from ..embedded.engine import Engine
from ..embedded.inbox import await_reply, post
from ..embedded.run import Run
from .errors import exit_code
from .following import Follower
from .inputs import json_argument, read_item
from .output import document, err
from .reading import stands
from .report import report
from .running import raise_answer

_REPLY_S = 10.0
Act = Callable[[Run], Awaitable[None]]


def cancel_command(db: str, run_id: str, by: str, reason: str, *, json_out: bool) -> int:
    """0 when the run is cancelled now."""

    async def act(run: Run) -> None:
        await run.cancel(reason, by=by)

    record = _settled(db, run_id, act, {"type": "cancel", "runId": run_id, "by": by, "reason": reason})
    if json_out:
        document(record)
    else:
        report(record, db=db)
    return 0 if record["status"] in ("cancelled", "cancelling") else exit_code(record["status"], record["error"])


def resolve_command(
    db: str,
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

    async def act(run: Run) -> None:
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
    record = _settled(db, run_id, act, command)
    if json_out:
        document(record)
    else:
        report(record, db=db)
        if record["status"] not in ENDED:
            err().print(f"go on with: dynamicflow run --db {db} --run-id {run_id} --tools FILE.py", markup=False)
    return 0


def _settled(db: str, run_id: str, act: Act, command: dict[str, Json]) -> dict[str, Json]:
    """Have it done, and say how the run stands then. Raises RunNotFound, UsageError, JournalError."""
    stands(db, run_id)  # a missing file or run is told before anything is made
    try:
        asyncio.run(_by_this_process(db, run_id, act))
    except JournalError as error:
        if error.code != "JOURNAL_OWNED":
            raise
        answer = await_reply(db, post(db, command), _REPLY_S)
        if answer is None:
            message = f"the process that drives {db} did not answer within {_REPLY_S:.0f} s"
            raise JournalError("JOURNAL_BUSY", f"{message}; the request waits in its inbox") from error
        raise_answer(answer)
    return stands(db, run_id)


async def _by_this_process(db: str, run_id: str, act: Act) -> None:
    """Append what was asked and what follows from it; no step is started."""
    async with Engine.open(db, resume=False, drive=False) as engine:
        before = Follower(engine.journal, run_id)
        before.more()
        await act(engine.run(run_id))
        await asyncio.to_thread(engine.journal.flush, _REPLY_S)
