"""``make demo-kafka`` shows what it says, on the broker of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.broker import SharedBroker

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_worker_is_killed_and_every_order_is_charged_once(broker: SharedBroker) -> None:
    environment = {**os.environ, "DYNAMICFLOW_BOOTSTRAP": broker.bootstrap}
    command = [sys.executable, "-m", "examples.kafka.demo"]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "is killed (SIGKILL)" in done.stdout
    assert "charged twice: nobody" in done.stdout
    assert "every announcement follows from the facts" in done.stdout
