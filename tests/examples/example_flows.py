"""Shared by these tests: the examples' files, a run in memory, the code blocks of a page."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dynamicflow.streams.clock import VirtualClock
from dynamicflow.streams.embedded.engine import Engine
from dynamicflow.tools.loader import LoadedTools, load_tools_file

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
DOCS: Final = ROOT / "docs"
_BLOCK: Final = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def example(name: str) -> tuple[LoadedTools, Any, Any]:
    """Tools, plan and input of an example."""
    folder = EXAMPLES / name
    return load_tools_file(folder / "tools.py"), read(folder / "plan.json"), read(folder / "input.json")


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def run(plan: Any, loaded: LoadedTools, given: Any) -> dict[str, Any]:
    """The result of a plan on the embedded engine, in memory and on virtual time."""

    async def drive() -> dict[str, Any]:
        async with Engine.in_memory(tools=loaded.tools, joins=loaded.joins, clock=VirtualClock()) as engine:
            return await (await engine.start(plan, input=given)).result()

    return asyncio.run(drive())


def output(plan: Any, loaded: LoadedTools, given: Any) -> Any:
    """The output of a plan that must complete."""
    result = run(plan, loaded, given)
    assert result["status"] == "completed", result["error"]
    return result["output"]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, the word after it, the text, and the line it begins in."""

    language: str
    kind: str
    text: str
    line: int

    @property
    def value(self) -> Any:
        """The JSON it holds."""
        return json.loads(self.text)


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page of docs/."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(found[1], found[2] or "", found[3], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def page_tools(page: str, folder: Path) -> LoadedTools:
    """The Python of a page, executed from top to bottom as one tools file in ``folder``."""
    source = "\n\n".join(block.text for block in blocks(page) if block.language == "python")
    file = folder / f"{page.removesuffix('.md').replace('-', '_')}_page.py"
    file.write_text(source, encoding="utf-8")
    return load_tools_file(file)
