"""Event loops of their own threads, for async tools.

A tool that blocks its loop must not hold up others: the watch sees it within about 0.2 s, moves what has not begun to a
new loop, and the host runs that tool on pool threads from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any, Final

from .entry import Entry, Supervisor, returned

log = logging.getLogger(__name__)

_TICKS_WITH_SUSPECT: Final = 8
"""Looks in a row at which the loop did not answer and the same task was running: that task blocks it."""
_TICKS_WITHOUT: Final = 50
"""Looks in a row without an answer, whoever is running (a callback, or a task of the tool's own)."""


class Lane:
    """One event loop on a daemon thread. Only ``add``, ``look``, ``steal``, ``stop`` are for other threads."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._loop = asyncio.new_event_loop()
        self._waiting: dict[Entry, bool] = {}
        self._running: dict[asyncio.Task[None], Entry] = {}
        self._flushing = False
        self._closing = False
        self._asked = False
        self._unanswered = 0
        self._suspect: asyncio.Task[Any] | None = None
        self._suspected = 0
        self.thread = threading.Thread(target=self._main, name="dynamicflow-tools-loop", daemon=True)
        self.thread.start()

    def add(self, entries: Sequence[Entry]) -> None:
        """Starts the entries in their order; one wake-up for all of them."""
        for entry in entries:
            self._waiting[entry] = True
        self._loop.call_soon_threadsafe(self._start, entries)

    def _start(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry in self._waiting:
                task = self._loop.create_task(self._run(entry))
                entry.loop, entry.task = self._loop, task
                self._running[task] = entry

    async def _run(self, entry: Entry) -> None:
        task = entry.task  # looked up now: where the watch moves the entry, it has another one
        try:
            # a dict's pop is atomic: it decides between this loop and the watch, which moves entries elsewhere
            if not self._waiting.pop(entry, False) or not self._supervisor.begin(entry):
                return
            call = entry.call
            try:
                outcome = returned(await call.tool.invoke(entry.inputs, call.context, call.mode))
            except BaseException as error:  # SystemExit too: whatever a tool raises ends its call and nothing else
                outcome = error
            if self._supervisor.settle(entry, outcome) and not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        finally:
            if task is not None:
                self._running.pop(task, None)

    def _flush(self) -> None:
        self._flushing = False
        self._supervisor.flush()

    @property
    def idle(self) -> bool:
        """Has it nothing to do?"""
        return not self._waiting and not self._running

    def look(self) -> bool:
        """One look of the watch, at every tick: is the loop blocked? ``culprit`` then says by what."""
        if self._asked:
            self._unanswered += 1
            current = asyncio.current_task(self._loop)
            self._suspected = self._suspected + 1 if current is self._suspect and current is not None else 0
            self._suspect = current
        elif not self.idle:
            self._asked, self._unanswered, self._suspected = True, 0, 0
            self._loop.call_soon_threadsafe(self._answer)
        return self._suspected >= _TICKS_WITH_SUSPECT or self._unanswered >= _TICKS_WITHOUT

    def _answer(self) -> None:
        self._asked = False
        self._suspect = None

    @property
    def culprit(self) -> Entry | None:
        """The entry whose task has been running at every look since the loop stopped answering."""
        return self._running.get(self._suspect) if self._suspect and self._suspected else None

    def steal(self) -> list[Entry]:
        """What has not begun, in its order; this lane will not begin it."""
        return [entry for entry in list(self._waiting) if self._waiting.pop(entry, False)]

    def stop(self) -> None:
        """Cancels what runs and ends the thread, as soon as its loop answers."""
        self._closing = True
        with contextlib.suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._closing:
            try:
                self._loop.run_forever()
            except BaseException:  # SystemExit of a task that a tool started beside its own
                log.exception("a background task of a tool tried to end the event loop")
        self._wind_up()

    def _wind_up(self) -> None:
        try:
            self._loop.set_exception_handler(_told_already)
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=1))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except BaseException:  # as above
            log.exception("a background task of a tool disturbed the end of its event loop")
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()


def _told_already(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """At the end: a task that would not be cancelled is abandoned; its call has long been settled."""
    log.debug("at the end of a tools' loop: %s", context.get("message"))
