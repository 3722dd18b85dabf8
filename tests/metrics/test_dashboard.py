"""Every panel of the dashboard shows something, asked of a real Prometheus that scrapes a real endpoint."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations

import pytest
from prometheus_client import CollectorRegistry

from dynamicflow import Engine
from dynamicflow.streams.metrics import Metrics, worker_registry
from dynamicflow.streams.monitoring import Monitoring
from tests.engine.engine_kit import CHAIN, WAIT_S, call, double, flaky, plan, recorded
from tests.metrics.dashboard import ROOT, Query, dashboard, panels, queries
from tests.metrics.prometheus_server import Prometheus, tool

RETRIED = plan(call("a", "flaky", retry={"maxAttempts": 3, "initialDelay": 1, "maxDelay": 1}))


async def embedded_load(metrics: Metrics) -> None:
    """Runs of an embedded engine: planned from a prompt, given, retried."""
    async with Engine.in_memory(tools=[double, flaky(1)], metrics=metrics) as engine:
        for flow in ("Double a number.", CHAIN, RETRIED):
            run = await engine.start(flow, input={"n": 1}, model="offline")
            await asyncio.wait_for(run.result(), WAIT_S)
            await recorded(run)


def kafka_load(metrics: Metrics) -> None:
    """What only Kafka workers tell."""
    metrics.lag("scheduler", "flow-events", 12)
    metrics.produced("executor", 500, 0.004)
    metrics.replayed(1200, 0.3)
    metrics.low_water_age(0, 42.0)
    metrics.partitions_owned("scheduler", 6)
    metrics.took_over()
    metrics.snapshot_written()
    metrics.dead_letter("INVALID_JSON")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Has seen every metric rise: what rates and quantiles are made of."""
    registry = worker_registry()
    metrics = Metrics(registry)
    with (
        Monitoring(registry) as monitoring,
        Prometheus(tmp_path_factory.mktemp("prometheus"), [f"127.0.0.1:{monitoring.port}"]) as server,
    ):
        for _ in range(2):
            asyncio.run(embedded_load(metrics))
            kafka_load(metrics)
            server.wait_for_scrapes()
        yield server


class TestEveryPanel:
    @pytest.mark.parametrize("query", queries(), ids=lambda query: f"{query.panel} {query.ref}")
    def test_has_data(self, prometheus: Prometheus, query: Query) -> None:
        assert prometheus.values(query.expr), query.expr

    def test_is_of_the_job_that_is_scraped(self, prometheus: Prometheus) -> None:
        assert prometheus.values('sum(up{job="dynamicflow"})') == [1.0]

    def test_shows_the_numbers_that_were_told(self, prometheus: Prometheus) -> None:
        assert prometheus.values("sum by (role, topic) (dynamicflow_consumer_lag)") == [12.0]
        (p95,) = prometheus.values(
            'histogram_quantile(0.95, sum by (le) (dynamicflow_replay_seconds_bucket{job="dynamicflow"}))'
        )
        assert 0.1 < p95 <= 0.5  # of 0.3, in its bucket


class TestTheDashboard:
    def test_is_of_a_schema_that_grafana_reads_without_changing_it(self) -> None:
        assert dashboard()["schemaVersion"] >= 39

    def test_names_the_data_source_that_is_provisioned(self) -> None:
        provisioned = (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text("utf-8")
        uids = {panel["datasource"]["uid"] for panel in panels()}

        assert uids == set(re.findall(r"uid: (\w+)", provisioned))

    def test_has_panels_that_do_not_cover_each_other(self) -> None:
        places = [(panel["title"], panel["gridPos"]) for panel in dashboard()["panels"]]
        covered = [
            (one, other)
            for (one, a), (other, b) in combinations(places, 2)
            if a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        ]

        assert covered == []
        assert all(place["x"] + place["w"] <= 24 for _, place in places)
        assert len({panel["id"] for panel in dashboard()["panels"]}) == len(places)

    def test_shows_every_metric_and_asks_for_no_other(self) -> None:
        registry = CollectorRegistry()
        Metrics(registry)
        told = {family.name for family in registry.collect()}
        asked = set(re.findall(r"dynamicflow_\w+", " ".join(query.expr for query in queries())))
        shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in asked}

        assert shown == told


class TestTheConfiguration:
    def test_passes_promtool(self) -> None:
        checked = subprocess.run(
            [tool("promtool"), "check", "config", str(ROOT / "deploy/prometheus/prometheus.yml")],
            capture_output=True,
            text=True,
            check=False,
        )

        assert checked.returncode == 0, checked.stderr
