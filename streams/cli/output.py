"""The two ways out: standard output for results and documents, standard error for everything said to people.

Names and values come from plans, tools and files: what a terminal would take for a command is shown, never sent.
"""

from __future__ import annotations

import contextlib
import json
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ...values import Json, encode
from .stdout import results, write

if TYPE_CHECKING:
    from rich.console import Console

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_JSON_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Those that JSON does not escape of itself; U+009B begins a command as ESC [ does."""


def document(value: Json) -> None:
    """One JSON document on a line of standard output, UTF-8 whatever the locale says. Raises Unwritable."""
    write(encode(value) + b"\n")


def pretty(value: Json) -> None:
    """A value for people, as indented JSON."""
    write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).translate(_JSON_CONTROLS).encode() + b"\n")


def text(value: str) -> None:
    """A text on standard output."""
    write(harmless(value).encode("utf-8", "replace") + b"\n")


def harmless(value: str) -> str:
    """The text with control characters spelled out, lines and tabs kept."""
    return value.translate(_CONTROLS)


def one_line(value: str) -> str:
    """The same with lines joined: what a plan calls a step cannot look like another step."""
    return harmless(" ".join(value.split()) if "\n" in value or "\r" in value else value)


def err() -> Console:
    """The console on standard error: colours and width of the terminal, plain text where there is none."""
    return _console(sys.stderr, stderr=True)


def out() -> Console:
    """The console on standard output, for tables and reports."""
    return _console(results(), stderr=False)


@cache
def _console(stream: Any, stderr: bool) -> Console:
    from rich.console import Console

    class Harmless(Console):
        def print(self, *objects: Any, **how: Any) -> None:
            shown = [harmless(given) if isinstance(given, str) else given for given in objects]
            with contextlib.suppress(OSError):  # nobody can read it; the exit code says how it went
                super().print(*shown, **how)

    where: dict[str, Any] = {"stderr": True} if stderr else {"file": stream}
    made = Harmless(**where, highlight=False)
    if not made.is_terminal:
        made = Harmless(**where, highlight=False, soft_wrap=True, width=200)
    return made
