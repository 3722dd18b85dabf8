"""The topics as data: their names under a prefix, how each is made, what is wrong with those there are (design §6).

No IO: ``admin`` makes them and looks at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ...errors import Problem, UsageError

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
LONG_MS: Final = 90 * DAY_MS
"""How long a log is kept unless somebody says otherwise."""
WINDOW_MS: Final = 7 * DAY_MS
"""The window of idempotency: so long the same start is known to be the same run."""
RECORD_BYTES: Final = 1_048_588
"""The largest batch a topic takes: a record of 1 MiB and its frame, which is also Kafka's default. An event stays far
below it, for values over 256 KiB go to flow-values in pieces; it is set so that no broker's own default lowers it."""
DEFAULT_PARTITIONS: Final = 8
DEFAULT_QUEUE: Final = "default"
LOG_APPEND_TIME: Final = "LogAppendTime"
SAFE_REPLICATION: Final = 3

MISSING: Final = "TOPICS_MISSING"
WRONG: Final = "TOPICS_WRONG"
WEAK: Final = "TOPICS_WEAK"
"""A warning: it works, and a crash of brokers may lose what was acknowledged."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 249  # org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it is to be made."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(hash=False)
    copartitioned: bool = False
    """It has as many partitions as ``flow-events``: what belongs to a run lies in the same partition of each."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is."""

    name: str
    partitions: int
    replication: int
    """Of its worst partition."""
    leaderless: tuple[int, ...] = ()
    """Partitions that nobody leads at the moment."""
    config: Mapping[str, str] | None = field(default=None, hash=False)
    """None: the broker does not let us look."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Full names of the topics. ``prefix`` stands before each as it is, with its separator: ``acme.``."""

    prefix: str = ""

    def __post_init__(self) -> None:
        _check(f"{self.prefix}flow-dead-letter", f"the topic prefix {self.prefix!r}")

    @property
    def requests(self) -> str:
        return f"{self.prefix}flow-requests"

    @property
    def events(self) -> str:
        """The log of every run."""
        return f"{self.prefix}flow-events"

    def node_ready(self, queue: str = DEFAULT_QUEUE) -> str:
        """Steps that are ready, for the executors of a queue. Raises UsageError for a bad name."""
        if queue == DEFAULT_QUEUE:
            return f"{self.prefix}node-ready"
        name = f"{self.prefix}node-ready.{queue}"
        _check(name, f"the queue {queue!r}")
        return name

    @property
    def plan_ready(self) -> str:
        return f"{self.prefix}plan-ready"

    @property
    def complete(self) -> str:
        return f"{self.prefix}flow-complete"

    @property
    def done(self) -> str:
        return f"{self.prefix}flow-done"

    @property
    def snapshots(self) -> str:
        return f"{self.prefix}flow-snapshots"

    @property
    def values(self) -> str:
        return f"{self.prefix}flow-values"

    @property
    def control(self) -> str:
        return f"{self.prefix}flow-control"

    @property
    def catalog(self) -> str:
        return f"{self.prefix}flow-catalog"

    @property
    def live(self) -> str:
        return f"{self.prefix}flow-live"

    @property
    def dead_letter(self) -> str:
        return f"{self.prefix}flow-dead-letter"

    @property
    def copartitioned(self) -> tuple[str, ...]:
        """The log first, then those that follow its partitions."""
        return (self.events, self.done, self.snapshots, self.complete)

    def queue_of(self, name: str) -> str | None:
        """The queue whose topic has this name; None for any other topic."""
        if name == self.node_ready():
            return DEFAULT_QUEUE
        start = f"{self.prefix}node-ready."
        return name.removeprefix(start) if name.startswith(start) and name != start else None

    def specs(
        self,
        partitions: int = DEFAULT_PARTITIONS,
        queues: Sequence[str] = (DEFAULT_QUEUE,),
        replication: int = 1,
        *,
        events_retention_ms: int = LONG_MS,
        window_ms: int = WINDOW_MS,
    ) -> tuple[TopicSpec, ...]:
        """Every topic, in the order of design §6; the queue ``default`` is always among them.

        ``events_retention_ms`` (-1: for ever) goes for the log, the work, the values, the results and the dead letters.
        Raises UsageError.
        """
        _check_counts(partitions, replication, events_retention_ms, window_ms)
        long = events_retention_ms

        def topic(name: str, config: dict[str, str], count: int = partitions) -> TopicSpec:
            return TopicSpec(name, count, replication, _common(replication) | config, name in self.copartitioned)

        work = [self.node_ready(queue) for queue in dict.fromkeys((DEFAULT_QUEUE, *queues))]
        return (
            topic(self.requests, _delete(WINDOW_MS)),
            topic(self.events, _delete(long)),
            *(topic(name, _delete(long)) for name in work),
            topic(self.plan_ready, _delete(long)),
            topic(self.complete, _delete(long) | {"cleanup.policy": "compact,delete"}),
            topic(self.done, _delete(window_ms)),
            topic(self.snapshots, _COMPACT),
            topic(self.values, _delete(long)),
            topic(self.control, _delete(HOUR_MS), 1),
            topic(self.catalog, _COMPACT, 1),
            topic(self.live, _delete(HOUR_MS)),
            topic(self.dead_letter, _delete(long)),
        )


_COMPACT: Final = {"cleanup.policy": "compact", "segment.ms": str(HOUR_MS)}
"""The segment that is being written is never compacted: without an end of its own it would keep everything 7 days."""


def _common(replication: int) -> dict[str, str]:
    return {
        "message.timestamp.type": LOG_APPEND_TIME,
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(RECORD_BYTES),
        "min.insync.replicas": "2" if replication >= SAFE_REPLICATION else "1",
    }


def _delete(retention_ms: int) -> dict[str, str]:
    """Kept so long. A segment goes when its newest record is too old, so it ends after a seventh of that time."""
    found = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    if retention_ms > 0:
        found["segment.ms"] = str(min(max(retention_ms // 7, 1), 7 * DAY_MS))
    return found


def _check(name: str, what: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        allowed = f"A-Z a-z 0-9 . _ - and at most {_LONGEST_NAME} characters"
        raise UsageError("KAFKA_SETTINGS", f"{what} makes no topic name: {name[:300]!r}; Kafka allows {allowed}")


def _check_counts(partitions: int, replication: int, *times_ms: int) -> None:
    if partitions < 1 or replication < 1:
        given = f"partitions={partitions}, replication={replication}"
        raise UsageError("KAFKA_SETTINGS", f"a topic has at least one partition and one replica, not {given}")
    for time_ms in times_ms:
        if time_ms < 1 and time_ms != -1:
            raise UsageError("KAFKA_SETTINGS", f"a retention is in ms and above 0, or -1 for ever, not {time_ms}")


def is_warning(problem: Problem) -> bool:
    """Workers start in spite of it."""
    return problem.code == WEAK


def topic_problems(
    specs: Sequence[TopicSpec],
    found: Mapping[str, TopicState],
    *,
    brokers: int,
    partitions: int | None = None,
    flags: str = "",
) -> list[Problem]:
    """Everything that is wrong with the topics there are, warnings last.

    ``specs`` as ``Topics.specs`` gives them; ``brokers`` is the size of the cluster; ``partitions`` is the count that
    ``flow-events`` must have, None: whatever it has. ``flags``: what a command that mends them needs to find them.
    """
    problems: list[Problem] = []
    events = next(spec.name for spec in specs if spec.copartitioned)
    count = found[events].partitions if events in found else partitions
    for spec in specs:
        state = found.get(spec.name)
        if state is None:
            problems.append(_missing(spec.name, flags))
            continue
        if spec.name == events and partitions is not None and state.partitions != partitions:
            problems.append(_other_count(state, partitions))
        elif spec.copartitioned and state.partitions != count:
            problems.append(_not_copartitioned(state, events, count, flags))
        elif not spec.copartitioned and spec.partitions == 1 and state.partitions != 1:
            problems.append(_not_one(state, flags))
        problems += _settings(spec, state)
        problems += _weaknesses(spec, state, brokers)
    return sorted(problems, key=is_warning)


def _problem(
    code: str,
    name: str,
    message: str,
    suggestion: str,
    expected: str | int | None = None,
    actual: str | int | None = None,
) -> Problem:
    return Problem(code, f"/{name}", message, suggestion, expected, actual)


def _missing(name: str, flags: str) -> Problem:
    _, _, queue = name.partition("node-ready.")
    command = f"dynamicflow topics create{f' --queue {queue}' if queue else ''}{flags}"
    return _problem(MISSING, name, f"{name} is missing", f"make it: {command}")


def _other_count(state: TopicState, expected: int) -> Problem:
    message = (
        f"{state.name} has {state.partitions} partitions, expected {expected}. A worker refuses to start: in which "
        "partition a run lies follows from the count, so it is fixed for life and cannot be changed afterwards"
    )
    hint = f"start with --partitions {state.partitions}, or begin anew under another --prefix"
    return _problem(WRONG, state.name, message, hint, expected, state.partitions)


def _not_copartitioned(state: TopicState, events: str, expected: int | None, flags: str) -> Problem:
    message = (
        f"{state.name} has {state.partitions} partitions, {events} has {expected}. A worker refuses to start: what "
        f"belongs to a run must lie in the same partition of both, and the count of {events} is fixed for life"
    )
    hint = f"if nothing in {state.name} is needed any more delete it and run dynamicflow topics create{flags}"
    return _problem(
        WRONG, state.name, message, f"{hint}, or begin anew under another --prefix", expected, state.partitions
    )


def _not_one(state: TopicState, flags: str) -> Problem:
    message = f"{state.name} has {state.partitions} partitions, expected 1: everybody reads all of it in one order"
    hint = f"delete it and run dynamicflow topics create{flags}; workers fill it again"
    return _problem(WRONG, state.name, message, hint, 1, state.partitions)


def _settings(spec: TopicSpec, state: TopicState) -> Iterator[Problem]:
    """What a worker cannot do its work with."""
    if state.leaderless:
        which = ", ".join(map(str, state.leaderless))
        yield _problem(WRONG, state.name, f"{state.name}: nobody leads partition {which}", "start the missing brokers")
    config = state.config
    if config is None:
        return
    for key in ("cleanup.policy", "message.timestamp.type"):
        expected, actual = spec.config[key], config.get(key, "")
        if _words(expected) != _words(actual):
            yield _setting(WRONG, state.name, key, expected, actual, _REASONS[key])
    largest = _number(config, "max.message.bytes", RECORD_BYTES)
    if largest < RECORD_BYTES:
        reason = "a record of up to 1 MiB would be refused"
        yield _setting(WRONG, state.name, "max.message.bytes", str(RECORD_BYTES), str(largest), reason)
    in_sync = _number(config, "min.insync.replicas", 1)
    if in_sync > state.replication:
        reason = f"with {state.replication} replicas every record is refused"
        yield _setting(WRONG, state.name, "min.insync.replicas", str(min(2, state.replication)), str(in_sync), reason)


def _weaknesses(spec: TopicSpec, state: TopicState, brokers: int) -> Iterator[Problem]:
    """What works until brokers crash, or for a while."""
    config = state.config
    if config is None:
        hint = "allow this client DescribeConfigs on its topics"
        yield _problem(WEAK, state.name, f"{state.name}: the broker does not tell its settings", hint)
        return
    kept, wanted = _number(config, "retention.ms", -1), int(spec.config.get("retention.ms", 0))
    least = WINDOW_MS if wanted < 0 else min(wanted, WINDOW_MS)
    if 0 <= kept < least:
        reason = "records may be gone while they are needed"
        yield _setting(WEAK, state.name, "retention.ms", str(least), str(kept), reason)
    if brokers < SAFE_REPLICATION:
        return
    if state.replication < SAFE_REPLICATION:
        message = f"{state.name} has {state.replication} replicas on a cluster of {brokers} brokers"
        hint = "make topics with --replication 3; those there are: kafka-reassign-partitions.sh"
        yield _problem(WEAK, state.name, message, hint, SAFE_REPLICATION, state.replication)
    elif _number(config, "min.insync.replicas", 1) < 2:
        actual = config.get("min.insync.replicas", "1")
        reason = "an acknowledged record may be on one broker only"
        yield _setting(WEAK, state.name, "min.insync.replicas", "2", actual, reason)
    if config.get("unclean.leader.election.enable") == "true":
        reason = "a broker that has missed acknowledged records may lead"
        yield _setting(WEAK, state.name, "unclean.leader.election.enable", "false", "true", reason)


_REASONS: Final = {
    "cleanup.policy": "records would be lost or kept otherwise than runs need it",
    "message.timestamp.type": "timers follow the brokers' clock, never a client's",
}


def _setting(code: str, name: str, key: str, expected: str, actual: str, reason: str) -> Problem:
    message = f"{name}: {key} is {actual or 'unknown'}, expected {expected}: {reason}"
    listed = f"[{expected}]" if "," in expected else expected
    hint = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {key}={listed}"
    return _problem(code, name, message, hint, expected, actual)


def _words(value: str) -> set[str]:
    return {word.strip() for word in value.split(",")}


def _number(config: Mapping[str, str], key: str, default: int) -> int:
    try:
        return int(config.get(key, default))
    except ValueError:
        return default
