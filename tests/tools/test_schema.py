"""Schemas: they decide alone, but for the undeclared fields of closed objects."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.errors import UsageError
from dynamicflow.tools import Schema

ADDRESS = {"type": "object", "properties": {"city": {"type": "string"}}}


def undeclared(schema: dict[str, Any], value: Any) -> list[str]:
    made = Schema(schema)
    made.compile()
    return made.undeclared_fields(value)


class TestTheSchemaDecides:
    def test_an_integral_float_is_an_integer(self) -> None:
        assert Schema({"type": "integer"}).is_valid(3.0)
        assert not Schema({"type": "integer"}).is_valid(3.5)
        assert not Schema({"type": "integer"}).is_valid(True)

    def test_format_is_not_asserted(self) -> None:
        assert Schema({"type": "string", "format": "email"}).is_valid("no mail")
        draft7 = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "string", "format": "email"}
        assert Schema(draft7).is_valid("no mail")

    def test_draft_7_where_the_schema_says_so(self) -> None:
        items = {"items": [{"type": "string"}]}
        assert not Schema({"$schema": "http://json-schema.org/draft-07/schema#", **items}).is_valid([1])
        with pytest.raises(UsageError):
            Schema(items).compile()

    def test_errors_say_where(self) -> None:
        schema = Schema({"properties": {"a/b": {"items": {"type": "string"}}}, "required": ["z"]})
        found = dict(schema.errors({"a/b": ["x", 2]}))
        assert set(found) == {"", "/a~1b/1"}
        assert "required" in found[""]
        assert schema.errors({"z": 1}) == []

    def test_huge_numbers_and_odd_values_do_not_crash_it(self) -> None:
        schema = Schema({"type": "integer", "maximum": 5})
        assert not schema.is_valid(10**400)
        assert len(schema.errors(10**400)[0][1]) <= 300
        assert not schema.is_valid("\ud800")
        assert schema.errors(object())[0][0] == ""

    def test_a_pattern_cannot_hang_it(self) -> None:
        assert not Schema({"pattern": "^(a|a)*\\1$"}).is_valid("a" * 60 + "b")

    def test_250_levels(self) -> None:
        value: Any = 1
        for _ in range(250):
            value = [value]
        nested = {"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}
        assert Schema(nested).errors(value) == []
        assert undeclared(nested, value) == []


class TestUndeclaredFieldsOfClosedObjects:
    def test_properties_close_an_object(self) -> None:
        assert undeclared(ADDRESS, {"city": "x", "zip": 1, "a/b": 2}) == ["/a~1b", "/zip"]
        assert undeclared({"type": "object", "properties": {}}, {"a": 1}) == ["/a"]

    @pytest.mark.parametrize("more", [{"additionalProperties": True}, {"additionalProperties": {"type": "integer"}}])
    def test_additional_properties_open_it(self, more: dict[str, Any]) -> None:
        assert undeclared({**ADDRESS, **more}, {"zip": 1}) == []

    def test_no_properties_no_closed_object(self) -> None:
        assert undeclared({"type": "object"}, {"zip": 1}) == []

    def test_at_every_depth(self) -> None:
        schema = {"properties": {"people": {"items": {"properties": {"home": ADDRESS}}}}}
        value = {"people": [{}, {"home": {"city": "x", "zip": 1}, "age": 3}]}
        assert undeclared(schema, value) == ["/people/1/age", "/people/1/home/zip"]

    def test_through_local_references(self) -> None:
        schema = {
            "$defs": {"tree": {"properties": {"kids": {"items": {"$ref": "#/$defs/tree"}}}}},
            "$ref": "#/$defs/tree",
        }
        assert undeclared(schema, {"kids": [{"kids": [{"x": 1}]}]}) == ["/kids/0/kids/0/x"]
        anchored = {"$defs": {"a": {"$anchor": "here", **ADDRESS}}, "properties": {"p": {"$ref": "#here"}}}
        assert undeclared(anchored, {"p": {"zip": 1}}) == ["/p/zip"]

    def test_not_through_alternatives(self) -> None:
        schema = {"properties": {"a": {"anyOf": [ADDRESS, {"type": "string"}]}}}
        assert undeclared(schema, {"a": {"zip": 1}}) == []

    def test_what_stands_beside_declares_too(self) -> None:
        schema = {**ADDRESS, "allOf": [{"properties": {"zip": {}}}], "patternProperties": {"^x-": {}}}
        assert undeclared(schema, {"city": "x", "zip": 1, "x-note": 2, "other": 3}) == ["/other"]

    def test_references_in_circles_end(self) -> None:
        twice = {"$defs": {"n": {**ADDRESS, "anyOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}}}
        assert undeclared({**twice, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": {"zip": 1}}) == ["/a/zip"]


class TestTopLevelFields:
    def test_through_a_reference(self) -> None:
        schema = Schema({"$defs": {"o": {**ADDRESS, "required": ["city"]}}, "$ref": "#/$defs/o"})
        assert list(schema.fields) == ["city"]
        assert schema.required == {"city"}

    def test_which_of_them_refuse_null(self) -> None:
        schema = Schema(
            {
                "$defs": {"maybe": {"type": ["string", "null"]}},
                "properties": {
                    "a": {"type": "string"},
                    "b": {"$ref": "#/$defs/maybe"},
                    "c": {},
                    "d": {"anyOf": [{"type": "null"}, {"type": "integer"}]},
                    "e": {"enum": [1]},
                },
            }
        )
        assert schema.refuses_null == {"a", "e"}
