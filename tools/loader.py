"""Tools from a Python file of the user's, under a private module name: it shadows nothing and is shadowed by nothing.

A tool or join is found when it is an attribute of the module, or an element of a list or tuple that is one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ..errors import UsageError
from .joins import Join
from .spec import Tool

_LOADING: Final = threading.RLock()
"""Loading changes sys.path and sys.modules for a moment."""


@dataclass(frozen=True, slots=True)
class LoadedTools:
    """What a file holds, in the order of its attributes."""

    tools: list[Tool]
    joins: list[Join]


def load_tools_file(path: str | Path) -> LoadedTools:
    """The tools and joins of a Python file, which is executed once per process; siblings can be imported meanwhile.

    Raises UsageError: TOOLS_FILE_NOT_FOUND, TOOLS_FILE_INVALID (what it raised, and in which line), NO_TOOLS.
    """
    try:
        file = Path(path).resolve()
        there = file.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError("TOOLS_FILE_NOT_FOUND", f"{path!r} is no usable path: {error}") from error
    if not there:
        what = "is a folder; name the Python file in it" if file.is_dir() else "does not exist; check the path"
        raise UsageError("TOOLS_FILE_NOT_FOUND", f"the tools file {file} {what}")
    name = f"_dynamicflow_tools_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    with _LOADING:
        module = sys.modules.get(name) or _executed(name, file)
    found = list(_unique(vars(module)))
    tools = [thing for thing in found if isinstance(thing, Tool)]
    joins = [thing for thing in found if isinstance(thing, Join)]
    if not tools and not joins:
        raise UsageError("NO_TOOLS", f"{file} defines no tools; decorate a function with @tool, or use create_tool")
    return LoadedTools(tools, joins)


def _executed(name: str, file: Path) -> ModuleType:
    loader = SourceFileLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    if spec is None:
        raise UsageError("TOOLS_FILE_INVALID", f"{file} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and type hints look there
    try:
        with _importable(str(file.parent)):
            loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise
        raise UsageError("TOOLS_FILE_INVALID", _told(error, file)) from error
    return module


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _told(error: BaseException, file: Path) -> str:
    if isinstance(error, UsageError):
        return f"{_place(error, file)}: {error.message}"
    if isinstance(error, SyntaxError):
        return f"{error.filename or file}, line {error.lineno or 1}: {error.msg}; mend the syntax"
    if isinstance(error, ModuleNotFoundError):
        return f"{_place(error, file)}: {error}; install it into the environment that runs dynamicflow"
    try:
        said = str(error)
    except Exception:  # an exception of the user's whose own text fails
        said = ""
    return f"{_place(error, file)}: importing it raised {type(error).__name__}{said and ': ' + said}"


def _place(error: BaseException, file: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{file}, line {lines[-1]}" if lines else str(file)


def _unique(attributes: dict[str, Any]) -> Iterator[Tool | Join]:
    seen: set[int] = set()
    for value in list(attributes.values()):
        for thing in value if isinstance(value, list | tuple) else (value,):
            if isinstance(thing, Tool | Join) and id(thing) not in seen:
                seen.add(id(thing))
                yield thing
