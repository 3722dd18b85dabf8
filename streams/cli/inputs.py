"""What a command line names, read and checked: JSON values, files, tools, options. Every fault is a UsageError."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ...errors import UsageError
from ...planner.options import Options
from ...tools.joins import Join
from ...tools.loader import load_tools_file
from ...tools.registry import ToolRegistry
from ...tools.spec import Tool
from ...values import MAX_VALUE_BYTES, Json, NotJson, decode
from ..planning import options_of
from .stdout import set_aside

_STDIN: Final = "-"
_DEEPEST: Final = 10


@dataclass(frozen=True, slots=True)
class Toolset:
    """The tools and joins of all files named."""

    tools: list[Tool] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)

    @property
    def registry(self) -> ToolRegistry:
        """Raises UsageError for two tools of one id."""
        return ToolRegistry.from_tools(self.tools, self.joins)


def load_tools(paths: Sequence[str]) -> Toolset:
    """Tools and joins of Python files; one that two files share counts once. Raises UsageError.

    What they print, now or later, goes to standard error.
    """
    set_aside()
    made = Toolset()
    for path in paths:
        loaded = load_tools_file(path)
        made.tools.extend(tool for tool in loaded.tools if not any(tool is known for known in made.tools))
        made.joins.extend(join for join in loaded.joins if not any(join is known for known in made.joins))
    made.registry  # noqa: B018 - two tools of one id are told before anything else
    return made


def read_bytes(path: str, what: str) -> bytes:
    """A file's content, or standard input for ``-``; at most 32 MiB. Raises UsageError FILE_UNREADABLE."""
    try:
        if path == _STDIN:
            content = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(MAX_VALUE_BYTES + 1)
    except IsADirectoryError as error:
        raise UsageError("FILE_UNREADABLE", f"{what} {path} is a folder; name a file in it") from error
    except FileNotFoundError as error:
        raise UsageError("FILE_UNREADABLE", f"{what} {path} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise UsageError("FILE_UNREADABLE", f"{what} {path!r} cannot be read: {said}") from error
    if len(content) > MAX_VALUE_BYTES:
        raise UsageError("FILE_UNREADABLE", f"{what} {path} has more than 32 MiB; pass large data by reference")
    return content


def json_argument(given: str, option: str) -> Json:
    """The value of ``JSON`` or ``@FILE``. Raises UsageError INVALID_JSON with line and column."""
    source = given.encode("utf-8", "surrogateescape")
    where = option
    if given.startswith("@"):
        source = read_bytes(given[1:], f"the file of {option},")
        where = f"{option}, {given[1:]}"
    try:
        return decode(source)
    except NotJson as error:
        shown = "" if given.startswith("@") else f" in {given if len(given) <= 60 else given[:60] + '…'}"
        message = f"{where}: {error}{shown}. Expected JSON (a text stands in double quotes, '\"text\"') or @FILE"
        raise UsageError("INVALID_JSON", message) from error


def read_options(whole: str | None, single: Sequence[str]) -> Options:
    """Options of ``--options`` and, over them, of ``--option NAME=VALUE``. Raises UsageError."""
    given = json_argument(whole, "--options") if whole is not None else {}
    if not isinstance(given, dict):
        message = f"--options is {type(given).__name__}, expected an object: '{{\"maxSteps\": 10}}'"
        raise UsageError("INVALID_OPTION", message)
    for pair in single:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError("INVALID_OPTION", f"--option {pair!r}: expected NAME=VALUE, as in maxSteps=10")
        _put(given, name.split("."), _value(text), pair)
    return options_of(given)


def _value(text: str) -> Json:
    try:
        return decode(text)
    except NotJson:
        return text


def _put(into: dict[str, Json], path: list[str], value: Json, pair: str) -> None:
    if len(path) > _DEEPEST:
        raise UsageError(
            "INVALID_OPTION", f"--option {pair[:60]!r}…: a name of {len(path)} parts; no option has so many"
        )
    for part in path[:-1]:
        into = into.setdefault(part, {})
        if not isinstance(into, dict):
            raise UsageError("INVALID_OPTION", f"--option {pair!r}: {part} is a value already, not an object")
    into[path[-1]] = value


def read_labels(pairs: Sequence[str]) -> dict[str, str]:
    """Labels of ``--label NAME=TEXT``. Raises UsageError."""
    labels = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError("USAGE", f"--label {pair!r}: expected NAME=TEXT")
        labels[well_formed(name, "--label")] = well_formed(text, "--label")
    return labels


def prompted(text: str) -> str:
    """The prompt itself. Raises UsageError for one that says nothing."""
    if not text.strip():
        raise UsageError("USAGE", "--prompt is empty; say in a sentence or two what is to be done")
    return well_formed(text, "--prompt")


def well_formed(text: str, option: str) -> str:
    """The text itself. Raises UsageError where it was not UTF-8 on the command line: it goes into records."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("USAGE", f"{option} {text[:60]!a} is not UTF-8; check the encoding it comes in") from error
    return text


def read_item(text: str) -> tuple[int, ...]:
    """``2.0`` as indexes, outermost first. Raises UsageError."""
    parts = text.split(".") if text else []
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UsageError("USAGE", f"--item {text!r}: expected indexes joined by dots, as in 2 or 2.0")
    return tuple(map(int, parts))
