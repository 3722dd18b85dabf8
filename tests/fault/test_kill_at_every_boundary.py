"""kill -9 at every Write and around every tool call, then open again: as if nothing had happened (design §3, §5)."""

from __future__ import annotations

import json
import random
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

import pytest

from dynamicflow.streams.core.events import Event
from tests.fault.fault_kit import (
    KILLED,
    check_executions,
    check_journal,
    check_uncertain,
    ended,
    log_of,
    process,
    run_process,
    step_of,
    steps,
    until,
)
from tests.fault.flow_process import NEVER, Line, Place, Point, Where, drive

SIDE_BY_SIDE: Final = 4
KILLS: Final = 5
COPIES: Final = 15
MARGIN: Final = 3
"""How many more Writes or calls than the undisturbed runs had, as they overlap differently each time."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process that nobody kills leaves."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    assert run_process(drive, str(place.folder), NEVER) == 0
    check_journal(place)
    answer: dict[str, Any] = place.answer("drive")
    assert {result["status"] for result in answer["results"].values()} == {"completed"}
    return answer


def is_lost_charge(event: Event) -> bool:
    """Is a step that must not run twice gone with its process?"""
    return event.type == "tool-lost" and event.node_id in ("low", "take", "pay")


def moved_on(place: Place, calls: int, child: ForkServerProcess) -> bool:
    """Has a tool been called since, or is nothing more to come?"""
    return len(place.lines()) > calls or not child.is_alive()


def every(where: Where, tmp_path: Path, undisturbed: dict[str, Any]) -> int:
    """Kill at every such moment, open again, compare; how many steps were of unknown outcome."""
    uncertain, most = 0, undisturbed["counts"][where] + MARGIN
    for first in range(1, most, SIDE_BY_SIDE):
        points = [Point(where, n) for n in range(first, min(first + SIDE_BY_SIDE, most))]
        places = [Place(tmp_path / f"{where}-{point.n}") for point in points]
        for place in places:
            place.folder.mkdir()
        dying = [process(drive, str(place.folder), point) for place, point in zip(places, points, strict=True)]
        codes = [ended(child) for child in dying]
        assert set(codes) <= {KILLED, 0}  # 0: it had fewer such moments than the undisturbed one
        left = [(place, log_of(place), place.lines()) for place, code in zip(places, codes, strict=True) if code]
        recovering = [process(drive, str(place.folder), None, "recovered") for place, _, _ in left]
        assert [ended(child) for child in recovering] == [0] * len(left)
        for place, before, noted in left:
            try:
                assert place.answer("recovered")["results"] == undisturbed["results"]
                check_journal(place)
                check_executions(place, before, noted)
                uncertain += check_uncertain(place, before, noted)
            except AssertionError as error:
                raise AssertionError(f"killed at {place.folder.name}: {error}") from error
    return uncertain


@pytest.mark.slow
@pytest.mark.timeout(300)
class TestARunEndsAsIfItHadNotBeenKilled:
    def test_before_each_write(self, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        every("before", tmp_path, undisturbed)

    def test_after_each_write(self, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        assert every("after", tmp_path, undisturbed) > 0

    def test_as_each_call_begins(self, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        assert every("called", tmp_path, undisturbed) > 0

    def test_when_each_call_has_had_its_effect(self, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        assert every("noted", tmp_path, undisturbed) > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
class TestManyRunsEndAlikeHoweverOftenTheyAreKilled:
    @pytest.mark.parametrize("seed", range(3))
    def test_at_random_times_under_load(self, seed: int, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        place, rng, deaths = Place(tmp_path), random.Random(seed), 0
        last: tuple[dict[str, list[Event]], list[Line]] = {}, []
        while deaths < KILLS:
            child, calls = process(drive, str(place.folder), None, "done", COPIES), len(place.lines())
            until(partial(moved_on, place, calls, child), "a tool is called")
            child.join(rng.uniform(0.0, 0.08))  # not a wait for anything: the moment is what is drawn
            child.kill()
            if ended(child) != KILLED:
                break
            deaths += 1
            check_executions(place, *last)
            last = log_of(place), place.lines()
        assert deaths > 1, f"seed {seed}: too little to do"

        assert run_process(drive, str(place.folder), None, "done", COPIES) == 0

        results = place.answer("done")["results"]
        assert len(results) == 2 * COPIES
        for name, result in results.items():
            like = f"{name.split('-')[0]}-0"
            expected = json.loads(json.dumps(undisturbed["results"][like]).replace(like, name))
            assert result == expected, f"seed {seed}: {name}"
        check_journal(place)
        check_executions(place, *last)
        log = log_of(place)
        lost = {step_of(event) for events in log.values() for event in events if is_lost_charge(event)}
        assert steps(log, "input-requested") == lost, f"seed {seed}"
