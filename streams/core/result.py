"""The result record of a run (canonical.md §5): how it ended or, as long as it has not, how it stands."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import DynamicFlowError
from ...values import Json, stamp, time_ms
from .state import RunState

_ERROR = ("code", "message", "nodeId", "item", "details")


def result_record(
    state: RunState, at: str, status: str, error: Mapping[str, Json] | None, output: Json = None
) -> dict[str, Json]:
    """The record as of the moment ``at``. ``error`` has at least the fields of :func:`run_error`."""
    phases = state.top.phases
    steps = state.program.steps.values() if state.program else ()
    outer = [step for step in steps if step.id in phases]
    started = state.started_at or at
    return {
        "runId": state.run_id,
        "status": status,
        "output": output,
        "nodes": {step.id: state.top.outputs.get(step.id) for step in outer if phases[step.id] == "completed"},
        "error": None if error is None else {name: error[name] for name in _ERROR},
        "metadata": {
            "name": state.program.plan.metadata.name if state.program else None,
            "planHash": state.program.hash if state.program else None,
            "startedAt": state.started_at,
            "completedAt": at if state.end is not None else None,
            "duration": round(time_ms(at) - time_ms(started), 3),
            "stepCount": state.steps_done,
            "toolsExecuted": list(state.tools_used),
            "tokensUsed": state.tokens,
            "costUsd": None,
            "skipped": [step.id for step in outer if phases[step.id] == "skipped"],
            "failed": [step.id for step in outer if phases[step.id] == "failed"],
            "degraded": False,
        },
    }


def run_error(code: str, message: str, details: Json = None) -> dict[str, Json]:
    """An error of a run that is no node's."""
    return {"code": code, "message": message, "nodeId": None, "item": None, "details": details}


def rejected_record(run_id: str, error: DynamicFlowError, at: str, name: str | None = None) -> dict[str, Json]:
    """The result of a start that was refused: nothing is recorded, the id stays free."""
    problems: list[Json] = [problem.to_json() for problem in error.problems]
    refused = run_error(error.code, error.message, {"problems": problems})
    record = result_record(RunState(run_id), at, "rejected", refused)
    record["metadata"] |= {"name": name, "startedAt": at, "completedAt": at}
    return record


def standing_record(state: RunState, at: str, *, parked: str | None = None) -> dict[str, Json]:
    """How a run that has not ended stands; ``parked`` says why it cannot go on here.

    Its metadata says besides what it waits for: ``waitsUntil``, and ``uncertain``, steps that need ``resolve``.
    """
    error = None if parked is None else run_error("PARKED", parked)
    record = result_record(state, at, state.public_status if parked is None else "parked", error)
    due = _next_due_ms(state)
    record["metadata"] |= {"waitsUntil": None if due is None else stamp(due), "uncertain": uncertain(state)}
    return record


def needs_someone(state: RunState, now_ms: float, max_wait: float | None) -> bool:
    """Whether a run goes on only when a person acts, or after more than ``max_wait`` seconds (None: however long)."""
    if state.public_status in ("parked", "paused"):
        return True
    if state.public_status != "suspended":
        return False
    if any(timer.kind == "deadline" and timer.node_id is not None for timer in state.timers.values()):
        return True
    due = _next_due_ms(state)  # the run's own deadline moves it on as well
    return due is not None and max_wait is not None and due - now_ms > max_wait * 1000


def uncertain(state: RunState) -> list[str]:
    """Node ids of steps whose outcome nobody knows."""
    lives = (live for frame in state.frames.values() for live in frame.live.values())
    return [live.step.id for live in lives if live.status == "uncertain"]


def _next_due_ms(state: RunState) -> float | None:
    return min((timer.due_ms for timer in state.timers.values()), default=None)
