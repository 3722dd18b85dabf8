"""What a step can do: tools, joins between them, the registry, and the host that runs them.

    decorate    @tool, create_tool; ``signature`` reads hints, ``settings`` keywords, ``conversion`` types
    spec        a tool as data                         schema      JSON Schema; ``closed``: fields nobody declared
    joins       output of one -> input of another      registry    tools and joins by name
    loader      tools files                            builtin     tools that come with the package
    call        the checks around a call               context     what a tool is told, and may raise
    jsonable    what user code gave, as JSON
    host        runs calls: ``entry`` is one call, ``lanes`` run async tools, ``workers`` sync ones, ``limits`` wait

Names load when first used, so importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .builtin import builtin_tools
    from .call import CallError, CallResult, check_inputs, check_output, describe_exception
    from .context import NetworkError, RateLimitError, ToolCancelled, ToolContext, ToolFailed, ToolTimeout
    from .decorate import create_tool, tool
    from .host import Call, ToolHost
    from .joins import Join, ToolJoin
    from .loader import LoadedTools, load_tools_file
    from .registry import ToolRegistry
    from .schema import Schema
    from .spec import RateLimit, RetryPolicy, SideEffect, Tool, ToolSpec

_HOMES: Final = {
    "builtin": ("builtin_tools",),
    "call": ("CallError", "CallResult", "check_inputs", "check_output", "describe_exception"),
    "context": ("NetworkError", "RateLimitError", "ToolCancelled", "ToolContext", "ToolFailed", "ToolTimeout"),
    "decorate": ("create_tool", "tool"),
    "host": ("Call", "ToolHost"),
    "joins": ("Join", "ToolJoin"),
    "loader": ("LoadedTools", "load_tools_file"),
    "registry": ("ToolRegistry",),
    "schema": ("Schema",),
    "spec": ("RateLimit", "RetryPolicy", "SideEffect", "Tool", "ToolSpec"),
}
_HOME: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Call",
    "CallError",
    "CallResult",
    "Join",
    "LoadedTools",
    "NetworkError",
    "RateLimit",
    "RateLimitError",
    "RetryPolicy",
    "Schema",
    "SideEffect",
    "Tool",
    "ToolCancelled",
    "ToolContext",
    "ToolFailed",
    "ToolHost",
    "ToolJoin",
    "ToolRegistry",
    "ToolSpec",
    "ToolTimeout",
    "builtin_tools",
    "check_inputs",
    "check_output",
    "create_tool",
    "describe_exception",
    "load_tools_file",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
