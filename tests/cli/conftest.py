import os
from pathlib import Path

import pytest

from tests.cli.command_line import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Desk:
    """A user's folder, which is the current one; no model is configured."""
    for name in [name for name in os.environ if name.startswith(("DYNAMICFLOW_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsysbinary)
