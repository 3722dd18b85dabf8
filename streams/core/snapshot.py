"""A run's state as JSON, and back: what a new owner of a long run folds on from (design §6). Pure, like the fold.

Both ways give a state that goes on as the other would: the same commands in the same order, the same states. So the
order of keys counts; write a snapshot with ``values.encode``, not in the canonical form, which sorts them.

    v, semantics           form of the snapshot; rules of the fold
    plan, planHash         the canonical plan
    request, input, about  places: all that was asked for; about is what ``$run`` reads
    frames                 the top and each item under way, parents first: {scope, path, outputs, errors, phases, live}
    ready, inFlight        [node, path], in the order of the queue and of the dispatches
    values                 every list, object and long text, once each

A *place* is a short scalar as it is, else ``[3]`` or ``[3, "field"]``: which of ``values``, or which of its fields. An
object in memory that several hold (a node's output that its owner hands on, the list that a map runs over) is in
``values`` once. What is shared deeper inside is written as often as it is held: a filter's output repeats the items
that it kept, and two values that hold a third both hold it.

What follows from the rest is left out: options (of the request), retries, variables (of the plan), an item's ``item``,
``acc`` and ``last`` (its owner's), and steps in the queue that have ended meanwhile.

Taken between two facts, never within a turn. The work is for the places and the entries of frames, not for what is in
the values; these are not copied, and nobody changes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

from ...planner.ir import Plan
from ...planner.options import Options
from ...values import Json
from .events import SEMANTICS
from .fold import CannotFold
from .program import Program, program_of
from .state import Frame, Live, Path, RunState, RunValues, Timer, step_key

FORM: Final = 1
"""Of a snapshot (``v``)."""

_SHORT: Final = 100
"""Characters of a text that is not worth a place of its own."""

_OF_THE_RUN: Final = {
    "runId": "run_id",
    "rootRunId": "root_run_id",
    "tenant": "tenant",
    "seq": "seq",
    "late": "late",
    "status": "status",
    "end": "end",
    "paused": "paused",
    "parked": "parked",
    "openNodes": "open_nodes",
    "startedAt": "started_at",
    "stepsDone": "steps_done",
    "tokens": "tokens",
}
"""Name in a snapshot -> attribute of the state: scalars."""
_OF_A_NODE: Final = {
    "status": "status",
    "attempt": "attempt",
    "delivery": "delivery",
    "starts": "starts",
    "claim": "claim",
    "inputsDigest": "inputs_digest",
    "timer": "timer",
    "cause": "cause",
    "body": "body",
    "next": "next",
    "total": "total",
}
"""The same of a node under way; what it has from the beginning is left out."""
_AT_FIRST: Final = {field.name: field.default for field in fields(Live)}


def to_snapshot(state: RunState) -> dict[str, Json]:
    """Everything that folding on needs. It stays as it is when the run goes on."""
    values = _Values()
    put = values.put
    program = state.program
    return {
        "v": FORM,
        "semantics": SEMANTICS,
        **{name: getattr(state, attribute) for name, attribute in _OF_THE_RUN.items()},
        "planHash": program.hash if program is not None else None,
        "plan": program.plan.to_json() if program is not None else None,
        "policies": state.policies,
        "joined": state.joined,
        "tools": state.tools,
        "request": put(state.request),
        "input": put(state.values.input),
        "about": _each(values, state.values.about),
        "frames": [_frame(values, frame) for frame in state.frames.values()],
        "waits": dict(state.waits),
        "edges": list(state.edges),
        "edgeWaits": {str(index): left for index, left in state.edge_waits.items()},
        "poisoned": sorted(state.poisoned),
        "ready": [_at(step_key(live)) for live in state.ready if live.status == "queued"],
        "inFlight": [_at(key) for key in state.in_flight],
        "timers": {
            name: [timer.kind, timer.due_ms, timer.node_id, list(timer.item)] for name, timer in state.timers.items()
        },
        "toolsUsed": list(state.tools_used),
        "controls": list(state.controls),
        "firstError": put(state.first_error),
        "result": _result(values, state.result),
        "values": values.all,
    }


def from_snapshot(made: Mapping[str, Json]) -> RunState:
    """The state that a snapshot was taken of. One snapshot may be read more than once.

    Raises CannotFold for a newer form or newer semantics, a plan that cannot be read, and what is no whole snapshot.
    """
    whose = f"the snapshot of {made.get('runId')}"
    _refuse_newer(whose, "has form", made.get("v"), FORM)
    _refuse_newer(whose, "was made under semantics", made.get("semantics"), SEMANTICS)
    try:
        program = _program(made.get("plan"), made.get("planHash"))
    except ValueError as error:
        raise CannotFold(f"the plan in {whose} cannot be read: {error}") from error
    try:
        return _Reader(made, program).state()
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CannotFold(f"{whose} is damaged, its log can be folded instead ({error!r})") from error


def _refuse_newer(whose: str, what: str, found: Json, known: int) -> None:
    if type(found) is not int or found < 1:
        raise CannotFold(f"{whose} {what} {found!r}, which is none")
    if found > known:
        raise CannotFold(f"{whose} {what} {found}, this version knows {known}: it is for a newer one to read")


def _program(plan: Json, plan_hash: Json) -> Program | None:
    if plan is None and plan_hash is None:
        return None
    found = Plan.model_validate(plan).hash
    if found != plan_hash:  # asked first: what is compiled is kept under the hash it came with
        raise ValueError(f"its hash is {found}, not {plan_hash}")
    return program_of(plan)


# --- writing ------------------------------------------------------------------------------------------------------


class _Values:
    """The values of one snapshot and their places. Told apart by identity: all of them outlive the writing."""

    def __init__(self) -> None:
        self.all: list[Json] = []
        self._places: dict[int, list[int | str]] = {}

    def put(self, value: Json) -> Json:
        """The value's place."""
        if not isinstance(value, list | dict) and not (isinstance(value, str) and len(value) > _SHORT):
            return value
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = [len(self.all)]
            self.all.append(value)
            for key, part in value.items() if isinstance(value, dict) else ():
                if isinstance(part, list | dict):
                    self._places.setdefault(id(part), [*place, key])
        return place


def _each(values: _Values, named: Mapping[Any, Json]) -> dict[str, Json]:
    return {str(name): values.put(value) for name, value in named.items()}


def _at(key: tuple[str, Path]) -> list[Json]:
    node_id, path = key
    return [node_id, list(path)]


def _frame(values: _Values, frame: Frame) -> dict[str, Json]:
    return {
        "scope": frame.scope,
        "path": list(frame.path),
        "outputs": _each(values, frame.outputs),
        "errors": _each(values, frame.errors),
        "phases": dict(frame.phases),
        "live": {name: _live(values, live) for name, live in frame.live.items()},
    }


def _live(values: _Values, live: Live) -> dict[str, Json]:
    found = {name: (getattr(live, attribute), _AT_FIRST[attribute]) for name, attribute in _OF_A_NODE.items()}
    made = {name: value for name, (value, at_first) in found.items() if value != at_first}
    if live.items is not None:
        made["items"] = values.put(live.items)
    if live.results:
        made["results"] = values.put(list(live.results))  # a copy: the fold adds to its own
    if live.acc is not None:
        made["acc"] = values.put(live.acc)
    if live.failures:
        made["failures"] = _each(values, live.failures)
    if live.ended:
        made["ended"] = list(live.ended)
    branches = [index for index, frame in live.active.items() if frame is live.frame]
    if branches:  # items under way have frames, which say whose they are
        made["active"] = branches
    return made


def _result(values: _Values, result: dict[str, Json] | None) -> Json:
    if result is None:
        return None
    places = {"output": values.put(result["output"]), "error": values.put(result["error"])}
    return {**result, **places, "nodes": _each(values, result["nodes"])}


# --- reading ------------------------------------------------------------------------------------------------------


class _Reader:
    """Puts one state together. Containers that the fold changes are made anew."""

    def __init__(self, made: Mapping[str, Json], program: Program | None) -> None:
        self.made, self.program = made, program
        self.run = RunValues(
            input=self._get(made["input"]),
            variables=program.plan.variables if program is not None else {},
            about=self._each(made["about"]),
        )
        self.frames: dict[tuple[str, Path], Frame] = {}

    def state(self) -> RunState:
        made = self.made
        for one in made["frames"]:
            frame = self._frame(one)
            self.frames[frame.scope, frame.path] = frame
        request = self._get(made["request"])
        in_flight = list(self._lives(made["inFlight"]))
        scalars: dict[str, Any] = {attribute: made[name] for name, attribute in _OF_THE_RUN.items()}
        return RunState(
            **scalars,
            request=request,
            options=Options.of(request.get("options")),
            program=self.program,
            policies=made["policies"],
            joined=made["joined"],
            tools=made["tools"],
            values=self.run,
            top=self.frames.get(("", ())) or Frame(RunValues()),
            frames=self.frames,
            waits=dict(made["waits"]),
            edges=list(made["edges"]),
            edge_waits={int(index): left for index, left in made["edgeWaits"].items()},
            poisoned=set(made["poisoned"]),
            ready=deque(self._lives(made["ready"])),
            in_flight={step_key(live): live for live in in_flight},
            timers={
                name: Timer(kind, due_ms, node_id, tuple(item))
                for name, (kind, due_ms, node_id, item) in made["timers"].items()
            },
            tools_used=dict.fromkeys(made["toolsUsed"]),
            controls=dict.fromkeys(made["controls"]),
            first_error=self._get(made["firstError"]),
            result=self._result(made["result"]),
        )

    def _get(self, place: Json) -> Json:
        if not isinstance(place, list):
            return place
        index, *keys = place
        value = self.made["values"][index]
        for key in keys:
            value = value[key]
        return value

    def _each(self, places: Mapping[str, Json]) -> dict[str, Json]:
        return {name: self._get(place) for name, place in places.items()}

    def _frame(self, made: Mapping[str, Json]) -> Frame:
        frame = self._empty(made["scope"], tuple(made["path"]))
        frame.outputs, frame.errors = self._each(made["outputs"]), self._each(made["errors"])
        frame.phases = dict(made["phases"])
        for node_id, live in made["live"].items():
            frame.live[node_id] = self._live(node_id, live, frame)
        return frame

    def _empty(self, scope: str, path: Path) -> Frame:
        if not scope:
            return Frame(self.run if self.program is not None else RunValues())
        index = path[-1]
        parent = self.frames[self._steps[scope].scope, path[:-1]]
        owner = parent.live[scope]
        item = owner.items[index] if owner.items is not None else None
        frame = Frame(self.run, scope, path, parent, item, index, owner.acc, owner.acc)
        owner.active[index] = frame
        return frame

    def _live(self, node_id: str, made: Mapping[str, Json], frame: Frame) -> Live:
        scalars = {attribute: made[name] for name, attribute in _OF_A_NODE.items() if name in made}
        live = Live(self._steps[node_id], frame, **scalars)
        live.items = self._get(made.get("items"))
        live.results = list(self._get(made["results"])) if "results" in made else []
        live.acc = self._get(made.get("acc"))
        live.failures = {int(index): self._get(place) for index, place in made.get("failures", {}).items()}
        live.ended = list(made.get("ended", ()))
        live.active = dict.fromkeys(made.get("active", ()), frame)
        return live

    def _lives(self, places: Iterable[list[Json]]) -> Iterable[Live]:
        for node_id, path in places:
            yield self.frames[self._steps[node_id].scope, tuple(path)].live[node_id]

    def _result(self, made: Json) -> dict[str, Json] | None:
        if made is None:
            return None
        places = {"output": self._get(made["output"]), "error": self._get(made["error"])}
        return {**made, **places, "nodes": self._each(made["nodes"])}

    @property
    def _steps(self) -> Mapping[str, Any]:
        return self.program.steps if self.program is not None else {}
