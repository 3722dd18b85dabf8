"""What a worker or a client of the Kafka shell is told: where, under which names, and its times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from .connection import Connection
from .topics import DEFAULT_QUEUE, WINDOW_MS, Topics

ROLES: Final = ("intake", "planner", "scheduler", "executor")


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are seconds. The defaults are for production; tests shorten them."""

    connection: Connection
    topics: Topics = field(default_factory=Topics)
    roles: tuple[str, ...] = ROLES
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    concurrency: int = 500
    """Steps that one executor has in flight at once."""
    threads: int = 32
    """For tools that are no coroutines."""
    planning_concurrency: int = 20
    session_s: float = 10.0
    """A worker that is silent for so long loses its partitions to others."""
    commit_s: float = 1.0
    """How often offsets and low-water marks are committed."""
    hold_after_s: float = 2.0
    """A step that runs longer is held: its start is in the log, and nobody else starts it."""
    lease_s: float = 60.0
    """How long a hold lasts without being renewed."""
    request_s: float = 40.0
    """How long a request to a broker may take before it counts as lost and is sent again."""
    tools_wait_s: float = 15.0
    """How long after its start a worker lets requests wait whose tools nobody has offered: others may come up later."""
    drain_s: float = 60.0
    """How long a worker that is asked to leave waits for what runs."""
    snapshot_records: int = 10_000
    """A run that holds the low-water mark back by more records is snapshotted."""
    snapshot_age_s: float = 300.0
    """The same by time."""
    refresh_s: float = 86_400.0
    """A snapshot of which a part lies in ``flow-values``, which ends with its retention, is written anew this often."""
    window_s: float = WINDOW_MS / 1000
    """How long an ended run is remembered, so that the same start is known to be a repeat."""

    def group(self, role: str) -> str:
        """The consumer group of a role: every worker of it, under the same topic prefix."""
        return f"{self.topics.prefix}dynamicflow-{role}"

    def consumer_options(self, role: str) -> dict[str, Any]:
        """Keyword arguments of a group consumer. Offsets are ours: nothing is committed by itself, nothing skipped."""
        return {
            **self.connection.client_options(),
            "group_id": self.group(role),
            "client_id": f"dynamicflow-{role}",
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "session_timeout_ms": round(self.session_s * 1000),
            "heartbeat_interval_ms": max(100, round(self.session_s * 1000 / 4)),
            "max_poll_interval_ms": 86_400_000,  # full of long steps is not dead: heartbeats tell that
            "fetch_max_wait_ms": 250,
            "max_partition_fetch_bytes": 4 * 1024 * 1024,
        }
