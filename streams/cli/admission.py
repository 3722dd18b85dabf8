"""Waiting for a worker to admit a run, and what to say of one that none has admitted."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka.errors import KafkaError

from ...errors import BrokerError, RunNotFound
from ..kafka.admission import Coordinates
from ..kafka.connection import Connection
from ..kafka.failures import UNREACHABLE
from ..kafka.topics import Topics
from ..kafka.unadmitted import Unadmitted
from .kafka_log import RunStretch
from .places import Waits

LOOK_S: Final = 0.2
"""How often it is looked whether the run has come."""
PASSED_S: Final = 1.0
"""How often it is asked whether a worker has looked at the request and put it aside."""
PATIENCE_S: Final = 60.0
"""How long the brokers may be away meanwhile."""


class Awaited:
    """A run that its log does not hold, or not yet."""

    def __init__(self, connection: Connection, topics: Topics, *, title: str, flags: str) -> None:
        self._unadmitted = Unadmitted(connection, topics)
        self._topics, self._title, self._flags = topics, title, flags

    async def admitted(self, stretch: RunStretch, run_id: str, waits: Waits | None) -> None:
        """Return once the run is in the log. Raises RunNotFound, which tells what has become of its request.

        Without ``waits`` nothing is waited for.
        """
        try:
            at = await self._unadmitted.waiting(run_id)
            if await stretch.came():
                return
            if at is None:
                raise await self._nowhere(run_id)
            place = f"its request is at {at.offset} in {at.topic}-{at.partition}"
            if waits is None:
                wait = f"wait with `dynamicflow watch {run_id}{self._flags}`"
                message = f"no run {run_id!r} in {self._title} yet: {place}, and no worker has admitted it; {wait}"
                raise RunNotFound("RUN_NOT_FOUND", message)
            start = f"`dynamicflow worker --tools FILE.py{self._flags}`"
            waits(f"{place}; waiting for a worker that admits it (start one, if none runs: {start})")
            await self._wait(stretch, run_id, at)
        finally:
            await self._unadmitted.close()

    async def _wait(self, stretch: RunStretch, run_id: str, at: Coordinates) -> None:
        answered = asked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                passed = False
                if time.monotonic() - asked >= PASSED_S:
                    passed, asked = await self._unadmitted.passed(at), time.monotonic()
                if await stretch.came():
                    return
                if passed:
                    raise await self._nowhere(run_id)
                answered = time.monotonic()
            except (KafkaError, BrokerError, OSError) as error:
                gone = not isinstance(error, BrokerError) or error.code == UNREACHABLE
                if not gone or time.monotonic() - answered > PATIENCE_S:
                    raise

    async def _nowhere(self, run_id: str) -> RunNotFound:
        none = f"no run {run_id!r} in {self._title}"
        letter = await self._unadmitted.refused(run_id)
        if letter is None:
            return RunNotFound("RUN_NOT_FOUND", f"{none}; `dynamicflow runs{self._flags}` lists those there are")
        where = f"{letter.offset} in {self._topics.dead_letter}-{letter.partition}"
        message = f"its request was refused: {letter.code}: {letter.message}; it is put aside at {where}"
        return RunNotFound("RUN_NOT_FOUND", f"{none}: {message}")
