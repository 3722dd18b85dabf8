"""Logs written by earlier versions: they decode, fold and verify for ever (design §3)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

from dynamicflow.planner.ir import Plan
from dynamicflow.streams.core import events
from dynamicflow.streams.core.codec import UnknownEvent, decode_event, encode_event
from dynamicflow.streams.embedded.journal import RunRow, Write
from dynamicflow.streams.embedded.memory import MemoryJournal
from dynamicflow.streams.replay import Rebuilt, rebuild
from dynamicflow.values import digest
from tests.golden.make import CASES, FOLDER, HERE, expectation, write

LOGS: Final = sorted(HERE.glob("v*-semantics*/*.jsonl"))


class Golden:
    """A log of a file. ``journal`` holds it as an engine would find it."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.records = path.read_bytes().splitlines()
        values = path.with_name(f"{self.name}.values.json.gz")
        packed = json.loads(gzip.decompress(values.read_bytes())) if values.exists() else {}
        self.values: dict[str, bytes] = {sha: text.encode() for sha, text in packed.items()}
        self.expected: dict[str, Any] = json.loads(path.with_name(f"{self.name}.expected.json").read_bytes())

    @property
    def journal(self) -> MemoryJournal:
        at = "2024-01-01T00:00:00.000000Z"
        row = RunRow(
            run_id=self.name,
            status="completed",
            request_digest="-",
            plan_hash=None,
            name="golden",
            created_at=at,
            updated_at=at,
            root_run_id=self.name,
        )
        journal = MemoryJournal().attach(on_durable=lambda committed: None, on_failure=lambda error: None)
        journal.submit([Write(self.name, self.records, self.values, run=row, create=True)])
        return journal

    def rebuilt(self, **settings: Any) -> Rebuilt:
        return rebuild(self.journal, self.name, **settings)

    def rewrite(self, records: Iterable[dict[str, Any]]) -> None:
        """The same log with these records for its own."""
        self.records = [json.dumps(record, ensure_ascii=False).encode() for record in records]

    def decoded(self) -> list[dict[str, Any]]:
        return [json.loads(record) for record in self.records]


@pytest.fixture(params=LOGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def log(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


class TestALogOfAnEarlierVersion:
    def test_every_version_has_all_its_logs(self) -> None:
        names = {case.__name__ for case in CASES} | {"cancelled"}

        assert {path.stem for path in LOGS if path.parent.name == FOLDER} >= names

    def test_is_understood_record_by_record(self, log: Golden) -> None:
        for record in log.records:
            assert not isinstance(decode_event(record), UnknownEvent)

    def test_folds_to_what_it_came_to_then(self, log: Golden) -> None:
        assert expectation(log.rebuilt()) == log.expected

    def test_has_the_announcements_that_follow_from_its_facts(self, log: Golden) -> None:
        rebuilt = log.rebuilt(verify=True)

        assert (rebuilt.stopped, rebuilt.problems) == (None, [])

    def test_is_the_same_without_its_announcements(self, log: Golden) -> None:
        facts = [record for record in log.records if decode_event(record).folded]
        log.records = facts

        assert log.rebuilt().digest == log.expected["stateDigest"]

    def test_is_the_same_whatever_was_written_twice(self, log: Golden) -> None:
        once = log.rebuilt()
        log.records = [record for record in log.records for _ in range(2)]

        twice = log.rebuilt()

        assert twice.state.late > 0
        assert digest(twice.state.result) == digest(once.state.result)

    def test_is_written_by_this_version_as_it_was_then(self, log: Golden) -> None:
        written = [encode_event(decode_event(record)).record for record in log.records]

        assert [json.loads(record) for record in written] == log.decoded()
        plain = [at for at, record in enumerate(log.decoded()) if "large" not in record]
        assert [written[at] for at in plain] == [log.records[at] for at in plain]


def is_cancelled(records: list[dict[str, Any]]) -> bool:
    return any(record["type"] == "cancel-requested" for record in records)


class TestWhatALaterVersionMayAdd:
    def test_fields_are_kept_and_change_nothing(self, log: Golden) -> None:
        added = [{**record, "colour": {"of": "later"}, "x-y": 1} for record in log.decoded()]
        log.rewrite(added)

        rebuilt = log.rebuilt()

        assert rebuilt.digest == log.expected["stateDigest"]
        assert [json.loads(encode_event(decode_event(record)).record) for record in log.records] == added

    @pytest.mark.parametrize("strange", [{"type": "step-teleported"}, {"type": "tool-output", "output": 1}])
    def test_a_fact_of_an_unknown_kind_stops_the_fold_where_it_stands(
        self, log: Golden, strange: dict[str, Any]
    ) -> None:
        records = log.decoded()
        envelope = {name: records[2][name] for name in ("runId", "timestamp", "v", "semantics")}
        log.rewrite([*records[:2], {**envelope, "id": "strange", **strange}, *records[2:]])

        rebuilt = log.rebuilt()

        assert rebuilt.records == len(records) + 1
        if is_cancelled(records):  # which passes over what could not be folded
            assert (rebuilt.stopped, rebuilt.state.end) == (None, "cancelled")
        else:
            assert rebuilt.stopped is not None and "strange" in rebuilt.stopped
            assert rebuilt.digest == log.rebuilt(at=2).digest

    def test_newer_rules_stop_it_as_well(self, log: Golden) -> None:
        records = log.decoded()
        log.rewrite([{**records[0], "semantics": 99}, *records[1:]])

        rebuilt = log.rebuilt()

        if is_cancelled(records):
            assert (rebuilt.stopped, rebuilt.state.end) == (None, "cancelled")
        else:
            assert rebuilt.stopped is not None and "semantics 99" in rebuilt.stopped


class TestThePlanOfALog:
    def test_has_the_hash_it_was_published_under(self, log: Golden) -> None:
        (published,) = (event for event in map(decode_event, log.records) if isinstance(event, events.PlanPublished))

        assert Plan.model_validate(published.plan).hash == published.plan_hash == log.expected["planHash"]


class TestTheScript:
    async def test_never_writes_a_log_again(self) -> None:
        before = {path: path.read_bytes() for path in (HERE / FOLDER).iterdir()}

        made = await write(HERE / FOLDER)

        assert made == []
        assert {path: path.read_bytes() for path in (HERE / FOLDER).iterdir()} == before

    async def test_makes_logs_that_come_to_the_same_results_today(self, tmp_path: Path) -> None:
        names = await write(tmp_path)

        assert len(names) == len(CASES) + 1
        for name in names:
            then, now = Golden(HERE / FOLDER / f"{name}.jsonl"), Golden(tmp_path / f"{name}.jsonl")
            for field in ("status", "output", "planHash"):
                assert now.expected[field] == then.expected[field]
