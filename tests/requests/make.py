"""Writes docs/schemas/*.json and docs/asyncapi.json from the models: ``make schemas``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from dynamicflow.streams.asyncapi import asyncapi
from dynamicflow.streams.schemas import schemas

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"


def documents() -> dict[Path, Any]:
    """File -> what belongs into it."""
    return {DOCS / "schemas" / name: made for name, made in schemas().items()} | {DOCS / "asyncapi.json": asyncapi()}


def text(document: Any) -> str:
    """A document as its file holds it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, made in documents().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text(made), encoding="utf-8")
