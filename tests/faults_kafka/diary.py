"""The diary of side effects: every call of a tool leaves a line when it begins and one when it ends, whoever dies.

Times are seconds of the machine's monotonic clock, which all processes share and no wrong clock shifts.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dynamicflow.tools import ToolContext

Place = tuple[str, str, tuple[int, ...]]
"""(run, node, item)."""

_CALLS: Final = itertools.count(1)


def monotonic() -> float:
    """CLOCK_MONOTONIC, also in a process whose ``time`` module is told another time."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool. ``end`` None: the process died, or it still runs."""

    tool: str
    place: Place
    attempt: int
    key: str
    pid: int
    begin: float
    end: float | None

    @property
    def expected_key(self) -> str:
        run, node, item = self.place
        return f"{run}/{node}/{'.'.join(map(str, item)) or '-'}"


class Diary:
    """A file to which many processes append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def begins(self, tool: str, context: ToolContext) -> int:
        """The number of the call in this process."""
        number = next(_CALLS)
        place = [context.run_id, context.node_id, list(context.item)]
        self._write(["begin", os.getpid(), number, monotonic(), tool, place, context.attempt, context.idempotency_key])
        return number

    def ends(self, number: int) -> None:
        self._write(["end", os.getpid(), number, monotonic()])

    def _write(self, line: list[object]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def calls(self) -> list[Call]:
        """Every call so far, in the order of their beginnings."""
        begun: dict[tuple[int, int], list[object]] = {}
        ended: dict[tuple[int, int], float] = {}
        for text in self.path.read_text(encoding="utf-8").splitlines():
            kind, pid, number, at, *rest = json.loads(text)
            if kind == "begin":
                begun[pid, number] = [at, *rest]
            else:
                ended[pid, number] = at
        found = [_call(key[0], line, ended.get(key)) for key, line in begun.items()]
        return sorted(found, key=lambda call: call.begin)

    def close(self) -> None:
        os.close(self._file)


def _call(pid: int, line: list[object], end: float | None) -> Call:
    begin, tool, place, attempt, key = line
    if not isinstance(begin, float) or not isinstance(place, list) or not isinstance(attempt, int):
        raise TypeError(f"{line} is no line of a diary")
    run, node, item = place
    return Call(str(tool), (run, node, tuple(item)), attempt, str(key), pid, begin, end)
