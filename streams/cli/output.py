"""The two ways out: standard output for results and documents, standard error for everything said to people."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING

from ...values import Json, encode

if TYPE_CHECKING:
    from rich.console import Console


def document(value: Json) -> None:
    """One JSON document on a line of standard output, UTF-8 whatever the locale says. Raises BrokenPipeError."""
    _write(encode(value) + b"\n")


def pretty(value: Json) -> None:
    """A value for people, as indented JSON."""
    _write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def text(value: str) -> None:
    """A text on standard output."""
    _write(value.encode("utf-8", "replace") + b"\n")


def _write(line: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def err() -> Console:
    """The console on standard error: colours and width of the terminal, plain text where there is none."""
    return _console(sys.stderr, stderr=True)


def out() -> Console:
    """The console on standard output, for tables and reports."""
    return _console(sys.stdout, stderr=False)


@cache
def _console(stream: object, stderr: bool) -> Console:
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, soft_wrap=True, width=200)
    return made
