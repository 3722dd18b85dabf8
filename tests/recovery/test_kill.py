"""kill -9 at every boundary of the journal, and at random under load, in real processes (design §5).

Claims: a run ends as an undisturbed one does; a step whose outcome is in the log is never called again; a step called
twice was under way at the kill and has the same idempotency key; one that must not run twice is not, but waits as
UNCERTAIN_OUTCOME until it is resolved.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dynamicflow import Engine
from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.events import Event, ToolError, ToolOutput, ToolStart
from dynamicflow.streams.embedded.reader import SqliteReader
from dynamicflow.streams.embedded.replay import rebuild
from dynamicflow.values import Json
from tests.recovery.mortal_process import INPUT, OUTPUT, PLAN, make_tools, run_flow

ROOT = Path(__file__).parents[2]
Place = tuple[str | None, tuple[int, ...], int | None]


def process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.recovery.mortal_process", *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, start_new_session=True)


def log_of(folder: Path, run_id: str) -> list[Event]:
    if not (folder / "runs.db").exists():
        return []
    with SqliteReader.open(folder / "runs.db") as reader:
        return [decode_event(record) for _, record in reader.read(run_id)]


def outcomes(log: list[Event]) -> set[Place]:
    return {(e.node_id, e.item or (), e.attempt) for e in log if isinstance(e, ToolOutput | ToolError)}


def calls(folder: Path, run_id: str) -> list[tuple[str, tuple[int, ...], int, str]]:
    file = folder / "calls.txt"
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    return [
        (node, tuple(map(int, item.split("."))) if item != "-" else (), int(attempt), key)
        for run, node, item, attempt, key in lines
        if run == run_id
    ]


async def finish(folder: Path, run_id: str) -> tuple[dict[str, Json], bool]:
    """Open again and go on; (result, whether a step was of unknown outcome and had to be resolved)."""
    async with Engine.open(folder / "runs.db", tools=make_tools(folder)) as engine:
        run = await engine.start(PLAN, input=INPUT, run_id=run_id)
        result = await asyncio.wait_for(run.result(), 20)
        if result["status"] != "suspended":
            return result, False
        await run.resolve("pay", "done", output={"paid": 4}, by="test")
        return await asyncio.wait_for(run.result(), 20), True


def check_claims(folder: Path, run_id: str, before: list[Event], result: dict[str, Json], resolved: bool) -> None:
    assert result["status"] == "completed", result["error"]
    assert result["output"] == OUTPUT
    after = calls(folder, run_id)
    count = Counter((node, item, attempt) for node, item, attempt, _ in after)
    for place in outcomes(before):
        assert count[place] == 1, f"{place} was recorded before the kill and called again"  # type: ignore[index]
    assert count["pay", (), 1] <= 1, "a step that must not run twice ran twice"
    assert all(times <= 2 for times in count.values())
    keys = {(node, item): {key for n, i, _, key in after if (n, i) == (node, item)} for node, item, _, _ in after}
    assert all(len(same) == 1 for same in keys.values())
    started = any(isinstance(e, ToolStart) and e.node_id == "pay" for e in before)
    assert resolved == (started and ("pay", (), 1) not in outcomes(before))
    with SqliteReader.open(folder / "runs.db") as reader:
        rebuilt = rebuild(reader, run_id, verify=True)
        ids = [decode_event(record).id for _, record in reader.read(run_id)]
    assert not rebuilt.problems, [str(problem) for problem in rebuilt.problems]
    assert rebuilt.state.result == result
    assert [one for one, times in Counter(ids).items() if times > 1 and not one.endswith("tool-output")] == []


@pytest.mark.timeout(180)
class TestKilledAtAnyBoundaryOfTheJournal:
    async def test_the_run_ends_as_if_undisturbed(self, tmp_path: Path) -> None:
        await run_flow(tmp_path, 0)
        boundaries = int((tmp_path / "reached").read_text(encoding="utf-8"))
        assert boundaries > 20
        with process(str(tmp_path), "1", str(boundaries)) as sweep:
            assert await asyncio.to_thread(sweep.wait, 120) == 0

        killed = 0
        for boundary in range(1, boundaries + 1):
            folder = tmp_path / str(boundary)
            killed += (folder / "killed").read_text(encoding="utf-8") == "yes"
            before = log_of(folder, "flow")
            result, resolved = await finish(folder, "flow")
            try:
                check_claims(folder, "flow", before, result, resolved)
            except AssertionError as error:
                raise AssertionError(f"killed at boundary {boundary}: {error}") from error

        assert killed > boundaries * 0.7, "batches differ a little between runs, but most boundaries must be reached"


@pytest.mark.timeout(180)
class TestKilledAtRandomUnderLoad:
    @pytest.mark.parametrize("seed", range(4))
    async def test_every_run_ends_as_if_undisturbed(self, tmp_path: Path, seed: int) -> None:
        rng = random.Random(seed)
        names = [f"flow-{seed}-{n}" for n in range(30)]
        seen: list[dict[str, tuple[set[Place], int]]] = []
        for _ in range(3):
            busy = process(str(tmp_path), "load", str(seed))
            assert busy.stdout is not None
            await asyncio.to_thread(busy.stdout.readline)
            try:
                await asyncio.to_thread(busy.wait, rng.uniform(0.0, 0.05))
            except subprocess.TimeoutExpired:
                os.killpg(busy.pid, signal.SIGKILL)
            await asyncio.to_thread(busy.wait, 10)
            busy.stdout.close()
            seen.append({name: (outcomes(log_of(tmp_path, name)), len(calls(tmp_path, name))) for name in names})

        for name in names:
            result, _ = await finish(tmp_path, name)
            assert result["status"] == "completed", f"seed {seed}, {name}: {result['error']}"
            assert result["output"] == OUTPUT, f"seed {seed}, {name}"
            made = calls(tmp_path, name)
            assert sum(node == "pay" for node, *_ in made) <= 1, f"seed {seed}, {name}: paid twice"
            for recorded, called in (at_kill[name] for at_kill in seen):
                again = recorded & {(node, item, attempt) for node, item, attempt, _ in made[called:]}
                assert not again, f"seed {seed}, {name}: recorded before a kill and called after it: {again}"
