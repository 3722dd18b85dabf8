"""The door: from a prompt, or a plan, to a result. Everything behind it can be used by itself (design.md §8)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .engines import Engines
from .errors import InputInvalid, UsageError
from .flow import Flow, check_given, raise_if_refused
from .planner import ir
from .planner.check import Check
from .planner.options import Options
from .planner.planning import PlanRequest, make_plan, planner_for
from .planner.request import ABSENT
from .result import Result
from .streams.core.events import Event
from .streams.embedded.engine import Engine
from .streams.embedded.run import Run
from .streams.planning import options_of
from .tools.joins import Join
from .tools.registry import ToolRegistry
from .values import Json, NotJson, plain

if TYPE_CHECKING:
    from .builder import FlowBuilder


class DynamicFlow:
    """Plan, check and run in one call each. ``tools`` are ``@tool`` functions or ``create_tool`` definitions."""

    @staticmethod
    async def generate(
        *,
        prompt: str,
        tools: Iterable[Any],
        joins: Iterable[Join] = (),
        model: str | None = None,
        options: Mapping[str, Json] | Options | None = None,
        input: Json = ABSENT,
        engine: Engine | None = None,
        db: str | os.PathLike[str] | None = None,
    ) -> Flow:
        """A validated flow for the prompt; nothing runs. Without a configured model the offline planner makes it.

        ``input``: an example, of which the planner sees names and types. ``engine`` or ``db``: where runs take place
        (in memory when neither is given). Raises PlanningFailed, UsageError.
        """
        registry = ToolRegistry.from_tools(tools, joins)
        chosen = options_of(options)
        request = PlanRequest(
            prompt=_prompt(prompt),
            tools=registry.specs,
            joins=tuple(registry.joins.values()),
            model=model,
            options=chosen,
            input=input if input is ABSENT else _example(input),
        )
        planned = await make_plan(request, planner_for(model, os.environ), now=datetime.now(UTC))
        return Flow(
            planned.check,
            tools=registry.list(),
            joins=registry.joins.values(),
            options=chosen,
            model=model,
            engine=engine,
            db=db,
        )

    @staticmethod
    async def execute(
        *,
        prompt: str | None = None,
        plan: Json | ir.Plan = None,
        tools: Iterable[Any] = (),
        joins: Iterable[Join] = (),
        input: Json = None,
        model: str | None = None,
        options: Mapping[str, Json] | Options | None = None,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        derived: bool = True,
        engine: Engine | None = None,
        db: str | os.PathLike[str] | None = None,
    ) -> AsyncIterator[Event]:
        """Plan (if a prompt is given) and run, yielding events as they happen, up to ``flow-complete``.

        A planning that fails is told by ``planning-failed`` and a ``flow-complete`` with status rejected. Raises
        PlanInvalid and InputInvalid for a given plan or input that is not usable, UsageError, JournalError.
        """
        asked = _Asked(prompt, plan, tools, joins, model, options, engine, db)
        async with asked.engine() as opened:
            run = await asked.start(opened, input, run_id, labels)
            raise_if_refused(run)
            async for event in run.events(derived=derived):
                yield event

    @staticmethod
    async def run_collect(
        *,
        prompt: str | None = None,
        plan: Json | ir.Plan = None,
        tools: Iterable[Any] = (),
        joins: Iterable[Join] = (),
        input: Json = None,
        model: str | None = None,
        options: Mapping[str, Json] | Options | None = None,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        max_wait: float | None = None,
        engine: Engine | None = None,
        db: str | os.PathLike[str] | None = None,
    ) -> Result:
        """Plan (if a prompt is given), run, and return how it ended; an invalid plan or input has status rejected."""
        asked = _Asked(prompt, plan, tools, joins, model, options, engine, db)
        async with asked.engine() as opened:
            run = await asked.start(opened, input, run_id, labels)
            return Result(await run.result(max_wait=max_wait))

    @staticmethod
    def check(
        plan: Json | ir.Plan,
        *,
        tools: Iterable[Any] = (),
        joins: Iterable[Join] = (),
        options: Mapping[str, Json] | Options | None = None,
    ) -> Check:
        """Everything that is wrong with a plan (dict, JSON text, ``ir.Plan``), and its certificate when nothing is."""
        return check_given(plan, ToolRegistry.from_tools(tools, joins), options_of(options))

    @staticmethod
    def builder() -> FlowBuilder:
        """A flow, put together step by step: ``builder().with_prompt(…).with_tools(…).build()``."""
        from .builder import FlowBuilder

        return FlowBuilder()


class _Asked:
    """What execute and run_collect share: one request, and the engine it runs on."""

    def __init__(
        self,
        prompt: str | None,
        plan: Json | ir.Plan,
        tools: Iterable[Any],
        joins: Iterable[Join],
        model: str | None,
        options: Mapping[str, Json] | Options | None,
        engine: Engine | None,
        db: str | os.PathLike[str] | None,
    ) -> None:
        if (prompt is None) == (plan is None):
            raise UsageError("USAGE", "name exactly one of prompt and plan")
        if engine is not None and db is not None:
            raise UsageError("USAGE", "name either an engine or a db file to run on, not both")
        registry = ToolRegistry.from_tools(tools, joins)
        self._what: Any = plan.encode() if isinstance(plan, str) else plan if prompt is None else _prompt(prompt)
        self._model, self._options = model, options_of(options)
        self._engine, self._db = engine, db
        self._tools, self._joins = registry.list(), tuple(registry.joins.values())

    def engine(self) -> AbstractAsyncContextManager[Engine]:
        if self._engine is not None:
            return nullcontext(self._engine)
        return Engines(self._tools, self._joins, db=self._db, model=self._model).lease()

    async def start(self, engine: Engine, given: Json, run_id: str | None, labels: Mapping[str, str] | None) -> Run:
        return await engine.start(
            self._what,
            input=given,
            run_id=run_id or self._options.workflow_id,
            options=self._options,
            labels=labels,
            model=self._model,
        )


def _prompt(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise UsageError("USAGE", "the prompt is empty; say in a sentence or two what is to be done")
    return given


def _example(given: Json) -> Json:
    try:
        return plain(given)[0]
    except (NotJson, OverflowError) as error:
        raise InputInvalid("INPUT_INVALID", f"the input is not JSON: {error}") from error
