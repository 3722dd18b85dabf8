"""A run as it goes on, for people: a live tree in a terminal, plain lines elsewhere. Both on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from ...planner import ir
from ...values import Json, parse_time
from ..core.state import RunState
from .following import Seen
from .output import err, one_line

if TYPE_CHECKING:
    from rich.live import Live
    from rich.tree import Tree

_MARKS: Final = {
    "waiting": ("·", "dim"),
    "running": ("▶", "bold cyan"),
    "retrying": ("↻", "yellow"),
    "completed": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("-", "dim"),
}
_BAR: Final = 24
_TOLD: Final = frozenset({"completed", "failed", "skipped", "retrying"})
"""What a plain line is printed for."""


@dataclass(slots=True)
class StepView:
    """One node outside item bodies, as far as it has come."""

    id: str
    kind: str
    children: list[StepView] = field(default_factory=list)
    status: str = "waiting"
    began: str | None = None
    ended: str | None = None
    said: str = ""
    items: int = 0
    """Items done, of a collection."""
    of: int | None = None
    """Items in all, once known."""
    last: str | None = None
    """The last node of its item body: one item is done when it is."""

    @property
    def took(self) -> str:
        """Its duration, in words."""
        return between(self.began, self.ended)


def between(began: str | None, ended: str | None) -> str:
    """The time from one timestamp to another: ``3 ms``, ``1.20 s``, ``2 min 3 s``."""
    start, end = parse_time(began), parse_time(ended)
    return "" if start is None or end is None else duration_text((end - start).total_seconds() * 1000)


def duration_text(ms: float) -> str:
    """Milliseconds for people."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


class Board:
    """The steps of a plan and how far each has come. Fed with the events of a run, in order."""

    def __init__(self) -> None:
        self.steps: dict[str, StepView] = {}
        self.top: list[StepView] = []
        self.title = ""
        self._item_ends: dict[str, StepView] = {}

    def feed(self, seen: Seen, state: RunState) -> StepView | None:
        """Take in one event; the step that moved."""
        event = seen.event
        if event.type == "plan-published" and state.program is not None:
            self._lay_out(state.program.plan)
        elif event.type == "flow-requested":
            self.title = "planning" if "prompt" in event["request"] else ""
        node = event.node_id
        if node is None:
            return None
        if event.item:
            return self._item_moved(seen)
        step = self.steps.get(node)
        return self._moved(step, seen) if step is not None else None

    def _lay_out(self, plan: ir.Plan) -> None:
        self.title = one_line(plan.metadata.name)
        self.top = [self._place(node) for node in plan.nodes]

    def _place(self, node: ir.Node) -> StepView:
        made = StepView(node.id, node.tool_id if isinstance(node, ir.ToolNode) else node.type)
        self.steps[node.id] = made
        for key, body in ir.bodies(node):
            if isinstance(node, ir.ITEM_BODY_OWNERS) and key == "body":
                made.last = body[-1].id if body else None
                if made.last:
                    self._item_ends[made.last] = made
            else:
                made.children += [self._place(inner) for inner in body]
        return made

    def _item_moved(self, seen: Seen) -> StepView | None:
        owner = self._item_ends.get(seen.event.node_id or "")
        if owner is not None and seen.event.type == "node-complete" and len(seen.event.item or ()) == 1:
            owner.items += 1
            return owner
        return None

    def _moved(self, step: StepView, seen: Seen) -> StepView | None:
        event = seen.event
        match event.type:
            case "node-start":
                step.status, step.began = "running", event.timestamp
                step.of = seen.items
            case "node-retry":
                step.status, step.said = "retrying", f"attempt {event['attempt'] or '?'} follows"
            case "tool-start":
                step.status = "running"
            case "node-complete":
                step.status, step.ended, step.said = "completed", event.timestamp, ""
                _leave_out(step)
            case "node-skipped":
                step.status, step.said = "skipped", str(event["reason"])
            case "node-error":
                step.status, step.ended, step.said = "failed", event.timestamp, _error_text(event["error"])
            case _:
                return None
        return step


def _leave_out(owner: StepView) -> None:
    """What its owner did not take stays as it is: skipped."""
    for child in owner.children:
        if child.status == "waiting":
            child.status = "skipped"
        _leave_out(child)


def _error_text(error: Json) -> str:
    return f"{error.get('code')}: {error.get('message')}" if isinstance(error, dict) else ""


class View(Protocol):
    """Shows events as they come."""

    def show(self, seen: Sequence[Seen], state: RunState) -> None:
        """Take in what has happened."""

    def close(self) -> None:
        """Leave the last picture standing. Again is harmless."""


def view_for_people() -> View:
    """The live tree where standard error is a terminal, else plain lines."""
    return LiveView() if err().is_terminal else PlainView()


class PlainView:
    """One line for every step that ends."""

    def __init__(self) -> None:
        self._board = Board()
        self._title = ""

    def show(self, seen: Sequence[Seen], state: RunState) -> None:
        for one in seen:
            step = self._board.feed(one, state)
            if self._board.title != self._title:
                self._title = self._board.title
                err().print(self._title, markup=False)
            if step is not None and one.event.item is None and step.status in _TOLD:
                err().print(f"  {_line(step)}", markup=False)

    def close(self) -> None:
        return None


class LiveView:
    """The plan as a tree that fills."""

    def __init__(self) -> None:
        from rich.live import Live

        self._board = Board()
        self._live: Live | None = Live(console=err(), get_renderable=self._tree, refresh_per_second=8, transient=False)

    def show(self, seen: Sequence[Seen], state: RunState) -> None:
        if self._live is not None and not self._live.is_started:
            self._live.start()
        for one in seen:
            self._board.feed(one, state)

    def close(self) -> None:
        if self._live is not None and self._live.is_started:
            self._live.refresh()
            self._live.stop()
        self._live = None

    def _tree(self) -> Tree:
        from rich.text import Text
        from rich.tree import Tree

        tree = Tree(Text(self._board.title or "…", style="bold"))
        for step in list(self._board.top):
            self._branch(tree, step)
        return tree

    def _branch(self, tree: Tree, step: StepView) -> None:
        from rich.text import Text

        branch = tree.add(Text(_line(step), style=_MARKS[step.status][1]))
        for child in step.children:
            self._branch(branch, child)


def _line(step: StepView) -> str:
    return one_line("  ".join(part for part in _parts(step) if part))


def _parts(step: StepView) -> Iterator[str]:
    yield f"{_MARKS[step.status][0]} {step.id}"
    if step.kind != step.id:
        yield step.kind
    if step.of is not None or step.items:
        yield _bar(step.items, step.of)
    yield step.took
    yield step.said


def _bar(done: int, of: int | None) -> str:
    if not of:
        return f"{done} items"
    full = min(_BAR, done * _BAR // of)
    return f"{'━' * full}{'╌' * (_BAR - full)} {done}/{of}"
