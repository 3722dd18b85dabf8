"""``runs``, ``show``, ``events``, ``watch`` and ``rebuild`` of runs in a cluster: as with a journal."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dynamicflow.streams.kafka.records import partition_of
from tests.kafka.command_line.kit import PARTITIONS, Shell, Site, reads_of, types


class TestReading:
    def test_runs_under_way_and_ended(self, shell: Shell) -> None:
        shell.run("doubled", {"n": 1}, "old")
        shell.run("boom", None, "broken")
        shell.publish("gated", "young", "young")
        shell.site.at_gate("young")
        listed = shell("runs", "--json").document["runs"]
        failed = shell("runs", "--status", "failed", "-n", "1", "--json").document["runs"]
        shell.site.open("young")

        rows = {row["runId"]: row for row in listed}
        assert [row["runId"] for row in listed][:3] == ["young", "broken", "old"]
        assert [rows[name]["status"] for name in ("young", "broken", "old")] == ["running", "failed", "completed"]
        assert (rows["old"]["name"], rows["old"]["labels"], rows["old"]["errorCode"]) == ("Doubling", {}, None)
        assert rows["old"]["createdAt"] < rows["old"]["completedAt"] <= rows["broken"]["updatedAt"]
        assert [(row["runId"], row["errorCode"]) for row in failed] == [("broken", "TOOL_EXECUTION_FAILED")]

    def test_runs_for_people(self, shell: Shell) -> None:
        shell.run("doubled", {"n": 1}, "line")

        assert shell("runs", "-n", "1").out.startswith("line\tcompleted\t20")

    def test_events_are_those_of_the_log_and_what_follows(self, shell: Shell) -> None:
        shell.run("doubled", {"n": 1}, "told")
        events, raw = shell.lines("events", "told", "--json"), shell.lines("events", "told", "--raw", "--json")

        kinds = ["flow-requested", "plan-published", "flow-start", "tool-output", "flow-complete"]
        assert types(raw) == kinds
        assert [event for event in events if not event.get("derived")] == raw
        assert "node-complete" in types(events)
        assert shell.lines("events", "told", "--raw", "--after", "2", "--json") == raw[2:]
        assert shell.site.kcat.kinds(shell.site.topics.events, "told") == [event["type"] for event in raw]
        assert "node-complete" in shell("events", "told").out

    def test_events_are_followed_to_the_end(self, shell: Shell) -> None:
        shell.publish("gated", "follow", "follow")
        shell.site.at_gate("follow")
        shell.site.open("follow", after_s=0.5)

        assert types(shell.lines("events", "follow", "--follow", "--raw", "--json"))[-1] == "flow-complete"

    def test_watch(self, shell: Shell) -> None:
        shell.publish("gated", "watched", "watched")
        shell.site.at_gate("watched")
        shell.site.open("watched", after_s=0.5)

        watched = shell("watch", "watched")

        assert watched.code == 0
        assert "✓ g  gate" in watched.err

    def test_what_was_asked_of_a_run_before_it_was_requested_is_no_run(self, shell: Shell) -> None:
        for run_id in ("ghost", "01a2292c-4977-73c4-890e-56bfbccae8fb"):
            shell.site.kcat.publish(shell.site.topics.requests, {"type": "cancel"}, run_id)
            refused = shell.site.kcat.wait_for(shell.site.topics.events, run_id)[run_id]

            assert refused["type"] in ("cancel-requested", "control-refused")
            assert shell("show", run_id, "--json").document["error"]["code"] == "RUN_NOT_FOUND"

    def test_only_the_runs_own_partition_is_read(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        shell.run("doubled", {"n": 1}, "mine")
        shell.publish("gated", "alive", "alive")
        shell.site.at_gate("alive")
        seen = reads_of(monkeypatch)
        for run_id in ("mine", "alive"):
            for command in ("show", "events", "rebuild"):
                seen.clear()
                shell(command, run_id, "--json")

                read = {(one.topic, one.partition) for one in seen}
                topics = shell.site.topics
                assert (topics.events, partition_of(run_id.encode(), PARTITIONS)) in read
                assert {partition for _, partition in read} == {partition_of(run_id.encode(), PARTITIONS)}
                assert {topic for topic, _ in read} <= {topics.events, topics.done, topics.snapshots}
        shell.site.open("alive")

    def test_a_run_that_lives_is_found_without_reading_what_has_ended(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shell.publish("gated", "late", "late")
        shell.site.at_gate("late")
        time.sleep(1.2)  # the schedulers commit their low-water marks once a second
        seen = reads_of(monkeypatch)
        shell("show", "late", "--json")
        shell.site.open("late")

        starts = [one.start for one in seen if one.topic == shell.site.topics.events]
        assert min(starts) > 0

    def test_a_run_that_sleeps_is_found_at_its_snapshot(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        shell.run("doubled", {"n": 1}, "sleeper")
        first = json.dumps(shell.lines("events", "sleeper", "--raw", "--json")[0])
        asleep = Site(shell.site.folder, shell.site.bootstrap)
        shell("topics", "create", "--partitions", "1", *asleep.flags)
        asleep.append("another", "{}")
        asleep.append("sleeper", first, "ce_type=flow-requested")
        asleep.append("sleeper@7", '{"shell": {"first": 1}}', topic=asleep.topics.snapshots)
        asleep.append("sleeper@8", "no snapshot", topic=asleep.topics.snapshots)
        seen = reads_of(monkeypatch)
        shown = shell("show", "sleeper", "--json", *asleep.flags)

        assert (shown.code, shown.document["status"]) == (3, "planning")
        assert {one.start for one in seen if one.topic == asleep.topics.events} == {1}

    def test_a_run_whose_owner_could_not_go_on_is_parked(self, shell: Shell) -> None:
        shell.run("doubled", {"n": 1}, "parked")
        first = json.dumps(shell.lines("events", "parked", "--raw", "--json")[0])
        alone = Site(shell.site.folder, shell.site.bootstrap)
        shell("topics", "create", "--partitions", "1", *alone.flags)
        alone.append("parked", first, "ce_type=flow-requested")
        told = {**json.loads(first), "type": "run-parked", "id": "parked/-/-/-/run-parked/1", "reason": "too new"}
        alone.append("parked", json.dumps(told), "ce_type=run-parked")

        for command in ("show", "watch"):
            shown = shell(command, "parked", "--json", *alone.flags)
            assert (shown.code, shown.document["status"]) == (3, "parked")
            assert shown.document["error"]["message"] == "too new"

    def test_the_end_of_a_run_whose_way_there_this_release_cannot_fold(self, shell: Shell) -> None:
        record = shell.run("doubled", {"n": 1}, "future")
        first, *_, last = shell.lines("events", "future", "--raw", "--json")
        newer = Site(shell.site.folder, shell.site.bootstrap)
        shell("topics", "create", "--partitions", "1", *newer.flags)
        newer.append("future", json.dumps(first), "ce_type=flow-requested")
        newer.append(
            "future", json.dumps({**first, "id": "future/-/-/-/vote", "type": "vote-cast"}), "ce_type=vote-cast"
        )
        newer.append("future", json.dumps(last), "ce_type=flow-complete")

        rebuilt = shell("rebuild", "future", "--json", *newer.flags)
        assert (rebuilt.code, rebuilt.document["stopped"] is None) == (1, False)
        for command in ("show", "watch"):
            shown = shell(command, "future", "--json", *newer.flags)
            assert (shown.code, shown.document) == (0, record)


class TestRebuild:
    def test_and_verified(self, shell: Shell) -> None:
        record = shell.run("doubled", {"n": 2}, "built")
        rebuilt = shell("rebuild", "built", "--verify", "--json")

        assert rebuilt.code == 0
        assert rebuilt.document["problems"] == []
        assert rebuilt.document["result"] == record
        assert rebuilt.document["records"] == len(shell.lines("events", "built", "--raw", "--json"))
        assert "byte for byte" in shell("rebuild", "built", "--verify").out

    def test_at_a_point_of_its_life(self, shell: Shell) -> None:
        shell.run("doubled", {"n": 2}, "half")

        told = [shell("rebuild", "half", "--at", str(at), "--json").document for at in (0, 1, 2)]
        assert [(one["records"], one["status"]) for one in told] == [(0, "pending"), (1, "planning"), (2, "running")]

    def test_what_the_shell_said_is_not_held_against_the_log(self, shell: Shell) -> None:
        shell.publish("gated", "refused", "refused")
        shell.site.at_gate("refused")
        shell.site.kcat.publish(shell.site.topics.requests, {"plan": "other", "input": 1}, "refused")
        unfinished = shell("rebuild", "refused", "--verify", "--json")
        shell.site.open("refused")
        shell("watch", "refused")
        rebuilt = shell("rebuild", "refused", "--verify", "--json")

        assert "control-refused" in types(shell.lines("events", "refused", "--raw", "--json"))
        assert (unfinished.code, rebuilt.code, rebuilt.document["problems"]) == (0, 0, [])

    def test_what_is_no_event_is_passed_over_as_the_scheduler_does(self, shell: Shell) -> None:
        shell.publish("gated", "spoiled", "spoiled")
        shell.site.at_gate("spoiled")
        shell.site.append("spoiled", "no event")
        shell.site.append("spoiled", '{"type": "tool-output", "runId": "another"}')
        shell.site.open("spoiled")
        watched = shell("watch", "spoiled", "--json")

        assert watched.document == shell("rebuild", "spoiled", "--verify", "--json").document["result"]

    def test_large_values_are_fetched_with_it(self, shell: Shell) -> None:
        nodes: list[Any] = [{"id": "t", "type": "tool", "toolId": "text", "inputs": {"size": 400_000}}]
        nodes.append({"id": "v", "type": "value", "value": "$t.text"})
        Path("large.json").write_text(json.dumps({"version": "1.0", "nodes": nodes, "output": "$v"}), "utf-8")

        record = shell("run", "--plan", "large.json", "--run-id", "large", "--json").document
        raw = shell.lines("events", "large", "--raw", "--json")

        assert len(record["output"]) == 400_000
        assert any("large" in event for event in raw)
        assert shell("show", "large", "--json").document == record
        assert shell("rebuild", "large", "--verify", "--json").document["result"] == record

    def test_ten_thousand_events(self, shell: Shell) -> None:
        body = [{"id": "d", "type": "tool", "toolId": "double", "inputs": {"number": "$item"}}]
        node = {"id": "m", "type": "map", "over": "$input", "body": body, "concurrency": 1000, "maxItems": 10_000}
        Path("map.json").write_text(json.dumps({"version": "1.0", "nodes": [node]}), "utf-8")
        Path("items.json").write_text(json.dumps(list(range(10_000))), "utf-8")
        asked = ("-i", "@items.json", "-o", "maxConcurrency=1000", "--run-id", "many", "--json")
        assert shell("run", "--plan", "map.json", *asked).code == 0

        began = time.perf_counter()
        rebuilt = shell("rebuild", "many", "--verify", "--json")
        took = time.perf_counter() - began
        sys.stdout.write(f"{rebuilt.document['records']} records found, read, folded and compared in {took:.2f} s\n")

        assert (rebuilt.code, rebuilt.document["result"]["status"]) == (0, "completed")
        assert rebuilt.document["facts"] >= 10_002
