"""@tool and create_tool: what becomes of a signature, a definition, and of faults in either."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from dynamicflow.errors import UsageError
from dynamicflow.tools import RateLimit, RetryPolicy, Tool, ToolContext, ToolFailed, ToolSpec, create_tool, tool


class Colour(enum.Enum):
    RED = "red"


class Order(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    order_id: int
    placed_on: date | None = None


class Sum(TypedDict):
    total: float


@dataclass
class Point:
    x: int
    y: int = 0


def refused(function: Any, **config: Any) -> str:
    with pytest.raises(UsageError) as caught:
        tool(function, **config)
    assert caught.value.code == "TOOL_INVALID"
    return caught.value.message


class TestASpecComesFromTheFunction:
    def test_id_description_and_defaults(self) -> None:
        @tool
        def greet(name: str) -> str:
            """Says hello
            to someone.

            Not for the planner.
            """
            return f"hello {name}"

        spec = greet.spec
        assert (spec.id, spec.name, spec.description) == ("greet", "greet", "Says hello to someone.")
        assert (spec.timeout_ms, spec.side_effect, spec.retry, spec.validation) == (
            60_000,
            "idempotent",
            None,
            "strict",
        )
        assert greet("Ada") == "hello Ada"
        assert greet.__name__ == "greet"

    def test_parameters_are_the_inputs(self) -> None:
        @tool
        def f(a: int, b: Annotated[str, Field(min_length=2, description="the second")] = "xx", c=None) -> None:  # type: ignore[no-untyped-def]
            pass

        assert f.spec.input_schema == {
            "type": "object",
            "additionalProperties": False,
            "required": ["a"],
            "properties": {
                "a": {"type": "integer"},
                "b": {"type": "string", "minLength": 2, "description": "the second", "default": "xx"},
                "c": {"default": None},
            },
        }
        assert f.spec.output_schema is None

    def test_names_that_a_model_could_not_have(self) -> None:
        @tool
        def f(json: str, _x: int, schema: int = 1, model_config: int = 2) -> list[Any]:
            return [json, _x, schema, model_config]

        assert f.invoke({"json": "j", "_x": 3}, ToolContext()) == ["j", 3, 1, 2]

    def test_an_alias_is_the_inputs_name(self) -> None:
        @tool
        def f(user_id: Annotated[int, Field(alias="userId")]) -> int:
            return user_id

        assert list(f.spec.inputs.fields) == ["userId"]
        assert f.invoke({"userId": 7}, ToolContext()) == 7

    def test_a_lone_model_is_the_inputs_as_a_whole(self) -> None:
        @tool
        def f(order: Order) -> str:
            return f"{order.order_id} {order.placed_on!r}"

        assert f.spec.inputs.required == {"orderId"}
        given = {"orderId": 5, "placedOn": "2024-02-03"}
        assert f.invoke(given, ToolContext()) == "5 datetime.date(2024, 2, 3)"

    def test_a_context_parameter_is_no_input(self) -> None:
        @tool
        def f(a: int, anything: ToolContext, maybe: ToolContext | None = None) -> bool:
            return anything is maybe

        assert list(f.spec.inputs.fields) == ["a"]
        assert f.invoke({"a": 1}, ToolContext()) is True

    def test_schemas_of_what_it_returns(self) -> None:
        def made(kind: Any) -> Any:
            def f() -> None: ...

            f.__annotations__["return"] = kind
            return tool(f).spec.output_schema

        assert made(Any) is None
        assert made(dict[str, int]) == {"type": "object", "additionalProperties": {"type": "integer"}}
        assert made(Literal["a", "b"]) == {"type": "string", "enum": ["a", "b"]}
        assert made(Colour)["enum"] == ["red"]
        assert made(Sum) == {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
        assert list(made(Point)["properties"]) == ["x", "y"]
        assert list(made(Order)["properties"]) == ["orderId", "placedOn"]
        assert made(list[Order])["items"] == {"$ref": "#/$defs/Order"}

    def test_a_default_of_the_functions_own_is_left_to_it(self) -> None:
        sentinel = object()

        @tool
        def f(a: Any = sentinel) -> bool:
            return a is sentinel

        assert f.invoke({}, ToolContext()) is True

    def test_values_are_converted_to_the_functions_types(self) -> None:
        @tool
        def f(n: int, x: float, when: date, colour: Colour, pair: tuple[int, int], words: set[str]) -> list[Any]:
            return [n, type(x), when, colour, pair, words]

        inputs = {"n": 3.0, "x": 2, "when": "2024-01-02", "colour": "red", "pair": [1, 2], "words": ["a"]}
        assert f.invoke(inputs, ToolContext()) == [3, float, date(2024, 1, 2), Colour.RED, (1, 2), {"a"}]

    def test_strict_types_accept_what_json_can_write(self) -> None:
        class Strict(BaseModel):
            model_config = ConfigDict(strict=True)
            when: date

        @tool
        def f(inputs: Strict) -> date:
            return inputs.when

        assert f.invoke({"when": "2024-01-02"}, ToolContext()) == date(2024, 1, 2)

    def test_a_type_that_refuses_what_the_schema_let_through(self) -> None:
        @tool
        def f(when: date) -> str:
            return repr(when)

        with pytest.raises(ToolFailed) as caught:
            f.invoke({"when": "tomorrow"}, ToolContext())
        assert (caught.value.code, caught.value.retryable) == ("TOOL_INPUT_INVALID", False)
        assert caught.value.details["errors"][0]["path"] == "/when"
        assert f.invoke({"when": "tomorrow"}, ToolContext(), "warn") == "'tomorrow'"

    def test_the_digest_covers_the_schemas_only(self) -> None:
        def f(a: int) -> int:
            """One."""
            return a

        def g(a: str) -> int:
            return 1

        assert tool(f).spec.digest == tool(f, description="two", timeout=3).spec.digest
        assert tool(f).spec.digest != tool(g).spec.digest
        assert tool(f).spec.digest.startswith("sha256:")


class TestKeywordsOfTheDecorator:
    def test_times_are_seconds_and_documents_are_milliseconds(self) -> None:
        @tool(
            id="corpus:search",
            category="search",
            timeout=1.5,
            retry={"maxAttempts": 3, "initialDelay": "2s", "backoffStrategy": "fixed", "retryableErrors": ["X"]},
            cache_ttl=timedelta(minutes=1),
            rate_limit={"maxCalls": 5, "windowMs": 1000},
            side_effect="non_idempotent",
            metadata={"connectivity": {"forbidden": ["x"]}, "owner": "me"},
        )
        async def search(q: str) -> list[str]:
            return [q]

        spec = search.spec
        assert (spec.id, spec.timeout_ms, spec.cache_ttl_ms) == ("corpus:search", 1500, 60_000)
        assert spec.retry == RetryPolicy(3, "fixed", 2000, retryable_errors=("X",))
        assert spec.rate_limit == RateLimit(5, 1000)
        assert (spec.connectivity, spec.metadata) == ({"forbidden": ["x"]}, {"owner": "me"})
        assert search.is_async

    def test_a_number_of_attempts(self) -> None:
        assert tool(lambda: 1, id="f", retry=4).spec.retry == RetryPolicy(max_attempts=4)

    @pytest.mark.parametrize(
        ("config", "says"),
        [
            ({"timeout": 0}, "timeout: expected a duration above 0"),
            ({"timeout": "soon"}, "expected seconds or a timedelta"),
            ({"timeout": float("inf")}, "expected a duration"),
            ({"retry": 0}, "at least 1"),
            ({"retry": {"max_attempts": 1}}, "did you mean 'maxAttempts'?"),
            ({"retry": {"jitter": False}}, "always carry jitter"),
            ({"rate_limit": {"maxCalls": 1}}, "windowMs is missing"),
            ({"side_effect": "some"}, "one of 'none', 'idempotent', 'non_idempotent'"),
            ({"sensitive": "yes"}, "true or false"),
            ({"id": "two words"}, "no tool id"),
            ({"sideEffect": "none"}, "did you mean 'side_effect'?"),
        ],
    )
    def test_a_wrong_one_says_what_was_expected(self, config: dict[str, Any], says: str) -> None:
        assert says in refused(lambda: 1, **{"id": "f", **config})


class TestWhatCannotBeATool:
    def test_says_which_part_and_what_to_do(self) -> None:
        def many(*a: int) -> None: ...
        def keywords(**k: int) -> None: ...
        def positional(a: int, /) -> None: ...
        def method(self, a: int) -> None: ...  # type: ignore[no-untyped-def]
        def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
        def strange(ok: int, a: Iterator[type[memoryview]]) -> None: ...
        def gives() -> memoryview: ...  # type: ignore[empty-body]

        assert "'a' collects any number" in refused(many)
        assert "'k' collects any keyword" in refused(keywords)
        assert "'a' is positional-only" in refused(positional)
        assert "it is a method" in refused(method)
        assert "'Nowhere'" in refused(unknown)
        assert "the parameter 'a'" in refused(strange)
        assert "what it returns" in refused(gives)
        assert "not a function" in refused(Order)

    def test_generators(self) -> None:
        def one() -> Iterator[int]:
            yield 1

        assert "it yields" in refused(one)


def definition(**changes: Any) -> dict[str, Any]:
    made = {
        "id": "mail",
        "inputSchema": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
        "execute": lambda inputs, context: {"sent": inputs["to"], "key": context.idempotency_key},
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


class TestCreateTool:
    def test_execute_receives_inputs_and_context(self) -> None:
        made = create_tool(definition(config={"timeout": "30s", "cacheTTL": 500, "retry": {"maxAttempts": 2}}))
        assert made.invoke({"to": "a"}, ToolContext(idempotency_key="k")) == {"sent": "a", "key": "k"}
        assert (made.spec.timeout_ms, made.spec.cache_ttl_ms, made.spec.output_schema) == (30_000, 500, None)

    def test_execute_may_take_inputs_alone(self) -> None:
        made = create_tool(definition(execute=lambda inputs: inputs["to"]))
        assert made.invoke({"to": "a"}, ToolContext()) == "a"

    def test_schemas_may_be_types(self) -> None:
        made = create_tool(definition(inputSchema=Order, outputSchema=list[int]))
        assert made.spec.inputs.required == {"orderId"}
        assert made.spec.output_schema == {"type": "array", "items": {"type": "integer"}}

    def test_the_document_of_a_spec_reads_as_a_definition(self) -> None:
        first = create_tool(definition(config={"rateLimit": {"maxCalls": 1, "windowMs": 10}}, category="x"))
        again = create_tool({**first.spec.to_json(), "execute": first.function})
        assert again.spec == first.spec

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"outputSchemas": {}}, "did you mean 'outputSchema'?"),
            ({"id": ""}, "no tool id"),
            ({"execute": "later"}, "not a function"),
            ({"execute": lambda: 1}, "cannot be called as execute(inputs, context)"),
            ({"inputSchema": {"type": "array"}}, "the input schema says 'array'"),
            ({"inputSchema": {"type": "objekt"}}, "not a usable JSON Schema"),
            ({"inputSchema": {"$ref": "http://example.org/x.json"}}, "a $ref leaves the schema"),
            ({"inputSchema": {"$schema": "http://example.org/mine"}}, "not a usable JSON Schema"),
            ({"inputSchema": {"properties": {"a": {"pattern": "("}}}}, "/properties/a/pattern"),
            ({"config": {"timout": 3}}, "did you mean 'timeout'?"),
            ({"config": {"timeout": "soon"}}, "config.timeout: expected a duration"),
            ({"metadata": {"x": float("nan")}}, "is not JSON"),
        ],
    )
    def test_a_fault_says_where(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(UsageError) as caught:
            create_tool(definition(**changes))
        assert caught.value.code == "TOOL_INVALID"
        assert says in caught.value.message

    def test_a_schema_nested_without_end_is_refused(self) -> None:
        deep: dict[str, Any] = {"type": "string"}
        for _ in range(2000):
            deep = {"properties": {"a": deep}}
        with pytest.raises(UsageError):
            create_tool(definition(inputSchema=deep))

    def test_missing_keys(self) -> None:
        for key in ("id", "execute"):
            with pytest.raises(UsageError, match=f"'{key}' is missing"):
                create_tool(definition(**{key: None}))


def test_a_spec_needs_no_function() -> None:
    spec = ToolSpec("x", input_schema={"type": "object"})
    assert spec.to_json()["name"] == "x"
    assert spec.inputs.is_valid({})
    assert {spec: 1}[spec] == 1
    assert isinstance(tool(lambda: 1, id="x"), Tool)
