"""From type hints to schemas, and from JSON to the Python types of those hints."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from ..errors import UsageError
from ..values import Json, NotJson, encode, plain, pointer
from .schema import Errors, shortened

TYPE_ERRORS: Final = (PydanticUserError, NameError, AttributeError, TypeError, ValueError, RecursionError)
"""What building an adapter or a schema of a user's type raises."""


class SchemaMaker(GenerateJsonSchema):
    """Schemas without made-up titles, which tell a model nothing; silent about defaults that JSON cannot write."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - the base class's own form

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(kind: Any, mode: JsonSchemaMode, where: str) -> dict[str, Json]:
    """The JSON Schema of a Python type, names by alias. Raises UsageError (TOOL_INVALID) when it has none."""
    try:
        made = TypeAdapter(kind).json_schema(mode=mode, by_alias=True, schema_generator=SchemaMaker)
        made.pop("title", None)
        return dict(plain(made)[0])
    except (*TYPE_ERRORS, NotJson) as error:
        raise unusable_type(kind, where, error) from error


def unusable_type(kind: Any, where: str, error: Exception) -> UsageError:
    """What is told of a type without a JSON form."""
    name = getattr(kind, "__name__", None) or str(kind)
    said = shortened(str(error).split("\n")[0])
    return UsageError(
        "TOOL_INVALID",
        f"{where}: the type {name} has no JSON form: {said} "
        "(use JSON types, a pydantic model, a dataclass, a TypedDict of typing_extensions, an Enum or a Literal)",
    )


def is_model(kind: Any) -> bool:
    """A pydantic model class with fields."""
    return isinstance(kind, type) and issubclass(kind, BaseModel) and not kind.__pydantic_root_model__


def convert(validator: Any, value: Json) -> Any:
    """``value`` as the Python type of a pydantic validator. Raises ValidationError.

    The schema has decided already; types marked strict accept what JSON can write of them (dates, for instance).
    """
    try:
        return validator.validate_python(value)
    except ValidationError:
        return validator.validate_json(encode(value))


def errors_of(error: ValidationError) -> Errors:
    """The same as a schema's errors."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [(pointer(*part["loc"]), shortened(part["msg"])) for part in found]
