"""The top of a run: which edges are open, which nodes are ready or skipped, and how the run ends (canonical.md §2).

Every node and edge holds a counter of what it waits for, so an event costs work for its neighbours only.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...planner.expressions import ExpressionFailed, truthy
from ...values import Json
from . import lifecycle
from .commands import Publish
from .events import EdgeTaken, FlowComplete, NodeSkipped
from .program import Edge, Getter, Step
from .result import result_record
from .state import DEAD, SATISFIED, SOURCE_COMPLETED, SOURCE_DID_NOT, UNRESOLVED, EndStatus, Frame
from .turn import Top, Turn, error_record
from .weigh import fault_of


def begin(turn: Turn) -> None:
    """Start every node that waits for nothing, in document order."""
    state = turn.state
    program = state.program
    if program is None:
        raise ValueError("no plan yet")
    state.open_nodes = len(program.top)
    state.edges = [UNRESOLVED] * len(program.edges)
    state.edge_waits = {edge.index: edge.waits_for for edge in program.edges}
    state.waits = {step.id: step.waits_for for step in program.top if step.waits_for}
    for step in program.top:
        if not step.waits_for:
            turn.later(lifecycle.start, turn, step, state.top)


def sources_ended(turn: Turn, step: Step) -> None:
    """A node with edges leaving it, or leaving nodes inside it, has ended in whatever way."""
    phases = turn.state.top.phases
    for source in (*step.inner_out, step):
        ok = phases.get(source.id) == "completed"
        for edge in source.out:
            _source_resolved(turn, edge, ok)


def _source_resolved(turn: Turn, edge: Edge, ok: bool) -> None:
    resolved = turn.state.edges
    if resolved[edge.index] != UNRESOLVED:
        return
    resolved[edge.index] = SOURCE_COMPLETED if ok else SOURCE_DID_NOT
    _edge_waits_less(turn, edge)


def _edge_waits_less(turn: Turn, edge: Edge) -> None:
    left = turn.state.edge_waits[edge.index] = turn.state.edge_waits[edge.index] - 1
    if left == 0:
        _decide(turn, edge)


def _decide(turn: Turn, edge: Edge) -> None:
    state = turn.state
    is_open = state.edges[edge.index] == SOURCE_COMPLETED
    state.edges[edge.index] = DEAD
    if is_open and edge.condition is not None:
        try:
            is_open = truthy(edge.condition(state.top))
        except ExpressionFailed as failed:
            if edge.target.id not in state.top.phases and edge.target.id not in state.top.live:
                error = turn.error_of(failed, edge.target.id, ())
                turn.later(lifecycle.fail_unstarted, turn, edge.target, state.top, error)
            return
        operands = read_operands(edge.operands, state.top)
        turn.announce(
            EdgeTaken,
            edge.target.id,
            (),
            edge.index,
            from_=edge.source.id,
            to=edge.target.id,
            open=is_open,
            operands=operands,
        )
    if is_open:
        state.edges[edge.index] = SATISFIED
    _node_waits_less(turn, edge.target)


def read_operands(operands: Mapping[str, Getter], frame: Frame) -> Json:
    """What a condition read, for readers; long texts, lists and objects are left out as ``…``."""
    made: dict[str, Json] = {}
    for text, get in operands.items():
        try:
            value = get(frame)
        except ExpressionFailed:
            continue
        small = value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 200)
        made[text] = value if small else "…"
    return made


def _node_waits_less(turn: Turn, step: Step) -> None:
    state = turn.state
    left = state.waits.get(step.id)
    if left is None or step.id in state.top.phases or step.id in state.top.live:
        return
    if left > 1:
        state.waits[step.id] = left - 1
        return
    del state.waits[step.id]
    if step.id in state.poisoned:
        skip(turn, step, "it refers to a node that failed")
    elif not step.control or any(state.edges[edge.index] == SATISFIED for edge in step.control):
        turn.later(lifecycle.start, turn, step, state.top)
    else:
        skip(turn, step, "no edge into it is open")


def skip(turn: Turn, step: Step, reason: str) -> None:
    """The node will not run; nor will what stands in it."""
    mark_skipped(turn, step, turn.state.top)
    turn.announce(NodeSkipped, step.id, (), reason=reason)
    turn.later(_skipped, turn, step)


def _skipped(turn: Turn, step: Step) -> None:
    sources_ended(turn, step)
    top_level_ended(turn, step)


def mark_skipped(turn: Turn, step: Step, frame: Frame) -> None:
    """Say of a node and of all in its bodies (item bodies apart) that they did not run."""
    frame.phases[step.id] = "skipped"
    for body in step.bodies.values():
        for child in body:
            if not child.in_item_body:
                mark_skipped(turn, child, frame)


def top_level_ended(turn: Turn, step: Step) -> None:
    """Tell those that wait for a top-level node, and end the run when it was the last."""
    state = turn.state
    if state.end is not None:
        return
    failed = state.top.phases.get(step.id) == "failed"
    for waiter in step.waiters:
        if failed:
            state.poisoned.add(waiter.id)
        _node_waits_less(turn, waiter)
    for edge in step.edge_waiters:
        _edge_waits_less(turn, edge)
    state.open_nodes -= 1
    if state.open_nodes == 0:
        finish(turn)


def top_level_failed(turn: Turn, step: Step, error: dict[str, Json]) -> None:
    """Nobody took the failure: the run fails, or goes on without what needs the node."""
    state = turn.state
    if state.first_error is None:
        state.first_error = error
    if state.options.fallback_behavior.on_execution_failure == "partial-results":
        turn.later(top_level_ended, turn, step)
    else:
        end_run(turn, "failed", error)


def finish(turn: Turn) -> None:
    """Every top-level node has ended."""
    state = turn.state
    program = state.program
    if program is None:
        raise ValueError("no plan yet")
    partial = state.first_error is not None
    try:
        output = program.output(state.top) if program.output else default_output(program.terminals, state.top)
    except ExpressionFailed as failed:
        at = {"line": failed.line, "column": failed.column}
        error = error_record("EXPRESSION_FAILED", f"the plan's output: {failed.message}", None, (), 1, at)
        end_run(turn, "failed", error)
        return
    fault = fault_of(turn, output)
    if fault is not None:
        code, message = fault
        end_run(turn, "failed", error_record(code, f"the plan's output: {message}", None, ()))
        return
    end_run(turn, "partial" if partial else "completed", state.first_error, output)


def default_output(terminals: list[Step], top: Frame) -> Json:
    """Of a plan that names no output: that of the only terminal that was not skipped, else an object by id."""
    ran = [step for step in terminals if top.phases.get(step.id) != "skipped"]
    if len(ran) == 1:
        return top.outputs.get(ran[0].id)
    return {step.id: top.outputs.get(step.id) for step in ran}


def end_run(turn: Turn, status: EndStatus, error: dict[str, Json] | None, output: Json = None) -> None:
    """Stop what runs, say how it ended. A run that has ended stays ended."""
    state = turn.state
    state.status, state.end = "ended", status
    for step in state.program.top if state.program else ():
        live = state.top.live.get(step.id)
        if live is not None:
            lifecycle.cancel(turn, live)
    for name in list(state.timers):
        turn.cancel_timer(name)
    turn.agenda.clear()
    turn.deciders.clear()
    state.ready.clear()
    state.frames = {("", ()): state.top}
    state.result = result_record(state, turn.event.timestamp, status, error, output)
    done = turn.announce(
        FlowComplete,
        None,
        (),
        status=status,
        result=state.result,
        error=state.result["error"],
        total_execution_time=state.result["metadata"]["duration"],
    )
    turn.commands.append(Publish(done))


TOP = Top(sources_ended, top_level_ended, top_level_failed)
