"""A model's text becomes a JSON object or a reason; nothing inside a string is ever touched."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicflow.planner.answer import read_answer, strip_comments

PLAN = {"version": "1.0", "nodes": [{"id": "a", "type": "value", "value": "https://a.b // c /* d */ {"}]}
TEXT = json.dumps(PLAN)


class TestTheObjectIsFound:
    @pytest.mark.parametrize(
        "text",
        [
            TEXT,
            f"  {TEXT}\n",
            f"Here is the plan:\n```json\n{TEXT}\n```\nDone {{really}}.",
            f"```\n{TEXT}\n```",
            f"The {{names}} are kept. {TEXT} That is all.",
            f"<think>maybe {{}} or {{'a': 1}}?</think>{TEXT}",
            f'For the input {{"a": 1}} this will do: {TEXT}',
            json.dumps({"plan": PLAN}),
        ],
        ids=["alone", "blanks", "fenced", "bare fence", "in prose", "thinking", "after another object", "wrapped"],
    )
    def test_in_every_wrapping(self, text: str) -> None:
        assert read_answer(text).plan == PLAN

    def test_comments_are_stripped_outside_strings_only(self) -> None:
        text = '{"nodes": [ // the first\n{"id": "a", "value": "https://a.b // c"} /* no more */ ]}'
        assert read_answer(text).plan == {"nodes": [{"id": "a", "value": "https://a.b // c"}]}

    def test_a_fence_inside_a_string_is_text(self) -> None:
        plan = {"nodes": [{"prompt": "```js\n{}\n```"}]}
        assert read_answer(json.dumps(plan, indent=1)).plan == plan

    @given(st.text())
    def test_a_string_survives_whatever_it_holds(self, text: str) -> None:
        plan = {"nodes": [text]}
        assert read_answer(f"Sure!\n{json.dumps(plan)} // done").plan == plan

    @given(st.text(alphabet='"\\/*\n a'))
    def test_stripping_keeps_strings(self, text: str) -> None:
        assert json.loads(strip_comments(json.dumps(text) + " // end")) == text


class TestQuestions:
    def test_instead_of_a_plan_are_a_result(self) -> None:
        answer = read_answer('{"questions": ["Which customer?", ""]}')
        assert (answer.plan, answer.questions) == (None, ("Which customer?",))

    def test_beside_a_plan_are_left_to_the_check(self) -> None:
        assert read_answer('{"nodes": [], "questions": ["x"]}').plan == {"nodes": [], "questions": ["x"]}


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "no JSON object"),
            ("I cannot do that.", "no JSON object"),
            ('{"nodes": [{"id": "a"}, {"id": "b"', "no JSON object"),
            ('{"nodes": [{"id": "a"},]}', "line 1"),
            ('{"nodes": [], "nodes": []}', "twice"),
            ('{"nodes": [NaN]}', "NaN"),
            ('{"nodes": "\\ud800"}', "surrogate"),
            ('{"nodes": ' + "[" * 300 + "]" * 300 + "}", "nested"),
            ("[1, 2]", "no JSON object"),
        ],
    )
    def test_is_one_problem_with_a_reason(self, text: str, words: str) -> None:
        answer = read_answer(text)
        assert answer.plan is None
        assert answer.problem is not None
        assert answer.problem.code == "INVALID_JSON"
        assert words in answer.problem.message

    def test_a_part_of_a_broken_plan_is_no_plan(self) -> None:
        assert read_answer('{"nodes": [{"nodes": [1]}, oops]}').plan is None

    def test_an_answer_beyond_a_plans_size_is_not_read(self) -> None:
        problem = read_answer("{" + " " * (6 * 1024 * 1024)).problem
        assert problem is not None
        assert problem.code == "PLAN_TOO_LARGE"

    @pytest.mark.parametrize(
        "text", ["{" * 200_000, '{"' * 100_000, " " * 400_000, "```\n" * 50_000, "{}" * 100_000, "/*{" * 99_999]
    )
    def test_takes_linear_time(self, text: str) -> None:
        before = time.perf_counter()
        read_answer(text)
        assert time.perf_counter() - before < 2

    @given(st.text(alphabet='{}[]":,/*\\`\n ajson1'))
    def test_raises_nothing(self, text: str) -> None:
        answer = read_answer(text)
        assert answer.plan is not None or answer.problem is not None or answer.questions
