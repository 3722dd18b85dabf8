"""Processes that are started quickly and waited for with a bound, and what must hold of a journal after any death."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any, Final

from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.events import Event
from dynamicflow.streams.embedded.sqlite import SqliteReader
from dynamicflow.streams.replay import rebuild
from tests.fault.flow_process import NON_IDEMPOTENT, Line, Place

WAIT_S: Final = 30.0
CONTEXT: Final = multiprocessing.get_context("forkserver")
"""Every process is forked from one that has imported everything and started nothing: 30 ms instead of 700."""
Step = tuple[str, str, tuple[int, ...], int]


def process(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """A started process. From one thread only: starting one reaps others that have ended."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # the server does not inherit sys.path
    CONTEXT.set_forkserver_preload(["pytest", "tests.fault.flow_process", "tests.fault.fault_process"])
    made = CONTEXT.Process(target=target, args=arguments, daemon=True)
    made.start()
    return made


def ended(made: ForkServerProcess, within: float = WAIT_S) -> int:
    """The exit code; a process that does not end is killed and fails the test."""
    made.join(within)
    if made.exitcode is None:
        made.kill()
        made.join(within)
        raise AssertionError(f"the process did not end within {within} s")
    return made.exitcode


def run_process(target: Callable[..., None], *arguments: Any) -> int:
    """Start a process and wait for its end."""
    return ended(process(target, *arguments))


KILLED: Final = -signal.SIGKILL


def until(holds: Callable[[], Any], what: str, within: float = WAIT_S) -> Any:
    """Look again and again until it is so."""
    ends = time.monotonic() + within
    while not (value := holds()):
        assert time.monotonic() < ends, f"not within {within} s: {what}"
        time.sleep(0.005)
    return value


def log_of(place: Place) -> dict[str, list[Event]]:
    """Every run's records; empty when there is no journal yet."""
    if not place.journal.exists() or not place.journal.stat().st_size:
        return {}
    with SqliteReader.open(place.journal) as reader:
        rows = reader.runs()
        return {row.run_id: [decode_event(body) for _, body in reader.read(row.run_id)] for row in rows}


def step_of(event: Event) -> Step:
    return event.run_id, event.node_id or "", tuple(event.item or ()), event.attempt or 0


def steps(log: dict[str, list[Event]], *types: str) -> set[Step]:
    """The steps that have an event of these types."""
    return {step_of(event) for events in log.values() for event in events if event.type in types}


def counted(lines: list[Line]) -> Counter[Step]:
    return Counter(line.step for line in lines)


def check_journal(place: Place) -> None:
    """Every run of it has ended, its log rebuilds to its result, no announcement is missing or doubled."""
    log = log_of(place)
    with SqliteReader.open(place.journal) as reader:
        for row in reader.runs():
            made = rebuild(reader, row.run_id, verify=True)
            ids = Counter(event.id for event in log[row.run_id])
            assert not made.problems, f"{[str(problem) for problem in made.problems]} in {list(ids)}"
            assert made.stopped is None, made.stopped
            assert row.status == made.state.end, f"{row} is {made.state.end}"
            assert row.completed_at is not None, row
            doubled = [one for one, times in ids.items() if times > 1]
            assert not doubled, doubled
            assert [event.type for event in log[row.run_id]].count("flow-complete") == 1, list(ids)


def check_executions(place: Place, before: dict[str, list[Event]], noted: list[Line]) -> None:
    """Since a death (``before``: its log, ``noted``: its diary) only what was in flight ran again, under its key."""
    recorded = steps(before, "tool-output", "tool-error")
    first, now = counted(noted), counted(place.lines())
    for step in recorded:
        assert now[step] == first[step], f"{step} was recorded and ran again"
    for line in place.lines():
        assert line.key == f"{line.run}/{line.node}/{'.'.join(map(str, line.item)) or '-'}"
    again = {step for step, times in now.items() if times > first[step] + 1}
    assert not again, f"{again} ran more than once after the death"
    never = {line.step for line in place.lines() if line.tool in NON_IDEMPOTENT}
    assert all(now[step] == 1 for step in never), "what must not run twice did not"


def check_uncertain(place: Place, before: dict[str, list[Event]], noted: list[Line]) -> int:
    """Steps that must not run twice and were in flight are uncertain, and no others; how many there were."""
    held = steps(before, "tool-start") - steps(before, "tool-output", "tool-error", "tool-lost")
    asked = steps(log_of(place), "input-requested") - steps(before, "input-requested")
    assert asked == held, f"{asked} were asked for, {held} were in flight"
    called = {line.step for line in noted if line.tool in NON_IDEMPOTENT}
    assert called <= steps(before, "tool-start"), "a claim is durable before the call"
    return len(asked)
