"""The topics of a Kafka cluster as the place where runs are. Its workers drive them; nothing is written to read one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from aiokafka import errors as kafka_errors

from ...errors import BrokerError
from ...values import Json
from ..clock import SystemClock
from ..core.result import needs_someone
from ..embedded.journal import RunRow
from ..kafka.admin import describe_partitions, flags_of, require_topics
from ..kafka.broker_clock import BrokerClock
from ..kafka.connection import Connection
from ..kafka.failures import AUTH, UNREACHABLE, told
from ..kafka.reader import Reader
from ..kafka.records import partition_of
from ..kafka.topics import Topics
from ..kafka.values import ValueStore
from ..kafka.writer import Writer
from .admission import Awaited
from .following import Follower, standing
from .kafka_log import KafkaLog, RunStretch
from .kafka_table import rows_of
from .places import Act, Waits

if TYPE_CHECKING:
    from ..kafka.engine import KafkaEngine
    from .inputs import Toolset

T = TypeVar("T")

LOOK_S: Final = 0.05
"""How often it is looked whether something was appended."""


class KafkaPlace:
    """One event loop, run for each thing that is asked, and what is connected meanwhile."""

    driven = True

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.connection, self.topics = Connection.from_env(bootstrap), Topics(prefix)
        self.title = f"kafka at {self.connection.bootstrap}{f' under the prefix {prefix}' if prefix else ''}"
        self.flags = flags_of(self.connection, self.topics)
        self._runner = asyncio.Runner()
        self._reader = Reader(self.connection)
        self._values = ValueStore(_NoWriter(self.connection), Reader(self.connection), self.topics)
        self._partitions = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._runner:
            self._runner.run(self._close())

    async def _close(self) -> None:
        await self._values.close()
        await self._reader.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry something out. Raises BrokerError for what brokers or the way to them do, KeyboardInterrupt."""
        try:
            return self._runner.run(work)
        except (kafka_errors.KafkaError, OSError) as error:
            raise _unusable(self.connection, error) from error
        except asyncio.CancelledError as error:  # by a signal just before the first step: Runner forgets that it came
            raise KeyboardInterrupt from error

    async def _partition(self, run_id: str) -> int:
        self._partitions = self._partitions or await require_topics(self.connection, self.topics)
        return partition_of(run_id.encode(), self._partitions)

    # --- reading ------------------------------------------------------------------------------------------------------

    def runs(self, statuses: Sequence[str], limit: int) -> list[RunRow]:
        return self.do(self._runs(statuses, limit))

    async def _runs(self, statuses: Sequence[str], limit: int) -> list[RunRow]:
        count = await require_topics(self.connection, self.topics)
        return await rows_of(self.connection, self.topics, count, self._values, statuses, limit)

    def watch(
        self, run_id: str, *, max_wait: float | None = None, waits: Waits | None = None, first: int | None = None
    ) -> KafkaWatch:
        """``first``: the offset of its first record, where that is known."""
        return self.do(self._watch(run_id, max_wait, waits, first))

    async def _watch(self, run_id: str, max_wait: float | None, waits: Waits | None, first: int | None) -> KafkaWatch:
        partition = await self._partition(run_id)
        stretch = RunStretch(self.topics, self._reader, self._values, run_id, partition, first or 0)
        if first is None and not await stretch.find(self.connection):
            awaited = Awaited(self.connection, self.topics, title=self.title, flags=self.flags)
            await awaited.admitted(stretch, run_id, waits)
        return KafkaWatch(self, stretch, KafkaLog(stretch, self._values, self.do), run_id, max_wait)

    # --- asking -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def engine(self, toolset: Toolset | None = None, model: str | None = None) -> AsyncIterator[KafkaEngine]:
        """A client that knows these tools beside those of the workers. It is closed even if interrupted meanwhile."""
        from ..kafka.engine import KafkaEngine  # reading does not need it, and what checks plans takes long to load

        own: dict[str, Any] = {} if toolset is None else {"tools": toolset.tools, "joins": toolset.joins}
        engine = KafkaEngine.connect(prefix=self.topics.prefix, connection=self.connection, model=model, **own)
        await engine.__aenter__()
        try:
            yield engine
        finally:
            closing = asyncio.ensure_future(engine.__aexit__(None, None, None))
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                await closing
                raise

    def settled(self, run_id: str, act: Act, command: dict[str, Json]) -> dict[str, Json]:
        return self.do(self._settled(run_id, act))

    async def _settled(self, run_id: str, act: Act) -> dict[str, Json]:
        async with self.engine() as engine:
            run = await engine.find(run_id)
            await act(run)
            return await run.standing()


class KafkaWatch:
    """A place in the log of a run."""

    def __init__(
        self, place: KafkaPlace, stretch: RunStretch, log: KafkaLog, run_id: str, max_wait: float | None
    ) -> None:
        self.log, self.follower = log, Follower(log, run_id)
        self._place, self._stretch, self._max_wait = place, stretch, max_wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def wait(self, seconds: float) -> None:
        self._place.do(self._wait(seconds))

    async def _wait(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / LOOK_S))):
            if await self._stretch.grown():
                return
            await asyncio.sleep(LOOK_S)

    def halted(self) -> dict[str, Json] | None:
        follower = self.follower
        waits = follower.parked is not None or needs_someone(follower.state, SystemClock().now_ms(), self._max_wait)
        return self.standing() if follower.completed or waits else None

    def standing(self) -> dict[str, Json]:
        return standing(self.follower, parked=self.follower.state.parked or self.follower.parked)


class _NoWriter(Writer):
    """For readers: it is never started and connects to nothing."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, BrokerClock())
        self._at = connection

    async def partitions(self, topic: str) -> int:
        return await describe_partitions(self._at, topic) or 1


def _unusable(connection: Connection, error: Exception) -> BrokerError:
    """Why it cannot be gone on, once a connection has been there."""
    at = f"kafka at {connection.bootstrap}"
    if isinstance(error, kafka_errors.TopicAuthorizationFailedError | kafka_errors.GroupAuthorizationFailedError):
        return BrokerError(AUTH, f"{at}: this client is not allowed to: {error}; allow it to read the topics")
    if isinstance(error, kafka_errors.KafkaTimeoutError | kafka_errors.RequestTimedOutError):
        return BrokerError(UNREACHABLE, f"{at} does not answer any more; what was recorded is kept, try again")
    return told(connection, error)
