"""Nodes without bodies: tool (a step that leaves the fold), value, wait (canonical.md §2)."""

from __future__ import annotations

import hashlib

from ...planner.expressions import ExpressionFailed
from ...planner.ir import Retry
from ...values import Json, duration_ms, parse_time, stamp
from .commands import Dispatch, JoinInput
from .events import InputRequested
from .lifecycle import complete, fail
from .program import Step
from .state import SATISFIED, Frame, Live, RunState, step_key
from .turn import LAST_MS, Kind, NodeFailed, Turn, error_record, path_text, shown
from .weigh import fault_of

UNTIL_AT_MOST_MS = 366 * 86_400_000
"""How far away an ``until`` may be that names no timeout (canonical.md §2)."""
UNCERTAIN_FOR_MS = 7 * 86_400_000
"""How long a step of unknown outcome waits for a person: the window in which a request is remembered."""
STARTS_AT_MOST = 3
"""Held starts of one attempt without an outcome before EXECUTOR_LOST."""
DEFAULT_TOOL_TIMEOUT_MS = 60_000


def _start_value(turn: Turn, live: Live) -> None:
    complete(turn, live, live.step.get["value"](live.frame))


def _start_tool(turn: Turn, live: Live) -> None:
    queue(turn, live)


def queue(turn: Turn, live: Live) -> None:
    """The step waits for its turn among the run's."""
    live.status = "queued"
    live.cause = turn.event.id
    turn.state.ready.append(live)
    turn.note("node-ready", live.step.id, live.frame.path)


def pump(turn: Turn) -> bool:
    """Dispatch the next step if the run may have one more in flight; True when something was taken from the queue."""
    state = turn.state
    if not state.ready or state.paused or state.parked is not None:
        return False
    if len(state.in_flight) >= state.options.max_concurrency:
        return False
    live = state.ready.popleft()
    if live.status == "queued":
        dispatch(turn, live)
    return True


def dispatch(turn: Turn, live: Live) -> None:
    """Hand the step out; a failure of its expressions is its failure."""
    try:
        command = dispatch_of(turn.state, live)
        if (fault := fault_of(turn, command.inputs)) is not None:
            raise NodeFailed("TOOL_INPUT_INVALID", f"the inputs of {live.step.id}: {fault[1]}")
    except (ExpressionFailed, NodeFailed) as failed:
        live.status = "running"
        fail(turn, live, turn.error_of(failed, live.step.id, live.frame.path, live.attempt))
        return
    live.status = "dispatched"
    turn.state.in_flight[step_key(live)] = live
    turn.commands.append(command)


def dispatch_of(state: RunState, live: Live) -> Dispatch:
    """The command that runs a step. Made from the state alone, so it can be made again."""
    step, frame = live.step, live.frame
    node = step.node
    policy = state.policies.get(node.tool_id, {})
    if step.id in state.joined or step.control:
        joins = _joins(state, step, frame)
        inputs = {} if joins and step.whole_inputs else _inputs(state, step, frame)
    else:
        joins, inputs = (), step.get["inputs"](frame)
    timeout = node.timeout if node.timeout is not None else policy.get("timeout") or DEFAULT_TOOL_TIMEOUT_MS
    return Dispatch(
        state.run_id,
        step.id,
        frame.path,
        live.attempt,
        live.delivery,
        node.tool_id,
        inputs,
        joins,
        f"{state.root_run_id}/{step.id}/{path_text(frame.path)}",
        timeout if timeout <= LAST_MS else LAST_MS,
        policy.get("sideEffect") == "non_idempotent",
        node.validation or state.options.validation or policy.get("validation") or "strict",
        live.cause,
    )


def _inputs(state: RunState, step: Step, frame: Frame) -> Json:
    explicit = step.get["inputs"](frame)
    base: dict[str, Json] = {}
    for edge in step.control:
        if edge.transform is None or state.edges[edge.index] != SATISFIED:
            continue
        made = edge.transform(frame)
        if not isinstance(made, dict):
            raise NodeFailed(
                "TOOL_INPUT_INVALID",
                f"the transform of the edge from {edge.source.id} gave {shown(made)}, not an object of inputs",
            )
        base.update(made)
    return {**base, **explicit} if base and isinstance(explicit, dict) else explicit


def _joins(state: RunState, step: Step, frame: Frame) -> tuple[JoinInput, ...]:
    sources = state.joined.get(step.id)
    if not sources or state.program is None:
        return ()
    mappings = {(join.from_tool, join.to_tool): join.mapping for join in state.program.plan.joins}
    made = []
    for name in sources:
        source = state.program.steps[name]
        at: Frame | None = frame
        for _ in range(step.level - source.level):
            at = at.parent if at is not None else None
        if at is not None and at.phases.get(name) == "completed":
            tool = source.node.tool_id
            made.append(JoinInput(tool, at.outputs.get(name), mappings.get((tool, step.node.tool_id))))
    return tuple(made)


# --- what came of a step ----------------------------------------------------------------------------------------


def retry_of(state: RunState, step: Step) -> Retry:
    """The node's retry, else its tool's, else options.retryStrategy's, else one attempt."""
    found = state.retries.get(step.id)
    if found is None:
        policy = state.policies.get(step.node.tool_id, {}).get("retry")
        if step.node.retry is not None:
            found = step.node.retry
        elif policy is not None:
            found = Retry.model_validate(policy)
        elif state.options.retry_strategy is not None:
            found = state.options.retry_strategy.as_retry()
        else:
            found = Retry()
        state.retries[step.id] = found
    return found


NEVER_RETRIED = frozenset({"TOOL_INPUT_INVALID", "EXPRESSION_FAILED", "UNRESOLVED_REFERENCE", "JOIN_FAILED"})
ONLY_BY_NAME = frozenset({"TOOL_OUTPUT_INVALID", "TOOL_OUTPUT_TOO_LARGE"})


def retryable(policy: Retry, error: dict[str, Json]) -> bool:
    """Whether a policy covers an error: by code, by the class's name or one of its bases', or ``*``."""
    code = error.get("code")
    if code in NEVER_RETRIED or error.get("retryable") is False:
        return False
    names = {code, error.get("type"), *(error.get("bases") or ())}
    if names.intersection(policy.retryable_errors):
        return True
    return "*" in policy.retryable_errors and code not in ONLY_BY_NAME


def retry_delay_ms(policy: Retry, attempt: int, key: str, retry_after: float | None) -> float:
    """Milliseconds before attempt ``attempt + 1``, at most ``maxDelay``.

    exponential: ``initialDelay * 2 ** (attempt - 1)``; linear: ``initialDelay * attempt``; fixed: ``initialDelay``.
    Up to a quarter more as jitter, from a hash of the step, so that every machine works out the same moment.
    """
    first, most = float(min(policy.initial_delay, LAST_MS)), float(min(policy.max_delay, LAST_MS))
    match policy.backoff:
        case "exponential":
            delay = first * 2.0 ** min(attempt - 1, 60)
        case "linear":
            delay = first * attempt
        case _:
            delay = first
    noise = int.from_bytes(hashlib.sha256(f"{key}/{attempt}".encode()).digest()[:4]) / 2**32
    delay *= 1 + noise / 4
    return min(max(delay, retry_after or 0.0), most)


def step_failed(turn: Turn, live: Live, error: dict[str, Json]) -> None:
    """An attempt has ended with an error: wait and try again, or fail."""
    state, step = turn.state, live.step
    policy = retry_of(state, step)
    if live.attempt < policy.max_attempts and retryable(policy, error):
        key = f"{state.root_run_id}/{step.id}/{path_text(live.frame.path)}"
        after = error.get("retryAfter")
        delay = retry_delay_ms(policy, live.attempt, key, after if isinstance(after, int | float) else None)
        live.status = "retrying"
        live.timer = f"retry/{step.id}/{path_text(live.frame.path)}/{live.attempt + 1}"
        turn.start_timer(live.timer, "retry", turn.in_ms(delay), step.id, live.frame.path)
        turn.note("node-retry", step.id, live.frame.path, attempt=live.attempt + 1, delay=delay)
        return
    live.status = "running"
    told = error.get("details")
    details = {**(told if isinstance(told, dict) else {} if told is None else {"details": told})}
    if error.get("type") is not None:
        details["type"] = error["type"]
    code, message = str(error.get("code")), str(error.get("message"))
    fail(turn, live, error_record(code, message, step.id, live.frame.path, live.attempt, details or None))


def next_attempt(turn: Turn, live: Live) -> None:
    """The wait before another attempt is over."""
    live.timer, live.claim = None, None
    live.attempt, live.delivery, live.starts = live.attempt + 1, 1, 0
    queue(turn, live)


def step_lost(turn: Turn, live: Live, side_effect: str) -> None:
    """The holder of a started step is gone without an outcome."""
    live.claim = None
    turn.state.in_flight.pop(step_key(live), None)
    if side_effect == "non_idempotent":
        _uncertain(turn, live)
    elif live.starts >= STARTS_AT_MOST:
        live.status = "running"
        message = f"{live.starts} executors died or fell silent while they ran it"
        fail(turn, live, error_record("EXECUTOR_LOST", message, live.step.id, live.frame.path, live.attempt))
    else:
        live.delivery += 1
        queue(turn, live)


def _uncertain(turn: Turn, live: Live) -> None:
    step, path = live.step, live.frame.path
    message = (
        f"{step.node.tool_id} was called and its outcome is unknown; it must not run twice. "
        "Find out what happened, then: "
        f"dynamicflow resolve {turn.state.run_id} {step.id} --done JSON | --fail | --retry"
    )
    if step.declared_on_error:
        live.status = "running"
        fail(turn, live, error_record("UNCERTAIN_OUTCOME", message, step.id, path, live.attempt))
        return
    live.status = "uncertain"
    live.timer = f"deadline/{step.id}/{path_text(path)}/{live.attempt}.{live.delivery}"
    due = turn.now_ms + UNCERTAIN_FOR_MS
    turn.start_timer(live.timer, "deadline", due, step.id, path)
    turn.announce(
        InputRequested,
        step.id,
        path,
        live.delivery,
        attempt=live.attempt,
        key=f"{turn.state.run_id}/{step.id}/{path_text(path)}",
        subject="UNCERTAIN_OUTCOME",
        message=message,
        expires_at=stamp(due),
        inputs_digest=live.inputs_digest,
    )


# --- wait -------------------------------------------------------------------------------------------------------


def _start_wait(turn: Turn, live: Live) -> None:
    node, now = live.step.node, turn.now_ms
    if "duration" in live.step.get:
        given = live.step.get["duration"](live.frame)
        length = duration_ms(given)
        if length is None:
            raise NodeFailed("TOOL_INPUT_INVALID", f"duration is {shown(given)}: expected milliseconds ≥ 0 or '30s'")
        due, limit = turn.in_ms(length), node.timeout
    else:
        given = live.step.get["until"](live.frame)
        moment = parse_time(given)
        if moment is None:
            raise NodeFailed(
                "TOOL_INPUT_INVALID", f"until is {shown(given)}: expected a time like 2030-01-31T12:00:00Z"
            )
        due = moment.timestamp() * 1000
        limit = node.timeout if node.timeout is not None else UNTIL_AT_MOST_MS
    if due <= now:
        complete(turn, live, None)
        return
    last = turn.in_ms(limit) if limit is not None else None
    late = last is not None and due > last
    kind = "timeout" if late else "wait"
    live.timer = f"{kind}/{live.step.id}/{path_text(live.frame.path)}"
    turn.start_timer(live.timer, kind, due if last is None else min(due, last), live.step.id, live.frame.path)


def wait_over(turn: Turn, live: Live) -> None:
    """The moment a wait waited for has come."""
    live.timer = None
    complete(turn, live, None)


KINDS = {"tool": Kind(_start_tool), "value": Kind(_start_value), "wait": Kind(_start_wait)}
