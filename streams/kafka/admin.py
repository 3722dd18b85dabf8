"""Makes the topics and looks at them. What is right about a topic is in ``topics``; here is the talk with the brokers.

Each call is bounded by ``within_s`` seconds and raises BrokerError: BROKER_UNREACHABLE, BROKER_AUTH, TOPICS_WRONG.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from ...errors import BrokerError, Problem
from .connection import Connection
from .failures import AUTH, CLOSING_S, UNREACHABLE, failures, first_to_answer, told
from .topics import (
    DEFAULT_QUEUE,
    MISSING,
    SAFE_REPLICATION,
    WRONG,
    Topics,
    TopicSpec,
    TopicState,
    is_warning,
    topic_problems,
)

log: Final = logging.getLogger(__name__)
TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.1
_TOPIC: Final = 2
"""Kind of a config resource (org.apache.kafka.common.config.ConfigResource.Type)."""
_EXISTS: Final = 36
_FORBIDDEN: Final = (29, 30, 31)
"""Error codes of the protocol (org.apache.kafka.common.protocol.Errors)."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Created:
    """A topic that is there after ``create_topics``."""

    name: str
    partitions: int
    created: bool
    """False: it was there before, as it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """The topics of a cluster, by name, without their settings."""

    topics: Mapping[str, TopicState]
    brokers: tuple[int, ...]


async def create_topics(
    connection: Connection, specs: Sequence[TopicSpec], *, within_s: float = TIMEOUT_S
) -> list[Created]:
    """Every topic is there and each of its partitions has a leader; one that was there stays as it is.

    The log comes first: those that follow its partitions get as many as it has, whatever their ``specs`` say.
    """

    async def act(talk: _Talk) -> list[Created]:
        before = (await talk.look([spec.name for spec in specs])).topics
        log_first = [spec for spec in specs if spec.copartitioned][:1]
        counts = [state.partitions for state in (await talk.make_missing(log_first, before)).values()]
        rest = [replace(spec, partitions=counts[0]) if spec.copartitioned else spec for spec in specs]
        after = await talk.make_missing(rest, before)
        return [Created(spec.name, after[spec.name].partitions, spec.name in talk.made) for spec in specs]

    return await _talking(connection, within_s, act)


async def check_topics(
    connection: Connection,
    topics: Topics,
    *,
    partitions: int | None = None,
    queues: Sequence[str] = (DEFAULT_QUEUE,),
    within_s: float = TIMEOUT_S,
) -> list[Problem]:
    """Everything that is wrong with the topics: TOPICS_MISSING, TOPICS_WRONG, and warnings (TOPICS_WEAK) last.

    ``partitions``: what ``flow-events`` must have; None: whatever it has.
    """
    return (await _checked(connection, topics, partitions, queues, within_s))[0]


async def require_topics(
    connection: Connection,
    topics: Topics,
    *,
    partitions: int | None = None,
    queues: Sequence[str] = (DEFAULT_QUEUE,),
    within_s: float = TIMEOUT_S,
) -> int:
    """The partition count of the log, when a worker may start; warnings are logged.

    Raises BrokerError TOPICS_WRONG or TOPICS_MISSING with every problem.
    """
    problems, found = await _checked(connection, topics, partitions, queues, within_s)
    for problem in filter(is_warning, problems):
        log.warning("%s; %s", problem.message, problem.suggestion)
    grave = [problem for problem in problems if not is_warning(problem)]
    if grave:
        code = WRONG if any(problem.code == WRONG for problem in grave) else MISSING
        count = f"{len(grave)} problem{'s' * (len(grave) != 1)}"
        message = f"{count} with the topics at {connection.bootstrap}; a worker cannot start"
        raise BrokerError(code, message, grave)
    return found.topics[topics.events].partitions


async def list_topics(connection: Connection, topics: Topics, *, within_s: float = TIMEOUT_S) -> list[TopicState]:
    """Those of ours that are there under the prefix, every queue among them, with their settings."""

    async def act(talk: _Talk) -> list[TopicState]:
        found = (await talk.look()).topics
        queues = sorted(queue for name in found if (queue := topics.queue_of(name)) is not None)
        mine = [spec.name for spec in topics.specs(queues=queues) if spec.name in found]
        return list((await talk.with_settings({name: found[name] for name in mine})).values())

    return await _talking(connection, within_s, act)


async def best_replication(connection: Connection, *, within_s: float = TIMEOUT_S) -> int:
    """How many replicas topics should have there: three, or as many as there are brokers."""

    async def act(talk: _Talk) -> int:
        return min(SAFE_REPLICATION, len((await talk.look([])).brokers))

    return await _talking(connection, within_s, act)


async def describe_partitions(connection: Connection, topic: str, *, within_s: float = TIMEOUT_S) -> int | None:
    """How many partitions a topic has; None where there is no such topic. It is not made by asking."""

    async def act(talk: _Talk) -> int | None:
        state = (await talk.look([topic])).topics.get(topic)
        return None if state is None else state.partitions

    return await _talking(connection, within_s, act)


async def _checked(
    connection: Connection, topics: Topics, partitions: int | None, queues: Sequence[str], within_s: float
) -> tuple[list[Problem], Found]:
    specs = topics.specs(queues=queues)

    async def act(talk: _Talk) -> tuple[list[Problem], Found]:
        found = await talk.look([spec.name for spec in specs])
        mine = {spec.name: found.topics[spec.name] for spec in specs if spec.name in found.topics}
        states = await talk.with_settings(mine)
        flags = flags_of(connection, topics)
        problems = topic_problems(specs, states, brokers=len(found.brokers), partitions=partitions, flags=flags)
        return problems, found

    return await _talking(connection, within_s, act)


class _Talk:
    """With a cluster that lets us in. Requests go to any broker; one that fails is asked no more than once for each."""

    def __init__(self, connection: Connection, client: Any) -> None:
        self._connection, self._client = connection, client
        self.doing = "asking for the topics"
        self.made: set[str] = set()
        """Topics that are there because of this talk."""

    async def ask(self, request: Any, node: int | None = None) -> Any:
        while node is None and not self._client.cluster.brokers():  # it has just come up, and knows of none yet
            await asyncio.sleep(_POLL_S)
            await self._client.force_metadata_update()
        nodes = [broker.nodeId for broker in self._client.cluster.brokers()] if node is None else [node]
        random.shuffle(nodes)
        failed: Exception | None = None
        for one in nodes:
            try:
                return await self._client.send(one, request)
            except failures() as error:
                failed = error
        raise self._no_node_answers() from failed

    async def look(self, names: Sequence[str] | None = None, node: int | None = None) -> Found:
        """Those of these topics (None: of all) that are there. None is made by asking, whatever the broker's settings.

        A cluster of others may have thousands of topics: all of them take a second of this process.
        """
        from aiokafka.protocol.metadata import MetadataRequest

        wanted = MetadataRequest(None if names is None else list(names), allow_auto_topic_creation=False)
        answer = (await self.ask(wanted, node)).to_object()
        states = (_state(topic) for topic in answer["topics"] if not topic["error_code"])
        return Found({state.name: state for state in states}, tuple(one["node_id"] for one in answer["brokers"]))

    async def with_settings(self, found: Mapping[str, TopicState]) -> dict[str, TopicState]:
        from aiokafka.protocol.admin import DescribeConfigsRequest

        if not found:
            return {}
        answer = await self.ask(DescribeConfigsRequest([(_TOPIC, name, None) for name in found], False))
        settings: dict[str, dict[str, str]] = {}
        for code, _message, _kind, name, entries in (entry[:5] for entry in answer.resources):
            if not code:
                settings[name] = {entry[0]: entry[1] or "" for entry in entries}
        return {
            name: TopicState(name, one.partitions, one.replication, one.leaderless, settings.get(name))
            for name, one in found.items()
        }

    async def make_missing(
        self, specs: Sequence[TopicSpec], before: Mapping[str, TopicState]
    ) -> Mapping[str, TopicState]:
        """How these topics are, once all of them are there and led."""
        self.doing = "making the topics"
        await self.make([spec for spec in specs if spec.name not in before])
        self.doing = "waiting until every partition has a leader"
        return await self.until_led([spec.name for spec in specs])

    async def make(self, specs: Sequence[TopicSpec]) -> None:
        """Raises BrokerError with a problem for each topic that the broker does not make."""
        from aiokafka.errors import for_code
        from aiokafka.protocol.admin import CreateTopicsRequest

        left = {spec.name: spec for spec in specs}
        while left:
            wanted: list[Any] = [
                (one.name, one.partitions, one.replication, [], list(one.config.items())) for one in left.values()
            ]
            request = CreateTopicsRequest(wanted, int(TIMEOUT_S * 1000), False)
            answer = await self.ask(request, getattr(self._client.cluster.controller, "nodeId", None))
            refused = []
            for name, code, *said in answer.topic_errors:
                if code in (0, _EXISTS):  # the latter: somebody else has made it meanwhile
                    left.pop(name, None)
                    self.made |= {name} if code == 0 else set()
                elif not for_code(code).retriable:
                    refused.append((name, code, (said and said[0]) or for_code(code).__name__))
            if refused:
                raise self._not_made(refused)
            if left:
                await self._client.force_metadata_update()
                await asyncio.sleep(_POLL_S)

    async def until_led(self, names: Sequence[str]) -> Mapping[str, TopicState]:
        """How they are, once every broker knows all of them and a leader of each partition."""
        while True:
            views = []
            for node in (await self.look([])).brokers:
                with contextlib.suppress(BrokerError):  # it has just gone: the others will do
                    views.append((await self.look(names, node)).topics)
            if views and all(name in view and not view[name].leaderless for view in views for name in names):
                return {name: views[0][name] for name in names}
            await asyncio.sleep(_POLL_S)

    def _not_made(self, refused: Sequence[tuple[str, int, str]]) -> BrokerError:
        at = self._connection.bootstrap
        if any(code in _FORBIDDEN for _, code, _ in refused):
            message = f"kafka at {at}: this client may not make topics ({refused[0][2]})"
            return BrokerError(AUTH, f"{message}; allow it, or have somebody else run dynamicflow topics create")
        reasons = {said for _, _, said in refused}
        if len(reasons) == 1:
            return BrokerError(WRONG, f"kafka at {at} makes none of the topics: {reasons.pop()}")
        faults = [Problem(WRONG, f"/{name}", f"{name}: {said}") for name, _, said in refused]
        return BrokerError(WRONG, f"kafka at {at} does not make {len(faults)} of the topics", faults)

    def _no_node_answers(self) -> BrokerError:
        at, named = self._connection.bootstrap, [f"{one.host}:{one.port}" for one in self._client.cluster.brokers()]
        message = f"kafka at {at} answers, and names {', '.join(sorted(named))} as its brokers, of which none answers"
        return BrokerError(UNREACHABLE, f"{message} while {self.doing}; check its advertised.listeners")


def _state(topic: Mapping[str, Any]) -> TopicState:
    parts = topic["partitions"]
    led = tuple(sorted(one["partition"] for one in parts if one["leader"] < 0))
    return TopicState(topic["topic"], len(parts), min((len(one["replicas"]) for one in parts), default=0), led)


async def _talking(connection: Connection, within_s: float, act: Callable[[_Talk], Awaitable[T]]) -> T:
    from aiokafka.client import AIOKafkaClient

    options = connection.client_options()
    options |= {"client_id": "dynamicflow-topics", "request_timeout_ms": int(within_s * 1000 / 2)}
    client, talk = None, None
    try:
        async with asyncio.timeout(within_s):
            options["bootstrap_servers"] = await first_to_answer(connection, options)
            client = AIOKafkaClient(**options)
            talk = _Talk(connection, client)
            await client.bootstrap()
            return await act(talk)
    except TimeoutError as error:
        doing = talk.doing if talk else "logging in"
        message = f"kafka at {connection.bootstrap}: {doing} took longer than {within_s:g} s"
        raise BrokerError(UNREACHABLE, f"{message}; check that its brokers are well, and try again") from error
    except failures() as error:
        raise told(connection, error) from error
    finally:
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSING_S):
                    await client.close()


def flags_of(connection: Connection, topics: Topics) -> str:
    """What a command line needs to find these topics."""
    return f" --bootstrap {connection.bootstrap}{f' --prefix {topics.prefix}' if topics.prefix else ''}"
