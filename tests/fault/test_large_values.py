"""Values over 256 KiB lie beside the log under their SHA-256, and come back whole after a kill (design §3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamicflow.streams.embedded.sqlite import SqliteReader
from dynamicflow.streams.replay import rebuild
from dynamicflow.values import LARGE_VALUE_BYTES
from tests.fault.fault_kit import KILLED, check_executions, check_journal, log_of, run_process
from tests.fault.fault_process import HUGE, LARGE, growing
from tests.fault.flow_process import NEVER, Place, Point, Where

A = ("ä" * LARGE + "a")[:LARGE]
C = (A + "b" * HUGE)[:HUGE]


def whole(place: Place) -> None:
    """The result is whole, and no record is large."""
    assert place.answer("result")["output"] == {"text": C, "again": A}
    with SqliteReader.open(place.journal) as reader:
        made = rebuild(reader, "large")
        assert made.state.result is not None
        assert made.state.result["output"] == {"text": C, "again": A}
        assert max(len(body) for _, body in reader.read("large")) < LARGE_VALUE_BYTES
        places = [place for event in log_of(place)["large"] for place in (event.large or {}).values()]
        assert len(places) >= 5
        values = reader.load(str(place["sha256"]) for place in places)
        assert {len(value) for value in values.values()} == {place["bytes"] for place in places}
    check_journal(place)


class TestLargeValues:
    def test_lie_beside_the_log(self, tmp_path: Path) -> None:
        assert run_process(growing, str(tmp_path), NEVER) == 0
        whole(Place(tmp_path))

    @pytest.mark.slow
    @pytest.mark.parametrize("where", ["before", "after", "noted"])
    def test_survive_a_kill(self, where: Where, tmp_path: Path) -> None:
        for n in (1, 3, 5) if where != "noted" else (1, 2, 3):
            place = Place(tmp_path / str(n))
            place.folder.mkdir()
            died = run_process(growing, str(place.folder), Point(where, n)) == KILLED
            before, noted = log_of(place), place.lines()
            if died:
                assert run_process(growing, str(place.folder), NEVER) == 0
            whole(place)
            check_executions(place, before, noted)
