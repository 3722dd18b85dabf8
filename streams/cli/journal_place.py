"""The file of a journal as the place where runs are. Another process may drive it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from ...errors import DynamicFlowError, JournalError
from ...values import Json
from ..embedded.inbox import await_reply, post
from ..embedded.journal import RunRow
from ..embedded.reader import SqliteReader
from .following import Watch
from .places import Act, Waits

REPLY_S: Final = 10.0
"""How long the owner may take to answer."""


class JournalPlace:
    """Reads beside the owner; what is asked of a run goes through it, or is done here where nobody drives the file."""

    driven = False

    def __init__(self, path: str) -> None:
        self.title, self.flags, self._path = path, f" --db {path}", path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def runs(self, statuses: Sequence[str], limit: int) -> list[RunRow]:
        with SqliteReader.open(self._path) as reader:
            return reader.runs(statuses=statuses or None, limit=limit)

    def watch(self, run_id: str, *, max_wait: float | None = None, waits: Waits | None = None) -> Watch:
        """A run is in its journal when its start returns: there is nothing to wait for."""
        return Watch(self._path, run_id, max_wait=max_wait)

    def settled(self, run_id: str, act: Act, command: dict[str, Json]) -> dict[str, Json]:
        self._stands(run_id)  # a missing file or run is told before anything is made
        try:
            asyncio.run(self._by_this_process(run_id, act))
        except JournalError as error:
            if error.code != "JOURNAL_OWNED":
                raise
            answer = await_reply(self._path, post(self._path, command), REPLY_S)
            if answer is None:
                message = f"the process that drives {self._path} did not answer within {REPLY_S:.0f} s"
                raise JournalError("JOURNAL_BUSY", f"{message}; the request waits in its inbox") from error
            raise_answer(answer)
        return self._stands(run_id)

    def _stands(self, run_id: str) -> dict[str, Json]:
        with self.watch(run_id) as watch:
            watch.follower.more()
            return watch.standing()

    async def _by_this_process(self, run_id: str, act: Act) -> None:
        """Append what was asked and what follows from it; no step is started."""
        from ..embedded.engine import Engine  # reading does not need it

        async with Engine.open(self._path, resume=False, drive=False) as engine:
            await act(engine.run(run_id))
            await asyncio.to_thread(engine.journal.flush, REPLY_S)


def raise_answer(answer: dict[str, Json]) -> None:
    """Raises what an owner refused a command for; returns when it did not."""
    error = answer.get("error")
    if isinstance(error, dict):
        raise DynamicFlowError(str(error.get("code")), str(error.get("message")))
