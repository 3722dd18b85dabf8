"""A worker: some roles in one Faust application, built by a function (design §6, docs/decisions/0005).

Faust is the frame: application, lifecycle, supervision, the agent that admits requests. The roles are services in it,
fed by aiokafka batches, with offsets of their own. Faust's own consumer and producer are off unless agents of yours,
on topics, are added to the application.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from mode import Service

from ...errors import BrokerError, DynamicFlowError
from ...tools.joins import Join
from ...tools.registry import ToolRegistry
from ...values import encode
from ..metrics import NO_METRICS, Metrics
from ..monitoring import Pulse
from .admission import Admission
from .broker_clock import BrokerClock
from .catalog import Catalog
from .dead_letter import DeadLetters
from .executor import Executor
from .intake import Intake
from .planner_worker import PlannerWorker
from .reader import FetchedRecord, Reader
from .records import Record
from .scheduler import Scheduler
from .settings import Settings
from .values import ValueStore
from .watch import Watch
from .writer import Writer

log = logging.getLogger(__name__)
FRAME_LOG: Final = logging.getLogger("faust.app")
"""What services say of their own starting and stopping."""

RESTART_S: Final = 1.0
"""Before a role that failed is started again."""
HALF_WAY_S: Final = 5.0
"""How long a worker that leaves waits for a role that is being started or ended: a start that is cut off leaves open
connections behind in aiokafka."""
PART: Final[ContextVar[str]] = ContextVar("part", default="worker")
"""Which role a task belongs to: log lines show it."""


@dataclass(eq=False)
class Parts:
    """What a worker is made of. Everything of it is created when the application starts."""

    settings: Settings
    registry: ToolRegistry
    metrics: Metrics
    pulse: Pulse
    clock: BrokerClock = field(default_factory=BrokerClock)
    writer: Writer | None = None
    catalog: Catalog | None = None
    roles: dict[str, Any] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = Watch(self.roles, self.metrics, self.clock)

    async def begin(self) -> None:
        """Connect, learn the time, tell the others which tools are here."""
        settings = self.settings
        told = partial(self.metrics.produced, "+".join(settings.roles))  # one producer for all of them
        self.writer = Writer(settings.connection, self.clock, told=told, request_s=settings.request_s)
        await self.writer.start()
        if await self.writer.partitions(settings.topics.events) < 1:
            raise BrokerError("TOPICS_MISSING", f"{settings.topics.events} is not there")
        self.catalog = Catalog(settings, Reader(settings.connection), self.registry)
        await self.catalog.start()
        if "executor" in settings.roles:
            await self.catalog.publish(self.writer)
        await self._learn_the_time()

    async def _learn_the_time(self) -> None:
        """An acknowledgement tells it. What is read is as old as it is: after a quiet night no timer would be due."""
        if self.writer is not None:
            made = encode({"type": "worker-up", "roles": list(self.settings.roles)})
            await self.writer.put([Record(self.settings.topics.control, 0, b"worker-up", made)])

    def make(self, role: str) -> Any:
        """A role, not started."""
        if self.writer is None or self.catalog is None:
            raise ValueError("begin() comes first")
        settings, writer, clock = self.settings, self.writer, self.clock
        letters = DeadLetters(writer, settings.topics, self.metrics)
        common: dict[str, Any] = {
            "writer": writer,
            "clock": clock,
            "dead_letters": letters,
            "metrics": self.metrics,
        }
        match role:
            case "intake":
                values = ValueStore(writer, Reader(settings.connection), settings.topics)
                return Intake(settings, values=values, admission=Admission(self.catalog), **common)
            case "scheduler":
                return Scheduler(settings, **common)
            case "executor":
                return Executor(settings, registry=self.registry, **common)
            case _:
                return PlannerWorker(settings, catalog=self.catalog, **common)

    async def end(self) -> None:
        if self.catalog is not None:
            await self.catalog.stop()
        if self.writer is not None:
            await self.writer.stop()


class Role(Service):
    """Keeps one role running: what fails is told, and started again from what the log says."""

    logger = FRAME_LOG

    def __init__(self, app: Any, name: str, parts: Parts, *, hand_on: Any = None) -> None:
        super().__init__()
        self.app, self.name, self._parts, self._hand_on = app, name, parts, hand_on
        self._role: Any = None
        self._running: asyncio.Task[None] | None = None
        self._half_way: asyncio.Task[None] | None = None
        """The newest start or end of the role after it had failed, under way or done."""

    async def on_start(self) -> None:
        await self._begin()

    async def _begin(self) -> None:
        part = PART.set(self.name)
        role = self._parts.make(self.name)
        try:
            await role.start()
            work = role.run() if self._hand_on is None else role.feed(self._hand_on)
            self._running = asyncio.ensure_future(work)
        except BaseException:
            await self._end(role)
            raise
        finally:
            PART.reset(part)
        self._role = self._parts.roles[self.name] = role
        self._parts.watch.trouble(self.name, None)

    @Service.task
    async def _supervise(self) -> None:
        try:
            while not self.should_stop and self._running is not None:
                await asyncio.wait({self._running}, timeout=1.0)
                self._parts.pulse.beat(self.name)
                if self._running.done() and not self.should_stop:
                    await self._start_again(self._running)
        finally:
            self._parts.pulse.end(self.name)

    async def _start_again(self, failed: asyncio.Task[None]) -> None:
        error = None if failed.cancelled() else failed.exception()
        error = error or RuntimeError("it ended by itself")
        role, self._role, self._running = self._role, None, None
        self._parts.roles.pop(self.name, None)
        await self._beating(self._end(role))
        while True:
            self._parts.watch.trouble(self.name, _sentence(error))
            fault = None if isinstance(error, KafkaError | DynamicFlowError) else error
            log.error("the %s failed and is started again: %s", self.name, _sentence(error), exc_info=fault)
            await self.sleep(RESTART_S)
            if self.should_stop:
                return  # nobody would end what is started now
            try:
                await self._beating(self._begin())
            except Exception as again:
                error = again
            else:
                return

    async def _beating(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what may wait for brokers as long as it takes: it is not stuck."""
        doing = self._half_way = asyncio.ensure_future(work)
        try:
            while not doing.done():
                await asyncio.wait({doing}, timeout=1.0)
                self._parts.pulse.beat(self.name)
            doing.result()
        finally:
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)

    async def on_stop(self) -> None:
        if self._half_way is not None:
            await asyncio.wait({self._half_way}, timeout=HALF_WAY_S)
            self._half_way.cancel()
            await asyncio.gather(self._half_way, return_exceptions=True)
        role, running = self._role, self._running
        if role is None:
            return
        part = PART.set(self.name)
        try:
            await role.drain()
        except Exception:
            log.exception("the %s could not leave in order", self.name)
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await self._end(role)
        PART.reset(part)

    async def _end(self, role: Any) -> None:
        try:
            await role.stop()
        except Exception:
            log.exception("the %s did not end cleanly", self.name)


def _sentence(error: BaseException) -> str:
    return error.message if isinstance(error, DynamicFlowError) else repr(error)


class Worker(Service):
    """All roles of a process, in the order of the data: who gives is stopped before who takes."""

    logger = FRAME_LOG

    def __init__(self, app: Any, parts: Parts, channel: Any) -> None:
        super().__init__()
        self.app, self._parts, self._channel = app, parts, channel
        self._services: list[Role] = []

    async def on_start(self) -> None:
        parts = self._parts
        await parts.begin()
        for name in ("executor", "planner", "scheduler", "intake"):
            if name in parts.settings.roles:
                hand_on = self._hand_on if name == "intake" else None
                self._services.append(Role(self.app, name, parts, hand_on=hand_on))
        await self._start_all()
        self.app.flow_control.resume()  # Faust opens its channels when its own consumer has partitions: it has none
        parts.watch.stands(None)
        parts.ready.set()
        log.info("the worker is up: %s", ", ".join(parts.settings.roles))

    async def _start_all(self) -> None:
        """At once: to join a group that was empty takes its time (group.initial.rebalance.delay.ms)."""
        starts = [asyncio.ensure_future(role.start()) for role in self._services]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            raise

    @Service.task
    async def _watch(self) -> None:
        await self._parts.watch.run()

    async def _hand_on(self, batch: list[FetchedRecord]) -> None:
        """Give a batch to the agent and wait until it is through."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._channel.put((batch, done))
        await done

    async def on_stop(self) -> None:
        self._parts.ready.clear()
        self._parts.watch.stands("the worker is leaving")
        stopping = {role.name: role for role in self._services}
        for name in ("intake", "scheduler"):
            if name in stopping:
                await stopping.pop(name).stop()
        await asyncio.gather(*(role.stop() for role in stopping.values()))  # each may take drain_s
        await self._parts.end()
        self._close_what_faust_leaves()

    def _close_what_faust_leaves(self) -> None:
        """Faust makes an event loop for the thread of its consumer, and closes it only if that thread has run."""
        thread = getattr(self.app.consumer, "_thread", None)
        if thread is not None and not thread._thread_started.is_set():
            thread.thread_loop.close()


class _App(faust.App):
    logger = FRAME_LOG

    def _create_directories(self) -> None:
        """Nothing is kept on this disk; Faust would make a folder for its tables where the process was started."""


class _Boot(BootStrategy):
    """What Faust starts, in order: its own parts, the agents, then the roles of the worker.

    ``enable_kafka`` is off: Faust's consumer reads uncommitted, acks what fails, and skips offsets.
    """

    def server(self) -> Iterable[Any]:
        app: Any = self.app
        return [*super().server(), app.roles]


def build_app(
    settings: Settings,
    *,
    tools: Sequence[Any] = (),
    joins: Sequence[Join] = (),
    metrics: Metrics = NO_METRICS,
    pulse: Pulse | None = None,
    clock: BrokerClock | None = None,
    kafka: bool = False,
    **options: Any,
) -> Any:
    """The Faust application of a worker; nothing is connected before it starts. Raises UsageError for bad tools.

    ``kafka=True`` switches Faust's own consumer on, for agents of your own on topics of your own: it uses the same
    connection and credentials. ``app.conf`` takes ``options``.
    """
    parts = Parts(settings, ToolRegistry.from_tools(tools, joins), metrics, pulse or Pulse(), clock or BrokerClock())
    app: Any = _App(
        settings.group("worker"),
        **settings.connection.faust_options(),
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        store="memory://",
        **options,
    )
    app.boot_strategy = _Boot(app, enable_kafka=kafka, enable_web=False)
    app.parts = parts
    channel = app.channel(maxsize=1)

    async def intake(batches: Any) -> None:
        async for batch, done in batches:
            try:
                await parts.roles["intake"].admit(batch)
            except Exception as error:  # Faust takes what an agent raises on as done: it must not be
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():  # else the worker was told to leave meanwhile
                    done.set_result(None)

    app.agent(channel, name="intake")(intake)
    app.roles = Worker(app, parts, channel)
    return app
