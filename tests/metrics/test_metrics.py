"""Each method of Metrics says one thing to Prometheus; labels stay few."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dynamicflow.streams import metrics as module
from dynamicflow.streams.metrics import NO_METRICS, Metrics, Names, worker_registry

PAGE = Path(__file__).parents[2] / "docs/metrics.md"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"dynamicflow_{name}", labels)


def methods() -> list[str]:
    return [name for name, _ in inspect.getmembers(Metrics, inspect.isfunction) if not name.startswith("_")]


COUNTED: list[tuple[Callable[[Metrics], None], str, dict[str, str], float]] = [
    (lambda m: m.run_accepted(), "runs_accepted_total", {}, 1),
    (lambda m: m.run_started(), "runs_started_total", {}, 1),
    (lambda m: m.run_ended("failed"), "runs_total", {"status": "failed"}, 1),
    (lambda m: m.live_runs(7), "active_runs", {}, 7),
    (lambda m: m.steps_in_flight(3), "steps_in_flight", {}, 3),
    (lambda m: m.retried("mail"), "tool_retries_total", {"tool": "mail"}, 1),
    (lambda m: m.step_held(), "steps_held_total", {}, 1),
    (lambda m: m.step_lost(), "steps_lost_total", {}, 1),
    (lambda m: m.timer_fired("wait"), "timers_fired_total", {"kind": "wait"}, 1),
    (lambda m: m.plan_made("failed"), "plans_total", {"result": "failed"}, 1),
    (lambda m: m.plan_made("published", 2.0, 3), "plan_duration_seconds_sum", {}, 2),
    (lambda m: m.plan_made("published", 2.0, 3), "plan_attempts_sum", {}, 3),
    (
        lambda m: m.lag("scheduler", "flow-events", 12),
        "consumer_lag",
        {"role": "scheduler", "topic": "flow-events"},
        12,
    ),
    (lambda m: m.produced("executor", 500, 0.01), "produced_records_total", {"role": "executor"}, 500),
    (lambda m: m.produced("executor", 500, 0.01), "produce_seconds_sum", {"role": "executor"}, 0.01),
    (lambda m: m.replayed(1000, 0.5), "replay_records_sum", {}, 1000),
    (lambda m: m.replayed(1000, 0.5), "replay_seconds_sum", {}, 0.5),
    (lambda m: m.low_water_age(4, 60.5), "low_water_age_seconds", {"partition": "4"}, 60.5),
    (lambda m: m.partitions_owned("scheduler", 6), "partitions_owned", {"role": "scheduler"}, 6),
    (lambda m: m.took_over(), "takeovers_total", {}, 1),
    (lambda m: m.snapshot_written(), "snapshots_written_total", {}, 1),
    (lambda m: m.dead_letter("NOT_JSON"), "dead_letters_total", {"reason": "NOT_JSON"}, 1),
]


class TestAMethodSaysOneThing:
    @pytest.mark.parametrize(("tell", "name", "labels", "expected"), COUNTED, ids=[case[1] for case in COUNTED])
    def test_and_the_registry_has_it(
        self,
        metrics: Metrics,
        registry: CollectorRegistry,
        tell: Callable[[Metrics], None],
        name: str,
        labels: dict[str, str],
        expected: float,
    ) -> None:
        tell(metrics)

        assert value(registry, name, **labels) == expected

    def test_a_step_is_a_duration_and_a_wait(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        metrics.step_ended("mail", "tool", "completed", 0.25, queued_seconds=0.5)

        step = {"type": "tool", "tool": "mail", "outcome": "completed"}
        assert value(registry, "node_duration_seconds_sum", **step) == 0.25
        assert value(registry, "node_duration_seconds_bucket", **step, le="0.1") == 0
        assert value(registry, "node_duration_seconds_bucket", **step, le="0.25") == 1
        assert value(registry, "node_queue_seconds_sum", tool="mail") == 0.5

    def test_a_step_of_unknown_wait_counts_as_none(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        metrics.step_ended("mail", "tool", "refused", 0.0)

        assert value(registry, "node_queue_seconds_count", tool="mail") is None

    def test_the_buckets_of_a_step_reach_from_a_millisecond_to_ten_minutes(self) -> None:
        assert (module.STEP_BUCKETS[0], module.STEP_BUCKETS[-1]) == (0.001, 600)


class TestWhatCanBeKnownBeforehand:
    def test_begins_at_zero_so_that_the_first_one_is_a_rise(
        self, metrics: Metrics, registry: CollectorRegistry
    ) -> None:
        for status in ("completed", "partial", "failed", "cancelled", "timed_out", "rejected"):
            assert value(registry, "runs_total", status=status) == 0
        assert value(registry, "plans_total", result="failed") == 0


class TestWhatIsNotOursAnyMore:
    def test_is_not_told(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        metrics.lag("scheduler", "flow-events", 3)
        metrics.low_water_age(1, 5.0)

        metrics.lag("scheduler", "flow-events", None)
        metrics.low_water_age(1, None)

        assert value(registry, "consumer_lag", role="scheduler", topic="flow-events") is None
        assert value(registry, "low_water_age_seconds", partition="1") is None

    def test_may_come_back(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        metrics.low_water_age(1, 5.0)
        metrics.low_water_age(1, None)

        metrics.low_water_age(1, 6.0)

        assert value(registry, "low_water_age_seconds", partition="1") == 6

    def test_and_never_was_is_no_fault(self, metrics: Metrics) -> None:
        metrics.low_water_age(9, None)


class TestTheOutcomeOfACall:
    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            (None, "completed"),
            ("TIMEOUT", "timed_out"),
            ("CANCELLED", "cancelled"),
            ("TOOL_EXECUTION_FAILED", "failed"),
            ("OF_THE_USER", "failed"),
        ],
    )
    def test_is_one_of_a_closed_set(self, code: str | None, outcome: str) -> None:
        assert module.outcome_of(code) == outcome
        assert outcome in module.STEP_OUTCOMES


class TestLabelsStayFew:
    def test_the_tool_after_the_last_is_other(self, registry: CollectorRegistry) -> None:
        metrics = Metrics(registry, most_tools=2)

        for tool in ("a", "b", "c", "d", "a"):
            metrics.step_ended(tool, "tool", "completed", 0.5, 0.5)
            metrics.retried(tool)

        assert [value(registry, "tool_retries_total", tool=tool) for tool in ("a", "b", "other")] == [2, 1, 2]
        assert value(registry, "tool_retries_total", tool="c") is None
        assert value(registry, "node_queue_seconds_count", tool="other") == 2
        step = {"type": "tool", "tool": "other", "outcome": "completed"}
        assert value(registry, "node_duration_seconds_count", **step) == 2

    def test_a_sentence_as_a_reason_does_not_fill_the_memory(
        self, metrics: Metrics, registry: CollectorRegistry
    ) -> None:
        for number in range(1000):
            metrics.dead_letter(f"record {number} is no JSON")

        reasons = [sample for family in registry.collect() for sample in family.samples if "reason" in sample.labels]
        assert len([sample for sample in reasons if sample.name.endswith("_total")]) == module.MOST_NAMES + 1
        assert value(registry, "dead_letters_total", reason="other") == 1000 - module.MOST_NAMES

    def test_a_name_that_is_in_use_stays(self) -> None:
        names = Names(1)

        assert [names(name) for name in ("a", "b", "a", "other")] == ["a", "other", "a", "other"]


class TestWhatLives:
    def test_is_asked_at_the_scrape(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        runs: list[str] = []
        metrics.watch(lambda: len(runs), lambda: 2)

        runs += ["one", "two", "three"]

        assert (value(registry, "active_runs"), value(registry, "steps_in_flight")) == (3, 2)

    def test_of_several_is_added_up_until_they_end(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        metrics.live_runs(1)
        metrics.watch(lambda: 10, lambda: 0)
        end = metrics.watch(lambda: 100, lambda: 0)

        before = value(registry, "active_runs")
        end()
        end()

        assert (before, value(registry, "active_runs")) == (111, 11)


class TestNoMetrics:
    @pytest.mark.parametrize("method", methods())
    def test_takes_every_call_and_says_nothing(self, method: str) -> None:
        assert getattr(type(NO_METRICS), method) is not getattr(Metrics, method)

        count = len(inspect.signature(getattr(Metrics, method)).parameters) - 1
        getattr(NO_METRICS, method)(*[lambda: 1] * count)

    def test_a_watch_that_saw_nothing_ends(self) -> None:
        NO_METRICS.watch(lambda: 1, lambda: 1)()


class TestTheRegistry:
    def test_of_another_process_is_another(self) -> None:
        Metrics(CollectorRegistry()).run_started()
        second = CollectorRegistry()
        Metrics(second)

        assert value(second, "runs_started_total") == 0

    def test_of_a_worker_tells_its_cpu_and_memory(self) -> None:
        registry = worker_registry()

        assert (registry.get_sample_value("process_cpu_seconds_total") or 0) > 0
        assert (registry.get_sample_value("process_resident_memory_bytes") or 0) > 0


class TestThePage:
    def test_lists_every_metric_with_its_kind_and_labels(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        rows = re.findall(r"^\| `(\w+?)(?:_total)?` \| (\w+) \| (.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)

        assert sorted((name, kind) for name, kind, _ in rows) == sorted(
            (family.name.removeprefix("dynamicflow_"), family.type) for family in registry.collect()
        )
        for tell, name, labels, _ in COUNTED:
            row = next(row for row in rows if name.removesuffix("_total").removesuffix("_sum") == row[0])
            assert re.findall(r"`(\w+)`", row[2]) == list(labels), name
            tell(metrics)


class TestCost:
    def test_a_step_costs_microseconds(self, metrics: Metrics) -> None:
        """Some 2 µs on the machine it was written on; the bound only finds a look-up that is not kept."""
        count, best = 20_000, float("inf")
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(count):
                metrics.step_ended("mail", "tool", "completed", 0.3, 0.0004)
            best = min(best, (time.perf_counter() - began) / count)

        assert best < 10e-6
