"""Errors as people and programs see them: a sentence with a code, or one JSON document; and the exit code."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ...errors import BrokerError, DynamicFlowError, JournalError, PlanningFailed, Problem
from ...values import Json
from ..core.result import run_error
from .output import document, err
from .stdout import Unwritable

REJECTED: Final = 2
NOT_ENDED: Final = 3
UNUSABLE: Final = 4
INTERRUPTED: Final = 130
INTERNAL: Final = 70
"""EX_SOFTWARE of sysexits.h."""

_BY_STATUS: Final = {
    "completed": 0,
    "partial": 1,
    "failed": 1,
    "cancelled": 1,
    "timed_out": 1,
    "rejected": REJECTED,
}


def exit_code(status: str, error: Mapping[str, Json] | None = None) -> int:
    """The exit code of a run that stands like this (canonical.md §5)."""
    if error is not None and status == "rejected" and error.get("code") == "ENDPOINT_UNUSABLE":
        return UNUSABLE
    return _BY_STATUS.get(status, NOT_ENDED)


def error_json(
    code: str, message: str, problems: Sequence[Problem] = (), more: Mapping[str, Json] = MappingProxyType({})
) -> dict[str, Json]:
    """An error as it stands in a result record; ``more`` goes into its details."""
    told: list[Json] = [problem.to_json() for problem in problems]
    details = {"problems": told, **more} if told or more else None
    said = message.encode("utf-8", "backslashreplace").decode()  # a path need not be UTF-8, a document is
    return run_error(code, said, details)


def tell_interrupted(*, json_out: bool) -> int:
    """The command was told to stop before it had anything to say."""
    return _told("INTERRUPTED", "stopped on request", (), INTERRUPTED, json_out)


def tell(error: Exception, *, json_out: bool, debug: bool = False) -> int:
    """Say what went wrong; the exit code."""
    if isinstance(error, DynamicFlowError):
        unusable = isinstance(error, JournalError | BrokerError) or error.code == "ENDPOINT_UNUSABLE"
        code = UNUSABLE if unusable else REJECTED
        more: dict[str, Json] = {}
        if isinstance(error, PlanningFailed):
            more = {"questions": list(error.questions), "tried": list(error.tried)}
        return _told(error.code, error.message, error.problems, code, json_out, more)
    if hasattr(error, "format_message"):  # typer's: a wrong option, a missing argument
        return _usage(error, json_out)
    if isinstance(error, Unwritable) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        message = f"standard output cannot be written: {error}; what was recorded is kept"
        return _told("OUTPUT_UNWRITABLE", message, (), UNUSABLE, False)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}; check the path and its rights"
        return _told("USAGE", message, (), REJECTED, json_out)
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    message = (
        f"{type(error).__name__}: {error}. This is a fault of dynamicflow; nothing that was recorded is lost. "
        "Please report it with the output of the same command and --debug"
    )
    return _told("INTERNAL_ERROR", message, (), INTERNAL, json_out)


def _told(
    code: str,
    message: str,
    problems: Sequence[Problem],
    exits: int,
    json_out: bool,
    more: Mapping[str, Json] = MappingProxyType({}),
) -> int:
    if json_out:
        status = "failed" if exits == INTERNAL else "rejected"
        with contextlib.suppress(Unwritable):  # the exit code says it
            document({"status": status, "error": error_json(code, message, problems, more)})
        return exits
    console = err()
    console.print(f"{code}: {message}", style="bold red", markup=False, highlight=False)
    show_problems(problems)
    return exits


def _usage(error: Exception, json_out: bool) -> int:
    say = getattr(error, "format_message")  # noqa: B009 - typer's class differs between its releases
    message = str(say())
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and not json_out:
        err().print(message, markup=False, highlight=False)
        return REJECTED
    if context is not None:
        message += f" (`{context.command_path} --help` tells what there is)"
    return _told("USAGE", message, (), REJECTED, json_out)


def show_problems(problems: Sequence[Problem], *, style: str = "red") -> None:
    """One line each: code, path, message, and what to do."""
    console = err()
    for problem in problems:
        line = f"  {problem.code}  {problem.path or '/'}  {problem.message}"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        if problem.suggestion:
            console.print(f"      → {problem.suggestion}", style="cyan", markup=False, highlight=False, soft_wrap=True)
