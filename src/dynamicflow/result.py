"""How a run ended, as attributes (canonical.md §5 has the record)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy

from .errors import DynamicFlowError
from .values import Json


class Result(Mapping[str, Json]):
    """The result record of a run. Readable as attributes, and as the mapping that it is on the wire.

    ``status`` is completed, partial, failed, cancelled, timed_out or rejected; suspended, paused or parked when the run
    waits for a person or a time.
    """

    def __init__(self, record: Mapping[str, Json]) -> None:
        self._record = dict(record)

    @property
    def run_id(self) -> str:
        return str(self._record["runId"])

    @property
    def status(self) -> str:
        return str(self._record["status"])

    @property
    def ok(self) -> bool:
        """Whether the run completed."""
        return self.status == "completed"

    @property
    def output(self) -> Json:
        return self._record["output"]

    @property
    def nodes(self) -> dict[str, Json]:
        """Node id -> output, of all completed nodes outside item bodies."""
        nodes: dict[str, Json] = self._record["nodes"]
        return nodes

    @property
    def error(self) -> dict[str, Json] | None:
        """``{"code", "message", "nodeId", "item", "details"}`` of the first failure; None when there is none."""
        error: dict[str, Json] | None = self._record["error"]
        return error

    @property
    def metadata(self) -> dict[str, Json]:
        """``name planHash startedAt completedAt duration stepCount toolsExecuted tokensUsed …``; duration in ms."""
        metadata: dict[str, Json] = self._record["metadata"]
        return metadata

    def to_json(self) -> dict[str, Json]:
        """A copy of the record."""
        return deepcopy(self._record)

    def raise_for_status(self) -> Result:
        """This result if the run completed. Raises DynamicFlowError with the code of what stopped it."""
        if self.ok:
            return self
        error = self.error or {}
        message = f"run {self.run_id} is {self.status}" + (f": {error['message']}" if error.get("message") else "")
        raise DynamicFlowError(str(error.get("code") or "RUN_NOT_COMPLETED"), message)

    def __getitem__(self, key: str) -> Json:
        return self._record[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._record)

    def __len__(self) -> int:
        return len(self._record)

    def __repr__(self) -> str:
        return f"Result(run_id={self.run_id!r}, status={self.status!r}, output={self.output!r:.200})"
