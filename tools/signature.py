"""A function's signature as a tool's: input schema, output schema, and how inputs become arguments.

Every parameter is an input, but for one annotated ``ToolContext``. A lone parameter annotated with a pydantic model
is the inputs as a whole: the model's fields are the tool's inputs. No annotation: any JSON.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from ..errors import UsageError
from ..values import Json
from .context import ToolContext, ToolFailed
from .conversion import TYPE_ERRORS, convert, errors_of, is_model, schema_of, unusable_type
from .settings import invalid
from .spec import Invoke, Validation

_UNKNOWN: Final = (None, type(None), Any, inspect.Signature.empty)
_MANY: Final = {
    inspect.Parameter.VAR_POSITIONAL: "collects any number of arguments (*): name each input, or take a list",
    inspect.Parameter.VAR_KEYWORD: "collects any keyword (**): name each input, or take a dict",
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only (/): inputs are given by name",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a tool takes and gives, and the call itself."""

    input_schema: dict[str, Json]
    output_schema: dict[str, Json] | None
    invoke: Invoke


def read_signature(function: Callable[..., Any], where: str, local: Mapping[str, Any] | None = None) -> Signature:
    """The signature of ``function``; ``local`` are names that its annotations may use besides its module's.

    Raises UsageError (TOOL_INVALID) for what cannot be a tool.
    """
    hints = _hints(function, where, local)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise invalid(where, "its parameters cannot be read; wrap it in a function with named parameters") from error
    _refuse_generators(function, where)
    for parameter in parameters.values():
        if parameter.kind in _MANY:
            raise invalid(where, f"the parameter {parameter.name!r} {_MANY[parameter.kind]}")
    names = [name for name in parameters if not _is_context(hints.get(name))]
    contexts = [name for name in parameters if name not in names]
    if names[:1] in (["self"], ["cls"]) and names[0] not in hints:
        raise invalid(where, "it is a method; a tool is a function of a module")
    returns = _output_schema(hints.get("return"), where)
    if len(names) == 1 and is_model(_bare(hints.get(names[0]))):
        model = _bare(hints[names[0]])
        schema = schema_of(model, "validation", where)
        return Signature(schema, returns, _whole(function, names[0], model, contexts))
    chosen = {name: parameters[name] for name in names}
    schema, bind = _fields(chosen, hints, where)
    return Signature(schema, returns, _named(function, bind, contexts))


def _hints(function: Callable[..., Any], where: str, local: Mapping[str, Any] | None) -> dict[str, Any]:
    target = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    target = inspect.unwrap(function.func if isinstance(function, functools.partial) else target)
    try:
        return typing.get_type_hints(target, localns=dict(local or {}), include_extras=True)
    except TYPE_ERRORS as error:
        raise invalid(where, f"an annotation cannot be read: {error}; import the name beside the tool") from error


def _refuse_generators(function: Callable[..., Any], where: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise invalid(where, "it yields; a tool returns one value (a list), text goes to context.emit_token")


def _is_context(hint: Any) -> bool:
    if get_origin(hint) in (typing.Union, types.UnionType):
        return any(_is_context(part) for part in get_args(hint))
    hint = _bare(hint)
    return isinstance(hint, type) and issubclass(hint, ToolContext)


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _output_schema(hint: Any, where: str) -> dict[str, Json] | None:
    if get_origin(hint) in (Awaitable, Coroutine):
        hint = get_args(hint)[-1]
    if hint in _UNKNOWN:
        return None
    return schema_of(hint, "serialization", f"{where}, what it returns") or None


Bind = Callable[[dict[str, Json], Validation], dict[str, Any]]


def _named(function: Callable[..., Any], bind: Bind, contexts: list[str]) -> Invoke:
    def invoke(inputs: dict[str, Json], context: ToolContext, mode: Validation) -> Any:
        arguments = bind(inputs, mode)
        for name in contexts:
            arguments[name] = context
        return function(**arguments)

    return invoke


def _whole(function: Callable[..., Any], name: str, model: type[BaseModel], contexts: list[str]) -> Invoke:
    def bind(inputs: dict[str, Json], mode: Validation) -> dict[str, Any]:
        try:
            return {name: convert(model.__pydantic_validator__, inputs)}
        except ValidationError as error:
            raise misfit(error) from error

    return _named(function, bind, contexts)


def _fields(
    parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any], where: str
) -> tuple[dict[str, Json], Bind]:
    """Schema and binding of named parameters, through a model whose fields p0, p1 … bear the inputs' names as alias.

    (A parameter may be called ``json`` or ``_x``, a field of a model may not.)
    """
    fields = {f"p{i}": name for i, name in enumerate(parameters)}
    definitions: dict[str, Any] = {}
    for place, name in fields.items():
        given = parameters[name].default
        default = ... if given is inspect.Parameter.empty else given
        definitions[place] = (_named_hint(name, hints.get(name, Any)), default)
    config = ConfigDict(extra="ignore", protected_namespaces=())
    try:
        model = create_model("Inputs", __config__=config, **definitions)
        schema = schema_of(model, "validation", where)
    except (*TYPE_ERRORS, UsageError) as error:
        for name in parameters.keys() & hints.keys():  # each alone, to name the one it is
            schema_of(hints[name], "validation", f"{where}, the parameter {name!r}")
        raise unusable_type("of its parameters", where, error) from error
    schema = {**schema, "type": "object", "additionalProperties": False}
    schema.setdefault("properties", {})
    schema.pop("description", None)
    by_default = {place for place, name in fields.items() if _function_knows(parameters[name])}
    return schema, _binder(model, fields, by_default)


def _named_hint(name: str, hint: Any) -> Any:
    """The hint with the parameter's name as alias; an alias of the hint's own comes later and so prevails."""
    # (a config's alias_generator would rename the fields of dataclasses inside the hint as well)
    inside = hint.__metadata__ if get_origin(hint) is Annotated else ()
    return Annotated[(_bare(hint), Field(alias=name), *inside)]


def _function_knows(parameter: inspect.Parameter) -> bool:
    """Has the function a default of its own, which is then left to it?"""
    return parameter.default is not inspect.Parameter.empty and not isinstance(parameter.default, FieldInfo)


def _binder(model: type[BaseModel], fields: Mapping[str, str], by_default: set[str]) -> Bind:
    validator = model.__pydantic_validator__
    aliases = {place: _alias(info, fields[place]) for place, info in model.model_fields.items()}

    def bind(inputs: dict[str, Json], mode: Validation) -> dict[str, Any]:
        try:
            made = convert(validator, inputs)
        except ValidationError as error:
            if mode == "warn":  # as they came: the function may be more tolerant than its hints
                return {fields[place]: inputs[alias] for place, alias in aliases.items() if alias in inputs}
            raise misfit(error) from error
        given = made.model_fields_set
        values = made.__dict__
        return {name: values[p] for p, name in fields.items() if p in given or p not in by_default}

    return bind


def _alias(info: FieldInfo, name: str) -> str:
    return info.validation_alias if isinstance(info.validation_alias, str) else name


def misfit(error: ValidationError) -> ToolFailed:
    """Inputs that the schema let through and a type of the function's refuses."""
    errors = errors_of(error)
    said = "; ".join(f"{path or '(the whole)'}: {message}" for path, message in errors[:3])
    details = {"errors": [{"path": path, "message": message} for path, message in errors]}
    return ToolFailed(
        f"the inputs do not fit the function's types: {said}",
        code="TOOL_INPUT_INVALID",
        retryable=False,
        details=details,
    )
