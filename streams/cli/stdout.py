"""Standard output is for results. Whatever users' code prints, however it does, goes to standard error instead."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import Final, TextIO


class Unwritable(Exception):
    """Standard output takes nothing: a full disk, a closed file."""


@dataclass(slots=True)
class _Ways:
    results: TextIO | None = None
    """Where results go while users' code may write to ``sys.stdout`` and to descriptor 1."""
    before: TextIO | None = None
    descriptor: int | None = None
    """Descriptor 1 as it was."""
    reader_gone: bool = False
    written: bool = False


_WAYS: Final = _Ways()


def results() -> TextIO | None:
    """Standard output as the command was given it; None where it was closed."""
    return _WAYS.results or sys.stdout


def reader_gone() -> bool:
    """Has the reader of the pipe seen enough?"""
    return _WAYS.reader_gone


def written() -> bool:
    """Has there been any result yet?"""
    return _WAYS.written


def write(line: bytes) -> None:
    """Nothing where standard output is closed or its reader has gone. Raises Unwritable."""
    stream = results()
    _WAYS.written = _WAYS.written or bool(line)
    if stream is None or _WAYS.reader_gone:
        return
    try:
        stream.flush()
        stream.buffer.write(line)
        stream.buffer.flush()
    except BrokenPipeError:
        _WAYS.reader_gone = True
        _discard(stream)
    except (OSError, ValueError) as error:
        _discard(stream)
        raise Unwritable(getattr(error, "strerror", None) or str(error)) from error


def flush() -> None:
    """What was printed by other ways, such as help. Raises Unwritable."""
    if sys.stdout is not None and not sys.stdout.closed:
        write(b"")


def set_aside() -> None:
    """From now on only ``write`` reaches standard output. Again is harmless."""
    stream = sys.stdout
    if _WAYS.results is not None or stream is None:
        return
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # captured, as by a test: no descriptor is behind it
        _WAYS.results, _WAYS.before = stream, stream
        sys.stdout = sys.stderr
        return
    stream.flush()
    kept = os.dup(number)
    _WAYS.results = open(kept, "w", encoding=stream.encoding, errors=stream.errors, closefd=False)
    _WAYS.before = stream
    with contextlib.suppress(OSError):  # not open: nothing to give back
        _WAYS.descriptor = os.dup(1)
    os.dup2(_stderr(), 1)
    sys.stdout = open(1, "w", buffering=1, encoding=stream.encoding, errors="backslashreplace", closefd=False)


def give_back() -> None:
    """Undo ``set_aside``, for a command called inside another program."""
    _WAYS.reader_gone = _WAYS.written = False
    if _WAYS.before is None:
        return
    if _WAYS.results is not _WAYS.before and _WAYS.results is not None:
        os.close(_WAYS.results.fileno())
    if _WAYS.descriptor is not None:
        os.dup2(_WAYS.descriptor, 1)
        os.close(_WAYS.descriptor)
    sys.stdout = _WAYS.before
    _WAYS.results = _WAYS.before = _WAYS.descriptor = None


def _stderr() -> int:
    try:
        os.fstat(2)
    except OSError:  # closed
        return os.open(os.devnull, os.O_WRONLY)
    return 2


def _discard(stream: TextIO) -> None:
    """What its buffer still holds must not be tried again at the end of the process."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
