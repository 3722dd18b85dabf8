"""A journal that fills up, is damaged, read-only, newer, or owned: a clear error, nothing lost, others go on."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynamicflow.errors import JournalError
from dynamicflow.streams.embedded.engine import Engine
from dynamicflow.streams.embedded.journal import Journal, OnCommand, OnDurable, OnFailure
from dynamicflow.streams.embedded.sqlite import SqliteJournal
from tests.fault.fault_kit import check_executions, check_journal, log_of, run_process, until
from tests.fault.fault_process import chain, held_back, noting, one_step, opening
from tests.fault.flow_process import Place, engine_of

NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def opened(place: Place, **settings: Any) -> None:
    async with engine_of(place, [noting(place, "note", "noted")], **settings):
        pass


async def refused(place: Place) -> JournalError:
    with pytest.raises(JournalError) as caught:
        await opened(place)
    return caught.value


async def ended_run(place: Place) -> None:
    async with engine_of(place, [noting(place, "note", "noted")]) as engine:
        await (await engine.start(one_step("note"), run_id="done")).result()


def small(place: Place, pages: int) -> Any:
    """Opens the journal on a disk that holds this many pages."""

    def journal_of(durable: OnDurable, failed: OnFailure, command: OnCommand) -> Journal:
        journal = SqliteJournal.open(place.journal, on_durable=durable, on_failure=failed, on_command=command)
        journal._writer.execute(f"PRAGMA max_page_count = {pages}")
        return journal

    return journal_of


class TestADiskThatIsFull:
    async def test_stops_the_engine_and_loses_nothing(self, place: Place) -> None:
        tools = [noting(place, "note", "x" * 3000)]
        plan = chain(*["note"] * 5)
        started, failures = [], set()

        with pytest.raises(JournalError, match="JOURNAL_FULL"):
            async with Engine(small(place, 100), tools=tools) as engine:
                for serial in range(200):
                    try:
                        run = await engine.start(plan, run_id=f"r{serial}")
                        started.append(run.id)
                        await run.result()
                    except JournalError as error:
                        failures.add(error.code)
                        if len(started) < serial:
                            break
                leaving = time.monotonic()

        assert failures == {"JOURNAL_FULL"}
        assert time.monotonic() - leaving < 5, "there is nothing to wait for"
        before, noted = log_of(place), place.lines()
        assert set(started) <= set(before)
        async with engine_of(place, tools) as engine:
            results = [await engine.run(run_id).result() for run_id in started]
        assert {result["status"] for result in results} == {"completed"}
        check_journal(place)
        check_executions(place, before, noted)

    async def test_wakes_whoever_waits(self, place: Place) -> None:
        async def waits(run: Any) -> str:
            with pytest.raises(JournalError) as caught:
                await run.result()
            return caught.value.code

        tools = [held_back(place, "wait"), noting(place, "note", "x" * 50_000)]
        with pytest.raises(JournalError, match="JOURNAL_FULL"):
            async with Engine(small(place, 60), tools=tools) as engine:
                waiting = [await engine.start(one_step("wait"), run_id=f"w{i}") for i in range(3)]
                tasks = [asyncio.ensure_future(waits(run)) for run in waiting]
                with pytest.raises(JournalError):
                    for serial in range(50):
                        await (await engine.start(one_step("note"), run_id=f"n{serial}")).result()
                assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == ["JOURNAL_FULL"] * 3

    async def test_that_nobody_has_noticed_is_told_on_leaving(self, place: Place) -> None:
        tools = [held_back(place, "wait"), noting(place, "note", "x" * 300_000)]
        with pytest.raises(JournalError, match="JOURNAL_FULL"):
            async with Engine(small(place, 60), tools=tools) as engine:
                await engine.start(chain("wait", "note"), run_id="run")
                (place.folder / "release").touch()
                await asyncio.to_thread(until, lambda: len(place.lines()) == 2, "the second call")


class TestADamagedJournal:
    async def test_is_refused_and_kept_as_it_is(self, place: Place) -> None:
        await ended_run(place)
        content = bytearray(place.journal.read_bytes())
        content[len(content) // 2 :] = bytes(reversed(content[len(content) // 2 :]))
        place.journal.write_bytes(content)

        assert (await refused(place)).code == "JOURNAL_CORRUPT"
        assert place.journal.read_bytes() == content


class TestANewerJournal:
    async def test_is_refused_with_what_to_do(self, place: Place) -> None:
        await ended_run(place)
        with closing(sqlite3.connect(place.journal)) as connection:
            connection.execute("PRAGMA user_version = 999")
            connection.commit()

        error = await refused(place)

        assert error.code == "JOURNAL_NEWER"
        assert "Update dynamicflow" in error.message


class TestAReadOnlyJournal:
    async def test_is_refused_before_anything_is_touched(self, tmp_path: Path) -> None:
        place = Place(tmp_path / "kept")
        place.folder.mkdir()
        await ended_run(place)
        content = place.journal.read_bytes()
        for path in (place.journal, place.folder):
            path.chmod(0o555)
        for parent in (tmp_path, *tmp_path.parents):
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o777)  # the process that opens it is nobody's, and says what it met beside the folder

        assert run_process(opening, str(place.folder), NOBODY if os.geteuid() == 0 else None) == 0

        assert (tmp_path / "said").read_text(encoding="utf-8").startswith("JOURNAL_READ_ONLY")
        place.folder.chmod(0o755)
        assert place.journal.read_bytes() == content


class TestASecondOwner:
    async def test_is_refused_and_the_first_goes_on(self, tmp_path: Path) -> None:
        place = Place(tmp_path / "owned")
        place.folder.mkdir()
        async with engine_of(place, [noting(place, "note", "noted")]) as engine:
            assert (await refused(place)).code == "JOURNAL_OWNED"
            await asyncio.to_thread(run_process, opening, str(place.folder), None)
            assert (tmp_path / "said").read_text(encoding="utf-8").startswith("JOURNAL_OWNED")
            run = await engine.start(one_step("note"))
            assert (await run.result())["output"] == "noted"
        await opened(place)
