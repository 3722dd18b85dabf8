"""The types that plans are checked with: from schemas, from literals, of either of two."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicflow.planner.types import (
    BOOLEAN,
    NULL,
    NUMBER,
    STRING,
    UNKNOWN,
    Type,
    describe,
    fits,
    from_schema,
    join,
    list_of,
    nullable,
    object_of,
    of_value,
    possible,
)

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "left": {"$ref": "#/$defs/node"},
                "all": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
        }
    },
}


class TestSchema:
    @pytest.mark.parametrize(
        ("schema", "expected"),
        [
            ({"type": "string"}, STRING),
            ({"type": "integer"}, NUMBER),
            ({"type": "number"}, NUMBER),
            ({"type": "boolean"}, BOOLEAN),
            ({"type": "null"}, NULL),
            ({"type": ["string", "null"]}, nullable(STRING)),
            ({"type": ["integer", "number"]}, NUMBER),
            ({"type": "array"}, list_of()),
            ({"type": "array", "items": {"type": "string"}}, list_of(STRING)),
            ({"type": "object"}, object_of({})),
            ({"enum": ["a", "b"]}, STRING),
            ({"enum": ["a", None]}, nullable(STRING)),
            ({"const": 5}, NUMBER),
            ({"type": ["string", "null"], "enum": ["a"]}, STRING),
            ({"anyOf": [{"type": "number"}, {"type": "null"}]}, nullable(NUMBER)),
            ({"oneOf": [{"type": "null"}, {"type": "array", "items": {"type": "string"}}]}, nullable(list_of(STRING))),
            ({"anyOf": [{"type": "number"}, {"type": "string"}]}, UNKNOWN),
            ({"allOf": [{"type": "number"}]}, UNKNOWN),
            ({}, UNKNOWN),
            (True, UNKNOWN),
            (False, UNKNOWN),
            (None, UNKNOWN),
        ],
    )
    def test_says_a_type(self, schema: Any, expected: Type) -> None:
        assert from_schema(schema) == expected

    def test_of_several_types_says_which(self) -> None:
        found = from_schema({"type": ["string", "integer"]})
        assert found.kind == "unknown" and possible(found) == {"string", "number"}

    def test_of_an_object_says_its_fields_and_which_are_always_there(self) -> None:
        found = from_schema({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]})
        assert found == object_of({"a": STRING, "b": UNKNOWN}, closed=True, required=["a"])

    @pytest.mark.parametrize(
        ("more", "closed"),
        [
            ({}, True),
            ({"additionalProperties": False}, True),
            ({"additionalProperties": True}, False),
            ({"additionalProperties": {}}, False),
            ({"additionalProperties": {"type": "string"}}, False),
            ({"patternProperties": {"^x": {}}}, False),
        ],
    )
    def test_an_object_with_properties_is_closed_unless_it_says_otherwise(
        self, more: dict[str, Any], closed: bool
    ) -> None:
        assert from_schema({"type": "object", "properties": {"a": {}}, **more}).closed is closed

    def test_without_properties_it_is_open(self) -> None:
        assert not from_schema({"type": "object", "additionalProperties": False}).closed

    def test_closed_holds_through_items_and_local_references_and_not_through_combinators(self) -> None:
        root = {
            "type": "object",
            "properties": {
                "list": {"type": "array", "items": {"$ref": "#/$defs/x"}},
                "maybe": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]},
                "deep": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/x"}}, {"type": "null"}]},
            },
            "$defs": {"x": {"type": "object", "properties": {"a": {"type": "number"}}}},
        }
        found = from_schema(root).fields
        item, deep = found["list"].item, found["deep"].item
        assert item is not None and item.closed and item.fields == {"a": NUMBER}
        assert found["maybe"].nullable and not found["maybe"].closed and found["maybe"].fields == {"a": NUMBER}
        assert deep is not None and not deep.closed

    def test_a_field_that_a_combinator_beside_declares_is_declared(self) -> None:
        found = from_schema({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}], "type": "object"})
        assert set(found.fields) == {"a", "b"} and found.closed

    def test_goes_round_once(self) -> None:
        found = from_schema(TREE)
        assert (
            found.fields["value"] == NUMBER
            and found.fields["left"] == UNKNOWN
            and found.fields["all"] == list_of(UNKNOWN)
        )

    def test_of_a_part_is_read_within_its_document(self) -> None:
        assert from_schema({"$ref": "#/$defs/node/properties/value"}, TREE) == NUMBER
        assert from_schema({"$ref": "#/nowhere"}, TREE) == UNKNOWN
        assert from_schema({"$ref": "https://example.org/x"}, TREE) == UNKNOWN

    def test_that_unfolds_without_end_is_read_within_bounds(self) -> None:
        names = [f"d{n}" for n in range(60)]
        several = {name: {"$ref": f"#/$defs/{name}"} for name in names}
        every: dict[str, Any] = {name: {"type": "object", "properties": several, "required": []} for name in names}
        assert from_schema({"$ref": "#/$defs/d0", "$defs": every}).kind == "object"
        beside = {
            "properties": {"x": {"$ref": "#", "properties": {"y": {}}}, "z": {"$ref": "#", "properties": {"w": {}}}}
        }
        assert from_schema({"type": "object", **beside}).kind == "object"

    def test_that_is_very_deep_is_read_to_a_depth(self) -> None:
        schema: dict[str, Any] = {"type": "string"}
        for _ in range(5_000):
            schema = {"type": "array", "items": schema}
        found: Type | None = from_schema(schema)
        for _ in range(50):
            assert found is not None and found.kind == "list"
            found = found.item

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=5)
            | st.sampled_from(["string", "array", "#", "#/a", "#/items"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        "type items properties required anyOf oneOf allOf enum const $ref additionalProperties if prefixItems".split()
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_whatever_it_is_never_raises(self, schema: Any) -> None:
        describe(join(from_schema(schema), from_schema(schema, {"a": schema})))


class TestLiteral:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, NULL),
            (True, BOOLEAN),
            (1, NUMBER),
            (1.5, NUMBER),
            ("a", STRING),
            ([], list_of()),
            ([1, None], list_of(nullable(NUMBER))),
            ({"a": 1}, object_of({"a": NUMBER}, required=["a"])),
        ],
    )
    def test_has_the_type_of_its_value(self, value: Any, expected: Type) -> None:
        assert of_value(value) == expected


class TestJoin:
    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            (NUMBER, NUMBER, NUMBER),
            (NUMBER, NULL, nullable(NUMBER)),
            (nullable(NUMBER), NUMBER, nullable(NUMBER)),
            (NULL, NULL, NULL),
            (UNKNOWN, NUMBER, UNKNOWN),
            (list_of(NUMBER), list_of(NULL), list_of(nullable(NUMBER))),
            (list_of(NUMBER), list_of(), list_of()),
        ],
    )
    def test_holds_of_either(self, a: Type, b: Type, expected: Type) -> None:
        assert join(a, b) == join(b, a) == expected

    def test_of_different_kinds_may_be_each(self) -> None:
        assert possible(join(NUMBER, nullable(STRING))) == {"number", "string", "null"}

    def test_of_objects_is_closed_where_both_are(self) -> None:
        a = object_of({"x": NUMBER, "y": STRING}, closed=True, required=["x"])
        b = object_of({"x": NUMBER}, closed=True, required=["x"])
        assert join(a, b) == object_of({"x": NUMBER, "y": STRING}, closed=True, required=["x"])
        assert not join(a, object_of({})).closed

    def test_of_shared_parts_takes_no_time(self) -> None:
        a, b = object_of({"x": NUMBER}), object_of({"x": STRING})
        for _ in range(60):
            a, b = object_of({"l": a, "r": a}), object_of({"l": b, "r": b})
        assert join(a, b).kind == "object"


class TestFits:
    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            (NUMBER, NUMBER, True),
            (from_schema({"type": "integer"}), from_schema({"type": "number"}), True),
            (NUMBER, STRING, False),
            (nullable(NUMBER), nullable(STRING), False),
            (nullable(NUMBER), NUMBER, True),
            (UNKNOWN, STRING, True),
            (from_schema({"type": ["string", "integer"]}), NUMBER, True),
            (from_schema({"type": ["string", "integer"]}), BOOLEAN, False),
            (NULL, nullable(STRING), False),
            (list_of(NUMBER), list_of(STRING), True),
        ],
    )
    def test_means_sharing_a_type_null_aside(self, a: Type, b: Type, expected: bool) -> None:
        assert fits(a, b) is fits(b, a) is expected


class TestDescription:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (STRING, "a string"),
            (nullable(NUMBER), "a number or null"),
            (NULL, "null"),
            (UNKNOWN, "of unknown type"),
            (list_of(NUMBER), "a list of numbers"),
            (list_of(), "a list"),
            (from_schema({"type": ["string", "integer"]}), "a number or a string"),
            (object_of({}), "an object"),
            (object_of({"b": NUMBER, "a": STRING}, closed=True), "an object with 'a', 'b'"),
        ],
    )
    def test_is_for_people(self, given: Type, expected: str) -> None:
        assert describe(given) == str(given) == expected
