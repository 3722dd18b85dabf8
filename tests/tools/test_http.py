"""The HTTP tools against a real server."""

from __future__ import annotations

import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from dynamicflow.tools import CallResult, ToolContext, ToolFailed, builtin_tools, check_output, describe_exception
from dynamicflow.tools.builtin.http import retry_after_seconds
from tests.tools.tool_kit import WAIT_S, Answer, as_json, deck, site

TOOLS = {one.id: one for one in builtin_tools()}


async def call(id: str, context: ToolContext | None = None, **inputs: Any) -> Any:
    """The output as it is recorded."""
    checked = check_output(TOOLS[id].spec, await TOOLS[id].invoke(inputs, context or ToolContext()))
    assert isinstance(checked, CallResult)
    return checked.output


async def failure(id: str, context: ToolContext | None = None, **inputs: Any) -> ToolFailed:
    with pytest.raises(ToolFailed) as caught:
        await TOOLS[id].invoke(inputs, context or ToolContext())
    return caught.value


class TestAnAnswer:
    async def test_that_is_json(self) -> None:
        with site({"/a": as_json({"n": [1]}, "application/problem+json; charset=utf-8")}) as web:
            output = await call("http_get", url=f"{web.url}/a", params={"q": "ä b", "n": 1}, headers={"X-Key": "k"})
        assert (output["status"], output["json"], output["body"]) == (200, {"n": [1]}, None)
        assert output["headers"]["content-type"].startswith("application/problem+json")
        assert web.asked[0].path == "/a?q=%C3%A4+b&n=1"
        assert web.asked[0].headers["x-key"] == "k"

    async def test_that_is_text(self) -> None:
        answer = Answer(200, "grün".encode("latin-1"), {"Content-Type": "text/plain; charset=latin-1"})
        with site({"/a": answer}) as web:
            output = await call("http_get", url=f"{web.url}/a")
        assert (output["json"], output["body"]) == (None, "grün")

    @pytest.mark.parametrize("kind", ["application/json", "text/html; charset=klingon"])
    async def test_that_is_not_what_it_says(self, kind: str) -> None:
        with site({"/a": Answer(200, b'{"n": NaN} \xff', {"Content-Type": kind})}) as web:
            output = await call("http_get", url=f"{web.url}/a")
        assert output["body"] == '{"n": NaN} \ufffd'

    async def test_after_a_redirect(self) -> None:
        answers = {"/a": Answer(302, b"", {"Location": "/b"}), "/b": Answer(200, b"there")}
        with site(answers) as web:
            assert (await call("http_get", url=f"{web.url}/a"))["body"] == "there"

    async def test_larger_than_a_value_may_be(self) -> None:
        with site({"/a": Answer(200, b"x" * (32 * 1024 * 1024 + 1))}) as web:
            assert (await failure("http_get", url=f"{web.url}/a")).code == "TOOL_OUTPUT_TOO_LARGE"


class TestARequest:
    async def test_with_a_json_body_and_the_steps_key(self) -> None:
        with site({"/a": as_json({})}) as web:
            context = ToolContext(idempotency_key="run/node/-")
            await call("http_request", context, method="POST", url=f"{web.url}/a", json={"a": 1})
        asked = web.asked[0]
        assert (asked.method, json.loads(asked.body)) == ("POST", {"a": 1})
        assert asked.headers["idempotency-key"] == "run/node/-"

    async def test_with_a_body_and_a_key_of_its_own(self) -> None:
        with site({"/a": as_json({})}) as web:
            context = ToolContext(idempotency_key="k")
            headers = {"idempotency-key": "mine"}
            await call("http_request", context, method="PUT", url=f"{web.url}/a", body="plain", headers=headers)
        assert web.asked[0].body == b"plain"
        assert web.asked[0].headers["idempotency-key"] == "mine"

    def test_declares_its_side_effect(self) -> None:
        assert TOOLS["http_get"].spec.side_effect == "idempotent"
        assert TOOLS["http_request"].spec.side_effect == "non_idempotent"

    @pytest.mark.parametrize(
        "url", ["file:///etc/hosts", "ftp://example.org", "example.org", "http://", "", "http://a\x00b"]
    )
    async def test_to_anything_but_http_is_refused(self, url: str) -> None:
        error = await failure("http_get", url=url)
        assert (error.code, error.retryable) == ("TOOL_INPUT_INVALID", False)

    @pytest.mark.parametrize("more", [{"timeout": "soon"}, {"timeout": 0}, {"headers": {"a b": "\n"}}])
    async def test_that_cannot_be_sent(self, more: dict[str, Any]) -> None:
        with site({"/a": as_json({})}) as web:
            assert (await failure("http_get", url=f"{web.url}/a", **more)).code == "TOOL_INPUT_INVALID"

    async def test_with_two_bodies(self) -> None:
        error = await failure("http_request", method="POST", url="http://x", json={}, body="x")
        assert "one body" in error.message


class TestARefusal:
    async def test_of_the_clients_making_is_final(self) -> None:
        with site({}) as web:
            error = await failure("http_get", url=f"{web.url}/none")
        assert (error.code, error.retryable, error.details["status"]) == ("HTTP_STATUS", False, 404)
        assert "404" in error.message and "no such page" in error.message

    async def test_that_asks_for_patience_may_be_tried_again(self) -> None:
        with site({"/a": Answer(429, b"", {"Retry-After": "7"})}) as web:
            error = describe_exception(await failure("http_get", url=f"{web.url}/a"))
        assert (error.code, error.retryable, error.retry_after_ms) == ("HTTP_STATUS", True, 7000)
        assert error.bases[:2] == ("RateLimitError", "ToolFailed")

    async def test_of_the_servers_making_may_be_tried_again(self) -> None:
        with site({"/a": Answer(503, b"down")}) as web:
            error = await failure("http_request", method="POST", url=f"{web.url}/a")
        assert (error.retryable, error.retry_after) == (True, None)

    def test_and_when_it_says_until_when(self) -> None:
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        assert 28 < (retry_after_seconds(soon) or 0) <= 30
        assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
        for odd in (None, "", "soon", "-3", "1" * 50):
            assert retry_after_seconds(odd) is None


class TestANetworkThatFails:
    async def test_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        error = await failure("http_request", method="POST", url=f"http://127.0.0.1:{port}")
        assert (error.code, error.retryable) == ("NETWORK_ERROR", True)
        assert "NetworkError" in describe_exception(error).bases

    async def test_the_connection_breaks_after_the_request(self) -> None:
        with site({"/a": lambda: None}) as web:
            get = await failure("http_get", url=f"{web.url}/a")
            post = await failure("http_request", method="POST", url=f"{web.url}/a")
        assert (get.code, get.retryable) == ("NETWORK_ERROR", True)
        assert (post.code, post.retryable) == ("NETWORK_ERROR", False)

    async def test_no_answer_in_time(self) -> None:
        never = threading.Event()

        def silent() -> None:
            never.wait(WAIT_S)

        with site({"/a": silent}) as web:
            error = await failure("http_get", url=f"{web.url}/a", timeout=50)
            never.set()
        assert (error.code, error.retryable) == ("TIMEOUT", True)


def test_on_the_host() -> None:
    with site({"/a": as_json([1])}) as web, deck() as d:
        assert d.outcome(TOOLS["http_get"], url=f"{web.url}/a").data == [1]
