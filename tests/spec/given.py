"""A run whose facts a test gives one by one, and what the fold asked for because of each.

    run = Given(step("a"), step("b", inputs="$a"))
    run.output("a", {"x": 1})
    assert run.dispatched == [("b", (), 1)]

Every fact goes through its bytes. Time stands still but for ``passes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from dynamicflow.planner.ir import Plan
from dynamicflow.streams.core import commands as c
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.codec import decode_event, encode_event
from dynamicflow.streams.core.events import SEMANTICS, VERSION, Event, event_id
from dynamicflow.streams.core.fold import apply
from dynamicflow.streams.core.state import RunState, new_run
from dynamicflow.values import Json, digest, stamp

START_MS = 1_700_000_000_000.0
Item = tuple[int, ...]
CommandT = TypeVar("CommandT")


# --- plans -------------------------------------------------------------------------------------------------------


def step(node_id: str, tool: str = "work", **fields: Any) -> dict[str, Any]:
    """A node that calls a tool."""
    return {"id": node_id, "type": "tool", "toolId": tool, "inputs": {}, **fields}


def value(node_id: str, given: Json = None, **fields: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "value", "value": given, **fields}


def node(node_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    """Any other node."""
    return {"id": node_id, "type": kind, **fields}


def edge(source: str, target: str, when: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"from": source, "to": target, **({} if when is None else {"condition": when}), **fields}


# --- runs --------------------------------------------------------------------------------------------------------


class Given:
    """One run. Methods append the fact of their name; ``asked`` holds the commands of the last one."""

    def __init__(
        self,
        *nodes: Mapping[str, Any],
        edges: Sequence[Mapping[str, Any]] = (),
        input: Json = None,
        options: Mapping[str, Json] | None = None,
        policies: Mapping[str, Mapping[str, Json]] | None = None,
        joined: Mapping[str, list[str]] | None = None,
        run_id: str = "r",
        planned: bool = True,
        **plan: Any,
    ) -> None:
        self.run_id, self.now = run_id, START_MS
        self.state: RunState = new_run(run_id)
        self.facts: list[bytes] = []
        self.values: dict[str, bytes] = {}
        self.asked: list[c.Command] = []
        self.all: list[c.Command] = []
        self._given, self._options = input, dict(options or {})
        self._policies = {name: dict(policy) for name, policy in (policies or {}).items()}
        self._joined = {name: list(sources) for name, sources in (joined or {}).items()}
        made = {"version": "1.0", "nodes": list(nodes), "edges": list(edges), **plan}
        self.plan = Plan.model_validate(made) if nodes else None
        if planned and self.plan is not None:
            self.requested(plan=self.plan.hash)
            self.planned()

    # --- facts ------------------------------------------------------------------------------------------------------

    def envelope(
        self, kind: str, node: str | None = None, item: Item = (), attempt: int | None = None, *more: object
    ) -> Any:
        return {
            "id": event_id(self.run_id, node, item or None, attempt, kind, *more),
            "run_id": self.run_id,
            "timestamp": stamp(self.now),
            "v": VERSION,
            "semantics": SEMANTICS,
            "node_id": node,
            "item": item or None,
            "attempt": attempt,
        }

    def fact(self, event: Event) -> list[c.Command]:
        """Append any fact."""
        encoded = encode_event(event)
        self.facts.append(encoded.record)
        self.values |= encoded.values
        self.asked = apply(self.state, decode_event(encoded.record), self.values)
        self.all += self.asked
        return self.asked

    def requested(self, **request: Json) -> list[c.Command]:
        made = {"type": "start", "input": self._given, "options": self._options, **request}
        return self.fact(e.FlowRequested(**self.envelope("flow-requested"), request=made))

    def planned(self) -> list[c.Command]:
        assert self.plan is not None
        fields = {**self.envelope("plan-published", None, (), None, 0), "plan_hash": self.plan.hash}
        published = e.PlanPublished(**fields, plan=self.plan.to_json(), policies=self._policies, joined=self._joined)
        return self.fact(published)

    def planning_failed(self, code: str = "PLANNING_FAILED", **fields: Any) -> list[c.Command]:
        return self.fact(e.PlanningFailed(**self.envelope("planning-failed"), code=code, **fields))

    def output(
        self, node: str, output: Json = None, item: Item = (), attempt: int = 1, **fields: Any
    ) -> list[c.Command]:
        made = {**self.envelope("tool-output", node, item, attempt), **self._call(node), "output": output, **fields}
        return self.fact(e.ToolOutput(**made))

    def error(
        self, node: str, code: str = "TOOL_EXECUTION_FAILED", item: Item = (), attempt: int = 1, **error: Json
    ) -> list[c.Command]:
        made = {"code": code, "message": "it broke", **error}
        return self.fact(
            e.ToolError(**self.envelope("tool-error", node, item, attempt), **self._call(node), error=made)
        )

    def start(self, node: str, claim: str, item: Item = (), attempt: int = 1) -> list[c.Command]:
        fields = {**self.envelope("tool-start", node, item, attempt, claim), "claim": claim}
        return self.fact(
            e.ToolStart(**fields, tool_id=self._tool(node), inputs_digest="sha256:0", lease=stamp(self.now))
        )

    def lost(self, node: str, claim: str, item: Item = (), attempt: int = 1) -> list[c.Command]:
        return self.fact(e.ToolLost(**{**self.envelope("tool-lost", node, item, attempt, claim), "claim": claim}))

    def refused(self, node: str, reason: str, item: Item = (), attempt: int = 1) -> list[c.Command]:
        fields = self.envelope("tool-refused", node, item, attempt)
        return self.fact(e.ToolRefused(**fields, tool_id=self._tool(node), reason=reason))

    def timer(self, name: str, kind: str | None = None, *, at_due: bool = True) -> list[c.Command]:
        """The timer of that name fires, at its moment unless said otherwise."""
        known = self.state.timers.get(name)
        if known is not None and at_due:
            self.now = max(self.now, known.due_ms)
        kind = kind or (known.kind if known is not None else "retry")
        fields = self.envelope("timer-fired", None, (), None, name)
        return self.fact(e.TimerFired(**fields, timer=name, kind=kind))

    def next_timer(self) -> list[c.Command]:
        """The timer that is due next fires."""
        return self.timer(min(self.state.timers, key=lambda name: self.state.timers[name].due_ms))

    def control(self, kind: str, serial: object = 1, **fields: Any) -> list[c.Command]:
        kinds = {
            "cancel": e.CancelRequested,
            "pause": e.PauseRequested,
            "resume": e.ResumeRequested,
            "resolve": e.StepResolved,
        }
        node, item = fields.pop("node", None), fields.pop("item", ())
        return self.fact(kinds[kind](**self.envelope(kind, node, item, None, serial), **fields))

    def passes(self, ms: float) -> None:
        """The next fact comes that much later."""
        self.now += ms

    def _tool(self, node: str) -> str:
        program = self.state.program
        known = program.steps.get(node) if program is not None else None
        return str(known.node.tool_id) if known is not None and known.kind == "tool" else "work"

    def _call(self, node: str) -> dict[str, Any]:
        return {
            "tool_id": self._tool(node),
            "inputs_digest": "sha256:0",
            "started_at": stamp(self.now),
            "execution_time": 1.0,
        }

    # --- what came of it --------------------------------------------------------------------------------------------

    def asked_for(self, kind: type[CommandT]) -> list[CommandT]:
        """Commands of a kind that the last fact led to."""
        return [command for command in self.asked if isinstance(command, kind)]

    @property
    def dispatched(self) -> list[tuple[str, Item, int]]:
        """(node, item, attempt) of the steps that the last fact set going."""
        return [(one.node_id, one.item, one.attempt) for one in self.asked_for(c.Dispatch)]

    @property
    def cancelled(self) -> list[tuple[str, Item]]:
        return [(one.node_id, one.item) for one in self.asked_for(c.CancelStep)]

    def dispatch(self, node: str) -> c.Dispatch:
        """The command that the last fact gave for a node."""
        return next(one for one in self.asked_for(c.Dispatch) if one.node_id == node)

    def told(self, kind: str, *, ever: bool = False) -> list[Event]:
        """Announcements of a type that the last fact led to, or any fact (``ever``)."""
        commands = self.all if ever else self.asked
        events = (command.event for command in commands if isinstance(command, c.Announce))
        return [event for event in events if event.type == kind]

    @property
    def phases(self) -> dict[str, str]:
        return dict(self.state.top.phases)

    @property
    def result(self) -> dict[str, Any]:
        assert self.state.result is not None, f"the run has not ended: {self.state.public_status}"
        return self.state.result

    @property
    def ended(self) -> str | None:
        return self.state.end

    @property
    def digest(self) -> str:
        """Of the whole state."""
        return digest(self.state.to_json())

    def again(self) -> Given:
        """The same facts, folded from the beginning."""
        made = Given(run_id=self.run_id, planned=False)
        made.plan, made.now, made.values = self.plan, self.now, dict(self.values)
        for record in self.facts:
            made.facts.append(record)
            made.asked = apply(made.state, decode_event(record), made.values)
            made.all += made.asked
        return made
