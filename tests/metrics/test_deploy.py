"""What is shipped to run it all: the compose file, the image, Prometheus's and Grafana's files fit each other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from dynamicflow import load_tools_file
from dynamicflow.streams.cli.main import app
from tests.metrics.dashboard import DASHBOARD, ROOT

COMPOSE: Final = ROOT / "docker-compose.yml"
DOCKERFILE: Final = ROOT / "Dockerfile"


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def service(name: str) -> str:
    """The part of the compose file that is about a service."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE.read_text("utf-8"), re.MULTILINE)
    assert found, f"no service {name}"
    return found[1]


def command(name: str) -> list[str]:
    """The command line of a service."""
    found = re.search(r"^    command: (\[[^]]*\])", service(name), re.MULTILINE)
    assert found, f"service {name} has no command in brackets"
    words: list[str] = json.loads(found[1])
    return words


def parsed(words: list[str], known: Any = None) -> dict[str, Any]:
    """What the real command line makes of the words. Raises for an unknown command, option or value."""
    known = known or typer.main.get_command(app)
    with known.make_context("dynamicflow", list(words), resilient_parsing=False) as context:
        if not hasattr(known, "get_command"):
            options: dict[str, Any] = context.params
            return options
        found = known.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]}"
        return parsed(words[1:], found)


class TestTheComposeFile:
    def test_is_one(self) -> None:
        compose = shutil.which("docker-compose")
        assert compose is not None, "install the Debian package docker-compose; .ci/run does"

        checked = subprocess.run(
            [compose, "--file", str(COMPOSE), "config", "-q"], capture_output=True, text=True, check=False
        )

        assert checked.returncode == 0, checked.stderr

    def test_starts_workers_with_a_command_line_that_there_is(self) -> None:
        words = command("worker")
        tools = words.index("/tools/tools.py")

        options = parsed([*words[:tools], str(ROOT / "examples/onboarding/tools.py"), *words[tools + 1 :]])

        assert (options["metrics_host"], options["metrics_port"]) == ("0.0.0.0", 9464)

    def test_makes_topics_with_a_command_line_that_there_is(self) -> None:
        parsed(command("topics"))

    def test_mounts_tools_where_the_worker_looks_for_them(self) -> None:
        mounted = re.search(r"- \$\{DYNAMICFLOW_TOOLS:-(.*)\}:(.*):ro", service("worker"))

        assert mounted
        assert mounted[2] in command("worker")
        assert load_tools_file(str(ROOT / mounted[1])).tools

    def test_gives_a_worker_time_to_let_its_steps_end(self) -> None:
        grace = re.search(r"stop_grace_period: (\d+)s", service("worker"))

        assert grace and int(grace[1]) >= 60

    def test_publishes_no_port_of_workers_so_that_there_may_be_many(self) -> None:
        assert "ports:" not in service("worker") and "container_name" not in service("worker")

    def test_mounts_files_that_are_there(self) -> None:
        mounted = re.findall(r"- (\./[\w./-]+):", COMPOSE.read_text("utf-8"))

        assert len(mounted) == 3
        assert [path for path in mounted if not (ROOT / path).exists()] == []


class TestPrometheusAndGrafana:
    def test_workers_are_scraped_where_they_serve(self) -> None:
        scraped = text("deploy/prometheus/prometheus.yml")
        words = command("worker")

        assert service("worker") and "names: [worker]" in scraped and "type: A" in scraped
        assert f"port: {words[words.index('--metrics-port') + 1]}" in scraped

    def test_grafana_asks_the_prometheus_of_the_compose_file(self) -> None:
        assert service("prometheus")
        assert "url: http://prometheus:9090" in text("deploy/grafana/provisioning/datasources/prometheus.yml")

    def test_the_dashboard_is_where_grafana_looks_for_it(self) -> None:
        provider = re.search(r"path: (.*)", text("deploy/grafana/provisioning/dashboards/dynamicflow.yml"))

        assert provider
        assert f"- ./{DASHBOARD.parent.relative_to(ROOT)}:{provider[1]}:ro" in service("grafana")
        assert f"HOME_DASHBOARD_PATH: {provider[1]}/{DASHBOARD.name}" in service("grafana")

    def test_the_rate_interval_follows_the_scrape_interval(self) -> None:
        interval = re.search(r"scrape_interval: (\w+)", text("deploy/prometheus/prometheus.yml"))

        assert interval
        assert f"timeInterval: {interval[1]}" in text("deploy/grafana/provisioning/datasources/prometheus.yml")


class TestTheImage:
    def test_is_built_from_what_is_sent_to_the_engine(self) -> None:
        sent = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}

        assert {source for sources, _ in copies() for source in sources} == sent

    def test_runs_as_nobody_special(self) -> None:
        users = re.findall(r"^USER (.*)", DOCKERFILE.read_text("utf-8"), re.MULTILINE)

        assert users[-1:] == ["dynamicflow"]

    def test_names_no_package_index(self) -> None:
        files = (DOCKERFILE.read_text("utf-8"), COMPOSE.read_text("utf-8"), text("constraints.txt"))

        assert [found for file in files for found in re.findall(r"index-url|find-links|trusted-host", file)] == []

    @pytest.mark.slow
    @pytest.mark.timeout(180)
    def test_has_an_installation_that_works(self, tmp_path: Path) -> None:
        """The steps of its first stage, carried out here: some 20 s."""
        source, venv = tmp_path / "source", tmp_path / "venv"
        source.mkdir()
        for sources, target in copies():
            for name in sources:
                _copy(ROOT / name, source / target if target != "./" else source / name)
        for step in runs():
            words = shlex.split(step.replace("/opt/dynamicflow", str(venv)))
            words[0] = sys.executable if words[0] == "python" else words[0]
            subprocess.run(words, cwd=source, check=True)

        demo = subprocess.run(
            [venv / "bin/dynamicflow", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
        )

        assert demo.returncode == 0, demo.stderr


def first_stage() -> list[str]:
    lines = DOCKERFILE.read_text("utf-8").split("\nFROM ")[1].splitlines()
    return [line for line in lines if not line.startswith("#")]


def copies() -> list[tuple[list[str], str]]:
    """(sources, target) of each COPY of the first stage."""
    words = [line.split()[1:] for line in first_stage() if line.startswith("COPY ")]
    return [(sources, target) for *sources, target in words]


def runs() -> list[str]:
    return [line.removeprefix("RUN ") for line in first_stage() if line.startswith("RUN ")]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():  # links stay links, as COPY leaves them
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target, symlinks=True, ignore=ignored)
    else:
        shutil.copy(source, target)
