"""Where commands of other processes are carried out: ``run`` for a file somebody else owns, ``cancel``, ``pause`` …

A command leaves the inbox together with the answer, once its effect is durable; a repeat after a crash between the two
meets an idempotent start or a control of the same id.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import DynamicFlowError, UsageError
from ...values import Json, encode
from .journal import Posted, Write

if TYPE_CHECKING:
    from .engine import Engine


class Desk:
    """Takes the commands of an engine's inbox, one task each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._taken: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, commands: list[Posted]) -> None:
        """Carry out what is not under way already."""
        for posted in commands:
            if posted.id not in self._taken:
                self._taken.add(posted.id)
                task = asyncio.ensure_future(self._carry_out(posted))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, posted: Posted) -> None:
        command = posted.command
        run_id = str(command.get("runId") or "")
        try:
            answer = await self._answer(command, f"inbox.{posted.id}")
        except DynamicFlowError as error:
            problems: list[Json] = [problem.to_json() for problem in error.problems]
            answer = {"error": {"code": error.code, "message": error.message, "problems": problems}}
        self._engine.runner.write(Write(run_id=run_id, consumed=posted.id, reply=encode(answer)))

    async def _answer(self, command: dict[str, Json], control_id: str) -> dict[str, Json]:
        engine = self._engine
        kind = command.get("type")
        if kind == "start":
            what = command.get("plan", command.get("prompt"))
            run = await engine.start(
                what,
                input=command.get("input"),
                run_id=command.get("runId"),
                options=command.get("options"),
                labels=command.get("labels"),
                model=command.get("model"),
            )
            return {"runId": run.id, "status": run.status, "result": run.rejected}
        run = engine.run(str(command.get("runId")))
        by, reason = str(command.get("by") or ""), str(command.get("reason") or "")
        if kind == "cancel":
            await run.cancel(reason, by=by, control_id=control_id)
        elif kind == "pause":
            await run.pause(reason, by=by, control_id=control_id)
        elif kind == "resume":
            await run.resume(reason, by=by, control_id=control_id)
        elif kind == "resolve":
            await run.resolve(
                str(command.get("nodeId")),
                str(command.get("resolution")),
                output=command.get("output"),
                reason=reason,
                item=_item_of(command.get("item")),
                by=by,
                control_id=control_id,
            )
        elif kind != "drive":  # the handle has taken it up already
            known = "start, drive, cancel, pause, resume or resolve"
            raise UsageError("UNKNOWN_COMMAND", f"{kind!r} is no command: expected {known}")
        return {"runId": run.id, "status": run.status}

    async def stop(self) -> None:
        """Let go; what has not been consumed is found again at the next open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _item_of(given: Json) -> tuple[int, ...]:
    if given is None:
        return ()
    if isinstance(given, list) and all(isinstance(index, int) for index in given):
        return tuple(given)
    raise UsageError("USAGE", f"item {given!r:.80}: expected a list of indexes, like [2, 0]")
