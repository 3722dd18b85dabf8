"""The rules of one call: nulls and validation before it, the output after it, and what an exception means."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from dynamicflow.tools import (
    CallError,
    CallResult,
    RateLimitError,
    ToolCancelled,
    ToolFailed,
    ToolTimeout,
    check_inputs,
    check_output,
    describe_exception,
)
from dynamicflow.tools.spec import Validation
from tests.tools.tool_kit import takes

MAIL = {
    "type": "object",
    "$defs": {"maybe": {"type": ["string", "null"]}},
    "properties": {
        "to": {"type": "string"},
        "cc": {"type": "string"},
        "note": {"$ref": "#/$defs/maybe"},
        "n": {"type": "integer"},
    },
    "required": ["to", "note"],
}


def checked(inputs: Any, mode: Validation | None = None, schema: dict[str, Any] = MAIL) -> Any:
    return check_inputs(takes(schema).spec, inputs, mode)


class TestNullInputs:
    def test_one_for_an_optional_field_that_refuses_it_is_left_out(self) -> None:
        given = {"to": "a", "note": None, "cc": None}
        assert checked(given) == ({"to": "a", "note": None}, ())
        assert given == {"to": "a", "note": None, "cc": None}

    def test_one_for_a_required_field_is_an_unresolved_reference(self) -> None:
        error = checked({"to": None, "note": None})
        assert (error.code, error.retryable, error.details) == ("UNRESOLVED_REFERENCE", False, {"fields": ["to"]})
        assert "'to'" in error.message

    def test_with_warn_it_is_left_out(self) -> None:
        inputs, warnings = checked({"to": None, "note": None}, "warn")
        assert inputs == {"note": None}
        assert any("required" in line for line in warnings)

    def test_an_undeclared_null_is_an_undeclared_field(self) -> None:
        assert checked({"to": "a", "note": "b", "x": None}).code == "TOOL_INPUT_INVALID"


class TestInputs:
    def test_that_fit_come_as_they_are(self) -> None:
        given = {"to": "a", "note": "b", "n": 3.0}
        assert checked(given) == (given, ())

    def test_that_do_not_fit_name_every_place(self) -> None:
        error = checked({"to": 5, "note": "b", "bc": "c"})
        assert (error.code, error.retryable) == ("TOOL_INPUT_INVALID", False)
        assert {part["path"] for part in error.details["errors"]} == {"/to", "/bc"}

    def test_the_nodes_mode_goes_before_the_tools(self) -> None:
        tolerant = takes(MAIL, validation="warn").spec
        bad = {"to": 5, "note": "b"}
        assert not isinstance(check_inputs(tolerant, bad, None), CallError)
        assert isinstance(check_inputs(tolerant, bad, "strict"), CallError)
        inputs, warnings = checked(bad, "warn")
        assert inputs == bad
        assert warnings[0].startswith("/to: ")

    @pytest.mark.parametrize("given", [None, [], "x", 3])
    def test_that_are_no_object(self, given: Any) -> None:
        assert checked(given).code == "TOOL_INPUT_INVALID"


class Level(enum.Enum):
    HIGH = "high"


class Model(BaseModel):
    user_id: int = Field(serialization_alias="userId")
    raw: bytes = b"ok"


@dataclass
class Point:
    x: int


class Pair(NamedTuple):
    a: int
    b: str


def output(raw: Any, schema: dict[str, Any] | None = None, mode: Validation | None = None) -> Any:
    return check_output(takes({}, schema).spec, raw, mode)


class TestOutputsBecomeJson:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            (None, None),
            ({"a": [1, 2.5, "x", True]}, {"a": [1, 2.5, "x", True]}),
            ((1, 2), [1, 2]),
            (Pair(1, "b"), [1, "b"]),
            ({"m": Model(user_id=3)}, {"m": {"userId": 3, "raw": "ok"}}),
            ([Point(1)], [{"x": 1}]),
            (Level.HIGH, "high"),
            ({"b", "a"}, ["a", "b"]),
            ({"deep": {Point: 1}.values()}, None),
            (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00Z"),
            (Decimal("1.10"), "1.10"),
            ({Level.HIGH: 1}, {"high": 1}),
            ({UUID(int=0): 1}, {"00000000-0000-0000-0000-000000000000": 1}),
            ({1: "a"}, {"1": "a"}),
        ],
    )
    def test_typed_values(self, raw: Any, expected: Any) -> None:
        result = output(raw)
        if expected is None and raw is not None:
            assert result.code == "TOOL_OUTPUT_INVALID"
        else:
            assert result.output == expected

    def test_the_result_is_a_private_copy(self) -> None:
        raw = {"a": [1]}
        result = output(raw)
        raw["a"].append(2)
        assert (result.output, result.encoded) == ({"a": [1]}, b'{"a":[1]}')

    @pytest.mark.parametrize(
        "raw",
        [
            math.nan,
            [math.inf],
            [Point(1), math.nan],
            b"bytes",
            {"a": [bytearray(b"x")]},
            object(),
            {"a": object()},
            (n for n in range(3)),
            "\ud800",
            {"\udfff": 1},
            {1: "a", "1": "b"},
            pytest.param(10**5000, id="huge"),
            lambda: 1,
            ValueError("returned"),
        ],
    )
    def test_what_is_no_json(self, raw: Any) -> None:
        error = output(raw)
        assert isinstance(error, CallError)
        assert error.code == "TOOL_OUTPUT_INVALID"
        error.message.encode()

    def test_deep_and_circular_values(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        models: Any = Point(1)
        for _ in range(300):
            models = [models]
        assert [output(raw).code for raw in (circle, deep, models)] == ["TOOL_OUTPUT_INVALID"] * 3

    def test_an_object_whose_own_code_fails(self) -> None:
        class Bad(BaseModel):
            def __str__(self) -> str:
                raise RuntimeError

            @property
            def name(self) -> str:
                raise RuntimeError

        class Worse:
            def __getattr__(self, name: str) -> Any:
                raise KeyError(name)

        assert output([Bad()]).output == [{}]
        assert output([Worse()]).code == "TOOL_OUTPUT_INVALID"

    def test_more_than_32_mib_is_too_large(self) -> None:
        assert isinstance(output("x" * (32 * 1024 * 1024 - 2)), CallResult)
        assert output("x" * (32 * 1024 * 1024 - 1)).code == "TOOL_OUTPUT_TOO_LARGE"


class TestOutputsAndTheirSchema:
    SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}  # noqa: RUF012

    def test_extra_fields_are_kept(self) -> None:
        assert output({"n": 1, "more": 2}, self.SCHEMA).output == {"n": 1, "more": 2}

    def test_a_broken_one_is_invalid_in_strict_mode(self) -> None:
        error = output({"n": "1"}, self.SCHEMA)
        assert (error.code, error.details["errors"][0]["path"]) == ("TOOL_OUTPUT_INVALID", "/n")

    def test_and_a_warning_with_warn(self) -> None:
        result = output({"n": "1"}, self.SCHEMA, "warn")
        assert result.output == {"n": "1"}
        assert result.warnings[0].startswith("/n: ")


class PaymentError(ConnectionError):
    retry_after = 2.5


class TestWhatAnExceptionMeans:
    def test_any_exception_is_a_failed_execution(self) -> None:
        error = describe_exception(PaymentError("declined"))
        assert (error.code, error.message, error.type) == ("TOOL_EXECUTION_FAILED", "declined", "PaymentError")
        assert error.bases == ("PaymentError", "ConnectionError", "OSError", "Exception")
        assert (error.retryable, error.retry_after_ms) == (None, 2500)

    def test_a_tool_may_say_it_itself(self) -> None:
        failed = RateLimitError("slow down", code="BUSY", retryable=True, retry_after=3, details={"left": 0})
        error = describe_exception(failed)
        assert error.to_json() == {
            "code": "BUSY",
            "message": "slow down",
            "type": "RateLimitError",
            "bases": ["RateLimitError", "ToolFailed", "Exception"],
            "retryable": True,
            "retryAfter": 3000,
            "details": {"left": 0},
        }

    def test_the_ends_of_a_call_that_are_no_fault_of_the_tool(self) -> None:
        assert describe_exception(ToolTimeout("late", code="TIMEOUT")).code == "TIMEOUT"
        assert describe_exception(ToolCancelled("no")).code == "CANCELLED"

    def test_the_end_of_the_process_is_an_error_like_any_other(self) -> None:
        error = describe_exception(SystemExit(3))
        assert (error.code, error.type, error.bases) == ("TOOL_EXECUTION_FAILED", "SystemExit", ("SystemExit",))

    def test_garbage_inside_does_not_get_out(self) -> None:
        class Mute(Exception):
            retry_after = "soon"

            def __str__(self) -> str:
                raise RuntimeError

        assert describe_exception(Mute()).message == "Mute"
        assert describe_exception(ValueError()).message == "ValueError"
        assert describe_exception(ValueError("\ud800" + "x" * 100_000)).message.encode()
        assert len(describe_exception(ValueError("x" * 100_000)).message) == 8192
        odd = ToolFailed("m", details={"x": object()}, retry_after=math.nan)
        assert describe_exception(odd).retry_after_ms is None
        assert "unusable" in describe_exception(odd).details
