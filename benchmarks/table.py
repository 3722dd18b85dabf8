"""How measured lines are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def table_of(lines: list[dict[str, Any]], title: str, asked: Mapping[str, str]) -> Table:
    """One row a line; ``asked`` says by workload what it should reach."""
    table = Table(title=title)
    for column in (
        "workload",
        "runs",
        "steps",
        "steps/s",
        "ms/step",
        "p50 ms",
        "p95 ms",
        "peak MB",
        "bare/s",
        "ratio",
        "asked",
    ):
        table.add_column(column, justify="left" if column in ("workload", "asked") else "right")
    for line in lines:
        table.add_row(
            str(line["workload"]),
            *(f"{line[key]:,.0f}" for key in ("runs", "steps", "steps_per_s")),
            *(f"{line[key]:,.3f}" for key in ("ms_per_step", "p50_ms", "p95_ms")),
            *(f"{line[key]:,.0f}" for key in ("peak_mb", "bare_steps_per_s")),
            f"{line['ratio']:.3f}",
            asked.get(str(line["workload"]), ""),
        )
    return table
