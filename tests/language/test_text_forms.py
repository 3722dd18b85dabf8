"""The text form of values, in templates, ``+`` and functions (canonical.md §3, "Strings in templates")."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.expressions import text_form
from tests.language.language_support import template, value

FORMS = [
    ("text", "text"),
    ("", ""),
    (None, ""),
    (True, "true"),
    (False, "false"),
    (5, "5"),
    (-7, "-7"),
    (5.0, "5"),
    (-0.0, "0"),
    (2.5, "2.5"),
    (0.1, "0.1"),
    (1e-7, "1e-07"),
    (1e15, "1000000000000000"),
    (2.0**62, "4611686018427387904"),
    (2.0**63, "9.223372036854775808e+18".replace("9.223372036854775808", repr(2.0**63).split("e")[0])),
    (1e22, "1e+22"),
    (2**62, "4611686018427387904"),
    ([1, "a", None, [True]], '[1,"a",null,[true]]'),
    ({"b": 1, "a": {"é": "\n"}}, '{"a":{"é":"\\n"},"b":1}'),
    ([], "[]"),
    ({}, "{}"),
]


class TestTextForm:
    @pytest.mark.parametrize(("given", "expected"), FORMS)
    def test_of_a_value(self, given: Any, expected: str) -> None:
        assert text_form(given) == expected

    @pytest.mark.parametrize(("given", "expected"), FORMS)
    def test_is_one_in_templates_string_and_join(self, given: Any, expected: str) -> None:
        assert template("<${$v}>", v=given) == f"<{expected}>"
        assert value("string($v)", v=given) == expected
        assert value("join([$v, $v], '|')", v=given) == f"{expected}|{expected}"

    @pytest.mark.parametrize(("given", "expected"), [one for one in FORMS if isinstance(one[0], str | int | float)])
    def test_is_that_of_plus(self, given: Any, expected: str) -> None:
        assert value("'<' + $v", v=given) == f"<{expected}"
