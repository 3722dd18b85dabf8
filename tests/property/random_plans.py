"""Random plans in canonical form, valid by construction, from a seed. Small: thousands of schedules are played."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from dynamicflow.values import Json


@dataclass
class Maker:
    """Makes one plan. ``certain``: nothing fails and nothing races, so every schedule has the same result."""

    seed: int
    certain: bool = True
    random: random.Random = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def plan(self) -> dict[str, Json]:
        nodes: list[dict[str, Json]] = []
        edges: list[dict[str, Json]] = []
        for _ in range(self.random.randint(2, 6)):
            node = self.node([one["id"] for one in nodes], 0, {"input"})
            if nodes and self.random.random() < 0.5:
                edge: dict[str, Json] = {"from": self.random.choice(nodes)["id"], "to": node["id"]}
                if self.random.random() < 0.5:
                    edge["condition"] = self.condition([edge["from"]], {"input"})
                edges.append(edge)
            nodes.append(node)
        made: dict[str, Json] = {"version": "1.0", "nodes": nodes}
        if edges:
            made["edges"] = edges
        if self.random.random() < 0.5:
            made["output"] = {one["id"]: f"${one['id']}" for one in nodes}
        return made

    # --- values -----------------------------------------------------------------------------------------------------

    def ref(self, seen: list[str], scope: set[str]) -> str:
        names = seen + sorted(scope - {"input"})
        if names and self.random.random() < 0.8:
            return f"${self.random.choice(names)}"
        return "$input.n"

    def template(self, seen: list[str], scope: set[str]) -> Json:
        match self.random.randint(0, 4):
            case 0:
                return self.random.randint(0, 9)
            case 1:
                return {"a": self.ref(seen, scope), "b": [1, self.ref(seen, scope)]}
            case 2:
                return f"text ${{typeOf({self.ref(seen, scope)})}}"
            case _:
                return self.ref(seen, scope)

    def condition(self, seen: list[str], scope: set[str]) -> str:
        ref = self.ref(seen, scope)
        return self.random.choice(
            [
                f"typeOf({ref}) == 'object'",
                f"string({ref}) == '3'",
                f"!({ref})",
                f"length(string({ref})) > 3",
                f"{ref} in [1, 2, null]",
            ]
        )

    def items(self) -> Json:
        return self.random.choice([[], [1], [3, 1, 2], "$input.list"])

    # --- nodes ------------------------------------------------------------------------------------------------------

    def body(self, seen: list[str], depth: int, scope: set[str], most: int = 2) -> list[Json]:
        made: list[Json] = []
        inner = list(seen)
        for _ in range(self.random.randint(1, most)):
            made.append(self.node(inner, depth + 1, scope))
            inner.append(made[-1]["id"])
        return made

    def node(self, seen: list[str], depth: int, scope: set[str]) -> dict[str, Json]:
        kinds = ["tool", "tool", "value"]
        if depth < 3:
            kinds += [
                "conditional",
                "switch",
                "sequence",
                "parallel",
                "map",
                "filter",
                "flatMap",
                "reduce",
                "for",
                "times",
            ]
            kinds += ["while", "wait"]
        kind = self.random.choice(kinds)
        node: dict[str, Any] = {"id": self.name(), "type": "loop" if kind in ("for", "times", "while") else kind}
        getattr(self, f"_{kind}")(node, seen, depth, scope)
        if not self.certain and self.random.random() < 0.25:
            node["onError"] = self.random.choice(["continue", {"value": {"e": "$error.code"}}])
        return node

    def _tool(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        tools = ["echo"] if self.certain else ["echo", "echo", "flaky", "broken"]
        node |= {"toolId": self.random.choice(tools), "inputs": {"x": self.template(seen, scope), "id": node["id"]}}
        if not self.certain and self.random.random() < 0.5:
            node["retry"] = {"maxAttempts": self.random.randint(2, 3)}

    def _value(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node["value"] = self.template(seen, scope)

    def _conditional(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node["condition"] = self.condition(seen, scope)
        node["ifTrue"] = self.body(seen, depth, scope)
        if self.random.random() < 0.6:
            node["ifFalse"] = self.body(seen, depth, scope)

    def _switch(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node["on"] = f"typeOf({self.ref(seen, scope)})"
        node["cases"] = {name: self.body(seen, depth, scope) for name in ("number", "object")}
        node["default"] = self.body(seen, depth, scope)

    def _sequence(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node["body"] = self.body(seen, depth, scope, 3)

    def _parallel(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        strategies = ["all", "settled"] if self.certain else ["all", "settled", "race", "any"]
        branches = [self.body(seen, depth, scope) for _ in range(self.random.randint(1, 3))]
        node["branches"] = branches if self.random.random() < 0.6 else {f"b{i}": one for i, one in enumerate(branches)}
        strategy = self.random.choice(strategies)
        if strategy != "all":
            node["joinStrategy"] = strategy
        if self.random.random() < 0.4:
            node["concurrency"] = self.random.randint(1, 2)

    def _each(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node |= {"over": self.items(), "maxItems": 8}
        if self.random.random() < 0.4:
            node["as"] = f"it{self.count}"
        inside = scope | {"item", "index"} | ({node["as"]} if "as" in node else set())
        node["body"] = self.body(seen, depth, inside)

    def _map(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        self._each(node, seen, depth, scope)
        if self.random.random() < 0.5:
            node["concurrency"] = self.random.randint(1, 3)

    def _flatMap(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        self._map(node, seen, depth, scope)
        last = node["body"][-1]["id"]
        node["body"].append({"id": self.name(), "type": "value", "value": [f"${last}", "$index"]})

    def _filter(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node |= {"over": self.items(), "maxItems": 8}
        node["condition"] = self.random.choice(["$item > 1", "$index == 0", "$item in [1, 3]"])
        if self.random.random() < 0.5:
            node["body"] = self.body(seen, depth, scope | {"item", "index"})

    def _reduce(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node |= {"over": self.items(), "maxItems": 8, "initial": 0}
        node["body"] = self.body(seen, depth, scope | {"item", "index", "acc"})

    def _for(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node |= {"loop": "for", "over": self.items(), "maxItems": 8}
        node["body"] = self.body(seen, depth, scope | {"item", "index", "last"})

    def _times(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node |= {"loop": "times", "times": self.random.randint(0, 3)}
        node["body"] = self.body(seen, depth, scope | {"index", "last"})

    def _while(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node |= {"loop": "while", "condition": f"$index < {self.random.randint(0, 3)}", "maxIterations": 8}
        node["body"] = self.body(seen, depth, scope | {"index", "last"})

    def _wait(self, node: dict[str, Any], seen: list[str], depth: int, scope: set[str]) -> None:
        node["duration"] = self.random.choice([0, 5, 60_000])


def random_plan(seed: int, *, certain: bool = True) -> dict[str, Json]:
    """The plan of a seed."""
    return Maker(seed, certain).plan()
