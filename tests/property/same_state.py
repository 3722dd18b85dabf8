"""Whether two states of a run are the same in everything: values and their types, orders, and who holds whom."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any

from dynamicflow.planner.options import Options
from dynamicflow.streams.core.fold import claimed, outstanding
from dynamicflow.streams.core.program import Program, Step
from dynamicflow.streams.core.snapshot import from_snapshot, to_snapshot
from dynamicflow.streams.core.state import Frame, Live, RunState, step_key
from dynamicflow.values import digest
from tests.spec.given import Given

DERIVED = {"retries"}
"""Attributes that a state works out again."""


def restored(state: RunState) -> RunState:
    """The state through its snapshot and that through JSON text; AssertionError when it is not the same."""
    made = from_snapshot(json.loads(json.dumps(to_snapshot(state))))
    assert digest(made.to_json()) == digest(state.to_json())
    assert difference(state, made) is None
    assert repr(outstanding(made)) == repr(outstanding(state))
    assert [step_key(live) for live in claimed(made)] == [step_key(live) for live in claimed(state)]
    assert made.public_status == state.public_status
    return made


def reloaded(run: Given) -> Given:
    """The run goes on from a snapshot of its state."""
    run.state = restored(run.state)
    return run


def difference(one: RunState, other: RunState) -> str | None:
    """Where two states differ first; None when nothing could tell them apart."""
    try:
        _Pairs().same(one, other, "state")
    except _Differ as found:
        return str(found)
    return None


class _Differ(Exception):
    """where: what and what"""


class _Pairs:
    """Walks two graphs of objects side by side. Every dataclass field counts, so a new one cannot be forgotten."""

    def __init__(self) -> None:
        self.met: dict[int, Any] = {}

    def same(self, one: Any, other: Any, where: str) -> None:
        if type(one) is not type(other):
            raise _Differ(f"{where}: {one!r} and {other!r}")
        if isinstance(one, Step):
            self._equal(one.id, other.id, f"{where}, which of them")
        elif isinstance(one, Program):
            self._equal(one.hash, other.hash, where)
        elif is_dataclass(one):
            self._fields(one, other, where)
        elif isinstance(one, dict):
            self._equal(list(one), list(other), f"{where}, keys")
            for key in one:
                self.same(one[key], other[key], f"{where}.{key}")
        elif isinstance(one, list | tuple | deque):
            self._equal(len(one), len(other), f"{where}, length")
            for index, (mine, its) in enumerate(zip(one, other, strict=True)):
                self.same(mine, its, f"{where}[{index}]")
        elif isinstance(one, set | Options):
            self._equal(one, other, where)
        else:
            self._equal(repr(one), repr(other), where)

    def _fields(self, one: Any, other: Any, where: str) -> None:
        if isinstance(one, Frame | Live):
            known, known_too = self.met.get(id(one)), self.met.get(id(other))
            if known is not None or known_too is not None:
                self._equal(known is other and known_too is one, True, f"{where}, which of them")
                return
            self.met[id(one)], self.met[id(other)] = other, one
        for field in fields(one):
            if field.name in DERIVED:
                continue
            mine, its = getattr(one, field.name), getattr(other, field.name)
            if isinstance(one, RunState) and field.name == "ready":
                mine, its = ([live for live in queue if live.status == "queued"] for queue in (mine, its))
            self.same(mine, its, f"{where}.{field.name}")

    @staticmethod
    def _equal(one: object, other: object, where: str) -> None:
        if one != other:
            raise _Differ(f"{where}: {one!r} and {other!r}")
