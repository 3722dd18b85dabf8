"""A validated plan with its tools: look at it, then run it as often as wanted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from copy import deepcopy
from typing import Any

from .engines import Engines
from .errors import DynamicFlowError, InputInvalid, PlanInvalid, Problem, UsageError
from .planner import ir
from .planner.check import Certificate, Check, check_plan
from .planner.inspection import Inspection, inspect_plan
from .planner.mermaid import mermaid
from .planner.options import Options
from .result import Result
from .streams.core.events import Event
from .streams.embedded.engine import Engine
from .streams.embedded.run import Run
from .streams.planning import options_of
from .tools.joins import Join
from .tools.registry import ToolRegistry
from .values import Json, encode


class Flow:
    """Made by ``DynamicFlow.generate`` or :meth:`from_plan`. Immutable; runs of it may overlap.

    Runs take place in memory, in the file ``db``, or on the ``engine`` that is handed in.
    """

    def __init__(
        self,
        check: Check,
        *,
        tools: Iterable[Any] = (),
        joins: Iterable[Join] = (),
        options: Mapping[str, Json] | Options | None = None,
        model: str | None = None,
        engine: Engine | None = None,
        db: str | os.PathLike[str] | None = None,
    ) -> None:
        if engine is not None and db is not None:
            raise UsageError("USAGE", "name either an engine or a db file to run on, not both")
        if not check.valid or check.plan is None or check.certificate is None:
            raise invalid_plan(check)
        self._check, self._plan, self._certificate = check, check.plan, check.certificate
        self.options = options_of(options)
        self.registry = ToolRegistry.from_tools(tools, joins)
        self._engine = engine
        self._engines = Engines(self.registry.list(), tuple(self.registry.joins.values()), db=db, model=model)

    @classmethod
    def from_plan(
        cls,
        plan: Json | ir.Plan,
        *,
        tools: Iterable[Any] = (),
        joins: Iterable[Join] = (),
        options: Mapping[str, Json] | Options | None = None,
        **where: Any,
    ) -> Flow:
        """A flow of a plan that is there already: a dict, JSON text, or ``ir.Plan``. Raises PlanInvalid.

        ``where`` is ``engine``, ``db`` or ``model``, as for the class.
        """
        registry = ToolRegistry.from_tools(tools, joins)
        chosen = options_of(options)
        check = check_given(plan, registry, chosen)
        return cls(check, tools=registry.list(), joins=registry.joins.values(), options=chosen, **where)

    # --- looking at it ----------------------------------------------------------------------------------------------

    @property
    def plan(self) -> ir.Plan:
        """The plan as a model."""
        return self._plan

    @property
    def ir(self) -> dict[str, Json]:
        """The plan in canonical form, defaults left out; a copy."""
        made = self.get_plan_json()
        return {"metadata": {}, "edges": [], **made}

    @property
    def certificate(self) -> Certificate:
        """The bounds that hold for every run of it: executions, duration, tools, side effects, model calls."""
        return self._certificate

    @property
    def plan_hash(self) -> str:
        return self._plan.hash

    def inspect(self) -> Inspection:
        """What a reviewer wants to know: steps, complexity, graph, data flow, potential issues."""
        return inspect_plan(
            self._plan, self.registry.specs, self._certificate, options=self.options, joined=self._check.joined
        )

    def mermaid(self) -> str:
        """The plan as a Mermaid flowchart."""
        return mermaid(self._plan)

    def get_plan_json(self) -> dict[str, Json]:
        """A deep copy of the plan in canonical form."""
        return deepcopy(self._plan.to_json())

    def get_metadata(self) -> dict[str, Json]:
        """``{"name", "description", "generated", "model", "nodeCount", "toolCount", "hasConditionals", …}``."""
        nodes = list(_all_nodes(self._plan.nodes))
        kinds = {node.type for node in nodes}
        about = self._plan.metadata
        return {
            "name": about.name,
            "description": about.description,
            "generated": about.generated,
            "source": about.source,
            "model": about.model,
            "planHash": self._plan.hash,
            "nodeCount": len(nodes),
            "toolCount": len({node.tool_id for node in nodes if isinstance(node, ir.ToolNode)}),
            "hasConditionals": bool(kinds & {"conditional", "switch"})
            or any(edge.condition is not None for edge in self._plan.edges),
            "hasFunctionalOps": bool(kinds & {"map", "filter", "reduce", "forEach", "flatMap"}),
        }

    def validate(self) -> Check:
        """The check of the plan against the tools as they are now."""
        return check_given(self._plan, self.registry, self.options)

    # --- running it -------------------------------------------------------------------------------------------------

    async def run_collect(
        self,
        input: Json = None,
        *,
        run_id: str | None = None,
        options: Mapping[str, Json] | Options | None = None,
        labels: Mapping[str, str] | None = None,
        max_wait: float | None = None,
        engine: Engine | None = None,
    ) -> Result:
        """Run it once and wait for the end, or until it needs a person (a wait longer than ``max_wait`` seconds, too).

        A bad input gives a Result with status rejected. Raises JournalError, RunExists, UsageError.
        """
        async with self._on(engine) as opened:
            run = await self._start(opened, input, run_id, options, labels)
            return Result(await run.result(max_wait=max_wait))

    async def run(
        self,
        input: Json = None,
        *,
        run_id: str | None = None,
        options: Mapping[str, Json] | Options | None = None,
        labels: Mapping[str, str] | None = None,
        derived: bool = True,
        engine: Engine | None = None,
    ) -> AsyncIterator[Event]:
        """Run it once and yield its events as they happen, up to ``flow-complete``. Raises InputInvalid too."""
        async with self._on(engine) as opened:
            run = await self._start(opened, input, run_id, options, labels)
            raise_if_refused(run)
            async for event in run.events(derived=derived):
                yield event

    async def run_many(
        self,
        inputs: Iterable[Json],
        *,
        concurrency: int = 5,
        options: Mapping[str, Json] | Options | None = None,
        labels: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> list[Result]:
        """One run for each input, at most ``concurrency`` at a time; results in the order of the inputs.

        With ``options.workflowId`` the runs are named after it: ``ID.0``, ``ID.1`` … Raises as :meth:`run_collect`.
        """
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise UsageError("USAGE", f"concurrency {concurrency!r}: expected a whole number, 1 or more")
        gate = asyncio.Semaphore(concurrency)
        chosen = self.options if options is None else options_of(options)
        common = chosen.model_copy(update={"workflow_id": None})
        async with self._on(engine) as opened:

            async def one(number: int, given: Json) -> Result:
                run_id = f"{chosen.workflow_id}.{number}" if chosen.workflow_id else None
                async with gate:
                    run = await self._start(opened, given, run_id, common, labels)
                    return Result(await run.result())

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(number, given)) for number, given in enumerate(inputs)]
            except ExceptionGroup as failed:  # the first says what happened; the others were cancelled for it
                raise failed.exceptions[0] from failed
        return [task.result() for task in tasks]

    def _on(self, engine: Engine | None) -> AbstractAsyncContextManager[Engine]:
        chosen = engine or self._engine
        return self._engines.lease() if chosen is None else nullcontext(chosen)

    async def _start(
        self,
        engine: Engine,
        given: Json,
        run_id: str | None,
        options: Mapping[str, Json] | Options | None,
        labels: Mapping[str, str] | None,
    ) -> Run:
        chosen = self.options if options is None else options_of(options)
        return await engine.start(
            self._plan, input=given, run_id=run_id or chosen.workflow_id, options=chosen, labels=labels
        )

    def __repr__(self) -> str:
        return f"Flow({self._plan.metadata.name!r}, {len(self._plan.nodes)} nodes, {self.plan_hash})"


def check_given(plan: Json | ir.Plan, registry: ToolRegistry, options: Options) -> Check:
    """The check of a plan in any form. Raises nothing for a bad one."""
    if isinstance(plan, ir.Plan):
        plan = plan.to_json()
    if not isinstance(plan, str | bytes):
        with suppress(TypeError, ValueError, RecursionError):  # no JSON: the check says where
            plan = encode(plan)
    return check_plan(plan, tools=registry.specs, joins=tuple(registry.joins.values()), options=options)


def invalid_plan(check: Check) -> PlanInvalid:
    """The error that says what is wrong with a plan."""
    count = len(check.problems)
    return PlanInvalid("PLAN_INVALID", f"the plan has {count} problem{'s' * (count != 1)}", tuple(check.problems))


def raise_if_refused(run: Run) -> None:
    """Raises what a start was refused for: PlanInvalid or InputInvalid with every problem."""
    record = run.rejected
    if record is None:
        return
    error = record["error"]
    problems = [Problem.from_json(given) for given in (error["details"] or {}).get("problems", ())]
    kinds: Mapping[str, type[DynamicFlowError]] = {"INPUT_INVALID": InputInvalid}
    raise kinds.get(error["code"], PlanInvalid)(error["code"], error["message"], problems)


def _all_nodes(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    found: list[ir.Node] = []
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        found.append(node)
        for _, body in ir.bodies(node):
            waiting.extend(body)
    return found
