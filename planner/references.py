"""The spelling of a reference in a string: ``$name.segment[0]['odd key'][*]`` (canonical.md §3)."""

from __future__ import annotations

import re
from typing import Final

NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*"
_KEY: Final = r"""-?[0-9]+|\*|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_TAIL: Final = rf"(?:\.(?:{NAME}|[0-9]+)|\[(?:{_KEY})\])*"

WHOLE: Final = re.compile(rf"\$({NAME}){_TAIL}\Z", re.DOTALL)
"""A text that is exactly one reference."""
START: Final = re.compile(rf"\$({NAME})")
"""A name with its dollar."""
LONGEST_PATH: Final = re.compile(rf"\$({NAME}){_TAIL}", re.DOTALL)
"""As much of a text as is one reference."""
