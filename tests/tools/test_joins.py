"""Joins: the output of one tool as the input of another; failures say what is wrong on both sides."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from dynamicflow.errors import UsageError
from dynamicflow.tools import Join, ToolFailed, ToolJoin


class User(BaseModel):
    email: str
    age: int = 0


class Mail(BaseModel):
    to: str
    subject: str = "Welcome"


def to_mail(user: User) -> Mail:
    return Mail(to=user.email)


def failure(join: Join, value: Any) -> ToolFailed:
    with pytest.raises(ToolFailed) as caught:
        join.apply(value)
    assert (caught.value.code, caught.value.retryable) == ("JOIN_FAILED", False)
    return caught.value


class TestATypedJoin:
    def test_converts_by_its_annotations(self) -> None:
        assert Join("getUser", "sendMail", to_mail).apply({"email": "a"}) == {"to": "a", "subject": "Welcome"}

    def test_works_on_a_copy(self) -> None:
        def decode(value: Any) -> Any:
            value["items"].append(1)
            return value

        given: dict[str, Any] = {"items": []}
        assert Join("a", "b", decode).apply(given) == {"items": [1]}
        assert given == {"items": []}

    def test_schemas_in_place_of_types(self) -> None:
        join = Join(
            "a",
            "b",
            lambda value: {"to": value["email"]},
            source={"required": ["email"]},
            target={"properties": {"to": {"type": "string"}}},
        )
        assert join.apply({"email": "x"}) == {"to": "x"}
        assert failure(join, {}).details["source"] == [{"path": "", "message": '"email" is a required property'}]
        assert failure(join, {"email": 5}).details["target"][0]["path"] == "/to"

    def test_a_source_that_does_not_fit_its_type(self) -> None:
        error = failure(Join("a", "b", to_mail), {"mail": "x"})
        assert error.details == {"source": [{"path": "/email", "message": "Field required"}], "target": []}
        assert "a -> b" in error.message

    def test_a_decode_that_raises_or_makes_no_object(self) -> None:
        assert "KeyError" in failure(Join("a", "b", lambda value: value["x"]), {}).message
        assert "inputs are an object" in failure(Join("a", "b", lambda value: [1]), {}).message
        assert "not JSON" in failure(Join("a", "b", lambda value: {"x": object()}), {}).message

    def test_the_way_back(self) -> None:
        join = Join("a", "b", to_mail, lambda mail: {"email": mail.to, "age": 0})
        assert join.revert({"to": "x", "subject": "s"}) == {"email": "x", "age": 0}


class TestADeclarativeJoin:
    def test_is_data(self) -> None:
        join = Join("a", "b", mapping={"to": "$source.email"})
        assert join.to_json() == {
            "fromTool": "a",
            "toTool": "b",
            "mapping": {"to": "$source.email"},
            "description": "",
        }
        with pytest.raises(UsageError, match="is a mapping"):
            join.apply({})


class TestTheKey:
    def test_is_the_pair(self) -> None:
        assert Join("a-b", "c", to_mail).key != Join("a", "b-c", to_mail).key


class TestTheOldForm:
    def test_from_a_definition(self) -> None:
        join = ToolJoin(
            {"fromTool": "a", "toTool": "b", "transform": {"source": User, "strict": True, "decode": to_mail}}
        )
        assert join.apply({"email": "x"})["to"] == "x"

    def test_from_keywords(self) -> None:
        assert ToolJoin(fromTool="a", toTool="b", transform=to_mail).key == ("a", "b")
        assert ToolJoin({"from": "a", "to": "b", "mapping": {}}).mapping == {}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Join("a", "b"), "either decode"),
        (lambda: Join("a", "b", to_mail, mapping={}), "either decode"),
        (lambda: Join("", "b", to_mail), "from one tool id to another"),
        (lambda: Join("a", "b", source=print, decode=to_mail), "no usable type"),
        (lambda: ToolJoin({"fromTool": "a", "transform": to_mail}), "toTool is missing"),
        (lambda: ToolJoin({"fromTol": "a"}), "did you mean 'fromTool'?"),
        (lambda: ToolJoin(fromTool="a", toTool="b", transform={"decod": to_mail}), "did you mean 'decode'?"),
        (lambda: Join("a", "b", mapping={"x": float("nan")}), "is not JSON"),
    ],
)
def test_a_join_that_cannot_work_is_refused_at_once(make: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert says in caught.value.message
