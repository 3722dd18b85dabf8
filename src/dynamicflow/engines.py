"""Which engine a flow runs on: one that is handed in, else one of its own, shared by runs that overlap."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from .streams.embedded.engine import Engine
from .tools.joins import Join


@dataclass(slots=True)
class _Shared:
    engine: Engine | None = None
    users: int = 0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)


class Engines:
    """Opens an engine when the first run needs one and closes it after the last; never more than one per event loop.

    Only the runs that are asked for are driven: others in the file stay as they are.
    """

    def __init__(
        self,
        tools: Sequence[Any],
        joins: Sequence[Join],
        *,
        db: str | os.PathLike[str] | None = None,
        model: str | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {"tools": tools, "joins": joins, "model": model, "resume": False}
        self._db = db
        self._shared: dict[asyncio.AbstractEventLoop, _Shared] = {}

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Engine]:
        """An open engine, for as long as the context lasts. Raises JournalError."""
        loop = asyncio.get_running_loop()
        shared = self._shared.setdefault(loop, _Shared())
        shared.users += 1
        try:
            async with shared.gate:
                if shared.engine is None:
                    shared.engine = await shared.stack.enter_async_context(self._engine())
                engine = shared.engine
            yield engine
        finally:
            shared.users -= 1
            if shared.users == 0:
                await self._close(loop, shared)

    async def _close(self, loop: asyncio.AbstractEventLoop, shared: _Shared) -> None:
        async with shared.gate:
            if shared.users == 0 and self._shared.get(loop) is shared:
                try:
                    await shared.stack.aclose()
                finally:
                    shared.engine, shared.stack = None, AsyncExitStack()
                    if shared.users == 0:
                        del self._shared[loop]

    def _engine(self) -> Engine:
        return Engine.in_memory(**self._settings) if self._db is None else Engine.open(self._db, **self._settings)
