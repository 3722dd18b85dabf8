"""``dynamicflow demo``: a prompt becomes a plan, the plan runs, and the run is rebuilt from its log."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from ...planner.inspection import inspect_plan
from ...planner.mermaid import mermaid
from ...planner.offline import OfflinePlanner
from ...planner.planning import Planned, PlanRequest, make_plan
from ...tools.registry import ToolRegistry
from ...values import Json, digest
from ..embedded.engine import Engine
from ..embedded.reader import SqliteReader
from ..replay import Rebuilt, rebuild
from .demo_tools import send_welcome_email, validate_email
from .errors import exit_code
from .following import Follower
from .output import document, err, out, pretty, text
from .view import View, view_for_people

PROMPT: Final = "Validate the email. If it is valid, send a welcome email."
INPUT: Final[Json] = {"email": "ada@example.com"}
RUN_ID: Final = "demo"
_TOOLS: Final = (validate_email, send_welcome_email)


def demo_command(*, json_out: bool) -> int:
    """0 when the run completed and its rebuilt state is the same."""
    registry = ToolRegistry.from_tools(_TOOLS)
    request = PlanRequest(prompt=PROMPT, tools=registry.specs, input=INPUT)
    planned = asyncio.run(make_plan(request, OfflinePlanner()))
    if not json_out:
        _tell_plan(planned, registry)
    with tempfile.TemporaryDirectory(prefix="dynamicflow-demo-") as folder:
        db = Path(folder) / "runs.db"
        record, live = asyncio.run(_run(planned, db, None if json_out else view_for_people()))
        with SqliteReader.open(db) as reader:
            rebuilt = rebuild(reader, RUN_ID, verify=True)
    same = rebuilt.digest == live and not rebuilt.problems and rebuilt.state.result == record
    if json_out:
        plan = planned.check.plan
        document(
            {
                "prompt": PROMPT,
                "plan": plan.to_json() if plan else None,
                "result": record,
                "rebuilt": {"stateDigest": rebuilt.digest, "records": rebuilt.records, "same": same},
            }
        )
    else:
        pretty(record["output"])
        _tell_rebuilt(rebuilt, same)
    return exit_code(record["status"], record["error"]) if same else 1


def _title(number: int, title: str) -> None:
    out().print(f"\n{number}. {title}", style="bold", markup=False)


def _tell_plan(planned: Planned, registry: ToolRegistry) -> None:
    check = planned.check
    _title(1, f"The prompt: {PROMPT!r}")
    text("   The planner answers once (here the offline planner: no model, no key), and the plan is checked:")
    if check.plan is not None and check.certificate is not None:
        text(str(inspect_plan(check.plan, registry.specs, check.certificate)))
        text(mermaid(check.plan).rstrip())
    _title(2, "The plan runs; every fact is in the log before anything follows from it:")


async def _run(planned: Planned, db: Path, view: View | None) -> tuple[dict[str, Json], str]:
    """The record of the run, and the digest of its state as it was folded while it ran."""
    async with Engine.open(db, tools=_TOOLS) as engine:
        run = await engine.start(planned.check.plan, input=INPUT, run_id=RUN_ID)
        driven = engine.runner.runs[RUN_ID]
        follower = Follower(engine.journal, RUN_ID)
        try:
            while not follower.completed:
                seen = follower.more()
                if view is not None:
                    view.show(seen, follower.state)
                await asyncio.sleep(0.02)
        finally:
            if view is not None:
                view.close()
        record = await run.result()
    return record, digest(driven.state.to_json())


def _tell_rebuilt(rebuilt: Rebuilt, same: bool) -> None:
    _title(3, "The run, rebuilt from its log alone (no tool, model or clock takes part):")
    text(f"   {rebuilt.records} records, state {rebuilt.digest[:23]}… {'is the same' if same else 'DIFFERS'}")
    err().print("\nNext:", style="bold")
    for line in (
        "dynamicflow plan --prompt '…' --tools my_tools.py",
        "dynamicflow run --prompt '…' --tools my_tools.py --input '{…}' --db runs.db",
        "dynamicflow runs · show RUN · events RUN · rebuild RUN --verify",
    ):
        err().print(f"  {line}", markup=False)
