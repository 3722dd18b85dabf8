"""The language-model tool: the real client against a server that speaks the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dynamicflow.tools import CallResult, ToolContext, ToolFailed, builtin_tools, check_output, describe_exception
from tests.openai_server import OpenAIServer, cut_off, fails, malformed, rate_limited, says, slow

LLM = next(one for one in builtin_tools() if one.id == "llm_complete")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("DYNAMICFLOW_MODEL", "small")
        yield server


async def failure(context: ToolContext | None = None, **inputs: Any) -> ToolFailed:
    with pytest.raises(ToolFailed) as caught:
        await LLM.invoke({"prompt": "p", **inputs}, context or ToolContext())
    return caught.value


class TestAnAnswer:
    async def test_is_streamed_and_returned(self, server: OpenAIServer) -> None:
        server.script(says("forty-two, as always", usage=(7, 5)))
        tokens: list[str] = []
        raw = await LLM.invoke({"prompt": "What is it?", "system": "Be brief"}, ToolContext(on_token=tokens.append))
        checked = check_output(LLM.spec, raw)
        assert isinstance(checked, CallResult)
        assert checked.output == {
            "response": "forty-two, as always",
            "usage": {"promptTokens": 7, "completionTokens": 5, "totalTokens": 12},
        }
        assert len(tokens) > 1
        assert "".join(tokens) == "forty-two, as always"
        assert server.questions[0]["messages"] == [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "What is it?"},
        ]
        assert server.questions[0]["model"] == "small"
        assert "temperature" not in server.questions[0]

    async def test_comes_from_the_model_that_is_asked_for(self, server: OpenAIServer) -> None:
        server.script(says("x"))
        inputs = {"prompt": "p", "model": "large", "temperature": 0, "maxTokens": 9}
        await LLM.invoke(inputs, ToolContext())
        asked = server.questions[0]
        assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("large", 0, 9)


class TestAFailure:
    async def test_too_many_requests(self, server: OpenAIServer) -> None:
        server.script(rate_limited(3))
        error = describe_exception(await failure())
        assert (error.code, error.retryable, error.retry_after_ms) == ("LLM_ERROR", True, 3000)
        assert "RateLimitError" in error.bases
        assert len(server.questions) == 1

    @pytest.mark.parametrize(("status", "retryable"), [(400, False), (401, False), (500, True), (503, True)])
    async def test_by_status(self, server: OpenAIServer, status: int, retryable: bool) -> None:
        server.script(fails(status, "because"))
        error = await failure()
        assert (error.code, error.retryable, error.details) == ("LLM_ERROR", retryable, {"status": status})
        assert "because" in error.message

    async def test_an_answer_that_breaks_off(self, server: OpenAIServer) -> None:
        server.script(cut_off("a long answer that never comes to its end"))
        error = await failure()
        assert (error.code, error.retryable) == ("NETWORK_ERROR", True)

    async def test_an_answer_that_is_none(self, server: OpenAIServer) -> None:
        server.script(malformed())
        error = await failure()
        assert (error.code, error.retryable) == ("LLM_ERROR", True)

    async def test_no_answer_in_time(self, server: OpenAIServer) -> None:
        server.script(slow(30))
        error = await failure(ToolContext(deadline=0))
        assert (error.code, error.retryable) == ("TIMEOUT", True)

    async def test_nothing_configured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DYNAMICFLOW_MODEL"):
            monkeypatch.delenv(name, raising=False)
        assert "set DYNAMICFLOW_MODEL" in (await failure()).message
        error = await failure(model="m")
        assert (error.code, error.retryable) == ("LLM_NOT_CONFIGURED", False)
        assert "set OPENAI_API_KEY" in error.message
