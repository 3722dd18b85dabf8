"""Every test of this folder runs on a SQLite file and in memory: one contract, two journals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.engine_kit import Open, in_memory, on_file


@pytest.fixture(params=[on_file, in_memory], ids=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    opened: Open = request.param(tmp_path)
    return opened


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DYNAMICFLOW_MODEL"):
        monkeypatch.delenv(name, raising=False)
