"""Where runs are recorded: a journal's file, or the topics of a Kafka cluster. Commands are written once for both.

flags, environment -> Where.of(…) -> place_of(…) -> JournalPlace | KafkaPlace
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from ...errors import UsageError
from ...values import Json
from ..embedded.journal import RunRow
from ..replay import RunLog
from .defaults import DB
from .following import Follower

Act: TypeAlias = Callable[[Any], Awaitable[None]]
"""Asks something of the handle of a run, whichever engine's it is."""

Waits: TypeAlias = Callable[[str], None]
"""Told once what is waited for, when a run that was asked for is not there yet."""


@dataclass(frozen=True, slots=True)
class Where:
    """A journal or a cluster, as given; neither: what the command assumes."""

    db: str | None = None
    bootstrap: str | None = None
    prefix: str = ""

    @classmethod
    def of(
        cls, db: str | None, bootstrap: str | None, prefix: str | None, environ: Mapping[str, str] = os.environ
    ) -> Self:
        """What flags say and, where they say nothing, the environment. Raises UsageError where that is ambiguous."""
        if db is not None and bootstrap is not None:
            raise UsageError(
                "USAGE", "a run is in a journal or in a cluster: name either --db or --bootstrap, not both"
            )
        if db is None and bootstrap is None:
            db, bootstrap = environ.get("DYNAMICFLOW_DB") or None, environ.get("DYNAMICFLOW_BOOTSTRAP") or None
            if db is not None and bootstrap is not None:
                message = "DYNAMICFLOW_DB and DYNAMICFLOW_BOOTSTRAP are both set"
                raise UsageError("USAGE", f"{message}; say with --db or --bootstrap which of them is meant")
        if bootstrap is None:
            if prefix is not None:
                raise UsageError("USAGE", "--prefix stands before the names of topics: it goes with --bootstrap")
            return cls(db)
        return cls(None, bootstrap, environ.get("DYNAMICFLOW_TOPIC_PREFIX", "") if prefix is None else prefix)


class Watching(Protocol):
    """A place in the log of one run that somebody else may be driving. A context."""

    @property
    def follower(self) -> Follower: ...

    @property
    def log(self) -> RunLog: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, seconds: float) -> None:
        """Until something was appended, at most so long."""

    def halted(self) -> dict[str, Json] | None:
        """How the run stands, if there is nothing to wait for."""

    def standing(self) -> dict[str, Json]:
        """How the run ended or stands, as far as the follower has read."""


class Place(Protocol):
    """What commands need. A context; what it raises of itself is JournalError or BrokerError."""

    @property
    def title(self) -> str:
        """For people."""

    @property
    def flags(self) -> str:
        """How a command line means it; begins with a space."""

    @property
    def driven(self) -> bool:
        """Somebody goes on with a run there when this process has gone."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def runs(self, statuses: Sequence[str], limit: int) -> list[RunRow]:
        """Those of these statuses (none: of all), newest first."""

    def watch(self, run_id: str, *, max_wait: float | None = None, waits: Waits | None = None) -> Watching:
        """The beginning of the run's log. Raises RunNotFound.

        With ``waits`` a run whose request is on its way is waited for.
        """

    def settled(self, run_id: str, act: Act, command: dict[str, Json]) -> dict[str, Json]:
        """Have done what ``act`` asks of the run's handle, and ``command`` of its owner; how it stands then.

        Raises RunNotFound, and UsageError for what cannot be done.
        """


def place_of(where: Where) -> Place:
    """The place itself; nothing is opened yet. Raises UsageError."""
    if where.bootstrap is not None:
        from .kafka_place import KafkaPlace  # a Kafka client takes a fifth of a second to load

        return KafkaPlace(where.bootstrap, where.prefix)
    from .journal_place import JournalPlace

    return JournalPlace(DB if where.db is None else where.db)
