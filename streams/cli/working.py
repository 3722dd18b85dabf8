"""The worker process: waits for its brokers, looks after the topics, runs the Faust application, leaves in order.

    Order -> tools, settings -> brokers -> topics -> build_app -> start … until told to stop -> drain -> exit code

The application is started as the service it is. Faust's own ``Worker`` would take signals only once its loop runs, take
no second one, not end a start that waits for a broker, show a traceback and exit with 1 whatever happened, put its own
handlers on the root logger, open a debugger on SIGUSR2, and sleep a second at the end (tried with 0.15.3, mode 0.7.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors as kafka_errors

from ...errors import BrokerError, UsageError
from ..kafka.admin import TIMEOUT_S, best_replication, create_topics, list_topics, require_topics
from ..kafka.connection import Connection
from ..kafka.event_loop import event_loop, settle
from ..kafka.failures import AUTH, UNREACHABLE, told
from ..kafka.settings import ROLES, Settings
from ..kafka.topics import DEFAULT_PARTITIONS, SAFE_REPLICATION, Topics
from ..kafka.worker import build_app
from ..metrics import NO_METRICS, Metrics, worker_registry
from ..monitoring import Monitoring, Pulse
from . import service_log
from .errors import UNUSABLE
from .inputs import Toolset, load_tools
from .stopping import Stop, end_at_once

log = logging.getLogger(__name__)

NOT_ALLOWED: Final = (kafka_errors.TopicAuthorizationFailedError, kafka_errors.GroupAuthorizationFailedError)
PAUSE_S: Final = 0.5
"""Between two looks for a broker."""
ASK_S: Final = 5.0
TELL_S: Final = 5.0
"""How often it is said that there is none."""
BEYOND_DRAIN_S: Final = 25.0
"""What leaving may take beside running steps: a batch of intake, acknowledgements, commits, good-byes."""


@dataclass(frozen=True, slots=True)
class Order:
    """The command line as given."""

    bootstrap: str | None
    prefix: str
    roles: str
    queues: str
    tools: Sequence[str]
    concurrency: int
    threads: int
    metrics: tuple[str, int] | None
    """Host and port of /metrics; None: it is not served."""
    log_level: str
    session_s: float
    lease_s: float
    drain_s: float
    wait_s: float
    create_topics: bool
    partitions: int | None
    replication: int | None

    def settings(self) -> Settings:
        """Raises UsageError."""
        roles, queues = _words(self.roles), _words(self.queues)
        unknown = [role for role in roles if role not in ROLES]
        if unknown or not roles:
            raise UsageError("USAGE", f"--roles {self.roles!r}: expected some of {','.join(ROLES)}")
        if not queues:
            raise UsageError("USAGE", f"--queues {self.queues!r}: expected names, as in default,gpu")
        topics = Topics(self.prefix)
        topics.specs(queues=queues)  # names that Kafka does not allow
        return Settings(
            Connection.from_env(self.bootstrap),
            topics,
            roles=tuple(role for role in ROLES if role in roles),
            queues=queues,
            concurrency=self.concurrency,
            threads=self.threads,
            session_s=self.session_s,
            lease_s=self.lease_s,
            drain_s=self.drain_s,
        )


def _words(given: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in given.split(",") if word.strip()))


def work(order: Order, stop: Stop) -> int:
    """Work until told to stop; 0 after leaving in order. Raises BrokerError or UsageError when it cannot begin."""
    settings = order.settings()
    toolset = load_tools(order.tools)
    service_log.begin(order.log_level)
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(_Process(order, settings, toolset).run(stop))
    return 0


class _Process:
    def __init__(self, order: Order, settings: Settings, toolset: Toolset) -> None:
        self._order, self._settings, self._toolset = order, settings, toolset
        self._pulse, self._metrics = Pulse(), NO_METRICS
        self._app: Any = None
        self._why = "the worker is starting"

    async def run(self, stop: Stop) -> None:
        asked = stop.begin()
        with contextlib.ExitStack() as ends:
            if self._order.metrics is not None:
                monitoring = ends.enter_context(self._monitoring(*self._order.metrics))
                log.info("serving %s/metrics, /healthz, /readyz", monitoring.url)
            if await _unless(asked, self._brokers()):
                await self._run_app(asked, stop)
        log.info("left in order")

    def _monitoring(self, host: str, port: int) -> Monitoring:
        registry = worker_registry()
        self._metrics = Metrics(registry)
        return Monitoring(registry, host=host, port=port, stuck=self._pulse.stuck, ready=self._not_ready)

    def _not_ready(self) -> str | None:
        why: str | None = self._why if self._app is None else self._app.parts.watch.not_ready()
        return why

    # --- before it begins ---------------------------------------------------------------------------------------------

    async def _brokers(self) -> None:
        """Brokers answer and the topics are as they must be. Raises BrokerError, at the latest after ``wait_s``."""
        ends, told_at = time.monotonic() + self._order.wait_s, -TELL_S
        while True:
            left = ends - time.monotonic()
            try:
                await self._topics(min(TIMEOUT_S, max(1.0, left)))
                return
            except BrokerError as error:
                left = ends - time.monotonic()
                if error.code != UNREACHABLE or left <= 0:
                    raise
                self._why = error.message
                if time.monotonic() - told_at >= TELL_S:
                    told_at = time.monotonic()
                    log.warning("%s; waiting for it, at most %.0f s more", error.message.partition(";")[0], left)
            await asyncio.sleep(min(PAUSE_S, left))

    async def _topics(self, within_s: float) -> None:
        order, connection, topics = self._order, self._settings.connection, self._settings.topics
        queues = self._settings.queues
        if order.create_topics:
            copies = order.replication or await self._copies(within_s)
            specs = topics.specs(order.partitions or DEFAULT_PARTITIONS, queues, copies)
            made = await create_topics(connection, specs, within_s=within_s)
            names = [f"{one.name} ({one.partitions})" for one in made if one.created]
            if names:
                log.info("made topics, with their partitions: %s", ", ".join(names))
        count = await require_topics(connection, topics, partitions=order.partitions, queues=queues, within_s=within_s)
        log.info("kafka at %s: %s has %d partitions", connection.bootstrap, topics.events, count)

    async def _copies(self, within_s: float) -> int:
        """How many copies topics get: as many as there are brokers, at most three. Raises BrokerError.

        Before the first is made all brokers that are named must have come: it keeps what it gets for life.
        """
        connection = self._settings.connection
        copies = await best_replication(connection, within_s=within_s)
        named = min(SAFE_REPLICATION, len(connection.hosts))
        if copies < named and not await list_topics(connection, self._settings.topics, within_s=within_s):
            message = f"kafka at {connection.bootstrap}: {copies} of the brokers named are there"
            raise BrokerError(UNREACHABLE, f"{message}; start the others, or say --replication {copies}")
        return copies

    # --- while it works -----------------------------------------------------------------------------------------------

    async def _run_app(self, asked: asyncio.Event, stop: Stop) -> None:
        toolset, settings = self._toolset, self._settings
        app = build_app(settings, tools=toolset.tools, joins=toolset.joins, metrics=self._metrics, pulse=self._pulse)
        self._app = app
        self._introduce()
        try:
            settle()
            if await _unless(asked, app.start()):
                await _unless(asked, app.wait_until_stopped())
            if stop.signal is not None:
                log.info("%s: leaving; a second signal ends this process at once", stop.signal.name)
        except kafka_errors.KafkaError as error:
            raise await self._refused(error) from error
        finally:
            await self._leave()
        if app.crash_reason is not None:
            raise app.crash_reason

    def _introduce(self) -> None:
        settings = self._settings
        tools = len(self._toolset.tools)
        if "executor" in settings.roles:
            log.info("runs steps of %s with %d tool%s", ", ".join(settings.queues), tools, "s" * (tools != 1))
            if not tools:
                log.warning("no tools are loaded: every step is refused; name some with --tools FILE.py")

    async def _leave(self) -> None:
        within_s = self._settings.drain_s + BEYOND_DRAIN_S
        leaving = asyncio.ensure_future(self._app.stop())
        await asyncio.wait({leaving}, timeout=within_s)
        if not leaving.done():  # mode shields what it stops: it cannot be cancelled
            log.error("could not leave in order within %.0f s", within_s)
            end_at_once(UNUSABLE)
        error = leaving.exception()
        if error is not None:
            log.error("did not leave in order", exc_info=error)

    async def _refused(self, error: kafka_errors.KafkaError) -> Exception:
        """Why the roles cannot start, in a sentence."""
        connection = self._settings.connection
        if isinstance(error, kafka_errors.InvalidSessionTimeoutError):
            message = f"the brokers allow no session of {self._settings.session_s:g} s"
            return UsageError(
                "KAFKA_SETTINGS",
                f"{message} (group.min.session.timeout.ms to group.max.session.timeout.ms); choose --session-timeout",
            )
        if isinstance(error, NOT_ALLOWED):
            message = f"kafka at {connection.bootstrap}: this client is not allowed to: {error}"
            return BrokerError(AUTH, f"{message}; allow it to read and write its topics and groups")
        try:
            await list_topics(connection, self._settings.topics, within_s=ASK_S)  # it may be the brokers, and why
        except BrokerError as why:
            return why
        return told(connection, error)


async def _unless(asked: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Do something to its end, or until told to stop: False. Raises what it raises."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(asked.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return False
        doing.result()
        return not asked.is_set()
    finally:
        for task in (doing, stopping):
            task.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)
