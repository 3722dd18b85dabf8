"""Nodes whose bodies run in their own scope: conditional, switch, sequence, parallel (canonical.md §2)."""

from __future__ import annotations

from ...planner.expressions import truthy
from ...values import Json, canonical
from .events import BranchTaken
from .graph import mark_skipped, read_operands
from .lifecycle import cancel_branch, complete, fail, run_body
from .state import Frame, Live
from .turn import Kind, Turn

# --- conditional, switch ----------------------------------------------------------------------------------------


def _start_choice(turn: Turn, live: Live) -> None:
    if live.step.bodies["test"]:
        run_body(turn, live, "test", live.frame)
    else:
        _choose(turn, live)


def _choose(turn: Turn, live: Live) -> None:
    step, frame = live.step, live.frame
    if step.kind == "conditional":
        taken = "ifTrue" if truthy(step.get["condition"](frame)) else "ifFalse"
        told = "then" if taken == "ifTrue" else "else"
    else:
        text = case_text(step.get["on"](frame))
        taken = f"case:{text}" if f"case:{text}" in step.bodies else "default"
        told = text if taken != "default" else "default"
    if not step.bodies[taken] and taken == "default":
        told = "none"
    operands = read_operands(step.operands, frame)
    turn.announce(BranchTaken, step.id, frame.path, branch=told, operands=operands)
    if frame.parent is None:
        for key, body in step.bodies.items():
            if key not in (taken, "test", "onError"):
                for child in body:
                    mark_skipped(turn, child, frame)
    run_body(turn, live, taken, frame)


def case_text(value: Json) -> str:
    """The text that a case's key is compared with: ``"5"``, ``"true"``, ``"null"``."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        value = int(value)
    return canonical(value).decode()


def _choice_done(turn: Turn, live: Live, key: str, frame: Frame, output: Json) -> None:
    if key == "test":
        _choose(turn, live)
    else:
        complete(turn, live, output)


# --- sequence ---------------------------------------------------------------------------------------------------


def _start_sequence(turn: Turn, live: Live) -> None:
    run_body(turn, live, "body", live.frame)


def _sequence_done(turn: Turn, live: Live, key: str, frame: Frame, output: Json) -> None:
    complete(turn, live, output)


# --- parallel ---------------------------------------------------------------------------------------------------


def _start_parallel(turn: Turn, live: Live) -> None:
    live.total = len(live.step.branches)
    live.results = [None] * live.total
    if not live.total:
        complete(turn, live, _shaped(live, []))
        return
    while live.next < live.total and len(live.active) < live.step.node.concurrency:
        _start_branch(turn, live)


def _start_branch(turn: Turn, live: Live) -> None:
    index = live.next
    live.next += 1
    live.active[index] = live.frame
    run_body(turn, live, live.step.branches[index], live.frame)


def _branch_done(turn: Turn, live: Live, key: str, frame: Frame, output: Json) -> None:
    index = live.step.branches.index(key)
    live.results[index] = output
    _branch_ended(turn, live, index)


def _branch_failed(turn: Turn, live: Live, key: str, frame: Frame, error: dict[str, Json]) -> bool:
    if live.step.node.join_strategy == "all":
        return False
    index = live.step.branches.index(key)
    live.failures[index] = error
    _branch_ended(turn, live, index)
    return True


def _branch_ended(turn: Turn, live: Live, index: int) -> None:
    strategy = live.step.node.join_strategy
    live.active.pop(index, None)
    live.ended.append(index)
    if strategy in ("race", "any"):
        if live not in turn.deciders:
            turn.deciders.append(live)
        return
    _go_on(turn, live)


def _go_on(turn: Turn, live: Live) -> None:
    if live.next < live.total:
        _start_branch(turn, live)
    elif not live.active:
        complete(
            turn, live, _shaped(live, _settled(live) if live.step.node.join_strategy == "settled" else live.results)
        )


def _settled(live: Live) -> list[Json]:
    return [
        {"status": "rejected", "error": public_error(live.failures[index])}
        if index in live.failures
        else {"status": "fulfilled", "value": value}
        for index, value in enumerate(live.results)
    ]


def public_error(error: dict[str, Json]) -> dict[str, Json]:
    """{code, message, nodeId, attempt}: what ``$error`` and a settled branch show."""
    return {name: error[name] for name in ("code", "message", "nodeId", "attempt")}


def _shaped(live: Live, values: list[Json]) -> Json:
    if isinstance(live.step.node.branches, dict):
        return dict(zip(live.step.node.branches, values, strict=False)) if values else {}
    return values


def _decide_parallel(turn: Turn, live: Live) -> None:
    """Of the branches that ended by this fact, the first in branch order decides."""
    ended = sorted(live.ended)
    if live.step.node.join_strategy == "race":
        winner = ended[0] if ended else None
    else:
        winner = next((index for index in ended if index not in live.failures), None)
    if winner is not None:
        for index in sorted(live.active):
            cancel_branch(turn, live, live.step.branches[index])
        live.active.clear()
        if winner in live.failures:
            fail(turn, live, live.failures[winner])
        else:
            complete(turn, live, live.results[winner])
        return
    if live.acc is None and ended:
        live.acc = ended[0]  # the first failure, should every branch fail
    live.ended = []
    if live.next >= live.total and not live.active:
        fail(turn, live, live.failures[live.acc])
        return
    while live.next < live.total and len(live.active) < live.step.node.concurrency:
        _start_branch(turn, live)


KINDS = {
    "conditional": Kind(_start_choice, _choice_done),
    "switch": Kind(_start_choice, _choice_done),
    "sequence": Kind(_start_sequence, _sequence_done),
    "parallel": Kind(_start_parallel, _branch_done, _branch_failed, _decide_parallel),
}
