"""The client of the Kafka shell: the embedded engine's interface over the topics.

    async with KafkaEngine.connect("localhost:9092") as engine:
        run = await engine.start(plan, input={...}, run_id="order-42")
        result = await run.result()

Workers do the work (`dynamicflow worker`); this publishes requests and reads logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from aiokafka.errors import KafkaError

from ...errors import BrokerError, DynamicFlowError, InputInvalid, PlanInvalid, Problem, RunExists
from ...planner import ir
from ...planner.check import Check
from ...planner.options import NO_OPTIONS, Options
from ...tools.joins import Join
from ...tools.registry import ToolRegistry
from ...values import Json, NotJson, encode, plain, stamp
from ..core.codec import decode_event
from ..core.events import FlowRequested, PlanningFailed
from ..core.result import rejected_record
from ..core.state import ENDED
from ..planning import Accepted, CheckedPlans, labels_of, name_of, options_of, run_id_of, text_of
from ..requests import ControlRequest, StartRequest, read_request, request_digest, start_json, start_request
from .admin import flags_of, require_topics
from .admission import Admission, Coordinates
from .broker_clock import BrokerClock
from .catalog import Catalog
from .connection import Connection
from .finding import Finder
from .ledger import digest_of
from .reader import Reader
from .records import Record, encode_small, partition_of
from .run import KafkaRun
from .settings import Settings
from .tail import Tail, Watched
from .topics import Topics
from .values import ValueStore
from .writer import Writer

ACCEPT_S: Final = 30.0
"""How long intake may take to admit a request before the workers count as gone."""


class KafkaEngine:
    """Publishes requests and reads runs. Make one with :meth:`connect`, use it as an async context."""

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        *,
        tools: Sequence[Any] = (),
        joins: Sequence[Join] = (),
        model: str | None = None,
    ) -> None:
        self._connection, self._topics, self._model = connection, topics, model
        self.registry = ToolRegistry.from_tools(tools, joins)
        self.clock = BrokerClock()
        self._writer = Writer(connection, self.clock)
        self._tail = Tail(connection, topics.events)
        self._reader = Reader(connection)
        self._catalog = Catalog(Settings(connection, topics), Reader(connection), self.registry)
        self._admission = Admission(self._catalog)
        self._values = ValueStore(self._writer, Reader(connection), topics)
        self._finder = Finder(self._reader, self._tail, topics)
        self._counts: dict[str, int] = {}
        self._plans = CheckedPlans(lambda: self._catalog.specs, lambda: self._catalog.joins)

    @classmethod
    def connect(
        cls,
        bootstrap: str | None = None,
        *,
        prefix: str = "",
        tools: Sequence[Any] = (),
        joins: Sequence[Join] = (),
        model: str | None = None,
        connection: Connection | None = None,
    ) -> Self:
        """An engine on the topics of a cluster. Without ``bootstrap`` the environment says where (DYNAMICFLOW_…).

        ``tools`` are known beside those that the workers offer. Entering raises BrokerError.
        """
        chosen = connection or Connection.from_env(bootstrap)
        return cls(chosen, Topics(prefix), tools=tools, joins=joins, model=model)

    async def __aenter__(self) -> Self:
        self.clock.heard(time.time() * 1000)  # nothing here is due: until a broker tells another time, ours will do
        self._counts[self._topics.events] = await require_topics(self._connection, self._topics)
        try:
            await self._writer.start()
            self._counts[self._topics.requests] = await self._writer.partitions(self._topics.requests)
            await self._tail.start(self._counts[self._topics.events])
            await self._catalog.start()
        except KafkaError as error:
            await self._close()
            raise BrokerError("BROKER_UNREACHABLE", f"the brokers do not answer: {error}") from error
        except BaseException:
            await self._close()
            raise
        self._catalog.on_change(self._plans.clear)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        parts = (self._writer.stop, self._reader.close, self._values.close, self._catalog.stop, self._tail.stop)
        async with contextlib.AsyncExitStack() as ends:  # from the last to the first, whatever comes between
            for end in parts:
                ends.push_async_callback(end)

    # --- starting -----------------------------------------------------------------------------------------------------

    def check(self, plan: Json | ir.Plan, *, options: Options | None = None) -> Check:
        """Everything that is wrong with a plan for the tools that are known, and its certificate."""
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
    ) -> KafkaRun:
        """Start a run of a plan (dict, JSON text, ``ir.Plan``) or of a prompt (any other text).

        Its request is in its log on return. A bad plan or input gives a run whose result has status rejected; nothing
        is recorded and the id stays free. The same start again gives the same run. Raises RunExists for other content
        under a taken id, UsageError for an id or options that are none, BrokerError when no worker admits it.
        """
        chosen = options_of(options)
        ident = run_id_of(run_id, chosen)
        try:
            given = plain(input)[0]
        except (NotJson, OverflowError) as error:
            return self._refused(ident, InputInvalid("INPUT_INVALID", f"the input is not JSON: {error}"))
        fields: dict[str, Json] = {"input": given, "run_id": ident}
        plan: Accepted | None = None
        if isinstance(plan_or_prompt, str) and not plan_or_prompt.lstrip("\ufeff \t\r\n").startswith("{"):
            fields["prompt"] = text_of("prompt", plan_or_prompt)
            if model or self._model:
                fields["model"] = text_of("model", model or self._model)
        else:
            plan, refusal = await self._checked(plan_or_prompt, chosen, given)
            if refusal is not None:
                return self._refused(ident, refusal, name_of(plan.check))
            fields["plan"] = plan.check.plan.to_json() if plan.check.plan is not None else None
        if chosen is not NO_OPTIONS:
            fields["options"] = chosen.model_dump(by_alias=True, exclude_defaults=True, mode="json")
        if labels:
            fields["labels"] = labels_of(labels)
        request = start_request(**fields)
        made = start_json(_as_start(request), ident, plan=plan.check.plan_hash if plan is not None else None)
        return await self._begin(ident, request, request_digest(made), fresh=run_id is None and not chosen.workflow_id)

    async def _checked(
        self, plan: Json | ir.Plan, chosen: Options, given: Json
    ) -> tuple[Accepted, DynamicFlowError | None]:
        """The check of a plan, and why no run of it can start; tools that were offered a moment ago count."""
        found = self._plans.of(plan, chosen)
        refusal = found.refusal(given, chosen)
        if refusal is not None and await self._catalog_grew():
            found = self._plans.of(plan, chosen)
            refusal = found.refusal(given, chosen)
        return found, refusal

    async def _catalog_grew(self) -> bool:
        before = self._catalog.position
        with contextlib.suppress(KafkaError, DynamicFlowError):
            await self._catalog.refresh()
        return self._catalog.position != before

    async def request(self, request: Mapping[str, Json], *, wait: bool = True) -> KafkaRun:
        """Do what a request asks, written as it stands in the topic; a start without an id gets one.

        A start is in its run's log on return, as with :meth:`start`; any other request, and without ``wait`` a start
        too, is in the topic. A bad plan or input is rejected before. Raises RequestInvalid, and what ``start`` raises.
        """
        asked = read_request(encode(dict(request)))
        wire = _with_run_id(asked)
        ident = str(wire["runId"])
        now = round(self.clock.now_ms())
        place = Coordinates(self._topics.requests, 0, 0, now)
        first, *rest = self._admission.facts(asked, place)
        if any(isinstance(fact, PlanningFailed) for fact in rest) and await self._catalog_grew():
            first, *rest = self._admission.facts(asked, place)
        for fact in rest:
            if isinstance(fact, PlanningFailed):
                problems = [Problem.from_json(given) for given in fact.problems]
                return self._refused(ident, DynamicFlowError(fact.code, fact.message, problems))
        if wait and isinstance(first, FlowRequested):
            return await self._begin(ident, wire, request_digest(first.request), fresh=asked.run_id is None)
        if isinstance(first, FlowRequested) and asked.run_id is not None:
            await self._refuse_another(first)
        await self._publish(wire)
        return self.run(ident)

    async def _refuse_another(self, first: FlowRequested) -> None:
        """A run under that id has ended: is the request the same one? (Whether one is under way its log tells.)"""
        mark = await self._finder.mark(first.run_id, self._partition(first.run_id))
        made = decode_event(encode_small(first).record)  # as it stands in a log: what is large lies beside
        if mark is not None and isinstance(made, FlowRequested) and digest_of(made) != mark.digest:
            message = f"run {first.run_id} was requested before with another plan, input or options, and has ended"
            raise RunExists("RUN_EXISTS", f"{message} ({mark.status}); choose another id")

    def _refused(self, ident: str, error: Any, name: str | None = None) -> KafkaRun:
        return self._handle(ident, None, rejected_record(ident, error, self._now(), name))

    async def _begin(self, ident: str, request: dict[str, Json], same: str, *, fresh: bool) -> KafkaRun:
        partition = self._partition(ident)
        watched = self._tail.watch(ident, partition)
        if fresh:
            watched.complete = True  # nobody else can have used the id
        elif await self._finder.read(watched):
            return await self._again(watched, same)
        await self._publish(request)
        await self._accepted_in(watched)
        return await self._again(watched, same)

    async def _accepted_in(self, watched: Watched) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + ACCEPT_S
        while not watched.records:
            if loop.time() > ends:
                message = (
                    f"no worker admitted run {watched.run_id} within {ACCEPT_S:.0f} s; its request is in the topic"
                )
                flags = flags_of(self._connection, self._topics)
                raise BrokerError("NO_WORKER", f"{message}. Start one: dynamicflow worker{flags} --tools FILE.py")
            try:
                await asyncio.wait_for(watched.changed.wait(), 1.0)
            except TimeoutError:
                continue
        watched.complete = True

    async def _again(self, watched: Watched, same: str) -> KafkaRun:
        run = self._handle(watched.run_id, watched)
        first = await run.requested()
        if first is not None and request_digest(first.request) != same:
            message = f"run {run.id} was requested on {first.timestamp} with another plan, input or options"
            raise RunExists("RUN_EXISTS", f"{message}; choose another id")
        return run

    async def register(self, name: str, plan: Json | ir.Plan) -> Check:
        """Keep a plan under a name, for requests with ``"plan": name``; the same name again takes the newer plan.

        Known to all workers within a second. Raises PlanInvalid, UsageError for a name that is none, BrokerError.
        """
        check = self.check(plan)
        if check.plan is None or not check.valid:
            raise PlanInvalid("PLAN_INVALID", f"the plan {name!r} has problems", check.problems)
        key = f"plan/{text_of('name', name)}".encode()
        try:
            await self._writer.put([Record(self._topics.catalog, 0, key, encode(check.plan.to_json()))])
        except KafkaError as error:
            raise BrokerError("REQUEST_REFUSED", f"the brokers refuse the plan {name!r}: {error}") from error
        return check

    async def publish(self, request: Mapping[str, Json]) -> str:
        """Put a request as it is on ``flow-requests``, but for a start without an id, which gets one; the run's id.

        Acknowledged on return. Raises RequestInvalid, BrokerError.
        """
        wire = _with_run_id(read_request(encode(dict(request))))
        await self._publish(wire)
        return str(wire["runId"])

    async def _publish(self, request: Mapping[str, Json]) -> None:
        run_id = str(request["runId"])
        key = run_id.encode()
        count = self._counts[self._topics.requests]
        record = Record(self._topics.requests, partition_of(key, count), key, encode(dict(request)))
        try:
            await self._writer.put([record])
        except KafkaError as error:
            raise BrokerError("REQUEST_REFUSED", f"the brokers refuse the request of run {run_id}: {error}") from error

    # --- runs that are there ------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> KafkaRun:
        """The handle of a run. Whether there is one is known when it is read: its methods raise RunNotFound."""
        return self._handle(run_id, self._tail.watch(run_id, self._partition(run_id)))

    async def find(self, run_id: str) -> KafkaRun:
        """The handle of a run that is there, its log read. Raises RunNotFound."""
        run = self.run(run_id)
        await run.records()
        return run

    async def runs(self, *, statuses: Collection[str] | None = None, limit: int | None = None) -> list[dict[str, Json]]:
        """Runs of the window, newest first: ``{"runId", "status"}``, ended ones as marked, others as unfinished."""
        found: list[dict[str, Json]] = []
        for partition in range(self._counts[self._topics.events]):
            unfinished = await self._finder.unfinished(partition)
            marks = dict(await self._finder.marks(partition))  # read after: what ends meanwhile has its mark by now
            found += [{"runId": mark.run_id, "status": mark.status, "offset": mark.first} for mark in marks.values()]
            for run_id in unfinished:
                if run_id not in marks:
                    found.append({"runId": run_id, "status": (await (await self.find(run_id)).state()).public_status})
        kept = [row for row in found if statuses is None or row["status"] in statuses]
        kept.sort(key=lambda row: (row["status"] in ENDED, str(row["runId"])), reverse=False)
        return kept[:limit]

    def _partition(self, run_id: str) -> int:
        return partition_of(run_id.encode(), self._counts[self._topics.events])

    def _handle(self, ident: str, watched: Watched | None, rejected: dict[str, Json] | None = None) -> KafkaRun:
        return KafkaRun(
            ident,
            watched,
            finder=self._finder,
            values=self._values,
            clock=self.clock,
            ask=self._publish,
            rejected=rejected,
        )

    def _now(self) -> str:
        return stamp(self.clock.now_ms())


def _with_run_id(request: StartRequest | ControlRequest) -> dict[str, Json]:
    """The request on the wire; a start that names no run gets an id, so that whoever sent it knows it."""
    if isinstance(request, StartRequest) and request.run_id is None:
        return {**request.to_json(), "runId": run_id_of(None, request.chosen)}
    return request.to_json()


def _as_start(request: Mapping[str, Json]) -> Any:
    return read_request(encode(dict(request)))
