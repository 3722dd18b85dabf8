"""Real workers, scraped by a real Prometheus: every panel of the dashboard shows what they did."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from dynamicflow.streams.kafka.admin import create_topics
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.topics import Topics
from tests.kafka.broker import SharedBroker
from tests.kafka.process_kit import TOOLS, Kcat, WorkerProcess, call, plan
from tests.metrics.dashboard import Query, queries
from tests.metrics.prometheus_server import Prometheus

pytestmark = pytest.mark.timeout(120)  # all happens in the setup of the first test

PARTITIONS: Final = 2
ROUNDS: Final = 2
"""A rate is made of two looks at a series that was there before."""
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "planned": {"prompt": "Double a number", "input": {"number": 4}},
    "not-planned": {"prompt": "Fly to the moon and back"},
    "retried": {"plan": plan(call("a", "flaky", {"fails": 1}))},
    "failed": {"plan": plan(call("a", "flaky", {"fails": 9}))},
    "refused": {
        "plan": plan(call("a", "anything", {}), call("b", "double", {"number": "$a.number"})),
    },
    "held": {"plan": plan(call("a", "pay", {"amount": 1}))},
    "waited": {"plan": plan({"id": "w", "type": "wait", "duration": 50}, call("a", "double", {"number": 1}))},
}
STATUS: Final = {"not-planned": "rejected", "failed": "failed", "refused": "failed"}
"""How they end; the others complete."""


@pytest.fixture(scope="module")
def prometheus(broker: SharedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Has seen two workers do something; then one of them left its partitions to the other."""
    folder = tmp_path_factory.mktemp("workers")
    topics, kcat = Topics(f"m{secrets.token_hex(3)}-"), Kcat(broker.bootstrap)
    (folder / "tools.py").write_text(TOOLS, "utf-8")
    asyncio.run(create_topics(Connection(broker.bootstrap), topics.specs(PARTITIONS)))
    common = ("--bootstrap", broker.bootstrap, "--prefix", topics.prefix, "--metrics-port", "0")
    with ExitStack() as ends:
        worker = ends.enter_context(WorkerProcess(folder / "all.log", *common, "--tools", str(folder / "tools.py")))
        other = ends.enter_context(WorkerProcess(folder / "scheduler.log", *common, "--roles", "scheduler"))
        worker.wait_ready()
        other.wait_ready()
        prometheus = ends.enter_context(Prometheus(folder / "prometheus", [worker.address, other.address]))
        prometheus.wait_for_scrapes()
        for number in range(ROUNDS):
            keys = {f"{name}-{number}": request for name, request in REQUESTS.items()}
            for key, request in keys.items():
                kcat.publish(topics.requests, request, key)
            kcat.publish(topics.requests, "no request at all")
            results = kcat.wait_for(topics.complete, *keys)
            told = {key: results[key]["status"] for key in keys}
            assert told == {key: STATUS.get(key.rpartition("-")[0], "completed") for key in keys}
            prometheus.wait_for_scrapes(2)
        before = worker.metric("takeovers_total")
        other.send(signal.SIGTERM)
        assert other.ended() == 0
        prometheus.wait_for(f'dynamicflow_takeovers_total{{instance="{worker.address}"}} > {before}')
        prometheus.wait_for(f"sum(dynamicflow_partitions_owned) == {PARTITIONS * 4}")
        yield prometheus


class TestEveryPanel:
    @pytest.mark.parametrize("query", queries(), ids=lambda query: f"{query.panel} {query.ref}")
    def test_has_data(self, prometheus: Prometheus, query: Query) -> None:
        assert prometheus.values(query.expr), query.expr


class TestTheNumbers:
    @pytest.mark.parametrize(
        ("expr", "number"),
        [
            ("runs_accepted_total", 7 * ROUNDS),
            ("runs_started_total", 6 * ROUNDS),
            ('runs_total{status="completed"}', 4 * ROUNDS),
            ('runs_total{status="failed"}', 2 * ROUNDS),
            ('runs_total{status="rejected"}', ROUNDS),
            ("active_runs", 0),
            ("steps_in_flight", 0),
            ('node_duration_seconds_count{tool="double", outcome="completed"}', 2 * ROUNDS),
            ('node_duration_seconds_count{tool="double", outcome="refused"}', ROUNDS),
            ('node_duration_seconds_count{tool="flaky", outcome="failed"}', 3 * ROUNDS),
            ('node_duration_seconds_count{tool="flaky", outcome="completed"}', ROUNDS),
            ('node_queue_seconds_count{tool="double"}', 2 * ROUNDS),
            ('tool_retries_total{tool="flaky"}', 2 * ROUNDS),
            ("steps_held_total", ROUNDS),
            ("steps_lost_total", 0),
            ('timers_fired_total{kind="wait"}', ROUNDS),
            ('timers_fired_total{kind="retry"}', 2 * ROUNDS),
            ('plans_total{result="published"}', ROUNDS),
            ('plans_total{result="failed"}', ROUNDS),
            ("plan_duration_seconds_count", 2 * ROUNDS),
            ("plan_attempts_sum", 2 * ROUNDS),
            ('dead_letters_total{reason="INVALID_JSON"}', ROUNDS),
            ("consumer_lag", 0),
            ("low_water_age_seconds", 0),
        ],
    )
    def test_are_what_was_done(self, prometheus: Prometheus, expr: str, number: float) -> None:
        # of both: what the one that is gone told last counts too
        assert prometheus.values(f"sum(last_over_time(dynamicflow_{expr}[2m]))") == [number]
