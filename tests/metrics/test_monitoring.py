"""The endpoint answers on its own thread, whatever the process is doing."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from dynamicflow import UsageError
from dynamicflow.streams.metrics import Metrics, worker_registry
from dynamicflow.streams.monitoring import Monitoring, Pulse


@pytest.fixture
def registry() -> CollectorRegistry:
    return worker_registry()


@pytest.fixture
def monitoring(registry: CollectorRegistry) -> Iterator[Monitoring]:
    with Monitoring(registry) as monitoring:
        yield monitoring


def get(monitoring: Monitoring, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    """Status, content type, body."""
    connection = http.client.HTTPConnection("127.0.0.1", monitoring.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def told(monitoring: Monitoring, path: str) -> tuple[int, dict[str, str]]:
    status, _, body = get(monitoring, path)
    return status, json.loads(body)


class TestMetrics:
    def test_are_told_as_prometheus_reads_them(self, monitoring: Monitoring, registry: CollectorRegistry) -> None:
        Metrics(registry).step_ended("mail", "tool", "completed", 0.3, 0.1)

        status, kind, body = get(monitoring, "/metrics")

        assert (status, kind.split(";")[0]) == (200, "text/plain")
        assert b'dynamicflow_node_queue_seconds_count{tool="mail"} 1.0\n' in body

    def test_come_as_openmetrics_to_who_prefers_it(self, monitoring: Monitoring) -> None:
        status, kind, body = get(monitoring, "/metrics", Accept="application/openmetrics-text; version=1.0.0")

        assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
        assert body.endswith(b"# EOF\n")

    def test_leave_out_when_a_counter_was_made(self, monitoring: Monitoring, registry: CollectorRegistry) -> None:
        Metrics(registry).run_started()

        assert b"_created" not in get(monitoring, "/metrics")[2]

    def test_pass_promtool(self, monitoring: Monitoring, registry: CollectorRegistry) -> None:
        metrics = Metrics(registry)
        metrics.step_ended("mail", "tool", "completed", 0.3, 0.1)
        metrics.lag("scheduler", "flow-events", 4)
        promtool = shutil.which("promtool")
        assert promtool is not None, "install the Debian package prometheus; .ci/run does"

        checked = subprocess.run([promtool, "check", "metrics"], input=get(monitoring, "/metrics")[2], check=False)

        assert checked.returncode == 0

    def test_that_cannot_be_gathered_are_an_error_and_the_endpoint_lives(
        self, monitoring: Monitoring, registry: CollectorRegistry
    ) -> None:
        Gauge("broken", "Raises.", registry=registry).set_function(lambda: 1 / 0)

        assert get(monitoring, "/metrics")[0] == 500
        assert get(monitoring, "/healthz")[0] == 200


class TestHealth:
    def test_is_ok_while_nothing_is_wrong(self, monitoring: Monitoring) -> None:
        assert told(monitoring, "/healthz") == (200, {"status": "ok"})
        assert told(monitoring, "/readyz") == (200, {"status": "ok"})

    def test_tells_what_is_stuck_and_what_it_waits_for(self, registry: CollectorRegistry) -> None:
        with Monitoring(registry, stuck=lambda: "the loop", ready=lambda: "no broker yet") as monitoring:
            assert told(monitoring, "/healthz") == (503, {"status": "stuck", "reason": "the loop"})
            assert told(monitoring, "/readyz") == (503, {"status": "not ready", "reason": "no broker yet"})

    def test_a_check_that_raises_is_told(self, registry: CollectorRegistry) -> None:
        def broken() -> str | None:
            raise RuntimeError("no loop")

        with Monitoring(registry, ready=broken) as monitoring:
            status, body = told(monitoring, "/readyz")

        assert (status, body["reason"]) == (500, "RuntimeError('no loop')")

    def test_is_answered_while_a_check_takes_its_time(self, registry: CollectorRegistry) -> None:
        asked, go = threading.Event(), threading.Event()

        def slow() -> str | None:
            asked.set()
            go.wait(10)
            return None

        with Monitoring(registry, ready=slow) as monitoring:
            waiting = threading.Thread(target=get, args=(monitoring, "/readyz"))
            waiting.start()
            asked.wait(10)

            status = get(monitoring, "/healthz")[0]

            go.set()
            waiting.join()
        assert status == 200


class TestOtherRequests:
    def test_an_unknown_path_says_which_there_are(self, monitoring: Monitoring) -> None:
        status, body = told(monitoring, "/")

        assert (status, body["reason"]) == (404, "there are /metrics, /healthz and /readyz")

    def test_a_query_changes_nothing(self, monitoring: Monitoring) -> None:
        assert get(monitoring, "/healthz?verbose=1")[0] == 200

    def test_head_has_no_body(self, monitoring: Monitoring) -> None:
        assert get(monitoring, "/healthz", "HEAD")[::2] == (200, b"")

    def test_others_are_refused(self, monitoring: Monitoring) -> None:
        assert get(monitoring, "/metrics", "POST")[0] == 501

    def test_a_client_that_goes_away_harms_nobody(self, monitoring: Monitoring) -> None:
        with socket.create_connection(("127.0.0.1", monitoring.port)) as half:
            half.sendall(b"GET /metr")

        assert get(monitoring, "/healthz")[0] == 200


class TestTheAddress:
    def test_is_free_again_after_stop(self, registry: CollectorRegistry) -> None:
        first = Monitoring(registry)
        first.start()
        port = first.port
        first.stop()
        first.stop()

        with Monitoring(registry, port=port) as second:
            assert second.url == f"http://127.0.0.1:{port}"

    def test_in_use_is_told(self, monitoring: Monitoring, registry: CollectorRegistry) -> None:
        with pytest.raises(UsageError, match=f"127.0.0.1:{monitoring.port}.*choose another") as told:
            Monitoring(registry, port=monitoring.port).start()

        assert told.value.code == "METRICS_ADDRESS"

    def test_out_of_range_is_told(self, registry: CollectorRegistry) -> None:
        with pytest.raises(UsageError):
            Monitoring(registry, port=70_000).start()

    def test_may_be_one_of_ip_6(self, registry: CollectorRegistry) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        with Monitoring(registry, host="::1") as monitoring:
            assert monitoring.url == f"http://[::1]:{monitoring.port}"


class TestPulse:
    def test_a_loop_that_comes_round_is_not_stuck(self) -> None:
        pulse = Pulse(limit_s=60)
        pulse.beat("scheduler")

        assert pulse.stuck() is None

    def test_one_that_does_not_is_named(self) -> None:
        pulse = Pulse(limit_s=-1)
        pulse.beat("scheduler")
        pulse.beat("executor")
        pulse.end("executor")

        assert pulse.stuck() == "scheduler has not come round for 0 s"
