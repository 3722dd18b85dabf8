"""A worker: some roles in one Faust application, built by a function (design §6, docs/decisions/0005).

Faust is the frame: application, lifecycle, supervision, the agent that admits requests. The roles are services in it,
fed by aiokafka batches, with offsets of their own. Faust's own consumer and producer are off unless agents of yours,
on topics, are added to the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import faust
from faust.app.base import BootStrategy
from mode import Service

from ...errors import BrokerError
from ...tools.joins import Join
from ...tools.registry import ToolRegistry
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
from .scheduler import Scheduler
from .settings import Settings
from .values import ValueStore
from .writer import Writer

log = logging.getLogger(__name__)

RESTART_S: Final = 1.0
"""Before a role that failed is started again."""


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

    async def begin(self) -> None:
        """Connect, learn the time, tell the others which tools are here."""
        settings = self.settings
        self.writer = Writer(settings.connection, self.clock)
        await self.writer.start()
        if await self.writer.partitions(settings.topics.events) < 1:
            raise BrokerError("TOPICS_MISSING", f"{settings.topics.events} is not there")
        self.catalog = Catalog(settings, Reader(settings.connection), self.registry)
        await self.catalog.start()
        if "executor" in settings.roles:
            await self.catalog.publish(self.writer, self.clock)

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

    def __init__(self, app: Any, name: str, parts: Parts, *, hand_on: Any = None) -> None:
        super().__init__()
        self.app, self.name, self._parts, self._hand_on = app, name, parts, hand_on
        self._role: Any = None
        self._running: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        await self._begin()

    async def _begin(self) -> None:
        self._role = self._parts.roles[self.name] = self._parts.make(self.name)
        await self._role.start()
        work = self._role.run() if self._hand_on is None else self._role.feed(self._hand_on)
        self._running = asyncio.ensure_future(work)

    @Service.task
    async def _supervise(self) -> None:
        while not self.should_stop:
            running = self._running
            if running is None:
                return
            await asyncio.wait({running}, timeout=1.0)
            self._parts.pulse.beat(self.name)
            if running.done() and not running.cancelled() and not self.should_stop:
                log.error("the %s failed and is started again", self.name, exc_info=running.exception())
                await self._end(self._role)
                await self.sleep(RESTART_S)
                await self._begin_again()
        self._parts.pulse.end(self.name)

    async def _begin_again(self) -> None:
        while not self.should_stop:
            try:
                await self._begin()
            except Exception:
                log.exception("the %s cannot start; trying again", self.name)
                await self.sleep(RESTART_S * 5)
            else:
                return

    async def on_stop(self) -> None:
        role, running = self._role, self._running
        if role is None:
            return
        with contextlib.suppress(Exception):
            await role.drain()
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await self._end(role)

    async def _end(self, role: Any) -> None:
        try:
            await role.stop()
        except Exception:
            log.exception("the %s did not end cleanly", self.name)


class Worker(Service):
    """All roles of a process, in the order of the data: who gives is stopped before who takes."""

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
                role = Role(self.app, name, parts, hand_on=hand_on)
                self._services.append(role)
                await role.start()
        self.app.flow_control.resume()  # Faust opens its channels when its own consumer has partitions: it has none
        parts.ready.set()
        log.info("worker is up: %s", ", ".join(parts.settings.roles))

    async def _hand_on(self, batch: list[FetchedRecord]) -> None:
        """Give a batch to the agent and wait until it is through."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._channel.put((batch, done))
        await done

    async def on_stop(self) -> None:
        self._parts.ready.clear()
        for role in reversed(self._services):
            await role.stop()
        await self._parts.end()


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
    app: Any = faust.App(
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
                done.set_exception(error)
            else:
                done.set_result(None)

    app.agent(channel, name="intake")(intake)
    app.roles = Worker(app, parts, channel)
    return app
