"""The shipped dashboard, as tests read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = ROOT / "deploy/grafana/dashboards/dynamicflow.json"

VARIABLES: Final = {"$__rate_interval": "1m", "$__range": "1h", "$tool": ".*", "$job": ".*"}
"""What Grafana puts in their places, at its shortest range and with all tools and jobs chosen."""


class Query(NamedTuple):
    """One query of one panel, its variables replaced."""

    panel: str
    ref: str
    expr: str


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    """Those that show something: not the rows between them."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Every query of every panel."""
    return [Query(panel["title"], one["refId"], _filled(one["expr"])) for panel in panels() for one in panel["targets"]]


def _filled(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr
