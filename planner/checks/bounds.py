"""Limits that are known before the run: literal lists and counts, waits without an end, the certificate's cap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...tools.spec import ToolSpec
from ...values import Json, duration_ms, parse_time, whole_number
from .. import ir
from ..certificate import MAX_NODE_EXECUTIONS, bound, executions, multiplicities
from ..options import Options
from ..scope import Layout
from ..types import Type, describe, of_value, possible
from .findings import Findings, Path
from .sources import Reader


def check_bounds(
    layout: Layout, paths: Mapping[str, Path], typed: Mapping[Path, Type], reader: Reader, found: Findings
) -> None:
    """BOUND_EXCEEDED for literals over their limit, UNBOUNDED_LOOP for a wait without an end, and literals or types
    with which a node is certain to fail. ``typed``: path of a referring string -> the type of what it gives."""
    rules = _Bounds(typed, reader, found)
    for node_id, place in layout.places.items():
        node, path = place.node, paths[node_id]
        if isinstance(node, ir.Collection):
            rules.collection(node, path)
        elif isinstance(node, ir.TimesNode):
            rules.times(node, path)
        elif isinstance(node, ir.WaitNode):
            rules.wait(node, path)


@dataclass(frozen=True, slots=True, eq=False)
class _Bounds:
    typed: Mapping[Path, Type]
    reader: Reader
    found: Findings

    def collection(self, node: ir.Collection, path: Path) -> None:
        over, path = node.over, (*path, "over")
        if isinstance(over, list):
            if len(over) > node.max_items:
                self._over(path, f"{node.id!r} lists {len(over)} items", "maxItems", len(over), node.max_items)
            return
        kind = self._kind(over, path)
        if kind is not None and "list" not in possible(kind):
            self.found.error(
                "NOT_A_COLLECTION",
                path,
                f"{node.id!r} needs a list to go over, and this is {describe(kind)}",
                'Refer to a list, such as "$input.items".',
                expected="a list",
                actual=describe(kind),
            )

    def times(self, node: ir.TimesNode, path: Path) -> None:
        literal = whole_number(node.times)
        path = (*path, "times")
        if literal is None:
            self._must_be("number", node.times, path, "a whole number ≥ 0", ok=False)
        elif node.max_iterations is not None and literal > node.max_iterations:
            self._over(path, f"{node.id!r} runs {literal} times", "maxIterations", literal, node.max_iterations)

    def wait(self, node: ir.WaitNode, path: Path) -> None:
        if node.until is not None:
            ok = parse_time(node.until) is not None
            self._must_be("string", node.until, (*path, "until"), "a time such as 2024-01-15T10:30:00Z", ok=ok)
        if node.duration is None:
            return
        path = (*path, "duration")
        literal = not (isinstance(node.duration, str) and self.reader.refers(node.duration))
        if literal and duration_ms(node.duration) is None:
            self._must_be("number", node.duration, path, 'milliseconds ≥ 0, or a text such as "30s"', ok=False)
        elif not literal and node.timeout is None:
            self.found.error(
                "UNBOUNDED_LOOP",
                path,
                f"{node.id!r} waits for a time that is known only when it runs, without a limit",
                'Give the node a timeout, for example "timeout": 3600000.',
            )

    def _must_be(self, kind: str, value: Json, path: Path, expected: str, *, ok: bool) -> None:
        """A literal that is not ``ok``, or a reference to another kind of value, cannot be meant."""
        known = self._kind(value, path)
        refers = isinstance(value, str) and self.reader.refers(value)
        if known is None or (refers and kind in possible(known)) or (not refers and ok):
            return
        shown = describe(known) if refers else repr(value)[:60]
        message = f"{shown} is not {expected}"
        self.found.error("INPUT_TYPE_MISMATCH", path, message, expected=expected, actual=describe(known))

    def _kind(self, value: Json, path: Path) -> Type | None:
        """What is known of a field's value; None where its text is wrong, which is reported elsewhere."""
        if isinstance(value, str) and self.reader.refers(value):
            return self.typed.get(path)
        return of_value(value)

    def _over(self, path: Path, what: str, limit: str, actual: int, most: int) -> None:
        self.found.error(
            "BOUND_EXCEEDED",
            path,
            f"{what}; its {limit} allows {most}",
            f"Set {limit} to {actual}.",
            expected=most,
            actual=actual,
        )


_MOST_NAMED: Final = 5
"""Bounds that a message names, the largest first."""


def check_size(
    layout: Layout, paths: Mapping[str, Path], tools: Mapping[str, ToolSpec], options: Options, found: Findings
) -> None:
    """BOUND_EXCEEDED where all nodes together could run more than 10 000 000 times, naming what to lower."""
    runs = executions(layout, tools, options)
    total = sum(runs.values())
    if total <= MAX_NODE_EXECUTIONS:
        return
    worst = max(runs, key=lambda node_id: runs[node_id])
    around = sorted(_item_owners(layout, worst), key=lambda owner: -owner[2])[:_MOST_NAMED]
    factors = [f"{name} of {node_id!r} ({count})" for node_id, name, count in around]
    tries = runs[worst] // max(multiplicities(layout)[worst], 1)
    if tries > 1:
        factors.append(f"maxAttempts of {worst!r} ({tries})")
    at = around[0] if around else None
    found.error(
        "BOUND_EXCEEDED",
        (*paths[at[0]], at[1]) if at is not None else paths[worst],
        f"the plan could run {_figure(total)} nodes, more than {MAX_NODE_EXECUTIONS}; most often {worst!r}: "
        f"{' × '.join(factors) or 'every node counts'}",
        f"Lower {' or '.join(factor.partition(' (')[0] for factor in factors)}." if factors else "",
        expected=MAX_NODE_EXECUTIONS,
        actual=min(total, 2**53 - 1),
    )


def _figure(count: int) -> str:
    return str(count) if count < 10**15 else f"over 10^{len(str(count)) - 1}"


def _item_owners(layout: Layout, node_id: str) -> list[tuple[str, str, int]]:
    """(id, name of the limit, its value) of the item bodies around a node, outermost first."""
    made = []
    for owner, key in layout.owners(node_id):
        if key == "body" and isinstance(owner.node, ir.ITEM_BODY_OWNERS):
            name = "maxItems" if isinstance(owner.node, ir.Collection) else "maxIterations"
            name = "over" if isinstance(owner.node, ir.Collection) and isinstance(owner.node.over, list) else name
            name = "times" if isinstance(owner.node, ir.TimesNode) and whole_number(owner.node.times) else name
            made.append((owner.node.id, name, bound(owner.node)))
    return made[::-1]
