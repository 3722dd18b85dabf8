"""How a node starts, ends, fails and is cancelled, whatever its kind; how a body runs (canonical.md §2).

Starting goes through the turn's agenda, so chains of instant nodes need no stack; ending calls its owner at once, which
nests at most as deep as the plan (50).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...planner.expressions import ExpressionFailed
from ...planner.ir import OnErrorNodes, OnErrorValue
from ...values import Json
from .commands import CancelStep
from .events import NodeError
from .program import Step
from .state import Frame, Live, step_key
from .turn import NodeFailed, Turn, error_record, owner_of, path_text, shown
from .weigh import fault_of

OWN_TIMEOUT = frozenset({"tool", "llm", "subflow", "wait", "value"})
"""Kinds whose ``timeout`` is not a timer of the fold: steps are timed where they run, a wait reads it itself."""

COMPOSING = frozenset({"value", "map", "forEach", "flatMap", "parallel", "reduce", "for", "times"})
"""Kinds that make a value of others; the rest hand on what a tool or one of their nodes gave."""


def guarded(turn: Turn, live: Live, call: Callable[..., None], *arguments: Any) -> None:
    """Carry out what a node does next; a failure of its expressions is its failure."""
    try:
        call(turn, live, *arguments)
    except (ExpressionFailed, NodeFailed) as failed:
        fail(turn, live, turn.error_of(failed, live.step.id, live.frame.path, live.attempt))


def start(turn: Turn, step: Step, frame: Frame) -> None:
    """The node's turn has come."""
    if turn.state.end is not None:
        return
    live = Live(step, frame, cause=turn.event.id)
    frame.live[step.id] = live
    turn.note("node-start", step.id, frame.path, nodeType=step.node.type)
    if step.node.timeout is not None and step.kind not in OWN_TIMEOUT:
        live.timer = f"timeout/{step.id}/{path_text(frame.path)}"
        turn.start_timer(live.timer, "timeout", turn.in_ms(step.node.timeout), step.id, frame.path)
    guarded(turn, live, turn.kinds[step.kind].start)


def run_body(turn: Turn, live: Live, key: str, frame: Frame) -> None:
    """Run a body of ``live`` in ``frame``, one node after the other; an empty one is done at once, with null."""
    live.body = key
    body = live.step.bodies[key]
    if body:
        turn.later(start, turn, body[0], frame)
    else:
        turn.later(body_done, turn, live, key, frame, None)


def body_done(turn: Turn, owner: Live, key: str, frame: Frame, output: Json) -> None:
    """The last node of a body has ended with ``output``."""
    if owner.frame.live.get(owner.step.id) is not owner or turn.state.end is not None:
        return
    if key == "onError":
        complete(turn, owner, output)
        return
    done = turn.kinds[owner.step.kind].body_done
    if done is None:
        raise ValueError(f"{owner.step.id} has no bodies")
    guarded(turn, owner, done, key, frame, output)


def complete(turn: Turn, live: Live, output: Json) -> None:
    """The node has its output. One that the fold composed and that is too large, or too deep, is its failure."""
    step, frame = live.step, live.frame
    if step.kind in COMPOSING or live.status == "recovering":
        fault = fault_of(turn, output)
        if fault is not None:
            code, message = fault
            fail(turn, live, error_record(code, f"{step.id}: {message}", step.id, frame.path, live.attempt))
            return
    turn.cancel_timer(live.timer)
    del frame.live[step.id]
    frame.phases[step.id] = "completed"
    frame.outputs[step.id] = output
    turn.note("node-complete", step.id, frame.path, output=output)
    if step.out or step.inner_out:
        turn.top.sources_ended(turn, step)
    owner = step.owner
    if owner is None:
        turn.top.ended(turn, step)
    elif step.position + 1 < len(step.siblings):
        turn.later(start, turn, step.siblings[step.position + 1], frame)
    else:
        body_done(turn, owner_of(step, frame), step.key, frame, output)


def fail(turn: Turn, live: Live, error: dict[str, Json]) -> None:
    """The node has failed; its onError may take over, else its owner is told, at the top the run."""
    step, frame = live.step, live.frame
    turn.cancel_timer(live.timer)
    live.timer = None
    cancel_inside(turn, live)
    handler = step.node.on_error
    if live.status != "recovering" and handler != "fail":
        frame.errors[step.id] = {name: error[name] for name in ("code", "message", "nodeId", "attempt")}
        turn.note("node-recovered", step.id, frame.path, error=error)
        _recover(turn, live, handler)
        return
    _fail_for_good(turn, live, error)


def _recover(turn: Turn, live: Live, handler: Any) -> None:
    live.status = "recovering"
    if handler == "continue":
        complete(turn, live, None)
    elif isinstance(handler, OnErrorValue):
        try:
            output = live.step.get["onError"](live.frame)
        except ExpressionFailed as failed:
            _fail_for_good(turn, live, turn.error_of(failed, live.step.id, live.frame.path, live.attempt))
            return
        complete(turn, live, output)
    elif isinstance(handler, OnErrorNodes):
        run_body(turn, live, "onError", live.frame)


def _fail_for_good(turn: Turn, live: Live, error: dict[str, Json]) -> None:
    step, frame = live.step, live.frame
    frame.live.pop(step.id, None)
    frame.phases[step.id] = "failed"
    turn.announce(NodeError, step.id, frame.path, attempt=live.attempt, error=error)
    if step.out or step.inner_out:
        turn.top.sources_ended(turn, step)
    if step.owner is None:
        turn.top.failed(turn, step, error)
        return
    owner = owner_of(step, frame)
    takes = turn.kinds[owner.step.kind].child_failed
    if step.key != "onError" and takes is not None and takes(turn, owner, step.key, frame, error):
        return
    fail(turn, owner, error)


def fail_unstarted(turn: Turn, step: Step, frame: Frame, error: dict[str, Json]) -> None:
    """A node fails before it could start (the condition of an edge into it did)."""
    live = Live(step, frame, cause=turn.event.id)
    frame.live[step.id] = live
    fail(turn, live, error)


def cancel(turn: Turn, live: Live) -> None:
    """The node's outcome no longer matters: whatever it has under way is stopped."""
    turn.cancel_timer(live.timer)
    cancel_inside(turn, live)
    live.frame.live.pop(live.step.id, None)
    live.frame.phases[live.step.id] = "cancelled"
    if live.step.out or live.step.inner_out:
        turn.top.sources_ended(turn, live.step)


def cancel_inside(turn: Turn, live: Live) -> None:
    """Stop the node's own call, or everything that runs in its bodies."""
    if turn.state.in_flight.pop(step_key(live), None) is not None:
        turn.commands.append(CancelStep(turn.state.run_id, live.step.id, live.frame.path))
    if live.status in ("queued", "dispatched", "retrying", "uncertain"):
        live.status = "cancelled"
    for index in sorted(live.active):
        frame = live.active[index]
        if frame is not live.frame:  # an item's; branches run in the owner's own frame
            _cancel_body(turn, live.step.bodies["body"], frame)
            turn.state.frames.pop((frame.scope, frame.path), None)
    live.active.clear()
    for body in live.step.bodies.values():
        _cancel_body(turn, body, live.frame)


def cancel_branch(turn: Turn, live: Live, key: str) -> None:
    """Stop one body that runs in the owner's own frame."""
    _cancel_body(turn, live.step.bodies[key], live.frame)


def _cancel_body(turn: Turn, body: list[Step], frame: Frame) -> None:
    if not frame.live:
        return
    for step in body:
        child = frame.live.get(step.id)
        if child is not None:
            cancel(turn, child)


def timed_out(turn: Turn, live: Live) -> None:
    """The node's own time is over."""
    live.timer = None
    limit = live.step.node.timeout
    message = "the node did not end in time" if limit is None else f"the node did not end within {shown(limit)} ms"
    fail(turn, live, error_record("TIMEOUT", message, live.step.id, live.frame.path, live.attempt))
