"""Tools that come with the package: HTTP, a language model, text, data. Made when asked for."""

from __future__ import annotations

from ..spec import Tool


def builtin_tools() -> list[Tool]:
    """All of them: http_get, http_request, llm_complete, text_…, json_…, data_…"""
    from . import data, http, llm, text

    return [*http.TOOLS, *llm.TOOLS, *text.TOOLS, *data.TOOLS]
