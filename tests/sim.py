"""A world for the fold, in one thread and in virtual time: seeded order, crashes, duplicates, late facts, slow tools.

No engine and no threads: ``apply`` is driven directly, so that thousands of schedules take seconds and a failure is
made again by its seed. ``World.run`` plays one schedule; :func:`reference` runs everything in order, a step at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynamicflow.planner.ir import Plan
from dynamicflow.streams.core import commands as c
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.codec import decode_event, encode_event
from dynamicflow.streams.core.events import SEMANTICS, VERSION, Event, event_id
from dynamicflow.streams.core.fold import apply, claimed, outstanding
from dynamicflow.streams.core.state import RunState, new_run
from dynamicflow.values import Json, digest, stamp

START_MS = 1_700_000_000_000.0
Tool = Callable[[Any, int], Json]
"""(inputs, attempt) -> output; raises ToolError."""


class ToolError(Exception):
    """What a simulated tool fails with."""

    def __init__(self, code: str = "TOOL_EXECUTION_FAILED", kind: str = "ValueError") -> None:
        super().__init__(code, kind)
        self.code, self.kind = code, kind


@dataclass
class World:
    """One run under one schedule."""

    plan: Mapping[str, Json]
    tools: Mapping[str, Tool]
    input: Json = None
    options: Mapping[str, Json] = field(default_factory=dict)
    policies: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    seed: int | None = None
    """None: in order, nothing goes wrong."""
    crash: float = 0.0
    duplicate: float = 0.0
    run_id: str = "run"

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = START_MS
        self.log: list[bytes] = []
        self.state: RunState = new_run(self.run_id)
        self.work: list[c.Dispatch] = []
        self.timers: dict[str, c.StartTimer] = {}
        self.sent: list[Event] = []
        self.calls: list[tuple[str, tuple[int, ...], int]] = []
        """Every call of a tool, as (node, item, attempt)."""
        self.told: list[Event] = []
        self.most_in_flight = 0

    # --- facts ----------------------------------------------------------------------------------------------------

    def envelope(
        self, kind: str, node: str | None = None, item: Any = None, attempt: int | None = None, *tail: object
    ) -> Any:
        return {
            "id": event_id(self.run_id, node, item, attempt, kind, *tail),
            "run_id": self.run_id,
            "timestamp": stamp(self.now),
            "v": VERSION,
            "semantics": SEMANTICS,
            "node_id": node,
            "item": item,
            "attempt": attempt,
        }

    def begin(self) -> None:
        plan = Plan.model_validate(self.plan)
        request = {"type": "start", "input": self.input, "plan": plan.hash, "options": dict(self.options)}
        self.accept(e.FlowRequested(**self.envelope("flow-requested"), request=request))
        policies = {name: {"sideEffect": "idempotent", **self.policies.get(name, {})} for name in self.tools}
        published = self.envelope("plan-published")
        published["plan_hash"] = plan.hash
        self.accept(e.PlanPublished(**published, plan=plan.to_json(), policies=policies))

    def accept(self, fact: Event) -> None:
        """Append to the log, read it back, fold it, carry out what it asks for."""
        self.now += 1
        record = encode_event(fact).record
        self.log.append(record)
        self.sent.append(fact)
        self.carry_out(apply(self.state, decode_event(record), {}))

    def carry_out(self, asked: list[c.Command]) -> None:
        for command in asked:
            match command:
                case c.Dispatch():
                    self.work.append(command)
                case c.CancelStep():
                    place = (command.node_id, command.item)
                    self.work = [step for step in self.work if (step.node_id, step.item) != place]
                case c.StartTimer():
                    self.timers[command.timer] = command
                case c.CancelTimer():
                    self.timers.pop(command.timer, None)
                case c.Announce():
                    self.log.append(encode_event(command.event).record)
                    self.told.append(command.event)
                case _:
                    pass
        self.most_in_flight = max(self.most_in_flight, len(self.state.in_flight))

    # --- a schedule -------------------------------------------------------------------------------------------------

    def run(self, most: int = 20_000) -> dict[str, Json]:
        """Play until the run has ended; its result. Raises AssertionError when nothing is left to do before that."""
        self.begin()
        for _ in range(most):
            if self.state.end is not None:
                return self.state.result or {}
            if not self.step():
                break
        raise AssertionError(f"seed {self.seed}: stuck as {self.state.public_status}")

    def step(self) -> bool:
        if self.crash and self.random.random() < self.crash:
            self.restart()
        if self.sent and self.duplicate and self.random.random() < self.duplicate:
            self.accept(self.random.choice(self.sent))
        if self.state.end is not None:
            return True
        if self.work and (not self.timers or self.seed is None or self.random.random() < 0.8):
            index = self.random.randrange(len(self.work)) if self.seed is not None else 0
            self.execute(self.work.pop(index))
            return True
        if self.timers:
            self.fire(min(self.timers.values(), key=lambda timer: timer.due_ms))
            return True
        return False

    def execute(self, step: c.Dispatch) -> None:
        if step.held:
            start = self.envelope("tool-start", step.node_id, step.item or None, step.attempt, len(self.log))
            start["claim"] = f"claim-{len(self.log)}"
            self.accept(e.ToolStart(**start, tool_id=step.tool_id, inputs_digest="-", lease="-"))
            if self.crash and self.random.random() < self.crash:
                self.restart()
                return
        self.calls.append((step.node_id, step.item, step.attempt))
        common: dict[str, Any] = {
            "tool_id": step.tool_id,
            "inputs_digest": digest(step.inputs),
            "started_at": stamp(self.now),
            "execution_time": 1.0,
        }
        try:
            output = self.tools[step.tool_id](step.inputs, step.attempt)
        except ToolError as failed:
            error = {"code": failed.code, "message": "simulated", "type": failed.kind, "bases": [failed.kind]}
            place = self.envelope("tool-error", step.node_id, step.item or None, step.attempt)
            self.accept(e.ToolError(**place, error=error, **common))
        else:
            place = self.envelope("tool-output", step.node_id, step.item or None, step.attempt)
            self.accept(e.ToolOutput(**place, output=output, **common))

    def fire(self, timer: c.StartTimer) -> None:
        del self.timers[timer.timer]
        self.now = max(self.now, timer.due_ms)
        place = self.envelope("timer-fired", None, None, None, timer.timer)
        self.accept(e.TimerFired(**place, timer=timer.timer, kind=timer.kind))

    def restart(self) -> None:
        """The process dies; what is in the log is all that is left."""
        before = digest(self.state.to_json())
        self.state = self.rebuilt()
        assert digest(self.state.to_json()) == before, f"seed {self.seed}: fold(log) is not the live state"
        self.work, self.timers = [], {}
        lost = claimed(self.state)
        places = {(live.step.id, live.frame.path) for live in lost}
        again = [
            command
            for command in outstanding(self.state)
            if not (isinstance(command, c.Dispatch) and (command.node_id, command.item) in places)
        ]
        self.carry_out(again)
        for live in lost:
            place = self.envelope("tool-lost", live.step.id, live.frame.path or None, live.attempt, live.claim)
            self.accept(e.ToolLost(**{**place, "claim": live.claim}))

    def rebuilt(self, *, facts_only: bool = False) -> RunState:
        """The fold of the log."""
        state = new_run(self.run_id)
        for record in self.log:
            event = decode_event(record)
            if event.folded or not facts_only:
                apply(state, event, {})
        return state


def reference(plan: Mapping[str, Json], tools: Mapping[str, Tool], **settings: Any) -> dict[str, Json]:
    """The result of a sequential run in which nothing goes wrong."""
    return World(plan, tools, **settings).run()
