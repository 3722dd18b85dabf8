"""`make bench`: the workloads beside bare loops in the same run. `make bench JSON=file` also writes lines."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .table import table_of
from .workloads import WORKLOADS

TITLE = "embedded engine, durable (WAL, synchronous=FULL), beside a bare group-commit loop"

ASKED = {
    "chain": "ratio ≥ 0.20",
    "one": "≤ 2.5 × bare ms: ratio ≥ 0.40",
    "fan": "ms per step ≤ chain's",
    "wide-100000": "linear, peak < 1024 MB",
    "rebuild": "≥ 50 000 events/s decoded, folded",
}


def bench(
    only: Annotated[list[str] | None, typer.Argument(help="Workloads; all by default.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write one JSON line a workload here.")] = None,
    inside: Annotated[bool, typer.Option("--inside", hidden=True)] = False,
) -> None:
    """Run workloads, each in a process of its own, and print a table."""
    names = only or list(WORKLOADS)
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is no workload; there are {', '.join(WORKLOADS)}")
    if inside:
        with tempfile.TemporaryDirectory(prefix="dynamicflow-bench-") as folder:
            typer.echo(json.dumps(asyncio.run(WORKLOADS[names[0]](Path(folder))).to_json()))
        return
    lines = []
    for name in names:
        command = [sys.executable, "-m", "benchmarks", "--inside", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            typer.echo(f"{name} failed:\n{done.stderr}", err=True)
            raise typer.Exit(1)
        lines.append(json.loads(done.stdout))
    if json_file is not None:
        json_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    Console(width=None if sys.stdout.isatty() else 150).print(table_of(lines, TITLE, ASKED))


if __name__ == "__main__":
    typer.run(bench)
