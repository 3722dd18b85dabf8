"""HTTP: http_get asks, http_request does anything. Only http and https; the answer is read up to 32 MiB.

Errors: HTTP_STATUS for 4xx and 5xx (408, 425, 429 and 5xx may be tried again, after ``Retry-After``), NETWORK_ERROR,
TIMEOUT, and TOOL_INPUT_INVALID for a request that cannot be sent.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from ...values import MAX_VALUE_BYTES, Json, NotJson, decode, duration_ms
from ..context import NetworkError, RateLimitError, ToolContext, ToolFailed, ToolTimeout
from ..decorate import tool
from ..spec import Tool

if TYPE_CHECKING:
    import ssl

    import httpx2

Url = Annotated[str, Field(description="An absolute http or https address")]
Headers = Annotated[dict[str, str] | None, Field(description="Request headers")]
Params = Annotated[
    dict[str, str | int | float | bool | list[str]] | None, Field(description="Query parameters, added to the address")
]
Timeout = Annotated[
    int | float | str | None, Field(description="Milliseconds, or a text such as 10s; the step's own limit holds too")
]
_RETRYABLE: Final = frozenset({408, 425, 429})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent twice (RFC 9110 §9.2.2)."""


class HttpStatusError(ToolFailed):
    """The server answered 4xx or 5xx."""


class Answer(BaseModel):
    """What came back. A JSON answer is in ``json``, any other text in ``body``."""

    status: int
    headers: dict[str, str]
    body: str | None = None
    data: Annotated[Any, Field(alias="json")] = None


@tool(category="http", side_effect="idempotent")
async def http_get(
    url: Url,
    headers: Headers = None,
    params: Params = None,
    timeout: Timeout = None,  # noqa: ASYNC109 - an input, under the name that users look for
    *,
    context: ToolContext,
) -> Answer:
    """Fetches an address with GET, following redirects. Returns {status, headers, json or body}; fails on 4xx, 5xx."""
    return await _send("GET", url, {"headers": headers or {}, "params": params}, timeout, context)


@tool(category="http", side_effect="non_idempotent")
async def http_request(
    method: Annotated[
        Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], Field(description="The HTTP method")
    ],
    url: Url,
    headers: Headers = None,
    params: Params = None,
    json: Annotated[Any, Field(description="A body to send as JSON")] = None,
    body: Annotated[str | None, Field(description="A body to send as it is; not together with json")] = None,
    timeout: Timeout = None,  # noqa: ASYNC109 - as above
    *,
    context: ToolContext,
) -> Answer:
    """Sends an HTTP request, with a body where given. Returns {status, headers, json or body}; fails on 4xx, 5xx."""
    if json is not None and body is not None:
        raise _unusable("json and body are both given; a request has one body")
    headers = dict(headers or {})
    if context.idempotency_key and "idempotency-key" not in {name.lower() for name in headers}:
        headers["Idempotency-Key"] = context.idempotency_key
    content = {} if json is None and body is None else {"json": json} if body is None else {"content": body}
    return await _send(method, url, {"headers": headers, "params": params, **content}, timeout, context)


async def _send(method: str, url: str, request: dict[str, Any], limit: Any, context: ToolContext) -> Answer:
    import httpx2

    seconds = _seconds(limit, context)
    try:
        target = httpx2.URL(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise _unusable(f"{url!r} is no http or https address")
        limits = httpx2.Timeout(seconds)
        async with httpx2.AsyncClient(verify=_certificates(), timeout=limits, follow_redirects=True) as client:
            async with client.stream(method, target, **request) as response:
                return _answer(method, url, response, await _content(response))
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, UnicodeError, TypeError) as error:
        raise _unusable(f"{url!r} cannot be asked: {error}") from error
    except httpx2.TimeoutException as error:
        said = f"{method} {url} gave no answer within {seconds:.6g} s"
        raise ToolTimeout(said, code="TIMEOUT", retryable=_repeatable(method, error)) from error
    except httpx2.HTTPError as error:
        said = f"{method} {url}: {type(error).__name__}: {error}"
        raise NetworkError(said, code="NETWORK_ERROR", retryable=_repeatable(method, error)) from error


@cache
def _certificates() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()  # 20 ms, hence once for all requests


def _repeatable(method: str, error: Exception) -> bool:
    """May the request be sent again: a safe method, or one that never reached the server?"""
    import httpx2

    return method in _SAFE or isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)


def _seconds(timeout: Any, context: ToolContext) -> float | None:
    given = math.inf if timeout is None else duration_ms(timeout)
    if given is None or given <= 0:
        raise _unusable(f"timeout {timeout!r} is no duration above 0; give milliseconds, or a text such as '10s'")
    seconds = min(given / 1000, context.remaining())
    return None if math.isinf(seconds) else seconds


async def _content(response: httpx2.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MAX_VALUE_BYTES:
            said = f"{response.url} answered with more than {MAX_VALUE_BYTES >> 20} MiB"
            raise ToolFailed(said, code="TOOL_OUTPUT_TOO_LARGE", retryable=False)
        parts.append(part)
    return b"".join(parts)


def _answer(method: str, url: str, response: httpx2.Response, content: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    text = content.decode(_encoding(response), "replace")
    status = response.status_code
    if status >= 400:
        kind = RateLimitError if status == 429 else HttpStatusError
        raise kind(
            f"{method} {url} answered {status} {response.reason_phrase}: {text[:300]}".rstrip(": "),
            code="HTTP_STATUS",
            retryable=status in _RETRYABLE or status >= 500,
            retry_after=retry_after_seconds(headers.get("retry-after")),
            details={"status": status, "headers": headers, "body": text[:4096]},
        )
    found, data = _json(headers.get("content-type", ""), text)
    return Answer(status=status, headers=headers, body=None if found else text, json=data)


def _encoding(response: httpx2.Response) -> str:
    name = response.charset_encoding or "utf-8"
    try:
        b"x".decode(name, "replace")
    except (LookupError, ValueError):  # the server names an encoding that there is not
        return "utf-8"
    return name


def _json(content_type: str, text: str) -> tuple[bool, Json]:
    kind = content_type.split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return False, None
    try:
        return True, decode(text)
    except NotJson:  # says JSON and is none: the text is all there is
        return False, None


def retry_after_seconds(header: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number, or a date (RFC 9110 §10.2.3); else None."""
    if not header:
        return None
    if header.strip().isdecimal() and len(header) < 10:
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _unusable(message: str) -> ToolFailed:
    return ToolFailed(message, code="TOOL_INPUT_INVALID", retryable=False)


TOOLS: Final[list[Tool]] = [http_get, http_request]
