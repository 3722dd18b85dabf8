"""What a process does, in numbers for Prometheus (docs/metrics.md). Both shells call these methods; no rules live here.

    metrics = Metrics(CollectorRegistry())
    metrics.step_ended("send_welcome", "tool", "completed", 0.004, queued_seconds=0.001)

Nothing is made at import: a registry is handed in, and it takes one ``Metrics``. Every method may be called from any
thread. Label values are few: never a run id, and after a limit every new name is counted as "other".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from .core.state import ENDED

PREFIX: Final = "dynamicflow"
OTHER: Final = "other"
MOST_TOOLS: Final = 500
"""Different tool ids in labels: a histogram has some twenty series for each, times the outcomes."""
MOST_NAMES: Final = 100
"""Different roles, topics, kinds, reasons: closed sets, but a mistake must not fill a server's memory."""
MOST_PARTITIONS: Final = 1000

STEP_OUTCOMES: Final = ("completed", "failed", "timed_out", "cancelled", "refused")
"""``refused``: it was not called, because its inputs do not fit or a join failed."""
PLAN_RESULTS: Final = ("published", "failed")
TIMER_KINDS: Final = ("retry", "timeout", "wait", "deadline")

STEP_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Seconds: a call in the same machine to the longest timeout of a tool."""
PLAN_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
ATTEMPT_BUCKETS: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0)
PRODUCE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REPLAY_BUCKETS: Final = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
RECORD_BUCKETS: Final = tuple(float(10**power) for power in range(8))

_OF_CODES: Final = {"TIMEOUT": "timed_out", "CANCELLED": "cancelled"}

Meter = TypeVar("Meter", Counter, Gauge, Histogram)


def outcome_of(error_code: str | None) -> str:
    """Which of ``STEP_OUTCOMES`` a call came to; None: it gave an output."""
    return "completed" if error_code is None else _OF_CODES.get(error_code, "failed")


class Names:
    """Label values in use; when there are ``most``, a new one becomes "other"."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most, self._known = most, {OTHER}

    def __call__(self, name: str) -> str:
        if name not in self._known:
            if len(self._known) > self._most:
                return OTHER
            self._known.add(name)
        return name


class Labelled(Generic[Meter]):
    """A metric by its labels, each looked up in prometheus_client once: that costs more than to count."""

    def __init__(self, meter: Meter, *names: Names) -> None:
        self._meter: Meter = meter
        self._names = names
        self._children: dict[tuple[str, ...], Meter] = {}

    def __call__(self, *labels: str) -> Meter:
        return self._children.get(labels) or self._made(labels)

    def drop(self, *labels: str) -> None:
        """Forget one: it is not told any more."""
        if self._children.pop(labels, None) is not None:
            self._meter.remove(*labels)

    def _made(self, labels: tuple[str, ...]) -> Meter:
        known = tuple(name(label) for name, label in zip(self._names, labels, strict=True))
        found = self._children.get(known)
        if found is None:
            found = self._children[known] = self._meter.labels(*known)
        return found


class Metrics:
    """The metrics of one process, in the registry given."""

    def __init__(self, registry: CollectorRegistry, *, most_tools: int = MOST_TOOLS) -> None:
        make = _Maker(registry)
        tools = Names(most_tools)
        self._watched: list[tuple[Callable[[], int], Callable[[], int]]] = []
        # runs
        self._accepted = make.counter("runs_accepted", "Runs whose request is in the log.")
        self._started = make.counter("runs_started", "Runs that began, with their plan.")
        self._runs = Labelled(make.counter("runs", "Runs that ended, by status.", "status"), Names())
        self._live_runs = self._in_flight = 0
        make.gauge("active_runs", "Runs that have not ended, waiting ones too.").set_function(self._count_runs)
        # steps
        duration = make.histogram(
            "node_duration_seconds", "Time in the tool, of one attempt.", STEP_BUCKETS, "type", "tool", "outcome"
        )
        self._duration = Labelled(duration, Names(), tools, Names())
        queued = make.histogram("node_queue_seconds", "From ready to started.", STEP_BUCKETS, "tool")
        self._queued = Labelled(queued, tools)
        make.gauge("steps_in_flight", "Steps handed to tools, without an outcome.").set_function(self._count_steps)
        self._retries = Labelled(make.counter("tool_retries", "Attempts after the first.", "tool"), tools)
        self._held = make.counter("steps_held", "Claims of steps: those that must not run twice, and long ones.")
        self._lost = make.counter("steps_lost", "Steps whose holder was gone without an outcome.")
        self._timers = Labelled(make.counter("timers_fired", "Timers that came due, by kind.", "kind"), Names())
        # plans
        self._plans = Labelled(make.counter("plans", "Answers of the planner, by result.", "result"), Names())
        self._plan_seconds = make.histogram("plan_duration_seconds", "From request to plan or refusal.", PLAN_BUCKETS)
        self._attempts = make.histogram("plan_attempts", "Questions to a model for one plan.", ATTEMPT_BUCKETS)
        # the log
        lag = make.gauge("consumer_lag", "Records that are there and not yet taken.", "role", "topic")
        self._lag = Labelled(lag, Names(), Names())
        produce = make.histogram("produce_seconds", "From a batch handed over to its ack.", PRODUCE_BUCKETS, "role")
        self._produce = Labelled(produce, Names())
        self._produced = Labelled(make.counter("produced_records", "Records acknowledged.", "role"), Names())
        self._replay_records = make.histogram("replay_records", "Records of one rebuild or take-over.", RECORD_BUCKETS)
        self._replay_seconds = make.histogram("replay_seconds", "Time of one rebuild or take-over.", REPLAY_BUCKETS)
        low = make.gauge("low_water_age_seconds", "Age of the oldest record a live run still needs.", "partition")
        self._low_water = Labelled(low, Names(MOST_PARTITIONS))
        self._snapshots = make.counter("snapshots_written", "Snapshots of long or suspended runs.")
        self._owned = Labelled(make.gauge("partitions_owned", "Partitions assigned to this process.", "role"), Names())
        self._takeovers = make.counter("takeovers", "Partitions taken over, replayed and now driven.")
        dead = make.counter("dead_letters", "Records that could not be understood, by reason.", "reason")
        self._dead = Labelled(dead, Names())
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """What is not there cannot rise: a first failure would be no increase."""
        for family, names in ((self._runs, ENDED), (self._plans, PLAN_RESULTS), (self._timers, TIMER_KINDS)):
            for name in sorted(names):
                family(name)

    # --- runs -----------------------------------------------------------------------------------------------------

    def run_accepted(self) -> None:
        """A request is in the log."""
        self._accepted.inc()

    def run_started(self) -> None:
        """A run has its plan and begins."""
        self._started.inc()

    def run_ended(self, status: str) -> None:
        """A run ended: completed, partial, failed, cancelled, timed_out, rejected."""
        self._runs(status).inc()

    def live_runs(self, count: int) -> None:
        """So many runs have not ended."""
        self._live_runs = count

    def watch(self, live_runs: Callable[[], int], steps_in_flight: Callable[[], int]) -> Callable[[], None]:
        """Asks at every scrape, on its thread, and adds the answers up. Gives a function that ends it."""
        watched = (live_runs, steps_in_flight)
        self._watched.append(watched)

        def end() -> None:
            if watched in self._watched:
                self._watched.remove(watched)

        return end

    def _count_runs(self) -> float:
        return self._live_runs + sum(runs() for runs, _ in list(self._watched))

    def _count_steps(self) -> float:
        return self._in_flight + sum(steps() for _, steps in list(self._watched))

    # --- steps ----------------------------------------------------------------------------------------------------

    def step_ended(
        self, tool: str, node_type: str, outcome: str, seconds: float, queued_seconds: float | None = None
    ) -> None:
        """An attempt has one of ``STEP_OUTCOMES``. ``queued_seconds``: from ready to started, None if unknown."""
        self._duration(node_type, tool, outcome).observe(seconds)
        if queued_seconds is not None:
            self._queued(tool).observe(queued_seconds)

    def steps_in_flight(self, count: int) -> None:
        """So many steps are with tools."""
        self._in_flight = count

    def retried(self, tool: str) -> None:
        """A step was given another attempt."""
        self._retries(tool).inc()

    def step_held(self) -> None:
        """A claim of a step is in the log."""
        self._held.inc()

    def step_lost(self) -> None:
        """The holder of a step is gone."""
        self._lost.inc()

    def timer_fired(self, kind: str) -> None:
        """A timer came due: retry, timeout, wait, deadline."""
        self._timers(kind).inc()

    # --- plans ----------------------------------------------------------------------------------------------------

    def plan_made(self, result: str, seconds: float | None = None, attempts: int | None = None) -> None:
        """The planner answered: one of ``PLAN_RESULTS``. None: not known."""
        self._plans(result).inc()
        if seconds is not None:
            self._plan_seconds.observe(seconds)
        if attempts is not None:
            self._attempts.observe(attempts)

    # --- the log --------------------------------------------------------------------------------------------------

    def lag(self, role: str, topic: str, records: int | None) -> None:
        """So many records of a topic wait for a role; None: it does not read it any more."""
        if records is None:
            self._lag.drop(role, topic)
        else:
            self._lag(role, topic).set(records)

    def produced(self, role: str, records: int, seconds: float) -> None:
        """A batch is acknowledged."""
        self._produce(role).observe(seconds)
        self._produced(role).inc(records)

    def replayed(self, records: int, seconds: float) -> None:
        """A run was rebuilt, or a partition taken over, from so many records."""
        self._replay_records.observe(records)
        self._replay_seconds.observe(seconds)

    def low_water_age(self, partition: int, seconds: float | None) -> None:
        """Age of the oldest record that a live run of the partition needs; None: it is not ours any more."""
        if seconds is None:
            self._low_water.drop(str(partition))
        else:
            self._low_water(str(partition)).set(seconds)

    def partitions_owned(self, role: str, count: int) -> None:
        """So many partitions are assigned to a role here."""
        self._owned(role).set(count)

    def took_over(self) -> None:
        """A partition was taken over and is driven now."""
        self._takeovers.inc()

    def snapshot_written(self) -> None:
        """A snapshot is acknowledged."""
        self._snapshots.inc()

    def dead_letter(self, reason: str) -> None:
        """A record went to the dead letters; ``reason`` is a code, not a sentence."""
        self._dead(reason).inc()


class _Silent(Metrics):
    """Counts nothing, so that callers need not ask."""

    def __init__(self) -> None:
        pass

    def _nothing(self, *_: Any, **__: Any) -> None:
        pass

    def watch(self, live_runs: Callable[[], int], steps_in_flight: Callable[[], int]) -> Callable[[], None]:
        return self._nothing

    run_accepted = run_started = run_ended = live_runs = _nothing
    step_ended = steps_in_flight = retried = step_held = step_lost = timer_fired = plan_made = _nothing
    lag = produced = replayed = low_water_age = partitions_owned = took_over = snapshot_written = dead_letter = _nothing


NO_METRICS: Final[Metrics] = _Silent()


def worker_registry() -> CollectorRegistry:
    """A registry for a process of its own, with its CPU time, memory and open files in it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class _Maker:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, labels, namespace=PREFIX, registry=self._registry)

    def gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(name, told, labels, namespace=PREFIX, registry=self._registry)

    def histogram(self, name: str, told: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, told, labels, namespace=PREFIX, registry=self._registry, buckets=buckets)
