"""A run goes on from a snapshot as if there had been none: random plans and schedules, and the golden logs.

Steps are few at a time, so that some queue; holders die, workers refuse, people pause; nodes run out of time and are
mended by nodes of their own. A failure prints its seed.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any, Final

import pytest

from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.events import Event
from dynamicflow.streams.core.fold import apply
from dynamicflow.streams.core.state import RunState, new_run
from dynamicflow.values import Json, digest
from tests.property.random_plans import random_plan
from tests.property.same_state import difference, restored
from tests.property.test_schedules import CHUNKS, INPUT, SCHEDULES, TOOLS, seeds
from tests.sim import World

OWNERS: Final = {"conditional", "switch", "sequence", "parallel", "map", "filter", "flatMap", "reduce", "loop"}
LOGS: Final = sorted((Path(__file__).parents[1] / "golden").glob("v*-semantics*/*.jsonl"))


def wild_plan(seed: int) -> dict[str, Json]:
    """A random plan, some of its owners with little time, some of its failures mended by nodes."""
    made = random_plan(seed, certain=False)
    _unsettle(made, random.Random(seed))
    return made


def _unsettle(part: Any, rng: random.Random) -> None:
    for inner in list(part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()):
        _unsettle(inner, rng)
    if not isinstance(part, dict) or "type" not in part:
        return
    if part["type"] in OWNERS and rng.random() < 0.2:
        part["timeout"] = rng.choice([3, 100, 5000])
    if part.get("onError") == "continue" and rng.random() < 0.7:
        mend = {"id": f"{part['id']}_m", "type": "tool", "toolId": "echo", "inputs": {"x": "$error.code", "id": 1}}
        part["onError"] = {"nodes": [mend, {"id": f"{part['id']}_v", "type": "value", "value": f"${mend['id']}"}]}


class Restless(World):
    """A world where also people pause a run and workers refuse a step."""

    def __init__(self, seed: int, **settings: Any) -> None:
        rng = random.Random(seed)
        options: dict[str, Json] = {"maxConcurrency": rng.randint(1, 4)}
        if rng.random() < 0.3:
            options["fallbackBehavior"] = {"onExecutionFailure": "partial-results"}
        if rng.random() < 0.3:
            options |= {"retryStrategy": {"maxAttempts": 2, "initialDelay": 10}, "timeout": "1d"}
        policies = {"flaky": {"sideEffect": "non_idempotent"}} if rng.random() < 0.5 else {}
        fixed: dict[str, Any] = {"options": options, "policies": policies, "crash": 0.05, "duplicate": 0.1}
        super().__init__(wild_plan(seed), TOOLS, input=INPUT, seed=seed, **fixed, **settings)

    def step(self) -> bool:
        kind, serial = self.random.random(), len(self.log)
        if self.state.end is None and kind < 0.04:
            self.accept(e.PauseRequested(**self.envelope("pause", None, None, None, serial)))
        elif self.work and kind < 0.08:
            asked = self.work.pop()
            place = self.envelope("tool-refused", asked.node_id, asked.item or None, asked.attempt, serial)
            self.accept(e.ToolRefused(**place, tool_id=asked.tool_id, reason="no such tool"))
        elif self.state.paused or self.state.parked is not None:
            self.accept(e.ResumeRequested(**self.envelope("resume", None, None, None, serial)))
        else:
            return super().step()
        return True


class Restored(Restless):
    """The same, where now and then what was in memory is put together from a snapshot."""

    often: float = 0.2

    def accept(self, fact: Event) -> None:
        super().accept(fact)
        if random.Random(f"{self.seed}/{len(self.log)}").random() < self.often:
            self.state = restored(self.state)


class Shadow:
    """A state that goes through its snapshot after every fact, beside one that never does."""

    def __init__(self, run_id: str) -> None:
        self.state, self.beside = restored(new_run(run_id)), new_run(run_id)

    def apply(self, event: Event, values: dict[str, bytes]) -> None:
        asked, expected = apply(self.state, event, values), apply(self.beside, event, values)
        assert repr(asked) == repr(expected), event.id
        assert difference(self.state, self.beside) is None, event.id
        if event.folded:
            self.state = restored(self.state)


@pytest.mark.parametrize("chunk", range(CHUNKS))
class TestARunGoesOnFromASnapshotAsIfThereHadBeenNone:
    def test_at_some_prefixes(self, chunk: int) -> None:
        for seed in seeds(chunk, SCHEDULES // 5):
            plain, world = Restless(seed), Restored(seed)

            expected, result = plain.run(), world.run()

            assert world.log == plain.log, f"seed {seed}"
            assert world.calls == plain.calls, f"seed {seed}"
            assert json.dumps(result) == json.dumps(expected), f"seed {seed}"
            assert digest(world.state.to_json()) == digest(plain.state.to_json()), f"seed {seed}"

    def test_at_every_prefix(self, chunk: int) -> None:
        for seed in seeds(chunk, SCHEDULES // 20):
            world = Restless(seed)
            world.run()
            shadow = Shadow(world.run_id)

            for record in world.log:
                shadow.apply(decode_event(record), {})

            assert digest(shadow.state.to_json()) == digest(world.state.to_json()), f"seed {seed}"


@pytest.mark.parametrize("log", LOGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
class TestAGoldenLogFoldsOnFromASnapshot:
    def test_at_every_prefix_to_what_it_came_to_then(self, log: Path) -> None:
        packed = log.with_name(f"{log.stem}.values.json.gz")
        texts = json.loads(gzip.decompress(packed.read_bytes())) if packed.exists() else {}
        values = {sha: text.encode() for sha, text in texts.items()}
        expected = json.loads(log.with_name(f"{log.stem}.expected.json").read_bytes())
        shadow = Shadow(log.stem)

        for record in log.read_bytes().splitlines():
            shadow.apply(decode_event(record), values)

        assert digest(shadow.state.to_json()) == expected["stateDigest"]


class TestTheSchedulesReach:
    """What the tests above are for comes up in them."""

    def test_every_state_that_a_snapshot_must_carry(self) -> None:
        seen: set[str] = set()
        for seed in range(SCHEDULES // 20):
            world = Noting(seed, seen)
            world.run()

        assert Noting.WANTED - seen == set()


class Noting(Restless):
    """Notes what the states of its run have been like."""

    WANTED: Final = {
        *("two in the queue", "cancelled in the queue", "poisoned", "paused", "parked", "claimed", "frames in frames"),
        *(
            "retrying",
            "uncertain",
            "recovering",
            "dispatched",
            "failures",
            "ended",
            "results",
            "items",
            "acc",
            "active",
        ),
    }

    def __init__(self, seed: int, seen: set[str]) -> None:
        self.seen = seen
        super().__init__(seed)

    def accept(self, fact: Event) -> None:
        super().accept(fact)
        self.seen |= _like(self.state)


def _like(state: RunState) -> set[str]:
    queued = [live for live in state.ready if live.status == "queued"]
    lives = [live for frame in state.frames.values() for live in frame.live.values()]
    found = {
        "two in the queue": len(queued) > 1,
        "cancelled in the queue": len(queued) < len(state.ready),
        "poisoned": bool(state.poisoned),
        "paused": state.paused,
        "parked": state.parked is not None,
        "claimed": any(live.claim is not None for live in lives),
        "frames in frames": any(len(path) > 1 for _, path in state.frames),
        "active": any(frame is live.frame for live in lives for frame in live.active.values()),
    }
    parts = ("failures", "ended", "results", "items", "acc")
    statuses = {live.status for live in lives}
    return (
        {name for name, is_so in found.items() if is_so}
        | statuses
        | {part for part in parts for live in lives if getattr(live, part)}
    )
