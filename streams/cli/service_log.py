"""What a worker says to operators, on standard error: time, level, role, message; one line each.

2026-11-29T20:39:41.123Z info    scheduler  owns partition 3 of flow-events
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Final

from ..kafka.worker import PART
from .output import harmless

OTHERS: Final = ("aiokafka", "faust", "mode", "asyncio", "httpx", "httpcore", "openai", "venusian")
"""Libraries: at ``info`` their warnings are shown, at ``debug`` what they call info; their debug lines show records."""
QUIET_S: Final = 10.0
"""While no broker answers, aiokafka repeats itself fifty times a second."""


def begin(level: str) -> None:
    """Log at this level from now on; what libraries and tools log is shown in the same form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in ("dynamicflow", "aiokafka"):  # what other commands do with them
        logging.getLogger(name).handlers.clear()
    root.setLevel(level.upper())
    debug = level == "debug"
    for name in OTHERS:
        logging.getLogger(name).setLevel(logging.INFO if debug else max(logging.WARNING, root.level))
    logging.getLogger("dynamicflow.streams.monitoring").setLevel(max(logging.INFO, root.level))  # else every scrape
    if not debug:
        handler.addFilter(_Tamed())
    logging.captureWarnings(capture=True)


class _Tamed(logging.Filter):
    """What aiokafka says of brokers: a warning, for it goes on by itself, and the same not again for a while."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[Any, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        if record.levelno == logging.ERROR:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        now = time.monotonic()
        if now - self._said.get(record.msg, -QUIET_S) < QUIET_S:
            return False
        self._said[record.msg] = now
        return True


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said = record.getMessage()
        if not record.name.startswith("dynamicflow."):
            name = record.name.partition(".")[0]
            said = f"{'tools' if name.startswith('_dynamicflow_tools_') else name}: {said}"
        line = f"{moment}.{int(record.msecs):03d}Z {record.levelname.lower():<7} {PART.get():<9}  {said}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return harmless(line)
