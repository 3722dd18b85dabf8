"""The embedded engine: plans and prompts in, results and events out, on one SQLite file or in memory.

    async with Engine.open("runs.db", tools=[...]) as engine:
        run = await engine.start(plan, input={...}, run_id="order-42")
        result = await run.result()

The same start again is the same run; unfinished runs go on when the journal is opened. See design §5.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ...errors import DynamicFlowError, InputInvalid, JournalError, PlanningFailed, RunExists, UsageError
from ...planner import ir
from ...planner.check import Check
from ...planner.options import NO_OPTIONS, Options
from ...tools.joins import Join
from ...tools.registry import ToolRegistry
from ...values import Json, NotJson, digest, encode, plain, stamp
from .. import planning, replay
from ..clock import Clock, SystemClock
from ..core import commands as c
from ..core import events as e
from ..core.events import Event, envelope, event_id
from ..core.fold import ends_all
from ..core.result import rejected_record
from ..core.state import ENDED, new_run
from .desk import Desk
from .driven import Driven
from .journal import Journal, OnCommand, OnDurable, OnFailure, RunRow
from .memory import MemoryJournal
from .observing import rebuilt_for
from .run import Run
from .runner import JournalOf, Runner
from .sqlite import SqliteJournal
from .steps import Toolbox

if TYPE_CHECKING:
    from ..metrics import Metrics

DRAIN_S = 10.0
_UNFINISHED: Final = frozenset({"pending", "planning", "running", "suspended", "paused", "parked"})


class Engine:
    """Runs plans in this process. Make one with :meth:`open` or :meth:`in_memory`, use it as an async context."""

    def __init__(
        self,
        journal_of: JournalOf,
        *,
        tools: Sequence[Any] = (),
        joins: Sequence[Join] = (),
        clock: Clock | None = None,
        resume: bool | Collection[str] = True,
        model: str | None = None,
        drain_s: float = DRAIN_S,
        drive: bool = True,
        metrics: Metrics | None = None,
    ) -> None:
        self.registry = ToolRegistry.from_tools(tools, joins)
        self.joins = tuple(self.registry.joins.values())
        self.clock: Clock = clock or SystemClock()
        self._journal_of, self._resume, self._model, self._drain_s = journal_of, resume, model, drain_s
        self._drive, self._metrics = drive, metrics
        self._runner: Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where it was entered, while it is open."""
        self._desk = Desk(self)
        self._controls = 0
        self._planning: set[asyncio.Future[None]] = set()
        self._life = secrets.token_hex(4)  # in a container every process has the same name and number
        self._plans = planning.CheckedPlans(lambda: self.registry.specs, lambda: self.joins)

    @classmethod
    def open(cls, path: str | os.PathLike[str], **settings: Any) -> Self:
        """An engine on a SQLite file, made if it is not there. One process at a time owns it.

        Settings: ``tools``, ``joins``, ``resume`` (True: go on with all unfinished runs; or the ids of some),
        ``model``, ``drain_s`` (seconds that running steps are waited for on leaving), ``drive`` (False: record what is
        asked of runs and what follows from it, but start no step, so no tools are needed), ``metrics``. Entering raises
        JournalError for a file that is owned by another process, read-only, corrupt, or from a newer version.
        """

        def journal_of(durable: OnDurable, failed: OnFailure, command: OnCommand) -> Journal:
            tools = {name: spec.digest for name, spec in engine.registry.specs.items()}
            return SqliteJournal.open(path, on_durable=durable, on_failure=failed, on_command=command, tools=tools)

        engine = cls(journal_of, **settings)
        return engine

    @classmethod
    def in_memory(cls, **settings: Any) -> Self:
        """An engine without a file. With ``clock=VirtualClock()`` a wait of a day takes no time: for tests of flows."""
        journal = settings.pop("journal", None)
        return cls(
            lambda durable, failed, command: (journal or MemoryJournal()).attach(
                on_durable=durable, on_failure=failed, on_command=command
            ),
            **settings,
        )

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise UsageError("ENGINE_OPEN", "this engine is in use; make another one, or leave its `async with` first")
        toolbox = Toolbox(dict(self.registry), self.registry.joins)
        runner = Runner(
            journal_of=self._journal_of,
            toolbox=toolbox,
            clock=self.clock,
            plan=self._make_plan,
            command=self._desk.take,
            metrics=self._metrics,
        )
        self._runner, self._loop = runner, asyncio.get_running_loop()
        runner.draining = not self._drive
        runner.host.start()
        try:
            if self._resume is not False:
                for row in runner.journal.runs(statuses=_UNFINISHED):
                    if self._resume is True or row.run_id in self._resume:
                        self._take_up(row)
        except BaseException:
            await self._close(0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(self._drain_s)
        await asyncio.sleep(0)  # what the journal said last is on its way
        if kind is None and self.failure is not None:
            raise self.failure

    async def _close(self, drain_s: float) -> None:
        """Let running steps end and be recorded (``drain_s`` seconds), then stop. Runs go on at the next open."""
        runner, self._loop = self.runner, None
        await self._desk.stop()
        await runner.drain(drain_s)
        runner.stop()
        await asyncio.to_thread(runner.host.close, 0.0)  # what the drain did not see end is not recorded any more
        await asyncio.to_thread(runner.journal.close, 30.0)

    @property
    def runner(self) -> Runner:
        if self._runner is None:
            raise UsageError("ENGINE_NOT_OPEN", "use it as: async with Engine.open(…) as engine")
        return self._runner

    @property
    def journal(self) -> Journal:
        return self.runner.journal

    @property
    def failure(self) -> JournalError | None:
        """Why the journal takes nothing more, if it does not."""
        return self.runner.failure

    def now(self) -> str:
        """The clock's time as events carry it."""
        return stamp(self.clock.now_ms())

    # --- starting ---------------------------------------------------------------------------------------------------

    def check(self, plan: Json | ir.Plan, *, options: Options | None = None) -> Check:
        """Everything that is wrong with a plan for this engine's tools, and its certificate."""
        return self._plans.of(plan, options or NO_OPTIONS).check

    async def start(
        self,
        plan_or_prompt: Json | ir.Plan,
        *,
        input: Json = None,
        run_id: str | None = None,
        options: Mapping[str, Json] | Options | None = None,
        labels: Mapping[str, str] | None = None,
        model: str | None = None,
    ) -> Run:
        """Start a run of a plan (dict, JSON text, ``ir.Plan``) or of a prompt (any other text).

        Durable on return. A bad plan or input gives a run whose result has status rejected; nothing is recorded and the
        id stays free. The same start again gives the same run. Raises RunExists for other content under a taken id,
        UsageError for an id or options that are none, JournalError when the log cannot be used.
        """
        if self._loop is not asyncio.get_running_loop() and self._loop is not None:
            raise UsageError("ENGINE_OTHER_LOOP", "the engine was entered in another event loop: call it from there")
        if self.failure is not None:
            raise self.failure
        chosen = planning.options_of(options)
        ident = planning.run_id_of(run_id, chosen)
        try:
            given = plain(input)[0]
        except (NotJson, OverflowError) as error:
            return self._rejected(ident, InputInvalid("INPUT_INVALID", f"the input is not JSON: {error}"))
        request: dict[str, Json] = {"type": "start", "runId": ident, "input": given}
        plan = None
        if isinstance(plan_or_prompt, str) and not plan_or_prompt.lstrip("\ufeff \t\r\n").startswith("{"):
            request["prompt"] = planning.text_of("prompt", plan_or_prompt)
            if model or self._model:
                request["model"] = planning.text_of("model", model or self._model)
        else:
            plan = self._plans.of(plan_or_prompt, chosen)
            refusal = plan.refusal(given, chosen)
            if refusal is not None:
                return self._rejected(ident, refusal, planning.name_of(plan.check))
            request["plan"] = plan.check.plan_hash
        if chosen is not NO_OPTIONS:
            request["options"] = chosen.model_dump(by_alias=True, exclude_defaults=True, mode="json")
        if labels:
            request["labels"] = planning.labels_of(labels)
        return await self._begin(ident, request, plan)

    def _rejected(self, ident: str, why: DynamicFlowError, name: str | None = None) -> Run:
        if self._metrics is not None:
            self._metrics.run_ended("rejected")
        return Run(self, None, rejected_record(ident, why, self.now(), name), ident)

    async def _begin(self, ident: str, request: dict[str, Json], plan: planning.Accepted | None) -> Run:
        try:
            same = digest({**request, "runId": None})
        except (TypeError, ValueError) as error:
            raise UsageError("INVALID_REQUEST", f"the prompt, model or labels are no JSON text: {error}") from error
        under_way = self.runner.runs.get(ident)
        if under_way is not None:
            if under_way.created is not None and not await asyncio.shield(under_way.created):
                return self._again(self._taken(ident), same)
            return self._again(under_way.row, same)
        now = self.now()
        row = RunRow(
            run_id=ident,
            status="planning" if plan is None else "running",
            request_digest=same,
            plan_hash=plan.check.plan_hash if plan else None,
            name=planning.name_of(plan.check if plan else None) or str(request.get("prompt", ""))[:80],
            created_at=now,
            updated_at=now,
            root_run_id=ident,
            labels=encode(request.get("labels") or {}).decode(),
        )
        driven = self.runner.runs[ident] = Driven(new_run(ident), row)
        place = envelope(event_id(ident, None, None, None, "flow-requested"), ident, now) | {"request": request}
        facts: list[Event] = [e.FlowRequested.trusted({**place, "tenant": planning.tenant_of(request)})]
        if plan is not None:
            facts.append(planning.published(ident, plan, now, tenant=facts[0].tenant))
        created: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        driven.created = created
        self.runner.append(driven, facts, row=row, created=created)
        if not await asyncio.shield(created):  # a caller that gives up takes nothing back
            return self._again(self._taken(ident), same)
        driven.created = None
        return Run(self, driven)

    def _taken(self, ident: str) -> RunRow:
        """The row of the run that had the id before."""
        row = self.runner.journal.run(ident)
        if row is None:
            raise JournalError("JOURNAL_CORRUPT", f"run {ident} is there and is not; restore the journal from a backup")
        return row

    def _again(self, row: RunRow, same: str) -> Run:
        if row.request_digest != same:
            message = f"run {row.run_id} was started on {row.created_at} with another plan, input or options"
            raise RunExists("RUN_EXISTS", f"{message}; choose another id")
        return self._handle(row)

    # --- runs that are there ------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        """The handle of a run in this journal; an unfinished one is taken up. Raises RunNotFound."""
        driven = self.runner.runs.get(run_id)
        if driven is not None:
            return Run(self, driven)
        row = self.runner.journal.run(run_id)
        if row is None:
            raise replay.no_such_run(run_id)
        return self._handle(row)

    def runs(self, *, statuses: Collection[str] | None = None, limit: int | None = None) -> list[RunRow]:
        """The runs of the journal, newest first."""
        under_way = self.runner.runs
        rows = (
            under_way[row.run_id].row if row.run_id in under_way else row  # its end may still be on the way to the disk
            for row in self.runner.journal.runs()
        )
        return list(islice((row for row in rows if statuses is None or row.status in statuses), limit))

    def _handle(self, row: RunRow) -> Run:
        return Run(self, self.runner.runs.get(row.run_id) or self._take_up(row))

    def _take_up(self, row: RunRow) -> Driven:
        """Rebuild a run from its log and go on with it where it stopped."""
        rebuilt = rebuilt_for(self._metrics, self.runner.journal, row.run_id)
        driven = Driven(rebuilt.state, row, told=frozenset(rebuilt.told), inline_bytes=rebuilt.bytes_read)
        untold = list(rebuilt.untold.values())
        if rebuilt.state.end is not None:
            driven.result = rebuilt.state.result
            if untold or row.status not in ENDED:
                self._tell_end(driven, untold)
            return driven
        if untold:
            self.runner.append(driven, untold)
        reason = rebuilt.stopped or (self._cannot_run(driven) if self._drive else None)
        self.runner.runs[row.run_id] = driven
        if reason is not None:
            self.runner.park(driven, reason)
        elif self._drive:
            if row.status != driven.status:  # it was parked, or the process died before its index said so
                moved = driven.moved(status=driven.status, updated_at=self.now(), error_code=None)
                self.runner.append(driven, [], row=moved)
            self.runner.take_up(driven)
        return driven

    def _tell_end(self, driven: Driven, untold: list[Event]) -> None:
        """The facts say it has ended, but the process died before the log and its index said so."""
        if untold:
            self.runner.runs[driven.run_id] = driven  # until that is durable: it is told once, whoever asks meanwhile
        ended = (driven.state.result or {}).get("metadata", {}).get("completedAt")
        row = driven.moved(status=driven.state.end, updated_at=ended, completed_at=ended)
        self.runner.append(driven, untold, row=row)

    def _cannot_run(self, driven: Driven) -> str | None:
        """Why the tools loaded here cannot go on with a run; None when they can. A compatible change goes on."""
        state = driven.state
        missing = sorted(set(state.tools) - set(self.registry.specs))
        if missing:
            return f"tools not loaded here: {', '.join(missing)}; open the journal with the tools file that has them"
        changed = sorted(name for name, pinned in state.tools.items() if self.registry.specs[name].digest != pinned)
        if changed and state.program is not None:
            check = self.check(state.program.plan)
            if not check.valid:
                return f"tools changed so that the plan no longer fits: {', '.join(changed)}: {check.problems[0]}"
        return None

    # --- planning, controls ---------------------------------------------------------------------------------------

    def _make_plan(self, driven: Driven, command: c.Plan) -> None:
        task = asyncio.ensure_future(self._planned(driven, command))
        self._planning.add(task)
        task.add_done_callback(self._planning.discard)

    async def _planned(self, driven: Driven, command: c.Plan) -> None:
        began = time.perf_counter()
        try:
            fact = await planning.plan_run(command, self.registry.specs, self.joins, self.clock)
        except PlanningFailed as failed:
            fact = planning.failed(driven.run_id, failed, self.now(), tenant=driven.state.tenant)
        self.runner.planned(driven, fact, time.perf_counter() - began)

    async def ask(self, driven: Driven, control: Event) -> None:
        """Record a control fact of a run; durable and applied on return. Raises JournalError when it cannot be."""
        self.runner.append(driven, [control])
        if driven.broken and ends_all(control):
            await driven.changed.wait()
        while control.id not in driven.state.controls and driven.state.end is None and not driven.broken:
            if self.failure is not None:
                raise self.failure
            await driven.changed.wait()

    def next_control(self) -> str:
        """Tells one control request of this process from another."""
        self._controls += 1
        return f"{socket.gethostname()}.{os.getpid()}.{self._life}.{self._controls}"
