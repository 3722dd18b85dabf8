"""A prompt becomes a plan you can read and bound; the plan runs as an event-sourced flow you can rebuild.

    from dynamicflow import DynamicFlow, Engine, tool

    flow = await DynamicFlow.generate(prompt="…", tools=[…])
    result = await flow.run_collect({"email": "a@b.c"})

Names load when first used, so ``import dynamicflow`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from . import blocking
    from .api import DynamicFlow
    from .builder import FlowBuilder
    from .errors import (
        BrokerError,
        DynamicFlowError,
        InputInvalid,
        InvalidJson,
        JournalError,
        PlanInvalid,
        PlanningFailed,
        Problem,
        RunExists,
        RunNotFound,
        UsageError,
    )
    from .flow import Flow
    from .planner.check import Check
    from .planner.ir import Plan
    from .planner.options import Options
    from .result import Result
    from .streams.clock import Clock, SystemClock, VirtualClock
    from .streams.core.events import Event
    from .streams.embedded.engine import Engine
    from .streams.embedded.run import Run
    from .streams.kafka.engine import KafkaEngine
    from .tools.context import NetworkError, RateLimitError, ToolCancelled, ToolContext, ToolFailed, ToolTimeout
    from .tools.decorate import create_tool, tool
    from .tools.joins import Join, ToolJoin
    from .tools.loader import LoadedTools, load_tools_file
    from .tools.registry import ToolRegistry
    from .tools.spec import RateLimit, RetryPolicy, Tool, ToolSpec

_HOMES: Final = {
    "api": ("DynamicFlow",),
    "builder": ("FlowBuilder",),
    "errors": (
        "BrokerError", "DynamicFlowError", "InputInvalid", "InvalidJson", "JournalError", "PlanInvalid",
        "PlanningFailed", "Problem", "RunExists", "RunNotFound", "UsageError",
    ),
    "flow": ("Flow",),
    "planner.check": ("Check",),
    "planner.ir": ("Plan",),
    "planner.options": ("Options",),
    "result": ("Result",),
    "streams.clock": ("Clock", "SystemClock", "VirtualClock"),
    "streams.core.events": ("Event",),
    "streams.embedded.engine": ("Engine",),
    "streams.embedded.run": ("Run",),
    "streams.kafka.engine": ("KafkaEngine",),
    "tools.context": ("NetworkError", "RateLimitError", "ToolCancelled", "ToolContext", "ToolFailed", "ToolTimeout"),
    "tools.decorate": ("create_tool", "tool"),
    "tools.joins": ("Join", "ToolJoin"),
    "tools.loader": ("LoadedTools", "load_tools_file"),
    "tools.registry": ("ToolRegistry",),
    "tools.spec": ("RateLimit", "RetryPolicy", "Tool", "ToolSpec"),
}  # fmt: skip
_HOME: Final = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "BrokerError",
    "Check",
    "Clock",
    "DynamicFlow",
    "DynamicFlowError",
    "Engine",
    "Event",
    "Flow",
    "FlowBuilder",
    "InputInvalid",
    "InvalidJson",
    "Join",
    "JournalError",
    "KafkaEngine",
    "LoadedTools",
    "NetworkError",
    "Options",
    "Plan",
    "PlanInvalid",
    "PlanningFailed",
    "Problem",
    "RateLimit",
    "RateLimitError",
    "Result",
    "RetryPolicy",
    "Run",
    "RunExists",
    "RunNotFound",
    "SystemClock",
    "Tool",
    "ToolCancelled",
    "ToolContext",
    "ToolFailed",
    "ToolJoin",
    "ToolRegistry",
    "ToolSpec",
    "ToolTimeout",
    "UsageError",
    "VirtualClock",
    "blocking",
    "create_tool",
    "load_tools_file",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name == "blocking":
        return import_module(".blocking", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
