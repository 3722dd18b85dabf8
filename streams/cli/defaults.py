"""What several commands assume when nothing else is said."""

from __future__ import annotations

from typing import Final

DB: Final = "runs.db"
"""The journal."""
