"""What must hold after any schedule of deaths, freezes and outages, whatever happened. Rules over what was seen; no IO.

- Every accepted request has exactly one result in the compacted view of ``flow-complete``, and it is the right one.
- No step whose outcome is in the log was called after that record.
- A step was called twice only if its process died or stood still while it ran, always under the same key.
- A step that must not run twice was not called twice; it is uncertain only if its process died or stood still.
- The log of each run rebuilds to the same status and output.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.replay import rebuild
from tests.faults_kafka.diary import Call, Place
from tests.faults_kafka.load import Case
from tests.faults_kafka.observer import Seen, by_run

CLOCKS_S: Final = 0.02
"""How far a record's time in the log and a line of the diary may lie apart: a batch is stamped as it arrives."""
NEVER_TWICE: Final = frozenset({"charge"})
OUTCOMES: Final = frozenset({"tool-output", "tool-error"})


@dataclass(frozen=True, slots=True)
class Stint:
    """The life of one worker process, in monotonic seconds."""

    pid: int
    seat: str
    began: float
    died: float | None
    """When it was killed or ended by itself other than asked to; None: it did not."""
    frozen: tuple[tuple[float, float], ...]

    def was_hit(self, since: float, until: float) -> bool:
        """It died or stood still at some time between."""
        died = self.died is not None and since <= self.died <= until
        return died or any(begin <= until and end >= since for begin, end in self.frozen)


@dataclass
class Counts:
    """What was counted."""

    runs: int = 0
    steps: int = 0
    calls: int = 0
    repeated: int = 0
    """Steps that were called again after their process had died."""
    uncertain: int = 0
    held: int = 0
    lost: int = 0
    copies: int = 0
    """Records of the log that stand there twice."""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        named = {name: value for name, value in vars(self).items() if name != "problems"}
        return ", ".join(f"{name} {value}" for name, value in named.items())


@dataclass(frozen=True)
class Evidence:
    """What a schedule left."""

    cases: Sequence[Case]
    log: Sequence[Seen]
    complete: Sequence[Seen]
    calls: Sequence[Call]
    stints: Sequence[Stint]
    wall: float
    """Seconds since 1970 minus monotonic seconds."""


def check(evidence: Evidence) -> Counts:
    """Raises AssertionError with every way in which the claim does not hold."""
    logs = by_run(list(evidence.log))
    results = {record.run_id: record for record in evidence.complete}
    counts = Counts(runs=len(evidence.cases), calls=len(evidence.calls))
    once = [record for record in evidence.log if record.kind != "tool-start"]  # its renewals have its name
    counts.copies = len(once) - len({record.ident for record in once})
    counts.held = sum(record.kind == "tool-start" for record in evidence.log)
    counts.lost = sum(record.kind == "tool-lost" for record in evidence.log)
    problems = counts.problems
    wanted = {case.run_id for case in evidence.cases}
    problems += [f"{run_id}: nobody asked for it" for run_id in results.keys() - wanted]
    for case in evidence.cases:
        records = logs.get(case.run_id, [])
        problems += _result_problems(case, records, evidence, counts)
        if case.run_id in results:
            problems += _rebuild_problems(case.run_id, records, results[case.run_id])
    problems += _call_problems(evidence, logs, counts)
    assert not problems, f"{len(problems)} problems ({counts}):\n" + "\n".join(problems[:30])
    return counts


# --- results ------------------------------------------------------------------------------------------------------


def _result_problems(case: Case, records: list[Seen], evidence: Evidence, counts: Counts) -> Iterator[str]:
    given = {record.value for record in evidence.complete if record.run_id == case.run_id}
    if len(given) != 1:
        yield f"{case.run_id}: {len(given)} different results; its log: {_kinds(records)}"
        return
    result = json.loads(given.pop() or b"null")
    ends = {record.ident for record in records if record.kind == "flow-complete"}
    if len(ends) != 1:
        yield f"{case.run_id}: {len(ends)} ends in its log"
    if result["status"] == case.status and result["output"] == case.output:
        return
    never = {place[1] for place in case.steps if place[1] in ("pay", "t")}
    lost = [one for one in records if one.kind == "tool-lost" and json.loads(one.value or b"")["nodeId"] in never]
    if case.uncertain is not None and result["output"] == case.uncertain and result["status"] == case.status and lost:
        counts.uncertain += 1
        if not _is_excused(lost[0], records, evidence):
            yield f"{case.run_id}: uncertain, and nobody died: {_kinds(records)}"
        return
    yield f"{case.run_id}: {result['status']} with {result['output']!r}, {result['error']}; its log: {_kinds(records)}"


def _is_excused(lost: Seen, records: list[Seen], evidence: Evidence) -> bool:
    """Its holder died or stood still between the claim and its loss. Who held it is known if it called."""
    claim = json.loads(lost.value or b"null")["claim"]
    starts = [one for one in records if one.kind == "tool-start" and json.loads(one.value or b"{}")["claim"] == claim]
    since, until = starts[0].at - evidence.wall - CLOCKS_S, lost.at - evidence.wall + CLOCKS_S
    place = (lost.run_id, json.loads(lost.value or b"null")["nodeId"], ())
    callers = {call.pid for call in evidence.calls if call.place == place and since <= call.begin <= until}
    return any(stint.was_hit(since, until) for stint in evidence.stints if not callers or stint.pid in callers)


def _kinds(records: Iterable[Seen]) -> str:
    return " ".join(f"{one.kind}@{one.offset}" for one in records if one.kind not in ("flow-start",))


# --- rebuilding ---------------------------------------------------------------------------------------------------


class _Log:
    """The log of one run; an announcement that stands there twice is read once."""

    def __init__(self, records: list[Seen]) -> None:
        self._records = records

    def read(self, run_id: str) -> Iterator[tuple[int, bytes]]:
        told = set[str]()
        for index, record in enumerate(self._records):
            value = record.value or b""
            if record.ident not in told:
                yield index, value
                if not decode_event(value).folded:
                    told.add(record.ident)

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        raise AssertionError(f"no value of the load is large, but {list(digests)} are")


def _rebuild_problems(run_id: str, records: list[Seen], published: Seen) -> Iterator[str]:
    made = rebuild(_Log(records), run_id, verify=True)
    result = json.loads(published.value or b"null")
    if made.stopped is not None:
        yield f"{run_id}: its log cannot be folded: {made.stopped}"
    elif made.state.result != result:
        yield f"{run_id}: its log gives {made.state.end} {made.state.result}, published was {result}"
    yield from (f"{run_id}: {problem.code} {problem.path}: {problem.message}" for problem in made.problems)


# --- calls --------------------------------------------------------------------------------------------------------


def _call_problems(evidence: Evidence, logs: dict[str, list[Seen]], counts: Counts) -> Iterator[str]:
    stints = {stint.pid: stint for stint in evidence.stints}
    outcomes = {place: at - evidence.wall for place, at in _outcomes(logs).items()}
    expected = {place for case in evidence.cases for place in case.steps}
    called: dict[Place, list[Call]] = defaultdict(list)
    for call in evidence.calls:
        called[call.place].append(call)
        if call.key != call.expected_key:
            yield f"{call.place}: called under the key {call.key}"
    counts.steps = len(called)
    yield from (f"{place}: called, though the plan has no such step" for place in called.keys() - expected)
    for place, calls in called.items():
        if len(calls) > 1:
            counts.repeated += 1
            yield from _repeated(place, calls, outcomes.get(place), stints)
    for place in expected - called.keys():
        lost = any(record.kind == "tool-lost" for record in logs.get(place[0], ()))
        if not lost and place[0] in logs:
            yield f"{place}: never called"


def _repeated(place: Place, calls: list[Call], recorded: float | None, stints: dict[int, Stint]) -> Iterator[str]:
    """Why a step ought not to have been called so often."""
    story = " ".join(f"[{call.pid} {call.begin:.3f}–{call.end or 0:.3f}]" for call in calls)
    if recorded is not None and calls[-1].begin > recorded + CLOCKS_S:
        yield f"{place}: called again after its outcome was recorded at {recorded:.3f}: {story}"
    if calls[0].tool in NEVER_TWICE:
        yield f"{place}: must not run twice and was called {len(calls)} times: {story}"
    for first, second in pairwise(calls):
        if not stints[first.pid].was_hit(first.begin, second.begin):
            yield f"{place}: called twice, and the first caller lived: {story}"


def _outcomes(logs: dict[str, list[Seen]]) -> dict[Place, float]:
    """When each step's first outcome was recorded."""
    found: dict[Place, float] = {}
    for records in logs.values():
        for record in records:
            if record.kind in OUTCOMES:
                made: dict[str, Any] = json.loads(record.value or b"{}")
                found.setdefault((made["runId"], made["nodeId"], tuple(made.get("item") or ())), record.at)
    return found
