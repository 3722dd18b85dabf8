"""Nodes that run a body once per item or iteration, each in a frame of its own: map, filter, reduce, loops.

An item's frame exists while the item is under way: a map over 100 000 items holds ``concurrency`` of them at a time.
"""

from __future__ import annotations

from ...planner.expressions import truthy
from ...values import Json, whole_number
from .events import ItemsKept, LoopIteration
from .lifecycle import complete, guarded, run_body
from .state import Frame, Live
from .turn import Kind, NodeFailed, Turn, shown

DEFAULT_ITERATIONS = 100


def _items_of(live: Live) -> list[Json]:
    node = live.step.node
    items = live.step.get["over"](live.frame)
    if not isinstance(items, list):
        what = "null" if items is None else f"a {type(items).__name__}"
        raise NodeFailed("NOT_A_COLLECTION", f"`over` of {node.id} is {what}, expected a list")
    if len(items) > node.max_items:
        raise NodeFailed(
            "BOUND_EXCEEDED",
            f"`over` of {node.id} has {len(items)} items, at most {node.max_items} are allowed; raise its maxItems",
            {"items": len(items), "maxItems": node.max_items},
        )
    return items


def _frame(turn: Turn, live: Live, index: int, item: Json = None) -> Frame:
    made = Frame(live.frame.run, live.step.id, (*live.frame.path, index), live.frame, item, index)
    turn.state.frames[made.scope, made.path] = made
    live.active[index] = made
    return made


def _drop(turn: Turn, live: Live, frame: Frame) -> int:
    index = frame.path[-1]
    turn.state.frames.pop((frame.scope, frame.path), None)
    live.active.pop(index, None)
    return index


# --- map, forEach, flatMap, filter: items side by side ------------------------------------------------------------


def _start_items(turn: Turn, live: Live) -> None:
    live.items = _items_of(live)
    live.total = len(live.items)
    live.results = [None] * live.total
    if not live.total:
        _items_done(turn, live)
        return
    while live.next < live.total and len(live.active) < live.step.node.concurrency:
        _start_item(turn, live)


def _start_item(turn: Turn, live: Live) -> None:
    items = live.items
    if items is None:
        raise ValueError(f"{live.step.id} has no items")
    index = live.next
    live.next += 1
    run_body(turn, live, "body", _frame(turn, live, index, items[index]))


def _item_done(turn: Turn, live: Live, key: str, frame: Frame, output: Json) -> None:
    step = live.step
    if step.kind == "filter":
        output = truthy(step.get["condition"](frame)) is (step.node.mode == "include")
    elif step.kind == "flatMap" and not isinstance(output, list):
        message = f"item {frame.path[-1]} of {step.id} gave {_name(output)}; flatMap needs a list of each"
        raise NodeFailed("NOT_A_COLLECTION", message)
    live.results[_drop(turn, live, frame)] = output
    if live.next < live.total:
        _start_item(turn, live)
    elif not live.active:
        _items_done(turn, live)


def _items_done(turn: Turn, live: Live) -> None:
    step, results, items = live.step, live.results, live.items or []
    match step.kind:
        case "filter":
            kept = [index for index, keep in enumerate(results) if keep]
            turn.announce(ItemsKept, step.id, live.frame.path, kept=kept)
            complete(turn, live, [items[index] for index in kept])
        case "flatMap":
            complete(turn, live, [part for result in results for part in result])
        case _:
            complete(turn, live, results)


def _name(value: Json) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


# --- reduce, for, times, while: one after the other ---------------------------------------------------------------


def _start_series(turn: Turn, live: Live) -> None:
    step = live.step
    match step.kind:
        case "times":
            live.total = _times(live)
        case "while":
            live.total = step.node.max_iterations
        case _:
            live.items = _items_of(live)
            live.total = len(live.items)
    if step.kind == "reduce":
        live.acc = step.get["initial"](live.frame)
    _next_iteration(turn, live, None)


def _times(live: Live) -> int:
    node = live.step.node
    times = live.step.get["times"](live.frame)
    count = whole_number(times)
    if count is None:
        raise NodeFailed("TOOL_INPUT_INVALID", f"`times` of {node.id} is {shown(times)}: expected a whole number ≥ 0")
    literal = isinstance(node.times, int | float)
    most = node.max_iterations if node.max_iterations is not None else count if literal else DEFAULT_ITERATIONS
    if count > most:
        message = f"`times` of {node.id} is {shown(count)}, at most {most} are allowed; raise its maxIterations"
        raise NodeFailed("BOUND_EXCEEDED", message, {"times": times, "maxIterations": most})
    return count


def _next_iteration(turn: Turn, live: Live, last: Frame | None) -> None:
    """Start the next iteration, or end: ``last`` is the frame of the one before."""
    step, index = live.step, live.next
    if step.kind == "while":
        more = _while_more(turn, live, last)
    else:
        more = index < live.total
    if last is not None and step.kind != "reduce":
        turn.announce(LoopIteration, step.id, live.frame.path, index - 1, index=index - 1, more=more)
    if not more:
        _series_done(turn, live)
        return
    live.next += 1
    frame = _frame(turn, live, index, live.items[index] if live.items is not None else None)
    frame.acc = frame.last = live.acc
    run_body(turn, live, "body", frame)


def _while_more(turn: Turn, live: Live, last: Frame | None) -> bool:
    """Whether a while loop goes on. Its condition sees the last iteration's nodes, $index done and $last."""
    step = live.step
    seen = Frame(live.frame.run, step.id, (*live.frame.path, live.next), live.frame, index=live.next, last=live.acc)
    if last is not None:
        seen.outputs, seen.errors = last.outputs, last.errors
    if not truthy(step.get["condition"](seen)):
        return False
    if live.next < live.total:
        return True
    if step.node.on_limit == "stop":
        return False
    message = f"{step.id} has run {live.next} times and its condition still holds; raise maxIterations or set onLimit"
    raise NodeFailed("LOOP_LIMIT", message, {"maxIterations": live.total})


def _iteration_done(turn: Turn, live: Live, key: str, frame: Frame, output: Json) -> None:
    _drop(turn, live, frame)
    live.acc = output
    if live.step.kind in ("for", "times"):
        live.results.append(output)
    turn.later(_after_iteration, turn, live, frame)


def _after_iteration(turn: Turn, live: Live, frame: Frame) -> None:
    if live.frame.live.get(live.step.id) is live:
        guarded(turn, live, _next_iteration, frame)


def _series_done(turn: Turn, live: Live) -> None:
    complete(turn, live, live.results if live.step.kind in ("for", "times") else live.acc)


_SIDE_BY_SIDE = Kind(_start_items, _item_done)
_IN_SERIES = Kind(_start_series, _iteration_done)
KINDS = {
    "map": _SIDE_BY_SIDE,
    "forEach": _SIDE_BY_SIDE,
    "flatMap": _SIDE_BY_SIDE,
    "filter": _SIDE_BY_SIDE,
    "reduce": _IN_SERIES,
    "for": _IN_SERIES,
    "times": _IN_SERIES,
    "while": _IN_SERIES,
}
