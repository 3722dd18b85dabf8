"""Ask, read, check, send every problem back: within bounds, and an invalid plan never leaves."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dynamicflow.errors import PlanningFailed
from dynamicflow.planner.llm import ModelPlanner
from dynamicflow.planner.offline import OfflinePlanner
from dynamicflow.planner.options import Options
from dynamicflow.planner.planning import MAX_ESCALATIONS, Planned, make_plan, planner_for
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
    truncated,
)
from tests.planning.planning_tools import asked, get_weather, lookup_user, send_email, validate_email

GOOD: dict[str, Any] = {
    "version": "1.0",
    "metadata": {"name": "Check it", "author": "me"},
    "nodes": [{"id": "a", "type": "tool", "toolId": "validateEmail", "inputs": {"email": "$input.email"}}],
    "edges": [],
}
BAD: dict[str, Any] = {
    **GOOD,
    "nodes": [{"id": "a", "type": "tool", "toolId": "validateMail", "inputs": {"email": "$nope.x"}}],
}
NOW = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


def good(**usage: Any) -> Reply:
    return says(json.dumps(GOOD), **usage)


def bad(**usage: Any) -> Reply:
    return says(json.dumps(BAD), **usage)


class Endpoint:
    """A server, and the waits between questions (which are not waited for)."""

    def __init__(self, server: OpenAIServer) -> None:
        self.server = server
        self.waits: list[float] = []

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def plan(self, *script: Reply, prompt: str = "check the email", options: Any = None, **more: Any) -> Planned:
        self.server.script(*script)
        planner = ModelPlanner(model="first", api_key="sk-1", base_url=self.server.base_url)
        chosen = Options.model_validate(options or {})
        request = asked(prompt, validate_email, get_weather, options=chosen, **more)
        return await make_plan(request, planner, now=NOW, sleep=self._wait)

    async def failure(self, *script: Reply, **more: Any) -> PlanningFailed:
        with pytest.raises(PlanningFailed) as caught:
            await self.plan(*script, **more)
        return caught.value

    @property
    def asked_models(self) -> list[str]:
        return [question["model"] for question in self.server.questions]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with OpenAIServer() as server:
        yield Endpoint(server)


class TestAValidAnswer:
    async def test_is_a_plan_that_says_where_it_comes_from(self, endpoint: Endpoint) -> None:
        made = await endpoint.plan(good(usage=(5, 2)))
        assert (made.source, made.model, made.attempts) == ("model", "first", 1)
        assert made.usage == {"promptTokens": 5, "completionTokens": 2, "totalTokens": 7}
        assert made.check.valid
        assert made.check.plan is not None
        assert made.check.plan.to_json()["metadata"] == {
            "name": "Check it",
            "description": "check the email",
            "generated": True,
            "source": "model",
            "model": "first",
            "timestamp": "2024-01-15T10:30:00.000000Z",
        }

    async def test_may_be_wrapped_in_prose(self, endpoint: Endpoint) -> None:
        made = await endpoint.plan(says(f"Sure!\n```json\n{json.dumps(GOOD)} // done\n```"))
        assert made.check.valid

    async def test_is_asked_of_the_requests_model(self, endpoint: Endpoint) -> None:
        assert (await endpoint.plan(good(), model="mine")).model == "mine"
        assert endpoint.asked_models == ["mine"]


class TestAnInvalidAnswer:
    async def test_goes_back_with_every_problem(self, endpoint: Endpoint) -> None:
        made = await endpoint.plan(bad(usage=(5, 2)), good(usage=(9, 1)))
        *_, before, after = endpoint.server.questions[1]["messages"]
        assert json.loads(before["content"]) == BAD
        for part in ("UNKNOWN_TOOL", "/nodes/0/toolId", "validateEmail", "UNRESOLVED_REFERENCE"):
            assert part in after["content"]
        assert made.attempts == 2
        assert made.usage == {"promptTokens": 14, "completionTokens": 3, "totalTokens": 17}
        assert [len(attempt.problems) > 0 for attempt in made.tried] == [True, False]
        assert endpoint.waits == []

    @pytest.mark.parametrize(
        ("reply", "code"),
        [
            (says("I am sorry"), "INVALID_JSON"),
            (says('{"nodes": [1}'), "INVALID_JSON"),
            (truncated(json.dumps(GOOD)), "ANSWER_TRUNCATED"),
            (refuses("no"), "ANSWER_REFUSED"),
            (says("{}"), "EMPTY_NODES"),
        ],
        ids=["prose", "broken", "truncated", "refused", "empty"],
    )
    async def test_of_every_kind_is_mended(self, endpoint: Endpoint, reply: Reply, code: str) -> None:
        made = await endpoint.plan(reply, good())
        assert code in {problem.code for problem in made.tried[0].problems}
        assert code in endpoint.server.questions[1]["messages"][-1]["content"]

    async def test_is_given_up_after_three_attempts_with_the_last_problems(self, endpoint: Endpoint) -> None:
        failed = await endpoint.failure(bad(), bad(), bad(), good())
        assert failed.code == "PLANNING_FAILED"
        assert {"UNKNOWN_TOOL", "UNRESOLVED_REFERENCE"} <= {problem.code for problem in failed.problems}
        assert [record["model"] for record in failed.tried] == ["first"] * 3
        assert len(endpoint.asked_models) == 3

    async def test_never_passes_on_the_last_attempt(self, endpoint: Endpoint) -> None:
        await endpoint.failure(bad(), options={"planning": {"retry": {"maxAttempts": 1}}})
        assert len(endpoint.asked_models) == 1

    async def test_over_the_bounds_for_planned_plans_is_one(self, endpoint: Endpoint) -> None:
        steps = [{"id": f"v{n}", "type": "value", "value": n} for n in range(4)]
        failed = await endpoint.failure(
            says(json.dumps({**GOOD, "nodes": steps})),
            options={"maxSteps": 3, "planning": {"retry": {"maxAttempts": 1}}},
        )
        assert "MAX_STEPS_EXCEEDED" in {problem.code for problem in failed.problems}


class TestEscalation:
    options = {"planning": {"retry": {"maxAttempts": 2}}, "escalationPath": ["second", "third", "fourth"]}  # noqa: RUF012

    async def test_asks_the_next_model_and_starts_counting_again(self, endpoint: Endpoint) -> None:
        made = await endpoint.plan(bad(), bad(), bad(), good(), options=self.options)
        assert endpoint.asked_models == ["first", "first", "second", "second"]
        assert (made.model, made.attempts) == ("second", 4)

    async def test_is_bounded(self, endpoint: Endpoint) -> None:
        failed = await endpoint.failure(*[bad()] * 8, options=self.options)
        assert list(dict.fromkeys(endpoint.asked_models)) == ["first", "second", "third"][: MAX_ESCALATIONS + 1]
        assert "first, second, third" in failed.message

    async def test_may_be_bounded_otherwise(self, endpoint: Endpoint) -> None:
        options = {**self.options, "planning": {"retry": {"maxAttempts": 1, "maxEscalations": 3}}}
        await endpoint.failure(*[bad()] * 8, options=options)
        assert endpoint.asked_models == ["first", "second", "third", "fourth"]

    async def test_may_end_without_a_model(self, endpoint: Endpoint) -> None:
        options = {"planning": {"retry": {"maxAttempts": 1}}, "escalationPath": ["offline"]}
        made = await endpoint.plan(bad(), options=options)
        assert (made.source, made.model) == ("offline", None)


class TestNoAnswerCountsAndWaits:
    @pytest.mark.parametrize(
        "reply", [fails(500), cut_off(), malformed(), no_choices()], ids=["500", "cut off", "malformed", "empty"]
    )
    async def test_as_the_backoff_says(self, endpoint: Endpoint, reply: Reply) -> None:
        made = await endpoint.plan(reply, reply, good())
        assert (made.attempts, endpoint.waits) == (3, [1.0, 2.0])

    async def test_as_the_endpoint_asks(self, endpoint: Endpoint) -> None:
        await endpoint.plan(rate_limited(7), good())
        assert endpoint.waits == [7.0]

    async def test_but_not_longer_than_max_delay(self, endpoint: Endpoint) -> None:
        made = await endpoint.plan(rate_limited(3600), good(), options={"escalationPath": ["second"]})
        assert (made.model, endpoint.waits) == ("second", [])

    @pytest.mark.parametrize(
        ("backoff", "waits"),
        [("fixed", [0.5, 0.5, 0.5]), ("linear", [0.5, 1.0, 1.2]), ("exponential", [0.5, 1.0, 1.2])],
    )
    async def test_by_every_strategy(self, endpoint: Endpoint, backoff: str, waits: list[float]) -> None:
        retry = {"maxAttempts": 4, "backoffStrategy": backoff, "initialDelay": 500, "maxDelay": 1200}
        await endpoint.plan(*[fails(500)] * 3, good(), options={"planning": {"retry": retry}})
        assert endpoint.waits == waits

    async def test_for_the_errors_that_are_to_be_retried(self, endpoint: Endpoint) -> None:
        options = {"planning": {"retry": {"maxAttempts": 3, "retryableErrors": ["RateLimitError"]}}}
        await endpoint.plan(rate_limited(0), good(), options=options)
        await endpoint.failure(fails(500), good(), options=options)
        assert len(endpoint.asked_models) == 3

    async def test_keeps_the_problems_that_were_open(self, endpoint: Endpoint) -> None:
        await endpoint.plan(bad(), fails(500), good())
        assert endpoint.server.questions[2]["messages"] == endpoint.server.questions[1]["messages"]


class TestAnUnusableEndpoint:
    async def test_that_refuses_the_key_is_not_asked_twice(self, endpoint: Endpoint) -> None:
        failed = await endpoint.failure(fails(401, "bad key sk-1"), options={"escalationPath": ["second"]})
        assert failed.code == "ENDPOINT_UNUSABLE"
        assert "OPENAI_API_KEY" in str(failed)
        assert "sk-1" not in str(failed)
        assert len(endpoint.asked_models) == 1

    async def test_that_never_answers_is_one(self, endpoint: Endpoint) -> None:
        failed = await endpoint.failure(*[fails(503)] * 3)
        assert (failed.code, failed.problems[0].code) == ("ENDPOINT_UNUSABLE", "ENDPOINT_FAILED")

    async def test_that_answered_once_is_none(self, endpoint: Endpoint) -> None:
        failed = await endpoint.failure(bad(), fails(500), fails(500))
        assert failed.code == "PLANNING_FAILED"
        assert {"ENDPOINT_FAILED", "UNKNOWN_TOOL"} <= {problem.code for problem in failed.problems}

    async def test_without_a_key_says_so(self) -> None:
        with pytest.raises(PlanningFailed) as caught:
            await make_plan(asked("x", validate_email), ModelPlanner())
        assert caught.value.code == "ENDPOINT_UNUSABLE"
        assert "OPENAI_API_KEY is not set" in str(caught.value)


class TestQuestions:
    async def test_of_a_model_end_the_planning(self, endpoint: Endpoint) -> None:
        failed = await endpoint.failure(says('{"questions": ["Which address?"]}'))
        assert (failed.code, failed.questions) == ("PLANNING_FAILED", ("Which address?",))
        assert len(endpoint.asked_models) == 1

    async def test_without_a_model_all_come_at_once(self) -> None:
        request = asked("Look up the user and send an email", lookup_user, send_email, input={})
        with pytest.raises(PlanningFailed) as caught:
            await make_plan(request, OfflinePlanner())
        failed = caught.value
        assert len(failed.questions) == len(failed.problems) >= 2
        assert all(question in str(failed) for question in failed.questions)

    async def test_survive_pickling(self) -> None:
        failed = PlanningFailed("PLANNING_FAILED", "no", (), ("Which?",), ({"model": "m"},))
        assert pickle.loads(pickle.dumps(failed)).questions == ("Which?",)


class TestTheChoiceOfPlanner:
    @pytest.mark.parametrize(
        ("model", "environ", "name", "chosen"),
        [
            (None, {}, "offline", "offline"),
            ("gpt-x", {}, "offline", "offline"),
            ("offline", {"OPENAI_API_KEY": "k"}, "offline", "offline"),
            (None, {"OPENAI_API_KEY": "k", "DYNAMICFLOW_MODEL": "offline"}, "offline", "offline"),
            (None, {"OPENAI_API_KEY": "k"}, "model", "gpt-4o"),
            ("gpt-x", {"OPENAI_BASE_URL": "http://x"}, "model", "gpt-x"),
            (None, {"OPENAI_API_KEY": "k", "DYNAMICFLOW_MODEL": "gpt-y"}, "model", "gpt-y"),
        ],
    )
    def test_is_the_environments(self, model: str | None, environ: dict[str, str], name: str, chosen: str) -> None:
        planner = planner_for(model, environ)
        assert (planner.name, planner.model) == (name, chosen)

    async def test_a_model_that_could_not_be_asked_is_said_in_the_plan(self) -> None:
        made = await make_plan(asked("Validate the email", validate_email, model="gpt-x"), planner_for("gpt-x", {}))
        assert (made.source, made.model) == ("offline", None)
        assert made.check.plan is not None
        assert "gpt-x" in str(made.check.plan.assumptions)


class TestTheTools:
    async def test_are_narrowed_where_asked_for(self, endpoint: Endpoint) -> None:
        await endpoint.plan(good(), options={"toolOptimisation": True})
        text = endpoint.server.questions[0]["messages"][1]["content"]
        assert "validateEmail" in text
        assert "getWeather" not in text
