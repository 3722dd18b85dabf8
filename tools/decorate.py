"""The two ways to make a tool: ``@tool`` on a function with type hints, ``create_tool`` from given JSON Schemas."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, overload

from ..values import Json
from .conversion import schema_of
from .settings import KEYWORDS, document, from_config, from_keywords, invalid, refuse_unknown, text, tool_id
from .signature import read_signature
from .spec import Invoke, RateLimit, RetryPolicy, SideEffect, Tool, ToolSpec, Validation

_KEYS: Final = (
    "id", "name", "description", "category", "version", "inputSchema", "outputSchema", "config", "metadata", "execute",
)  # fmt: skip


@overload
def tool(function: Callable[..., Any], /, **config: Any) -> Tool: ...
@overload
def tool(
    *,
    id: str | None = None,
    name: str | None = None,
    description: str | None = None,
    category: str = "general",
    version: str = "1.0.0",
    timeout: float | timedelta | None = None,
    retry: int | RetryPolicy | Mapping[str, Json] | None = None,
    side_effect: SideEffect = "idempotent",
    requires_approval: bool = False,
    sensitive: bool = False,
    cacheable: bool = False,
    cache_ttl: float | timedelta | None = None,
    rate_limit: RateLimit | Mapping[str, Json] | None = None,
    concurrency_limit: int | None = None,
    validation: Validation = "strict",
    queue: str = "default",
    metadata: Mapping[str, Json] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    id: str | None = None,
    name: str | None = None,
    description: str | None = None,
    category: str = "general",
    version: str = "1.0.0",
    metadata: Mapping[str, Json] | None = None,
    **config: Any,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """A tool from a function with type hints; as ``@tool`` or ``@tool(…)``. It stays callable as that function.

    id: the function's name. description: the first paragraph of its docstring. Inputs are the parameters; a lone
    parameter annotated with a pydantic model is the inputs as a whole; one annotated ``ToolContext`` receives the
    context. ``timeout`` and ``cache_ttl`` are seconds or a timedelta; a dict given as ``retry`` or ``rate_limit`` is
    JSON, hence milliseconds. Raises UsageError (TOOL_INVALID).
    """
    refuse_unknown(config, KEYWORDS, "@tool")
    local = sys._getframe(1).f_locals  # the annotations of a tool defined inside a function may name its neighbours

    def make(function: Callable[..., Any]) -> Tool:
        if not callable(function) or inspect.isclass(function):
            raise invalid("@tool", f"stands on {function!r}, which is not a function")
        given_id = tool_id(id or getattr(function, "__name__", None), "@tool, id")
        where = f"tool {given_id!r}"
        signature = read_signature(function, where, local)
        said = description if description is not None else _first_paragraph(function)
        spec = _spec(
            where,
            {"id": given_id, "name": name, "description": said, "category": category, "version": version},
            signature.input_schema,
            signature.output_schema,
            from_keywords(config, where),
            document(metadata or {}, f"{where}, metadata"),
        )
        return Tool(spec, function, signature.invoke)

    if function is None:
        return make
    return make(function)


def create_tool(definition: Mapping[str, Any]) -> Tool:
    """A tool from ``{"id", "name", "description", "inputSchema", "outputSchema", "config", "execute"}``.

    Schemas are JSON Schema objects, pydantic models or Python types. ``execute(inputs, context)``, sync or async,
    receives the inputs as a dict; it may take ``inputs`` alone. Numbers in ``config`` are milliseconds. Optional:
    ``category``, ``version``, ``metadata``. Raises UsageError (TOOL_INVALID).
    """
    if not isinstance(definition, Mapping):
        raise invalid("create_tool", f"expected a dict, got {definition!r}")
    refuse_unknown(definition, _KEYS, f"create_tool({definition.get('id', '?')!r})")
    for key in ("id", "execute"):
        if key not in definition:
            raise invalid("create_tool", f"{key!r} is missing")
    where = f"tool {tool_id(definition['id'], 'create_tool, id')!r}"
    execute = definition["execute"]
    if not callable(execute):
        raise invalid(where, f"execute is {execute!r}, which is not a function")
    if inspect.isgeneratorfunction(execute) or inspect.isasyncgenfunction(execute):
        raise invalid(where, "execute yields; it returns one value (a list), text as it comes goes to emit_token")
    given = definition.get("outputSchema")
    spec = _spec(
        where,
        {key: definition.get(key) for key in ("id", "name", "description", "category", "version")},
        _given_schema(definition.get("inputSchema") or {}, "validation", f"{where}, inputSchema"),
        None if given is None else _given_schema(given, "serialization", f"{where}, outputSchema"),
        from_config(definition.get("config") or {}, f"{where}, config"),
        document(definition.get("metadata") or {}, f"{where}, metadata"),
    )
    return Tool(spec, execute, _executes(execute, where))


def _given_schema(given: Any, mode: Any, where: str) -> dict[str, Json]:
    return document(given, where) if isinstance(given, Mapping) else schema_of(given, mode, where)


def _executes(execute: Callable[..., Any], where: str) -> Invoke:
    try:
        signature = inspect.signature(execute)
    except (TypeError, ValueError):  # a builtin without a signature: as documented
        return lambda inputs, context, mode: execute(inputs, context)
    if _accepts(signature, 2):
        return lambda inputs, context, mode: execute(inputs, context)
    if _accepts(signature, 1):
        return lambda inputs, context, mode: execute(inputs)
    raise invalid(where, f"execute{signature} cannot be called as execute(inputs, context)")


def _accepts(signature: inspect.Signature, arguments: int) -> bool:
    try:
        signature.bind(*range(arguments))
    except TypeError:
        return False
    return True


def _spec(
    where: str,
    texts: Mapping[str, Any],
    input_schema: dict[str, Json],
    output_schema: dict[str, Json] | None,
    config: dict[str, Any],
    metadata: dict[str, Json],
) -> ToolSpec:
    said: dict[str, Any] = {key: text(value, f"{where}, {key}") for key, value in texts.items() if value is not None}
    said.setdefault("name", said["id"])
    connectivity = metadata.pop("connectivity", None) or {}
    spec = ToolSpec(
        **said,
        input_schema=input_schema,
        output_schema=output_schema,
        connectivity=document(connectivity, f"{where}, metadata.connectivity"),
        metadata=metadata,
        **config,
    )
    spec.inputs.compile()
    if "object" not in input_schema.get("type", "object"):  # a text, or a list of them
        raise invalid(where, f"its inputs are an object, and the input schema says {input_schema['type']!r}")
    if spec.output is not None:
        spec.output.compile()
    return spec


def _first_paragraph(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
