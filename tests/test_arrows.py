"""Who may import whom (design §2). Read from the source with ``ast``: imports inside functions count as well."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "dynamicflow"
FOLDERS: Final = ("tools", "planner", "streams")
LONGEST_MODULE: Final = 400

MAY_IMPORT: Final = {
    "leaf": set(),
    "tools": {"leaf"},
    "planner": {"leaf", "tools"},
    "core": {"leaf", "planner"},
    "streams": {"leaf", "planner", "tools", "core"},
    "embedded": {"leaf", "planner", "tools", "core", "streams"},
    "kafka": {"leaf", "planner", "tools", "core", "streams"},
    "cli": {"leaf", "planner", "tools", "core", "streams", "embedded", "kafka"},
    "door": {"leaf", "planner", "tools", "core", "streams", "embedded", "kafka"},
    "start": {"cli"},
}
"""Area -> areas it may import, itself apart. ``streams`` is what both shells share, ``start`` is ``python -m``."""

OF_THE_PLANNER: Final = ("ir", "options", "scope", "references", "expressions", "templates")
"""What the core may take from the planner: the plan as data and how its texts are read."""
IMPURE: Final = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "threading",
}
IMPURE_TOO: Final = {"pathlib", "sqlite3", "tempfile", "time", "urllib", "uuid"}


@dataclass(frozen=True)
class Import:
    """One import statement's target: a module of ours in full, else the name as written."""

    importer: str
    target: str
    line: int
    at_import: bool
    """It is carried out when the module is loaded: not in a function, not for type checkers only."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its import name."""
    found = {}
    places = [(ROOT / "src" / PACKAGE, PACKAGE), *((ROOT / folder, f"{PACKAGE}.{folder}") for folder in FOLDERS)]
    for folder, name in places:
        pattern = "*.py" if folder.name == PACKAGE else "**/*.py"
        for path in folder.glob(pattern):
            parts = [part for part in path.relative_to(folder).with_suffix("").parts if part != "__init__"]
            found[".".join([name, *parts])] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def area(module: str) -> str:
    """Which row of the table a module of ours belongs to."""
    parts = module.split(".")[1:]
    if parts[:1] in (["errors"], ["values"]):
        return "leaf"
    if parts == ["__main__"]:
        return "start"
    if parts[:1] == ["streams"] and len(parts) > 1 and parts[1] in MAY_IMPORT:
        return parts[1]
    return parts[0] if parts and parts[0] in FOLDERS else "door"


def imports_of(module: str) -> Iterator[Import]:
    later = _carried_out_later(tree(module))
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (Import(module, target, node.lineno, id(node) not in later) for target in _targets(module, node))


def _carried_out_later(root: ast.Module) -> set[int]:
    """Identities of the statements in functions, and of those that only type checkers read."""
    found: set[int] = set()
    for node in ast.walk(root):
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.update(id(inner) for inner in ast.walk(node))
    return found


def _targets(module: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        is_package = modules()[module].name == "__init__.py"
        parents = module.split(".")
        parents = parents[: len(parents) - node.level + is_package]
        base = ".".join([*parents, base] if base else parents)
    inner = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in modules() else base for name in inner]


def ours(target: str) -> bool:
    return target == PACKAGE or target.startswith(f"{PACKAGE}.")


def of_area(name: str) -> list[str]:
    return sorted(module for module in modules() if area(module) == name)


def loaded_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter has after a statement and had not before."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, sys.path)])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    return set(done.stdout.split())


class TestTheTableOfArrows:
    @pytest.mark.parametrize("importer", MAY_IMPORT)
    def test_an_area_imports_only_what_stands_below_it(self, importer: str) -> None:
        allowed = MAY_IMPORT[importer] | {importer}

        wrong = [
            f"{found.importer}:{found.line} imports {found.target}"
            for module in of_area(importer)
            for found in imports_of(module)
            if ours(found.target) and area(found.target) not in allowed
        ]

        assert of_area(importer), f"no module belongs to {importer}: the table or the folders are wrong"
        assert wrong == []

    def test_no_area_reaches_itself_through_others(self) -> None:
        below = {name: set(names) for name, names in MAY_IMPORT.items()}
        while (wider := {name: names.union(*(below[one] for one in names)) for name, names in below.items()}) != below:
            below = wider

        assert [name for name, names in below.items() if name in names] == []

    def test_imports_across_folders_are_relative(self) -> None:
        wrong = [
            f"{module}:{node.lineno}"
            for module in modules()
            for node in ast.walk(tree(module))
            if isinstance(node, ast.ImportFrom) and node.level == 0 and ours(node.module or "")
        ]

        assert wrong == []


class TestTheCoreIsPure:
    def test_of_other_packages_it_knows_pydantic_only(self) -> None:
        allowed = {"pydantic", "pydantic_core"} | sys.stdlib_module_names

        wrong = [found for found in self._outside() if found.target.split(".")[0] not in allowed]

        assert wrong == []

    def test_it_has_no_clock_randomness_logging_io_or_threads(self) -> None:
        wrong = [found for found in self._outside() if found.target.split(".")[0] in IMPURE | IMPURE_TOO]

        assert wrong == []

    def test_it_asks_nobody_what_time_it_is(self) -> None:
        wrong = [
            f"{module}:{node.lineno}"
            for module in of_area("core")
            for node in ast.walk(tree(module))
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today", "monotonic")
        ]

        assert wrong == []

    def test_of_the_planner_it_knows_the_plan_as_data_only(self) -> None:
        allowed = tuple(f"{PACKAGE}.planner.{name}" for name in OF_THE_PLANNER)

        wrong = [
            f"{found.importer}:{found.line} imports {found.target}"
            for module in of_area("core")
            for found in imports_of(module)
            if area(found.target) == "planner" and ours(found.target)
            if not any(found.target == name or found.target.startswith(f"{name}.") for name in allowed)
        ]

        assert wrong == []

    def test_folding_loads_neither_an_event_loop_nor_a_database(self) -> None:
        loaded = loaded_by(f"import {PACKAGE}.streams.core.fold, {PACKAGE}.streams.core.derive")

        assert not loaded & {"sqlite3", "openai", "typer", "jsonschema_rs", "httpx2"}
        assert {name for name in loaded if name.startswith(f"{PACKAGE}.tools.")} <= {f"{PACKAGE}.tools.closed"}
        assert not [name for name in loaded if name.startswith(f"{PACKAGE}.streams.embedded")]

    @staticmethod
    def _outside() -> list[Import]:
        found = [one for module in of_area("core") for one in imports_of(module)]
        return [one for one in found if not ours(one.target)]


class TestWhatImportingCosts:
    def test_the_door_loads_nothing_but_itself_and_the_standard_library(self) -> None:
        loaded = loaded_by(f"import {PACKAGE}")

        assert {name for name in loaded if ours(name)} == {PACKAGE}
        assert {name.split(".")[0] for name in loaded} <= sys.stdlib_module_names | {PACKAGE}

    def test_the_command_line_loads_typer_and_no_module_that_works(self) -> None:
        cli = f"{PACKAGE}.streams.cli"

        loaded = loaded_by(f"import {cli}.main")

        mine = {name for name in loaded if ours(name)}
        declare = {f"{cli}.{name}" for name in ("main", "arguments", "recorded", "worker", "stdout")}
        assert mine == {PACKAGE, f"{PACKAGE}.streams", cli} | declare, (
            "the rest is loaded when a command is carried out"
        )
        assert not loaded & {"pydantic", "openai", "lark", "re2", "jsonschema_rs", "httpx2", "asyncio", "sqlite3"}

    def test_openai_is_loaded_where_a_model_is_asked_and_only_then(self) -> None:
        found = [one for module in modules() for one in imports_of(module) if one.target.split(".")[0] == "openai"]

        assert {one.importer for one in found} == {f"{PACKAGE}.planner.llm", f"{PACKAGE}.tools.builtin.llm"}
        assert [one for one in found if one.at_import] == []

    def test_an_engine_is_there_without_openai(self) -> None:
        loaded = loaded_by(f"from {PACKAGE} import DynamicFlow, Engine, tool")

        assert not loaded & {"openai", "typer", "rich"}


class TestTheSource:
    def test_no_module_is_longer_than_one_reads(self) -> None:
        lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}

        assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}

    def test_no_text_is_run_as_code(self) -> None:
        wrong = [
            f"{module}:{node.lineno}"
            for module in modules()
            for node in ast.walk(tree(module))
            if isinstance(node, ast.Name) and node.id in ("eval", "exec", "compile", "__import__")
        ]

        assert wrong == []

    def test_the_tools_loader_alone_runs_a_file(self) -> None:
        found = {
            module
            for module in modules()
            for node in ast.walk(tree(module))
            if isinstance(node, ast.Attribute) and node.attr in ("exec_module", "run_path", "run_module", "load_module")
        }

        assert found == {f"{PACKAGE}.tools.loader"}
