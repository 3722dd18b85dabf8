"""A Python value that user code made, as JSON: models by alias, dataclasses, enums, times, sets, tuples.

Bytes, iterators and objects that say nothing of themselves are no JSON, and neither are NaN and infinities.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..values import MAX_VALUE_BYTES, Json, NotJson, decode, encode, plain


def to_json(value: Any, *, max_bytes: int = MAX_VALUE_BYTES) -> tuple[Json, bytes]:
    """A copy of ``value`` as pure JSON, and its encoding. Shares nothing with ``value``.

    Raises NotJson, and OverflowError when the encoding has more than ``max_bytes``.
    """
    try:
        return plain(value, max_bytes=max_bytes)
    except NotJson as error:
        if error.too_deep or not isinstance(error.__cause__, TypeError):
            raise
    encoded = _encoded(value)
    if len(encoded) > max_bytes:
        raise OverflowError(f"{len(encoded)} bytes, at most {max_bytes}")
    return decode(encoded), encoded


def _encoded(value: Any) -> bytes:
    try:
        try:
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_convert)
            return text.encode()
        except TypeError as error:
            if "keys must be" not in str(error):  # json has no hook for keys: dates, enums, UUIDs
                raise
            return encode(to_jsonable_python(value, by_alias=True))
    except NotJson:
        raise
    except Exception as error:  # properties and serializers of the user's own classes run here
        raise NotJson(_said(error), too_deep=isinstance(error, RecursionError)) from error


def _convert(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        raise NotJson("bytes are not JSON: return text, for instance base64")
    if isinstance(value, Iterator):
        raise NotJson(f"a {type(value).__name__} is not JSON: return a list")
    if isinstance(value, set | frozenset):
        return sorted((to_json(member)[0] for member in value), key=encode)
    try:
        return to_jsonable_python(value, by_alias=True)
    except PydanticSerializationError as error:
        raise NotJson(_said(error)) from error


def _said(error: Exception) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # an exception of the user's whose own text fails
        return type(error).__name__
