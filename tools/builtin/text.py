"""Text: split, join, replace, trim and case."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field
from typing_extensions import TypedDict

from ..decorate import tool
from ..spec import Tool

Text = Annotated[str, Field(description="The text")]


class Parts(TypedDict):
    parts: list[str]


class Written(TypedDict):
    text: str


@tool(category="text", side_effect="none")
def text_split(
    text: Text,
    separator: Annotated[str, Field(description="What stands between the parts; empty: any blanks")] = "",
    limit: Annotated[int | None, Field(ge=1, description="The most parts; the last one keeps the rest")] = None,
) -> Parts:
    """Splits a text into its parts. Returns {parts}."""
    return {"parts": text.split(separator or None, -1 if limit is None else limit - 1)}


@tool(category="text", side_effect="none")
def text_join(
    parts: Annotated[list[str], Field(description="The texts to join")],
    separator: Annotated[str, Field(description="What goes between them")] = "",
) -> Written:
    """Joins texts into one. Returns {text}."""
    return {"text": separator.join(parts)}


@tool(category="text", side_effect="none")
def text_replace(
    text: Text,
    search: Annotated[str, Field(min_length=1, description="The literal text to replace, wherever it occurs")],
    replacement: Annotated[str, Field(description="What takes its place")] = "",
) -> Written:
    """Replaces every occurrence of a literal text. Returns {text}."""
    return {"text": text.replace(search, replacement)}


@tool(category="text", side_effect="none")
def text_case(
    text: Text,
    case: Annotated[Literal["lower", "upper", "title"], Field(description="The case to write it in")],
) -> Written:
    """Writes a text in lower, upper or title case. Returns {text}."""
    return {"text": {"lower": str.lower, "upper": str.upper, "title": str.title}[case](text)}


@tool(category="text", side_effect="none")
def text_trim(text: Text) -> Written:
    """Removes blanks at both ends of a text. Returns {text}."""
    return {"text": text.strip()}


TOOLS: Final[list[Tool]] = [text_split, text_join, text_replace, text_case, text_trim]
