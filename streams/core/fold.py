"""``apply``: one fact changes the state of a run and says what is to be done (design §3, canonical.md §4).

Total and deterministic: the same facts in the same order give the same state and commands on every machine. A fact that
came too late, twice, or speaks of nothing under way is counted and changes nothing. Announcements are never applied.
The rules of the kinds of nodes are in ``leaves``, ``owners``, ``collections``; of the top of the plan in ``graph``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from pydantic import ValidationError

from ...planner.options import Options
from ...values import Json, decode, time_ms
from . import collections, events, graph, leaves, lifecycle, owners
from .commands import CancelStep, Command, Dispatch, Plan, StartTimer
from .events import SEMANTICS, VERSION, Event
from .program import program_of
from .state import Frame, Live, RunState, RunValues, step_key
from .turn import LAST_MS, Kind, Turn, error_record, shown

KINDS: Mapping[str, Kind] = {**leaves.KINDS, **owners.KINDS, **collections.KINDS}


class CannotFold(Exception):
    """This version cannot apply the fact: the run is parked at its last good position, others go on."""


def needs(state: RunState, event: Event) -> frozenset[str]:
    """Digests of the large values that ``apply`` needs for this event."""
    return frozenset(str(place["sha256"]) for place in (event.large or {}).values()) if event.folded else frozenset()


def ends_all(event: Event) -> bool:
    """It ends a run even where a fact before it could not be folded: that one is passed over."""
    return isinstance(event, events.CancelRequested)


def apply(
    state: RunState,
    event: Event,
    values: Mapping[str, bytes],
    trace: list[tuple[str, str, tuple[int, ...], dict[str, Json]]] | None = None,
) -> list[Command]:
    """Apply one durable event. Raises CannotFold for newer semantics, an unknown fact, or a plan it cannot read."""
    turn = begin(state, event, values, trace)
    if turn is None:
        return []
    work(turn)
    return turn.commands


def begin(
    state: RunState,
    event: Event,
    values: Mapping[str, bytes],
    trace: list[tuple[str, str, tuple[int, ...], dict[str, Json]]] | None = None,
) -> Turn | None:
    """Take the event in; None when nothing follows from it. The consequences are for :func:`work`.

    ``apply`` in two parts, for a shell that shares its loop with other runs: a loop of a million instant nodes is one
    fact's consequence. No other event of the run may be applied before ``work`` has said that the turn is over.
    """
    if not event.folded:
        return None
    if event.semantics > SEMANTICS:
        raise CannotFold(f"{event.id} was written under semantics {event.semantics}, this version knows {SEMANTICS}")
    if event.v > VERSION:
        raise CannotFold(f"{event.id} was written in form {event.v}, this version knows {VERSION}")
    handler = _HANDLERS.get(type(event))
    if handler is None:
        raise CannotFold(f"{event.id} is of a kind this version does not know")
    if event.large:
        event = whole(event, values)
    turn = Turn(state, event, KINDS, graph.TOP, trace=trace)
    if state.end is not None or not handler(turn, event):
        state.late += 1
        return None
    state.seq += 1
    return turn


def whole(event: Event, values: Mapping[str, bytes]) -> Event:
    """The event with its large values in their places. Raises KeyError naming a digest that is not there."""
    if not event.large:
        return event
    made = event.model_dump(by_alias=True, exclude_unset=True)
    for pointer, place in event.large.items():
        *parents, last = pointer.split("/")[1:]
        at: Any = made
        for part in parents:
            at = at[part]
        at[last] = decode(values[str(place["sha256"])])
    return type(event).model_validate(made)


def work(turn: Turn, most: float = inf) -> bool:
    """Work off consequences, at most about ``most``; True when the turn is over.

    Consequences first, then joins that waited for them, then steps that may start.
    """
    while True:
        while turn.agenda:
            if most <= 0:
                return False
            most -= 1
            call, *arguments = turn.agenda.popleft()
            call(*arguments)
        if turn.deciders:
            turn.deciders.sort(key=lambda live: (live.step.depth, live.frame.path, live.step.order))
            live = turn.deciders.pop()
            decide = turn.kinds[live.step.kind].decide
            if decide is not None and live.frame.live.get(live.step.id) is live and live.status == "running":
                lifecycle.guarded(turn, live, decide)
        elif turn.state.end is not None or not leaves.pump(turn):
            return True


# --- facts: each handler says whether the fact was accepted -------------------------------------------------------


def _flow_requested(turn: Turn, event: events.FlowRequested) -> bool:
    state = turn.state
    if state.status != "pending":
        return False
    request = event.request
    try:
        options = Options.of(request.get("options"))
    except ValidationError as error:
        raise CannotFold(f"the options of {event.id} cannot be read: {error}") from error
    state.request = {key: value for key, value in request.items() if key != "input"}
    state.options = options
    state.root_run_id = str(request.get("rootRunId") or state.run_id)
    state.tenant = event.tenant
    state.started_at = event.timestamp
    state.values = RunValues(
        input=request.get("input"),
        about={"id": state.run_id, "startedAt": event.timestamp, "labels": request.get("labels") or {}},
    )
    state.status = "planning"
    if "plan" not in request:
        turn.commands.append(Plan(state.run_id, request))
    return True


def _plan_published(turn: Turn, event: events.PlanPublished) -> bool:
    state = turn.state
    if state.status != "planning":
        return False
    try:
        state.program = program_of(event.plan)
    except (ValidationError, ValueError) as error:
        raise CannotFold(f"the plan of {event.id} cannot be read: {error}") from error
    state.policies, state.joined, state.tools = event.policies, event.joined, event.tools
    state.values.variables = state.program.plan.variables
    state.top = Frame(state.values)
    state.frames = {("", ()): state.top}
    state.status = "running"
    turn.announce(events.FlowStart, None, (), metadata={"name": state.program.plan.metadata.name})
    limit = state.options.run_timeout
    if limit is not None:
        turn.start_timer("deadline/-/-", "deadline", time_ms(state.started_at) + min(limit, LAST_MS))
    graph.begin(turn)
    return True


def _planning_failed(turn: Turn, event: events.PlanningFailed) -> bool:
    if turn.state.status != "planning":
        return False
    details = {"problems": event.problems, "questions": event.questions, "tried": event.tried}
    error = error_record(event.code, event.message, None, (), 1, {k: v for k, v in details.items() if v} or None)
    graph.end_run(turn, "rejected", error)
    return True


def _live(turn: Turn, event: Event) -> Live | None:
    """The step an event speaks of, if it has started and not ended."""
    live = turn.state.live_at(event.node_id, event.item or ())
    return live if live is not None and live.step.kind == "tool" and live.status != "recovering" else None


def _tool_start(turn: Turn, event: events.ToolStart) -> bool:
    live = _live(turn, event)
    if live is None or live.claim is not None or live.attempt != event.attempt or live.status != "dispatched":
        return False
    live.claim, live.inputs_digest = event.claim, event.inputs_digest
    live.starts += 1
    return True


def _tool_output(turn: Turn, event: events.ToolOutput) -> bool:
    live = _live(turn, event)
    if live is None:
        return False
    state = turn.state
    under_way = state.in_flight.pop(step_key(live), None) is not None
    if under_way and (event.attempt, event.delivery or live.delivery) != (live.attempt, live.delivery):
        turn.commands.append(CancelStep(state.run_id, live.step.id, live.frame.path))  # a later call of it
    state.steps_done += 1
    state.tools_used.setdefault(event.tool_id)
    if event.usage:
        tokens = event.usage.get("totalTokens")
        state.tokens += tokens if isinstance(tokens, int) else 0
    live.status = "running"
    lifecycle.complete(turn, live, event.output)
    return True


def _tool_error(turn: Turn, event: events.ToolError) -> bool:
    live = _live(turn, event)
    if live is None or live.attempt != event.attempt or live.status not in ("dispatched", "uncertain"):
        return False
    turn.state.in_flight.pop(step_key(live), None)
    turn.state.steps_done += 1
    turn.state.tools_used.setdefault(event.tool_id)
    turn.cancel_timer(live.timer)
    live.timer = None
    leaves.step_failed(turn, live, event.error)
    return True


def _tool_lost(turn: Turn, event: events.ToolLost) -> bool:
    live = _live(turn, event)
    if live is None or live.status != "dispatched" or live.claim is None or live.claim != event.claim:
        return False
    policy = turn.state.policies.get(live.step.node.tool_id, {})
    leaves.step_lost(turn, live, str(policy.get("sideEffect")))
    return True


def _tool_refused(turn: Turn, event: events.ToolRefused) -> bool:
    live = _live(turn, event)
    if live is None or live.status != "dispatched" or live.claim is not None:
        return False  # somebody who has the tool holds it
    if (event.attempt, event.delivery or live.delivery) != (live.attempt, live.delivery):
        return False
    turn.state.in_flight.pop(step_key(live), None)
    live.delivery += 1
    leaves.queue(turn, live)
    turn.state.parked = event.reason
    turn.announce(events.RunParked, None, (), turn.state.seq, reason=event.reason)
    return True


def _timer_fired(turn: Turn, event: events.TimerFired) -> bool:
    state = turn.state
    timer = state.timers.get(event.timer)
    if timer is None or timer.kind != event.kind:
        return False
    del state.timers[event.timer]
    if timer.node_id is None:
        limit = shown(state.options.run_timeout)
        graph.end_run(turn, "timed_out", error_record("TIMEOUT", f"the run did not end within {limit} ms", None, ()))
        return True
    live = state.live_at(timer.node_id, timer.item)
    if live is None:
        return False
    match timer.kind:
        case "retry":
            leaves.next_attempt(turn, live)
        case "wait":
            leaves.wait_over(turn, live)
        case "timeout":
            lifecycle.timed_out(turn, live)
        case _:
            _nobody_resolved(turn, live)
    return True


def _nobody_resolved(turn: Turn, live: Live) -> None:
    live.timer, live.status = None, "running"
    message = f"the outcome of {live.step.node.tool_id} is unknown and nobody resolved it in time"
    error = error_record("UNCERTAIN_OUTCOME", message, live.step.id, live.frame.path, live.attempt)
    lifecycle.fail(turn, live, error)


def _step_resolved(turn: Turn, event: events.StepResolved) -> bool:
    live = _live(turn, event)
    if not _first_time(turn, event) or live is None or live.status != "uncertain":
        return False
    turn.cancel_timer(live.timer)
    live.timer, live.status = None, "running"
    if event.resolution == "done":
        turn.state.steps_done += 1
        turn.state.tools_used.setdefault(live.step.node.tool_id)
        lifecycle.complete(turn, live, event.output)
    elif event.resolution == "retry":
        live.delivery += 1
        leaves.queue(turn, live)
    else:
        message = event.reason or f"{live.step.node.tool_id} was resolved as failed"
        error = error_record("UNCERTAIN_OUTCOME", message, live.step.id, live.frame.path, live.attempt)
        lifecycle.fail(turn, live, error)
    return True


def _cancel_requested(turn: Turn, event: events.CancelRequested) -> bool:
    if not _first_time(turn, event):
        return False
    graph.end_run(turn, "cancelled", error_record("CANCELLED", event.reason or "cancelled on request", None, ()))
    return True


def _pause_requested(turn: Turn, event: events.PauseRequested) -> bool:
    if not _first_time(turn, event):
        return False
    turn.state.paused = True
    return True


def _resume_requested(turn: Turn, event: events.ResumeRequested) -> bool:
    if not _first_time(turn, event):
        return False
    turn.state.paused, turn.state.parked = False, None
    return True


def _first_time(turn: Turn, event: Event) -> bool:
    if event.id in turn.state.controls:
        return False
    turn.state.controls[event.id] = None
    return True


_HANDLERS: Mapping[type[Event], Callable[[Turn, Any], bool]] = {
    events.FlowRequested: _flow_requested,
    events.PlanPublished: _plan_published,
    events.PlanningFailed: _planning_failed,
    events.ToolStart: _tool_start,
    events.ToolOutput: _tool_output,
    events.ToolError: _tool_error,
    events.ToolLost: _tool_lost,
    events.ToolRefused: _tool_refused,
    events.TimerFired: _timer_fired,
    events.StepResolved: _step_resolved,
    events.CancelRequested: _cancel_requested,
    events.PauseRequested: _pause_requested,
    events.ResumeRequested: _resume_requested,
}


def outstanding(state: RunState) -> list[Command]:
    """The commands whose effects are not in the log yet: what a new owner of the run has to carry out."""
    if state.end is not None:
        return []
    made: list[Command] = []
    if state.status == "planning" and "plan" not in state.request:
        made.append(Plan(state.run_id, {**state.request, "input": state.values.input}))
    made += [leaves.dispatch_of(state, live) for live in state.in_flight.values()]
    made += [StartTimer(state.run_id, name, timer.kind, timer.due_ms) for name, timer in state.timers.items()]
    return made


def claimed(state: RunState) -> list[Live]:
    """Steps that were started under a claim and have no outcome in the log."""
    return [live for live in state.in_flight.values() if live.claim is not None]


__all__ = ["CannotFold", "Dispatch", "apply", "begin", "claimed", "needs", "outstanding", "whole", "work"]
