"""The model planner against a real server: what counts as an answer, and what a failure means for the next attempt."""

from __future__ import annotations

import email.utils
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynamicflow.planner.llm import DEFAULT_MODEL, ModelPlanner
from dynamicflow.planner.options import Options
from dynamicflow.planner.request import NoAnswer, Proposal
from tests.openai_server import (
    OpenAIServer,
    Reply,
    cut_off,
    fails,
    malformed,
    no_choices,
    rate_limited,
    refuses,
    says,
    slow,
    truncated,
)
from tests.planning.planning_tools import asked, validate_email

KEY = "sk-very-secret"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


async def ask(server: OpenAIServer, *script: Reply, patience: float = 5, model: str = "m", **more: Any) -> Proposal:
    server.script(*script)
    planner = ModelPlanner(api_key=KEY, base_url=server.base_url, timeout=patience)
    return await planner.propose(asked("check it", validate_email, **more), (), None, model)


async def failure(server: OpenAIServer, *script: Reply, patience: float = 5) -> NoAnswer:
    with pytest.raises(NoAnswer) as caught:
        await ask(server, *script, patience=patience)
    return caught.value


class TestAQuestion:
    async def test_carries_model_schema_temperature_and_limit(self, server: OpenAIServer) -> None:
        await ask(server, says("{}"), model="gpt-x", options=Options(temperature=0.1, max_tokens=77))
        (question,) = server.questions
        assert (question["model"], question["temperature"], question["max_tokens"]) == ("gpt-x", 0.1, 77)
        assert question["response_format"]["type"] == "json_schema"
        assert question["response_format"]["json_schema"]["schema"]["$defs"]["node"]["anyOf"]

    async def test_is_sent_once_only(self, server: OpenAIServer) -> None:
        await failure(server, fails(500))
        assert len(server.questions) == 1

    async def test_brings_text_and_usage(self, server: OpenAIServer) -> None:
        proposal = await ask(server, says('{"nodes": []}', usage=(7, 3)))
        assert proposal.text == '{"nodes": []}'
        assert proposal.usage == {"promptTokens": 7, "completionTokens": 3, "totalTokens": 10}


class TestAnEndpointThatKnowsLess:
    @pytest.mark.parametrize(
        ("formats", "used"),
        [
            (("text", "json_object"), ["json_schema", "json_object"]),
            (("text",), ["json_schema", "json_object", "text"]),
        ],
    )
    async def test_is_asked_for_the_next_simpler_format(self, formats: Any, used: list[str]) -> None:
        with OpenAIServer(says("{}"), formats=formats) as server:
            await ask(server)
            assert [question.get("response_format", {}).get("type", "text") for question in server.questions] == used

    async def test_is_not_asked_again_for_what_it_refused(self) -> None:
        with OpenAIServer(says("{}"), says("{}"), formats=("text",)) as server:
            planner = ModelPlanner(api_key=KEY, base_url=server.base_url)
            for _ in range(2):
                await planner.propose(asked("x", validate_email), (), None, "m")
            assert len(server.questions) == 4

    async def test_may_refuse_a_parameter(self, server: OpenAIServer) -> None:
        refusals = (
            fails(400, "Unsupported parameter: use 'max_completion_tokens' instead.", param="max_tokens"),
            fails(400, "Unsupported value: 'temperature' does not support 0.3"),
        )
        assert (await ask(server, *refusals, says("{}"))).text == "{}"
        last = server.questions[-1]
        assert "max_tokens" not in last
        assert "temperature" not in last
        assert last["max_completion_tokens"] == 4000


class TestNoAnswer:
    @pytest.mark.parametrize(
        ("reply", "code", "again", "fatal"),
        [
            (fails(401, "bad key"), "ENDPOINT_UNUSABLE", False, True),
            (fails(403, "not you"), "ENDPOINT_UNUSABLE", False, True),
            (fails(404, "no such model"), "ENDPOINT_REFUSED", False, False),
            (fails(400, "context too long"), "ENDPOINT_REFUSED", False, False),
            (fails(429, "quota", code="insufficient_quota"), "RATE_LIMITED", False, False),
            (rate_limited(1), "RATE_LIMITED", True, False),
            (fails(500), "ENDPOINT_FAILED", True, False),
            (fails(503), "ENDPOINT_FAILED", True, False),
            (cut_off("{}"), "ENDPOINT_UNUSABLE", True, False),
            (malformed(), "ANSWER_UNREADABLE", True, False),
            (malformed(b"<html>"), "ANSWER_UNREADABLE", True, False),
            (malformed(b"[1]"), "ANSWER_UNREADABLE", True, False),
            (malformed(b'{"choices": [{"message": null}]}'), "ANSWER_UNREADABLE", True, False),
            (malformed(b'{"error": {"message": "overloaded"}}'), "ANSWER_UNREADABLE", True, False),
            (no_choices(), "ANSWER_UNREADABLE", True, False),
            (says("  "), "ANSWER_UNREADABLE", True, False),
        ],
        ids=lambda value: str(value.status) if isinstance(value, Reply) else None,
    )
    async def test_says_whether_to_ask_again(
        self, server: OpenAIServer, reply: Reply, code: str, again: bool, fatal: bool
    ) -> None:
        problem = await failure(server, reply)
        assert (problem.problem.code, problem.again, problem.fatal) == (code, again, fatal)

    async def test_when_the_answer_is_late(self, server: OpenAIServer) -> None:
        problem = await failure(server, slow(30), patience=0.1)
        assert problem.problem.code == "TIMEOUT"
        assert "0.1 s" in problem.problem.message
        assert "APITimeoutError" in problem.names

    async def test_when_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        planner = ModelPlanner(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
        with pytest.raises(NoAnswer) as caught:
            await planner.propose(asked("x", validate_email), (), None, "m")
        assert caught.value.problem.code == "ENDPOINT_UNUSABLE"
        assert f"127.0.0.1:{port}" in caught.value.problem.message

    @pytest.mark.parametrize("url", ["no url", "http://[::1", "ftp://x", "http://127.0.0.1:99999/v1"])
    async def test_when_the_url_is_none(self, url: str) -> None:
        with pytest.raises(NoAnswer) as caught:
            await ModelPlanner(api_key=KEY, base_url=url, timeout=2).propose(asked("x", validate_email), (), None, "m")
        assert caught.value.problem.code == "ENDPOINT_UNUSABLE"

    async def test_when_the_prompt_cannot_be_sent(self, server: OpenAIServer) -> None:
        planner = ModelPlanner(api_key=KEY, base_url=server.base_url)
        with pytest.raises(NoAnswer) as caught:
            await planner.propose(asked("\ud800", validate_email), (), None, "m")
        assert not caught.value.again


class TestRetryAfter:
    async def test_in_seconds(self, server: OpenAIServer) -> None:
        assert (await failure(server, rate_limited(2.5))).wait_ms == 2500

    async def test_as_a_date(self, server: OpenAIServer) -> None:
        until = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        wait = (await failure(server, rate_limited(until))).wait_ms
        assert wait is not None
        assert 20_000 < wait <= 30_000

    @pytest.mark.parametrize("words", ["soon", "-1", "nan", "inf", "Wed, 99 Foo 2024"])
    async def test_that_says_nothing_leaves_it_to_the_backoff(self, server: OpenAIServer, words: str) -> None:
        assert (await failure(server, rate_limited(words))).wait_ms is None


class TestAnAnswerThatIsNone:
    async def test_cut_off_at_the_limit_is_not_read(self, server: OpenAIServer) -> None:
        (problem,) = (await ask(server, truncated('{"nodes": []}'))).problems
        assert problem.code == "ANSWER_TRUNCATED"
        assert "maxTokens" in problem.suggestion

    async def test_a_refusal_is_a_problem_in_the_models_words(self, server: OpenAIServer) -> None:
        (problem,) = (await ask(server, refuses("I would rather not"))).problems
        assert problem.code == "ANSWER_REFUSED"
        assert "I would rather not" in problem.message


class TestTheKey:
    async def test_reaches_the_server_and_no_message(self, server: OpenAIServer) -> None:
        problem = await failure(server, fails(401, f"Incorrect API key provided: {KEY}"))
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
        assert KEY not in f"{problem} {problem!r} {ModelPlanner(api_key=KEY)!r}"

    async def test_missing_is_said_before_anything_is_sent(self) -> None:
        with pytest.raises(NoAnswer) as caught:
            await ModelPlanner(api_key="").propose(asked("x", validate_email), (), None, "m")
        assert caught.value.fatal
        assert "OPENAI_API_KEY is not set" in caught.value.problem.message

    async def test_is_not_needed_for_an_endpoint_of_ones_own(self, server: OpenAIServer) -> None:
        server.script(says("{}"))
        planner = ModelPlanner.from_environ({"OPENAI_BASE_URL": server.base_url})
        assert (await planner.propose(asked("x", validate_email), (), None, "m")).text == "{}"

    @pytest.mark.parametrize("key", ["sk-\nx", "sk-ключ"])
    async def test_that_no_header_can_carry_is_refused_without_showing_it(self, key: str) -> None:
        with pytest.raises(NoAnswer) as caught:
            await ModelPlanner(api_key=key).propose(asked("x", validate_email), (), None, "m")
        assert key not in str(caught.value)

    async def test_in_a_url_is_not_shown(self) -> None:
        planner = ModelPlanner(base_url="http://user:hunter2@127.0.0.1:1/v1?token=hunter2")
        with pytest.raises(NoAnswer) as caught:
            await planner.propose(asked("x", validate_email), (), None, "m")
        assert "hunter2" not in f"{caught.value} {planner!r}"


class TestTheModel:
    @pytest.mark.parametrize(
        ("named", "environ", "model"),
        [
            ("gpt-a", {"DYNAMICFLOW_MODEL": "gpt-b"}, "gpt-a"),
            (None, {"DYNAMICFLOW_MODEL": "gpt-b"}, "gpt-b"),
            (None, {}, DEFAULT_MODEL),
        ],
    )
    def test_is_the_one_named_else_the_environments_else_the_default(
        self, named: str | None, environ: dict[str, str], model: str
    ) -> None:
        assert ModelPlanner.from_environ(environ, model=named).model == model


class TestTheServerItself:
    async def test_streams_in_pieces_and_can_break_off(self, server: OpenAIServer) -> None:
        import openai

        async def pieces() -> list[str]:
            async with openai.AsyncOpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
                options: Any = {"stream": True, "stream_options": {"include_usage": True}}
                stream = await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "x"}], **options
                )
                return [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]

        server.script(says("one two three four"), cut_off("one two three four"))
        told = await pieces()
        assert "".join(told) == "one two three four"
        assert len([piece for piece in told if piece]) > 1
        with pytest.raises((openai.APIError, json.JSONDecodeError)):
            await pieces()
