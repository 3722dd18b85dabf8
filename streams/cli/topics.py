"""``topics create``, ``list`` and ``check``: the Kafka topics, made and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...errors import Problem
from ...values import Json
from ..kafka.admin import best_replication, check_topics, create_topics, list_topics
from ..kafka.connection import Connection
from ..kafka.topics import DEFAULT_PARTITIONS, Topics, TopicState, is_warning
from .errors import UNUSABLE, show_problems
from .output import document, err, text


def create_command(
    bootstrap: str | None,
    prefix: str,
    partitions: int | None,
    replication: int | None,
    queues: Sequence[str],
    *,
    json_out: bool,
) -> int:
    """``{"topics": [{"name", "partitions", "created"}], "problems": [], "warnings": []}``; 4 as ``check``."""
    connection, names = Connection.from_env(bootstrap), Topics(prefix)

    async def act() -> tuple[list[Json], list[Problem]]:
        copies = replication or await best_replication(connection)
        made = await create_topics(connection, names.specs(partitions or DEFAULT_PARTITIONS, queues, copies))
        told: list[Json] = [{"name": one.name, "partitions": one.partitions, "created": one.created} for one in made]
        if not json_out:
            for one in made:
                text(f"{'made' if one.created else 'there'}\t{one.name}\t{_count(one.partitions, 'partition')}")
        return told, await check_topics(connection, names, partitions=partitions, queues=queues)

    topics, problems = asyncio.run(act())
    return _ending({"topics": topics}, problems, json_out=json_out)


def check_command(
    bootstrap: str | None, prefix: str, partitions: int | None, queues: Sequence[str], *, json_out: bool
) -> int:
    """``{"problems": [], "warnings": []}``; 4 when a worker would not start."""
    connection, names = Connection.from_env(bootstrap), Topics(prefix)
    problems = asyncio.run(check_topics(connection, names, partitions=partitions, queues=queues))
    if not json_out and not problems:
        text(f"the topics at {connection.bootstrap} are as they should be")
    return _ending({}, problems, json_out=json_out)


def list_command(bootstrap: str | None, prefix: str, *, json_out: bool) -> int:
    """``{"topics": [{"name", "partitions", "replication", "leaderless", "config"}]}``."""
    connection = Connection.from_env(bootstrap)
    found = asyncio.run(list_topics(connection, Topics(prefix)))
    if json_out:
        document({"topics": [_topic_json(one) for one in found]})
        return 0
    for one in found:
        config = one.config or {}
        copies = _count(one.replication, "replica")
        kept = _kept(config.get("cleanup.policy", "?"), config.get("retention.ms", "?"))
        text("\t".join((one.name, _count(one.partitions, "partition"), copies, kept)))
    if not found:
        err().print(f"no topics at {connection.bootstrap} under the prefix {prefix!r}", markup=False)
    return 0


def _ending(told: dict[str, Json], problems: Sequence[Problem], *, json_out: bool) -> int:
    grave = [problem for problem in problems if not is_warning(problem)]
    mild = [problem for problem in problems if is_warning(problem)]
    if json_out:
        faults: list[Json] = [problem.to_json() for problem in grave]
        warnings: list[Json] = [problem.to_json() for problem in mild]
        document({**told, "problems": faults, "warnings": warnings})
    else:
        if grave:
            err().print(f"{_count(len(grave), 'problem')}; workers do not start:", style="bold red", markup=False)
        show_problems(grave)
        show_problems(mild, style="yellow")
    return UNUSABLE if grave else 0


def _topic_json(one: TopicState) -> Json:
    config: dict[str, Json] | None = None if one.config is None else dict(sorted(one.config.items()))
    return {
        "name": one.name,
        "partitions": one.partitions,
        "replication": one.replication,
        "leaderless": list(one.leaderless),
        "config": config,
    }


def _kept(policy: str, retention_ms: str) -> str:
    if "delete" not in policy or not retention_ms.lstrip("-").isdigit():
        return policy
    hours = int(retention_ms) / 3_600_000
    return f"{policy} {'never' if hours < 0 else f'after {hours / 24:g} d' if hours >= 24 else f'after {hours:g} h'}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
