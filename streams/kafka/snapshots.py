"""Snapshots of runs that hold a low-water mark back, in ``flow-snapshots``: the state, and what lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...values import Json
from ..core.snapshot import from_snapshot, to_snapshot
from ..core.state import Path, new_run
from .ledger import Lease, StepKey, Tracked
from .records import Record, decode_record, encode_work, snapshot_key
from .topics import Topics
from .values import ValueStore


def _key_json(key: StepKey) -> list[Json]:
    node, item = key
    return [node, list(item)]


def _key_of(made: Any) -> StepKey:
    path: Path = tuple(made[1])
    return str(made[0]), path


def shell_json(tracked: Tracked) -> dict[str, Json]:
    """Everything of a run that is not its state."""
    return {
        "first": tracked.first,
        "last": tracked.last,
        "digest": tracked.digest,
        "trace": tracked.trace,
        "since": [[*_key_json(key), offset] for key, offset in tracked.since.items()],
        "leases": [
            [*_key_json(key), lease.claim, lease.until_ms, lease.attempt, lease.delivery]
            for key, lease in tracked.leases.items()
        ],
    }


async def write_snapshot(tracked: Tracked, offset: int, partition: int, topics: Topics, values: ValueStore) -> Record:
    """The record of a snapshot that covers every record up to ``offset``. A large state lies in ``flow-values``."""
    # what lay there for an earlier snapshot may be about to go: the retention of this one begins now
    made: dict[str, Json] = {"runId": tracked.run_id, "offset": offset, "shell": shell_json(tracked)}
    made["state"] = to_snapshot(tracked.state)
    encoded = encode_work(made)
    headers = await values.store(encoded.values, anew=True)
    return Record(topics.snapshots, partition, snapshot_key(tracked.run_id, offset), encoded.record, headers)


def unreadable(run_id: str, offset: int, value: bytes, error: Exception) -> Tracked:
    """A run whose state in a snapshot this release cannot read: parked, and what came after stays needed.

    Raises KeyError, TypeError or NotJson for what is no snapshot of ours at all.
    """
    shell = decode_record(value)["shell"]
    state = new_run(run_id)
    state.parked = f"its snapshot cannot be read here: {error}"
    first, digest, trace = int(shell["first"]), str(shell["digest"]), str(shell["trace"])
    return Tracked(state, first, offset + 1, digest, trace, covered=offset, broken=True, spoiled=True)


async def read_snapshot(value: bytes, values: ValueStore, at_ms: float) -> Tracked:
    """The run of a snapshot's record, which was appended ``at_ms``.

    Raises CannotFold for one of a newer release, NotJson for what is none.
    """
    made: Mapping[str, Any] = decode_record(value)
    state = made["state"]
    beside = state is None
    if beside:
        sha = str(made["large"]["/state"]["sha256"])
        state = decode_record((await values.load([sha]))[sha])
    shell = made["shell"]
    offset = int(made["offset"])
    return Tracked(
        state=from_snapshot(state),
        first=shell["first"],
        last=shell["last"],
        digest=shell["digest"],
        trace=shell["trace"],
        covered=offset,
        snapshots=[offset],
        beside_ms=at_ms if beside else 0.0,
        since={_key_of(entry): entry[2] for entry in shell["since"]},
        leases={_key_of(entry): Lease(entry[2], entry[3], entry[4], entry[5]) for entry in shell["leases"]},
    )
