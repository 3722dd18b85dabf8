"""kill -9 at every Write and around every tool call, then open again: as if nothing had happened (design §3, §5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.fault.fault_kit import KILLED, check_executions, check_journal, check_uncertain, log_of, run_process
from tests.fault.flow_process import Place, Point, Where, drive

CHUNKS: Final = 6
"""Every kill is a test of its own in spirit; a few tests hold them, so that they can run side by side."""
MARGIN: Final = 3
"""How many more Writes or calls than the undisturbed runs had, as they overlap differently each time."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process that nobody kills leaves."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    assert run_process(drive, str(place.folder)) == 0
    check_journal(place)
    answer: dict[str, Any] = place.answer("drive")
    assert {result["status"] for result in answer["results"].values()} == {"completed"}
    return answer


def kill_and_recover(place: Place, point: Point, expected: dict[str, Any]) -> int:
    """Die at ``point``, open again, compare; how many steps were of unknown outcome."""
    if (code := run_process(drive, str(place.folder), point)) == 0:
        return 0  # it had fewer moments of this kind than the undisturbed one
    assert code == KILLED
    before, noted = log_of(place), place.lines()

    assert run_process(drive, str(place.folder), None, "recovered") == 0

    assert place.answer("recovered")["results"] == expected["results"]
    check_journal(place)
    check_executions(place, before, noted)
    return check_uncertain(place, before, noted)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
class TestARunEndsAsIfItHadNotBeenKilled:
    def every(self, where: Where, chunk: int, tmp_path: Path, undisturbed: dict[str, Any]) -> int:
        uncertain = 0
        for n in range(1 + chunk, undisturbed["counts"][where] + MARGIN, CHUNKS):
            place = Place(tmp_path / f"{where}-{n}")
            place.folder.mkdir()
            try:
                uncertain += kill_and_recover(place, Point(where, n), undisturbed)
            except AssertionError as error:
                raise AssertionError(f"killed {where} {n}: {error}") from error
        return uncertain

    def test_before_each_write(self, chunk: int, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        self.every("before", chunk, tmp_path, undisturbed)

    def test_after_each_write(self, chunk: int, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        assert self.every("after", chunk, tmp_path, undisturbed) > 0

    def test_as_each_call_begins(self, chunk: int, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        self.every("called", chunk, tmp_path, undisturbed)

    def test_when_each_call_has_had_its_effect(self, chunk: int, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
        self.every("noted", chunk, tmp_path, undisturbed)
