"""The table of exceptions names what there is: a test that is renamed runs on every engine again, and says so here."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.engine import conftest, test_events, test_pausing, test_running, test_starting

MODULES: tuple[ModuleType, ...] = (test_events, test_pausing, test_running, test_starting)


@pytest.mark.parametrize("name", conftest.NOT_EVERYWHERE)
def test_every_exception_is_of_a_test_that_is_there(name: str) -> None:
    owner, _, test = name.partition("::")
    found = [getattr(module, owner) for module in MODULES if hasattr(module, owner)]
    assert any(hasattr(one, test) for one in found) if test else found


def test_every_exception_says_why() -> None:
    for engines, why in conftest.NOT_EVERYWHERE.values():
        assert set(engines) < set(conftest.ENGINES)
        assert why
