"""Plans with known answers: the check's verdict and the run's result, as a stranger would expect them from the text."""

from __future__ import annotations

from typing import Final

import pytest

from tests.plans.plan_kit import Case, cases, check_differences, check_of, differences, outcome

CASES: Final = tuple(cases())
RUN: Final = tuple(case for case in CASES if "status" in case.expect)


class TestAPlanWithAKnownAnswer:
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_is_checked_as_the_text_says(self, case: Case) -> None:
        checked = check_of(case)

        found = check_differences(case, checked)

        assert not found, "\n".join([case.says, *found])

    @pytest.mark.parametrize("case", RUN, ids=str)
    async def test_gives_that_answer(self, case: Case) -> None:
        expected = {name: value for name, value in case.expect.items() if name not in NOT_OF_RUNS}

        result = await outcome(case)

        found = differences(expected, result)
        assert not found, "\n".join([case.says, *found, f"error: {result['error']}"])

    def test_there_are_enough_of_them(self) -> None:
        names = [case.name for case in CASES]

        assert len(set(names)) == len(names) >= 250


NOT_OF_RUNS: Final = frozenset({"problems", "warnings", "certificate", "canonical"})
