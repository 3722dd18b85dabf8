from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journal.journal_kit import Listener, Place


@pytest.fixture(params=["sqlite", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Every storage must pass every test that asks for this."""
    made = Place(request.param, tmp_path / "runs.db")
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Place]:
    made = Place("sqlite", tmp_path / "runs.db")
    yield made
    made.close()


@pytest.fixture
def heard() -> Listener:
    return Listener()
