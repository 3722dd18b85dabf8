"""Requests and what must come of them, worked out by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dynamicflow.values import Json
from tests.faults_kafka.diary import Place


@dataclass(frozen=True)
class Case:
    """A request, and what must come of it."""

    run_id: str
    request: dict[str, Json]
    output: Json
    steps: frozenset[Place]
    """Every step that is called."""
    uncertain: Json = None
    """Its output when the step that must not run twice was lost with its executor; None: it has no such step."""
    status: str = "completed"


def _step(name: str, tool: str, n: str, ms: str = "$input.ms", **more: Json) -> dict[str, Json]:
    return {"id": name, "type": "tool", "toolId": tool, "inputs": {"n": n, "ms": ms}, **more}


def _plan(*nodes: dict[str, Json]) -> dict[str, Json]:
    return {"version": "1.0", "nodes": list(nodes)}


CHAIN: Final = _plan(_step("a", "work", "$input.n"), _step("b", "work_on_a_thread", "$a.n"), _step("c", "work", "$b.n"))
PAY: Final = _plan(
    _step("a", "work", "$input.n"),
    _step("pay", "charge", "$a.n", onError={"value": {"n": -1}}),
    _step("z", "work", "$pay.n"),
)
FAN: Final = _plan(
    {
        "id": "m",
        "type": "map",
        "over": "$input.list",
        "as": "item",
        "concurrency": 3,
        "maxItems": 10,
        "body": [_step("each", "work", "$item")],
    }
)


def one(tool: str, **more: Json) -> dict[str, Json]:
    """A plan of one step ``t``."""
    return _plan(_step("t", tool, "$input.n", **more))


def _case(run_id: str, plan: dict[str, Json], given: Json, output: Json, *nodes: str, uncertain: Json = None) -> Case:
    request: dict[str, Json] = {"type": "start", "runId": run_id, "plan": plan, "input": given}
    return Case(run_id, request, output, frozenset((run_id, node, ()) for node in nodes), uncertain)


def chain(run_id: str, n: int, ms: int) -> Case:
    """Three steps, one after the other: each counts one up."""
    return _case(run_id, CHAIN, {"n": n, "ms": ms}, {"n": n + 3}, "a", "b", "c")


def pay(run_id: str, n: int, ms: int) -> Case:
    """The second of three steps must not run twice; lost, its node's output is -1, and the third makes 0 of it."""
    return _case(run_id, PAY, {"n": n, "ms": ms}, {"n": n + 3}, "a", "pay", "z", uncertain={"n": 0})


def fan(run_id: str, n: int, ms: int) -> Case:
    """Three items, each counted one up."""
    items = [n, n + 10, n + 20]
    request: dict[str, Json] = {"type": "start", "runId": run_id, "plan": FAN, "input": {"list": [*items], "ms": ms}}
    output: list[Json] = [{"n": item + 1} for item in items]
    return Case(run_id, request, output, frozenset((run_id, "each", (index,)) for index in range(3)))


def of_request(run_id: str, n: int, ms: int) -> tuple[Case, bytes]:
    """A run whose request names no id, and the request."""
    case = chain(run_id, n, ms)
    return case, json.dumps({key: value for key, value in case.request.items() if key != "runId"}).encode()


def prompt(run_id: str, n: int, ms: int) -> Case:
    """The offline planner chooses the one tool that doubles."""
    request: dict[str, Json] = {"type": "start", "runId": run_id, "prompt": "Double the number", "input": {"number": n}}
    return Case(run_id, request, {"doubled": n * 2}, frozenset({(run_id, "double_number", ())}))


def single(run_id: str, tool: str, n: int, ms: int, **more: Json) -> Case:
    """One step that counts one up."""
    uncertain: Json = {"n": -1} if "onError" in more else None
    return _case(run_id, one(tool, **more), {"n": n, "ms": ms}, {"n": n + 1}, "t", uncertain=uncertain)


def slow(run_id: str, n: int, ms: int, *, cycles: int, wait_ms: int) -> Case:
    """Long steps with a wait before each of them, so many times."""
    nodes: list[dict[str, Json]] = []
    edges: list[Json] = []
    for index in range(cycles):
        before = f"$s{index - 1}.n" if index else "$input.n"
        nodes += [{"id": f"w{index}", "type": "wait", "duration": wait_ms}, _step(f"s{index}", "work", before)]
        edges.append({"from": f"w{index}", "to": f"s{index}"})
        if index:
            edges.append({"from": f"s{index - 1}", "to": f"w{index}"})
    plan = _plan(*nodes) | {"edges": edges}
    return _case(run_id, plan, {"n": n, "ms": ms}, {"n": n + cycles}, *(f"s{index}" for index in range(cycles)))


Make = Callable[[str, int, int], Case]
PLANNED: Final[tuple[Make, ...]] = (chain, pay, fan)


def mixed(rng: random.Random, name: str, count: int, kinds: tuple[Make, ...] = PLANNED) -> Iterator[Case]:
    """So many runs of each kind in turn, their numbers and times drawn."""
    for index in range(count):
        make = kinds[index % len(kinds)]
        yield make(f"{name}-{index}", rng.randrange(1000), rng.choice((0, 5, 20, 80, 300)))
