"""A real Prometheus that scrapes given targets, for tests (Debian package ``prometheus``; .ci/run installs it).

    with Prometheus(folder, ["127.0.0.1:9464"]) as prometheus:
        prometheus.wait_for_scrapes(2)
        assert prometheus.query("dynamicflow_active_runs")

It has a port, a data folder and a process group of its own; on leaving all of it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

SCRAPE_EVERY: Final = "500ms"
PATIENCE_S: Final = 30.0
JOB: Final = "dynamicflow"


def tool(name: str) -> str:
    """Where ``prometheus`` or ``promtool`` is. They are needed: without them the test fails."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install prometheus (.ci/run does it)")
    return found


class Prometheus:
    """Scrapes ``targets`` ("host:port") as the job that deploy/prometheus has for workers."""

    def __init__(self, folder: Path, targets: Sequence[str], *, job: str = JOB) -> None:
        self._folder, self._targets, self._job = folder, list(targets), job
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        for _ in range(3):  # between looking for a free port and listening somebody else may take it
            self._start()
            if self._comes_up():
                return self
            self._stop()
        raise AssertionError(f"prometheus does not start: {self._log()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The instant vector of an expression: ``[{"metric": {…}, "value": [time, text]}]``."""
        answer = self._get("/api/v1/query", query=expr)
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def values(self, expr: str) -> list[float]:
        """The numbers of an expression, without those that are none."""
        numbers = [float(series["value"][1]) for series in self.query(expr)]
        return [number for number in numbers if number == number]

    def wait_for_scrapes(self, count: int = 1) -> None:
        """Until every target was scraped so many times more, without an error."""
        for _ in range(count):
            began = time.time()
            self._wait(partial(self._scraped_since, began), "a scrape of every target")

    def wait_for(self, expr: str) -> list[float]:
        """Until an expression has numbers; gives them."""
        found: list[float] = []

        def there() -> bool:
            found[:] = self.values(expr)
            return bool(found)

        self._wait(there, expr)
        return found

    # --- inside -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = int(taken.getsockname()[1])
        self._folder.mkdir(parents=True, exist_ok=True)
        scrape = {"job_name": self._job, "static_configs": [{"targets": self._targets}]}
        config = {
            "global": {"scrape_interval": SCRAPE_EVERY, "scrape_timeout": SCRAPE_EVERY},
            "scrape_configs": [scrape],
        }
        (self._folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
        command = [
            tool("prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _comes_up(self) -> bool:
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends and self._process is not None and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        return False

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for end in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, end)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    continue

    def _scraped_since(self, moment: float) -> bool:
        """A scrape's sample carries the time at which the scrape began."""
        up = self.query(f'up{{job="{self._job}"}} == 1')
        began = self.query(f'timestamp(up{{job="{self._job}"}})')
        return len(up) == len(self._targets) and all(float(series["value"][1]) > moment for series in began)

    def _wait(self, there: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + PATIENCE_S
        while not there():
            if time.monotonic() > ends:
                targets = self._get("/api/v1/targets")["data"]["activeTargets"]
                errors = [(target["scrapeUrl"], target["lastError"]) for target in targets]
                raise AssertionError(f"waited {PATIENCE_S:.0f} s for {what}; targets: {errors}; {self._log()}")
            time.sleep(0.05)

    def _get(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, urllib.parse.urlencode(query).encode() if query else None, 10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return json.load(refused)

    def _log(self) -> str:
        return (self._folder / "log").read_text("utf-8", "replace")[-2000:]
