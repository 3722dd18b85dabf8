"""What is known of a tool without calling it: schemas, limits, side effect. And the tool itself: spec and function.

``digest`` is what a run pins: a worker whose tool has another digest refuses the step.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from ..values import Json, digest
from .schema import Schema

if TYPE_CHECKING:
    from .context import ToolContext

SideEffect: TypeAlias = Literal["none", "idempotent", "non_idempotent"]
"""none: asks only; idempotent: the same key again changes nothing more; non_idempotent: must not run twice."""
Validation: TypeAlias = Literal["strict", "warn"]
Backoff: TypeAlias = Literal["exponential", "linear", "fixed"]

DEFAULT_TIMEOUT_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when a failed call is tried again. ``max_attempts`` counts the first try; delays carry jitter."""

    max_attempts: int = 1
    backoff: Backoff = "exponential"
    initial_delay_ms: int | float = 1000
    max_delay_ms: int | float = 60_000
    retryable_errors: tuple[str, ...] = ("*",)
    """Codes, or unqualified names of exception classes; ``*``: what a tool raises, and timeouts."""

    def to_json(self) -> dict[str, Json]:
        """The ``retry`` of a node (canonical.md §2), delays in milliseconds."""
        return {
            "maxAttempts": self.max_attempts,
            "backoff": self.backoff,
            "initialDelay": self.initial_delay_ms,
            "maxDelay": self.max_delay_ms,
            "retryableErrors": list(self.retryable_errors),
        }


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``max_calls`` begin in a window: any span of that length (sliding), or one after the other (fixed)."""

    max_calls: int
    window_ms: int | float
    strategy: Literal["sliding", "fixed"] = "sliding"

    def to_json(self) -> dict[str, Json]:
        """``{"maxCalls", "windowMs", "strategy"}``."""
        return {"maxCalls": self.max_calls, "windowMs": self.window_ms, "strategy": self.strategy}


@dataclass(frozen=True)
class ToolSpec:
    """A tool as planner, check and engine see it. Schemas are JSON; None as output schema: nothing is known of it."""

    id: str
    name: str = ""
    description: str = ""
    category: str = "general"
    version: str = "1.0.0"
    input_schema: dict[str, Json] = field(default_factory=dict)
    output_schema: dict[str, Json] | None = None
    timeout_ms: int | float = DEFAULT_TIMEOUT_MS
    retry: RetryPolicy | None = None
    side_effect: SideEffect = "idempotent"
    requires_approval: bool = False
    sensitive: bool = False
    cacheable: bool = False
    cache_ttl_ms: int | float | None = None
    rate_limit: RateLimit | None = None
    concurrency_limit: int | None = None
    validation: Validation = "strict"
    queue: str = "default"
    connectivity: dict[str, Json] = field(default_factory=dict)
    metadata: dict[str, Json] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.id)

    @cached_property
    def digest(self) -> str:
        """Of input and output schema: equal where the two mean the same to every plan."""
        return digest({"inputSchema": self.input_schema, "outputSchema": self.output_schema})

    @cached_property
    def inputs(self) -> Schema:
        """The compiled input schema."""
        return Schema(self.input_schema, f"the input schema of tool {self.id!r}")

    @cached_property
    def output(self) -> Schema | None:
        """The compiled output schema; None where nothing is known of the output."""
        if self.output_schema is None:
            return None
        return Schema(self.output_schema, f"the output schema of tool {self.id!r}")

    def to_json(self) -> dict[str, Json]:
        """The camelCase document that ``create_tool`` reads again, given an ``execute``. Times are milliseconds."""
        return {
            "id": self.id,
            "name": self.name or self.id,
            "description": self.description,
            "category": self.category,
            "version": self.version,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "config": {
                "timeout": self.timeout_ms,
                "retry": self.retry and self.retry.to_json(),
                "sideEffect": self.side_effect,
                "requiresApproval": self.requires_approval,
                "sensitive": self.sensitive,
                "cacheable": self.cacheable,
                "cacheTTL": self.cache_ttl_ms,
                "rateLimit": self.rate_limit and self.rate_limit.to_json(),
                "concurrencyLimit": self.concurrency_limit,
                "validation": self.validation,
                "queue": self.queue,
            },
            "metadata": {**self.metadata, **({"connectivity": self.connectivity} if self.connectivity else {})},
        }


Invoke: TypeAlias = "Callable[[dict[str, Json], ToolContext, Validation], Any]"
"""(valid inputs, context, mode) -> what the function gives: a value, or an awaitable of one."""


class Tool:
    """A spec and the function behind it. Called directly it is that function, with the function's own arguments."""

    __name__: str
    spec: ToolSpec
    function: Callable[..., Any]
    is_async: bool

    def __init__(self, spec: ToolSpec, function: Callable[..., Any], invoke: Invoke) -> None:
        functools.update_wrapper(self, function)
        self.spec = spec
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - asks for the method's kind, not whether there is one
        )
        self._invoke = invoke

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def invoke(self, inputs: dict[str, Json], context: ToolContext, mode: Validation | None = None) -> Any:
        """Calls the function with the inputs turned into its Python types; an async function's coroutine is returned.

        Raises ToolFailed (TOOL_INPUT_INVALID) where a type of the function's refuses what its schema let through,
        and whatever the function raises.
        """
        return self._invoke(inputs, context, mode or self.spec.validation)

    @property
    def id(self) -> str:
        """The id of its spec."""
        return self.spec.id

    def __repr__(self) -> str:
        return f"<Tool {self.spec.id!r}>"
