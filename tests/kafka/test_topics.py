"""The topics: what they are called, how they are made, what is wrong with those there are, and the command for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from dynamicflow import Problem, UsageError
from dynamicflow.streams.kafka.topics import DAY_MS, HOUR_MS, Topics, TopicSpec, TopicState, topic_problems
from tests.cli.command_line import Outcome

ROOT: Final = Path(__file__).parents[2]
Call: TypeAlias = Callable[..., Outcome]
COPARTITIONED: Final = ["flow-events", "flow-done", "flow-snapshots", "flow-complete"]


def as_made(specs: Sequence[TopicSpec]) -> dict[str, TopicState]:
    """The topics as a broker has them after they were made so."""
    return {spec.name: TopicState(spec.name, spec.partitions, spec.replication, (), spec.config) for spec in specs}


def changed(states: dict[str, TopicState], name: str, **how: Any) -> dict[str, TopicState]:
    config = {
        **(states[name].config or {}),
        **{key.replace("_", "."): value for key, value in how.pop("config", {}).items()},
    }
    return {**states, name: replace(states[name], config=config, **how)}


def said(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in problems]


class TestNamesStandUnderAPrefix:
    def test_all_of_them(self) -> None:
        names = [spec.name for spec in Topics("acme.").specs(queues=["gpu", "default", "gpu"])]

        assert names == [
            f"acme.{name}"
            for name in (
                "flow-requests", "flow-events", "node-ready", "node-ready.gpu", "plan-ready", "flow-complete",
                "flow-done", "flow-snapshots", "flow-values", "flow-control", "flow-catalog", "flow-live",
                "flow-dead-letter",
            )
        ]  # fmt: skip

    def test_a_queue_has_a_topic_and_a_topic_its_queue(self) -> None:
        topics = Topics("p-")

        assert (topics.node_ready(), topics.node_ready("gpu")) == ("p-node-ready", "p-node-ready.gpu")
        assert [topics.queue_of(name) for name in ("p-node-ready", "p-node-ready.gpu")] == ["default", "gpu"]
        assert [topics.queue_of(name) for name in ("node-ready", "p-node-ready.", "p-flow-done")] == [None] * 3

    @pytest.mark.parametrize("prefix", ["a b", "ä", "a/b", "x" * 240])
    def test_a_prefix_that_makes_no_name_is_refused(self, prefix: str) -> None:
        with pytest.raises(UsageError, match="the topic prefix"):
            Topics(prefix)

    @pytest.mark.parametrize("queue", ["", "a b", "x" * 250])
    def test_a_queue_that_makes_no_name_is_refused(self, queue: str) -> None:
        with pytest.raises(UsageError, match="the queue"):
            Topics().node_ready(queue if queue else "\n")


class TestHowEachIsMade:
    specs = {spec.name: spec for spec in Topics().specs(partitions=6)}  # noqa: RUF012

    def test_the_broker_stamps_every_record_with_its_own_time(self) -> None:
        assert {spec.config["message.timestamp.type"] for spec in self.specs.values()} == {"LogAppendTime"}

    def test_what_is_kept_and_how_long(self) -> None:
        kept = {
            name: (spec.config["cleanup.policy"], int(spec.config.get("retention.ms", -1)))
            for name, spec in self.specs.items()
        }

        week, long = 7 * DAY_MS, 90 * DAY_MS
        assert kept == {
            "flow-requests": ("delete", week),
            "flow-events": ("delete", long),
            "node-ready": ("delete", long),
            "plan-ready": ("delete", long),
            "flow-complete": ("compact,delete", long),
            "flow-done": ("delete", week),
            "flow-snapshots": ("compact", -1),
            "flow-values": ("delete", long),
            "flow-control": ("delete", HOUR_MS),
            "flow-catalog": ("compact", -1),
            "flow-live": ("delete", HOUR_MS),
            "flow-dead-letter": ("delete", long),
        }

    def test_a_log_may_be_kept_for_ever(self) -> None:
        made = {spec.name: spec.config for spec in Topics().specs(events_retention_ms=-1)}

        assert (made["flow-events"]["retention.ms"], made["flow-done"]["retention.ms"]) == ("-1", str(7 * DAY_MS))

    def test_a_segment_ends_long_before_its_records_are_too_old(self) -> None:
        for spec in self.specs.values():
            if "retention.ms" in spec.config:
                assert int(spec.config["segment.ms"]) * 7 <= int(spec.config["retention.ms"])

    def test_what_belongs_to_a_run_lies_in_the_same_partition(self) -> None:
        assert sorted(name for name, spec in self.specs.items() if spec.copartitioned) == sorted(COPARTITIONED)
        assert {self.specs[name].partitions for name in COPARTITIONED} == {6}

    def test_what_everybody_reads_has_one_partition(self) -> None:
        assert [name for name, spec in self.specs.items() if spec.partitions == 1] == ["flow-control", "flow-catalog"]

    @pytest.mark.parametrize(("replication", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
    def test_three_copies_are_written_to_two_at_least(self, replication: int, in_sync: str) -> None:
        for spec in Topics().specs(replication=replication):
            assert spec.config["min.insync.replicas"] == in_sync
            assert spec.config["unclean.leader.election.enable"] == "false"

    @pytest.mark.parametrize("how", [{"partitions": 0}, {"replication": 0}, {"window_ms": 0}])
    def test_counts_that_make_no_topic_are_refused(self, how: dict[str, int]) -> None:
        with pytest.raises(UsageError):
            Topics().specs(**how)  # type: ignore[arg-type]


class TestEveryProblemIsTold:
    specs = Topics().specs(partitions=4, queues=["gpu"], replication=3)
    good = as_made(specs)

    def told(self, found: dict[str, TopicState], *, brokers: int = 3, partitions: int | None = None) -> list[Problem]:
        return topic_problems(self.specs, found, brokers=brokers, partitions=partitions)

    def test_there_are_none_with_topics_as_they_are_made(self) -> None:
        assert self.told(self.good) == self.told(self.good, partitions=4) == []

    def test_missing_ones_with_the_command_that_makes_them(self) -> None:
        found = {name: state for name, state in self.good.items() if name not in ("flow-done", "node-ready.gpu")}

        problems = self.told(found)

        assert said(problems) == [("TOPICS_MISSING", "/node-ready.gpu"), ("TOPICS_MISSING", "/flow-done")]
        assert problems[0].suggestion.endswith("dynamicflow topics create --queue gpu")

    def test_another_count_than_the_worker_was_told(self) -> None:
        (problem,) = self.told(self.good, partitions=8)

        assert (problem.code, problem.path, problem.expected, problem.actual) == ("TOPICS_WRONG", "/flow-events", 8, 4)
        assert "fixed for life" in problem.message
        assert "refuses to start" in problem.message
        assert "--partitions 4" in problem.suggestion

    @pytest.mark.parametrize("name", ["flow-done", "flow-snapshots", "flow-complete"])
    def test_a_topic_that_does_not_follow_the_log(self, name: str) -> None:
        (problem,) = self.told(changed(self.good, name, partitions=5))

        assert (problem.code, problem.path, problem.expected, problem.actual) == ("TOPICS_WRONG", f"/{name}", 4, 5)

    def test_other_topics_may_have_as_many_as_one_likes(self) -> None:
        assert self.told(changed(self.good, "node-ready", partitions=50)) == []

    def test_what_everybody_reads_in_several_partitions(self) -> None:
        assert said(self.told(changed(self.good, "flow-control", partitions=2))) == [("TOPICS_WRONG", "/flow-control")]

    @pytest.mark.parametrize(
        ("name", "key", "value"),
        [
            ("flow-events", "cleanup_policy", "compact"),
            ("flow-snapshots", "cleanup_policy", "delete"),
            ("flow-complete", "cleanup_policy", "compact"),
            ("flow-requests", "message_timestamp_type", "CreateTime"),
            ("flow-values", "max_message_bytes", "1000"),
            ("flow-events", "min_insync_replicas", "4"),
        ],
    )
    def test_a_setting_that_runs_cannot_live_with(self, name: str, key: str, value: str) -> None:
        (problem,) = self.told(changed(self.good, name, config={key: value}))

        assert (problem.code, problem.path, problem.actual) == ("TOPICS_WRONG", f"/{name}", value)
        assert f"--entity-name {name} --add-config {key.replace('_', '.')}=" in problem.suggestion

    def test_the_order_of_two_policies_is_none(self) -> None:
        assert self.told(changed(self.good, "flow-complete", config={"cleanup_policy": "delete,compact"})) == []

    def test_partitions_that_nobody_leads(self) -> None:
        (problem,) = self.told(changed(self.good, "flow-events", leaderless=(1, 3)))

        assert (problem.code, "partition 1, 3" in problem.message) == ("TOPICS_WRONG", True)

    @pytest.mark.parametrize(
        "how",
        [
            {"replication": 2},
            {"config": {"min_insync_replicas": "1"}},
            {"config": {"unclean_leader_election_enable": "true"}},
        ],
    )
    def test_what_loses_records_when_brokers_crash_is_a_warning_on_a_cluster(self, how: dict[str, Any]) -> None:
        found = changed(self.good, "flow-events", **how)

        assert said(self.told(found)) == [("TOPICS_WEAK", "/flow-events")]
        assert self.told(found, brokers=2) == []

    def test_records_that_go_too_early_are_a_warning(self) -> None:
        assert said(self.told(changed(self.good, "flow-done", config={"retention_ms": str(DAY_MS)}))) == [
            ("TOPICS_WEAK", "/flow-done")
        ]
        assert self.told(changed(self.good, "flow-events", config={"retention_ms": str(30 * DAY_MS)})) == []

    def test_settings_that_may_not_be_looked_at_are_a_warning(self) -> None:
        found = {**self.good, "flow-live": replace(self.good["flow-live"], config=None)}

        assert said(self.told(found)) == [("TOPICS_WEAK", "/flow-live")]

    def test_warnings_stand_last(self) -> None:
        found = changed(
            changed(self.good, "flow-requests", replication=1), "flow-live", config={"cleanup_policy": "compact"}
        )

        assert [problem.code for problem in self.told(found)] == ["TOPICS_WRONG", "TOPICS_WRONG", "TOPICS_WEAK"]
