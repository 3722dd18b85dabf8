"""A request put together step by step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from .api import DynamicFlow
from .errors import UsageError
from .flow import Flow
from .planner.options import Options
from .streams.embedded.engine import Engine
from .streams.planning import options_of
from .tools.joins import Join
from .values import Json


@dataclass(frozen=True)
class FlowBuilder:
    """Every ``with_…`` gives a new builder, so one can serve as the beginning of many."""

    prompt: str | None = None
    tools: tuple[Any, ...] = ()
    joins: tuple[Join, ...] = ()
    model: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    engine: Engine | None = None
    db: str | os.PathLike[str] | None = None

    def with_prompt(self, prompt: str) -> FlowBuilder:
        return replace(self, prompt=prompt)

    def with_tools(self, *tools: Any) -> FlowBuilder:
        """More tools; a list of them counts as its elements."""
        return replace(self, tools=(*self.tools, *_flat(tools)))

    def with_joins(self, *joins: Join | Iterable[Join]) -> FlowBuilder:
        """More joins; a list of them counts as its elements."""
        return replace(self, joins=(*self.joins, *_flat(joins)))

    def with_model(self, model: str) -> FlowBuilder:
        return replace(self, model=model)

    def with_model_pool(self, **pool: Json) -> FlowBuilder:
        """``options.modelPool``."""
        return self.with_options(modelPool=pool)

    def with_retry_strategy(self, **strategy: Json) -> FlowBuilder:
        """Retries of steps: ``maxAttempts``, ``backoffStrategy``, ``initialDelay`` (ms), ``retryableErrors`` …"""
        return self.with_options(retryStrategy=strategy)

    def with_timeout(self, timeout: float | timedelta) -> FlowBuilder:
        """Of the whole run: seconds, or a timedelta."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        return self.with_options(timeout=seconds * 1000)

    def with_cache(self, enabled: bool = True) -> FlowBuilder:
        """Whether plans and cacheable tools may be answered from the cache."""
        return self.with_options(enableCaching=enabled)

    def with_options(self, given: Mapping[str, Json] | None = None, **more: Json) -> FlowBuilder:
        """More options, as in a request: JSON, hence milliseconds. The later one wins."""
        return replace(self, options={**self.options, **(given or {}), **more})

    def on(self, engine: Engine | None = None, *, db: str | os.PathLike[str] | None = None) -> FlowBuilder:
        """Where its runs take place."""
        return replace(self, engine=engine, db=db)

    async def build(self) -> Flow:
        """The flow. Raises UsageError without a prompt or without a tool, PlanningFailed."""
        if not self.prompt:
            raise UsageError("USAGE", "a flow needs a prompt: builder.with_prompt(…)")
        if not self.tools:
            raise UsageError("USAGE", "a flow needs at least one tool: builder.with_tools(…)")
        return await DynamicFlow.generate(
            prompt=self.prompt,
            tools=self.tools,
            joins=self.joins,
            model=self.model,
            options=self.checked_options(),
            engine=self.engine,
            db=self.db,
        )

    def checked_options(self) -> Options:
        """The options gathered so far. Raises UsageError naming each that is wrong."""
        return options_of(self.options)


def _flat(things: Iterable[Any]) -> tuple[Any, ...]:
    flat: list[Any] = []
    for thing in things:
        flat.extend(thing if isinstance(thing, list | tuple) else (thing,))
    return tuple(flat)
