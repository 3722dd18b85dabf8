"""Logs made at once: what workers would have written, for take-overs of a size that nobody wants to wait for."""

from __future__ import annotations

from collections.abc import Iterator

from dynamicflow.planner.ir import Plan
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.commands import Announce
from dynamicflow.streams.core.events import Event, envelope, event_id
from dynamicflow.streams.core.fold import apply
from dynamicflow.streams.core.state import new_run
from dynamicflow.streams.kafka.records import HeaderMaker, Mark, Record, encode_small, trace_of
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.values import Json, stamp

NOW_MS = 1_750_000_000_000.0


def begun(run_id: str, plan: Plan, steps: int) -> Iterator[Event]:
    """The log of a run of a chain that has ``steps`` steps done: facts and announcements."""
    state = new_run(run_id)

    def placed(kind: str, node: str | None = None, attempt: int | None = None) -> dict[str, Json]:
        ident = event_id(run_id, node, None, attempt, kind)
        return envelope(ident, run_id, stamp(NOW_MS), plan_hash=plan.hash) | {"node_id": node, "attempt": attempt}

    policies: dict[str, dict[str, Json]] = {"step": {"sideEffect": "idempotent"}}
    request: dict[str, Json] = {"type": "start", "runId": run_id, "input": {"n": 0}, "plan": plan.hash}
    facts: list[Event] = [
        e.FlowRequested.trusted({**placed("flow-requested"), "request": request}),
        e.PlanPublished.trusted({**placed("plan-published"), "plan": plan.to_json(), "policies": policies}),
    ]
    for number in range(steps):
        about = {"tool_id": "step", "output": {"n": number + 1}, "inputs_digest": "sha256:" + "0" * 64}
        times = {"started_at": stamp(NOW_MS), "execution_time": 0.01, "delivery": 1}
        facts.append(e.ToolOutput.trusted({**placed("tool-output", f"s{number}", 1), **about, **times}))
    for fact in facts:
        yield fact
        yield from (command.event for command in apply(state, fact, {}) if isinstance(command, Announce))


def log_of(runs: int, plan: Plan, steps: int, topics: Topics, partition: int, tag: str = "live") -> Iterator[Record]:
    """Records of ``runs`` runs under way, in one partition of the log."""
    headers = HeaderMaker(topics)
    for number in range(runs):
        run_id = f"{tag}-{number}"
        trace = trace_of(run_id)
        for event in begun(run_id, plan, steps):
            yield Record(
                topics.events, partition, run_id.encode(), encode_small(event).record, headers.of(event, trace)
            )


def marks_of(runs: int, topics: Topics, partition: int, tag: str = "done") -> Iterator[Record]:
    """Marks of runs that have ended."""
    for number in range(runs):
        mark = Mark(f"{tag}-{number}", "completed", 0, 1, "sha256:" + "0" * 64)
        yield Record(topics.done, partition, mark.run_id.encode(), mark.encode())
