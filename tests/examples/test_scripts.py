"""The scripts of the examples do what their README says."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.examples.example_flows import EXAMPLES, ROOT


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, at the root of the project, without a model configured."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "DYNAMICFLOW_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestTheScripts:
    def test_a_flow_from_a_prompt_runs_for_every_city(self) -> None:
        ran = python(str(EXAMPLES / "scripts" / "flow_script.py"))

        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines() == [
            "Cairo: a shirt",
            "Lisbon: a shirt",
            "Oslo: a jacket",
            "Yakutsk: a fur coat",
        ]
        assert "get_weather" in ran.stderr

    def test_the_test_of_a_flow_that_waits_a_day_passes(self) -> None:
        ran = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "scripts" / "test_my_flow.py"))
        assert "2 passed" in ran.stdout, ran.stdout
