"""What workers offer, in ``flow-catalog``: specs of their tools, declarative joins, registered plans.

Every process reads it from the beginning and goes on reading.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError

from ...errors import DynamicFlowError
from ...tools.decorate import create_tool
from ...tools.joins import Join
from ...tools.registry import ToolRegistry
from ...tools.spec import ToolSpec
from ...values import Json, NotJson, encode
from .reader import FetchedRecord, Reader
from .records import Record, decode_record
from .settings import Settings
from .writer import Writer

log = logging.getLogger(__name__)

MOMENT_S: Final = 0.2
POLL_S: Final = 0.5
"""How often it is looked whether something new is there."""


class Catalog:
    """Specs, joins and plans by name. ``start`` has read everything that was there."""

    def __init__(self, settings: Settings, reader: Reader, own: ToolRegistry | None = None) -> None:
        self._topic, self._reader = settings.topics.catalog, reader
        self._others_until = time.monotonic() + settings.tools_wait_s
        self._own = own or ToolRegistry()
        self._tools: dict[str, ToolSpec] = {}
        self._joins: dict[tuple[str, str], Join] = {}
        self.plans: dict[str, Json] = {}
        self.position = 0
        """Everything before this offset of the topic is known."""
        self._turn = asyncio.Lock()
        self._asked = self._served = 0
        """Calls of ``refresh``: made, and served by a reading that began after them."""
        self._task: asyncio.Task[None] | None = None
        self._changed: list[Callable[[], None]] = []
        self._specs: Mapping[str, ToolSpec] | None = None

    async def start(self) -> None:
        await self.refresh()
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._reader.close()

    def on_change(self, call: Callable[[], None]) -> None:
        """``call`` whenever something new was read."""
        self._changed.append(call)

    @property
    def specs(self) -> Mapping[str, ToolSpec]:
        """Every tool that is known, by id. What was offered last counts: two are there while one is being replaced."""
        if self._specs is None:
            self._specs = {**self._own.specs, **self._tools}
        return self._specs

    @property
    def joins(self) -> tuple[Join, ...]:
        return tuple({**self._joins, **self._own.joins}.values())

    async def more_may_come(self) -> bool:
        """Workers come up one after the other: True, after a moment, as long as this process is young.

        Who asks finds a tool missing that another worker may be about to offer.
        """
        if time.monotonic() > self._others_until:
            return False
        await asyncio.sleep(MOMENT_S)
        await self.refresh()
        return True

    async def publish(self, writer: Writer) -> None:
        """Tell the others what is loaded here."""
        records = [
            Record(self._topic, 0, f"tool/{spec.id}".encode(), encode(spec.to_json()))
            for spec in self._own.specs.values()
            if spec.to_json() != self._told(spec.id)
        ]
        records += [
            Record(self._topic, 0, f"join/{join.from_tool}/{join.to_tool}".encode(), encode(join.to_json()))
            for join in self._own.joins.values()
            if join.key not in self._joins
        ]
        await writer.put(records)
        await self.refresh()

    def _told(self, tool_id: str) -> Json:
        known = self._tools.get(tool_id)
        return known.to_json() if known is not None else None

    async def refresh(self) -> None:
        """Everything that was there at the call has been read. Those who ask while one reads share the next reading."""
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._served < mine:
                serves = self._asked
                await self._read_on()
                self._served = serves

    async def _read_on(self) -> None:
        first, end = await self._reader.bounds(self._topic, 0)
        start = max(self.position, first)
        async for batch in self._reader.read(self._topic, 0, start, end):
            for record in batch:
                self._take(record)
        self.position = max(end, self.position)
        if end > start:
            self._specs = None
            for call in self._changed:
                call()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh()
            except (KafkaError, DynamicFlowError) as error:
                log.warning("reading %s: %s", self._topic, error)

    def _take(self, record: FetchedRecord) -> None:
        kind, _, name = (record.key or b"").decode("utf-8", "replace").partition("/")
        try:
            made = None if record.value is None else decode_record(record.value)
            if kind == "tool":
                self._take_tool(name, made)
            elif kind == "join" and made is not None:
                join = _join_of(made)
                self._joins[join.key] = join
            elif kind == "plan":
                self.plans.pop(name, None)
                if made is not None:
                    self.plans[name] = made
        except (NotJson, DynamicFlowError, KeyError, TypeError) as error:
            log.warning("%s, offset %d: %s", record.topic, record.offset, error)

    def _take_tool(self, tool_id: str, made: dict[str, Any] | None) -> None:
        if made is None:
            self._tools.pop(tool_id, None)
        else:
            self._tools[tool_id] = create_tool({**made, "execute": _elsewhere}).spec


def _elsewhere(*_: object) -> Any:
    raise RuntimeError("this tool is loaded in another process; here only its schemas are known")


def _join_of(made: dict[str, Any]) -> Join:
    mapping = made.get("mapping")
    decode = _elsewhere if mapping is None else None
    return Join(made["fromTool"], made["toTool"], decode, mapping=mapping, description=made.get("description") or "")
