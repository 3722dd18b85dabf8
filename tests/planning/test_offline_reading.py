"""A prompt becomes phrases: which words open a condition, a loop, a list, and which belong to the step before."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicflow.planner.offline.literals import mask
from dynamicflow.planner.offline.phrases import Do, Each, Heading, If, Keep, Phrase, Together
from dynamicflow.planner.offline.reading import read
from dynamicflow.planner.offline.words import Matcher
from tests.planning.planning_tools import (
    enrich_lead,
    get_news,
    get_stock,
    get_weather,
    notify_sales,
    score_lead,
    send_email,
    send_welcome,
    validate_email,
)

TOOLS = (
    validate_email,
    send_welcome,
    send_email,
    enrich_lead,
    score_lead,
    notify_sales,
    get_weather,
    get_news,
    get_stock,
)


def phrases(prompt: str) -> tuple[Phrase, ...]:
    masked = mask(prompt)
    matcher = Matcher({tool.id: tool for tool in TOOLS})
    return read(masked, lambda piece, before: matcher.is_step(masked.plain(piece), masked.plain(before)))


class TestSteps:
    @pytest.mark.parametrize(
        "prompt",
        [
            "Validate the email, then enrich the lead and score it.",
            "First validate the email. Then enrich the lead. Finally score it.",
            "1. Validate the email\n2. Enrich the lead\n3. Score it",
            "- validate the email\n- enrich the lead\n- score it",
            "1) Validate the email 2) Enrich the lead 3) Score it",
            "Validate the email; enrich the lead; score it",
            "Step 1: Validate the email\nStep 2: enrich the lead\nStep 3: Score it",
        ],
    )
    def test_stand_in_lists_sentences_and_after_then(self, prompt: str) -> None:
        assert [phrase.text.lower() for phrase in phrases(prompt) if isinstance(phrase, Do)] == [
            "validate the email",
            "enrich the lead",
            "score it",
        ]

    def test_a_detail_after_and_is_no_step(self) -> None:
        assert len(phrases("Send an email with the order total, the score and the weather")) == 1

    def test_a_noun_shares_the_verb_before_it(self) -> None:
        assert phrases("Get the weather and the news") == (Do("Get the weather"), Do("the news"))

    def test_a_quotation_is_never_cut(self) -> None:
        (phrase,) = phrases("Send an email with subject 'Hello, and if you like. Then go'")
        assert isinstance(phrase, Do)

    def test_what_is_to_be_made_is_no_step(self) -> None:
        made = phrases("Create an onboarding flow that validates the email and then scores the lead")
        assert made == (Do("validates the email"), Do("scores the lead"))

    def test_to_check_whether_is_no_condition(self) -> None:
        assert phrases("Check if the email is valid") == (Do("Check that the email is valid"),)

    def test_a_title_is_no_step(self) -> None:
        assert phrases("Onboarding:\n- validate the email") == (Heading("Onboarding"), Do("validate the email"))


class TestConditions:
    @pytest.mark.parametrize(
        "prompt",
        [
            "If it is valid, send a welcome email, otherwise enrich the lead",
            "If it is valid then send a welcome email else enrich the lead",
            "If it is valid send a welcome email. Otherwise, enrich the lead.",
            "Send a welcome email if it is valid, otherwise enrich the lead",
            "- If it is valid, send a welcome email\n- Otherwise: enrich the lead",
            "If it is valid:\n  - send a welcome email\nOtherwise:\n  - enrich the lead",
        ],
    )
    def test_with_an_else_in_every_order(self, prompt: str) -> None:
        (phrase,) = phrases(prompt)
        assert isinstance(phrase, If)
        then, otherwise = phrase.then, phrase.otherwise
        assert (phrase.condition, len(then), len(otherwise)) == ("it is valid", 1, 1)
        assert isinstance(then[0], Do)
        assert then[0].text.lower() == "send a welcome email"
        assert otherwise == (Do("enrich the lead"),)

    def test_behind_a_list_governs_its_last_step_only(self) -> None:
        before, after = phrases("Validate the email and send a welcome email only if valid")
        assert before == Do("Validate the email")
        assert after == If("valid", (Do("send a welcome email"),))

    def test_does_not_swallow_the_step_that_follows(self) -> None:
        assert [type(phrase) for phrase in phrases("Send a welcome email if valid, and score the lead")] == [If, Do]

    def test_unless_is_its_opposite(self) -> None:
        (phrase,) = phrases("Unless it is valid, score the lead")
        assert isinstance(phrase, If)
        assert phrase.negated


class TestLoops:
    @pytest.mark.parametrize(
        "prompt",
        [
            "For each lead in the list, enrich it and score it, at most 5 at a time",
            "For each lead: enrich it, then score it. Use a concurrency of 5.",
            "For every lead, enrich the lead. Score it. Process five at a time.",
            "For each lead (concurrency 5):\n 1. enrich the lead\n 2. score the lead",
            "With a concurrency of 5, for each lead enrich it and score it",
        ],
    )
    def test_hold_the_steps_about_their_element_and_a_pace(self, prompt: str) -> None:
        (phrase,) = phrases(prompt)
        assert isinstance(phrase, Each)
        assert (phrase.noun, len(phrase.body), phrase.concurrency) == ("lead", 2, 5)

    @pytest.mark.parametrize("prompt", ["Go over the leads and score each one", "Score all leads, 5 at a time"])
    def test_may_be_said_otherwise(self, prompt: str) -> None:
        (phrase,) = phrases(prompt)
        assert isinstance(phrase, Each)
        assert phrase.noun == "lead"

    def test_end_where_something_else_begins(self) -> None:
        loop, after = phrases("For each lead, score it. Then notify the sales team.")
        assert isinstance(loop, Each)
        assert after == Do("notify the sales team")

    def test_may_be_one_word(self) -> None:
        assert phrases("Score every lead") == (Each("lead", "", (Do("Score the lead"),)),)

    def test_what_is_kept_has_a_condition(self) -> None:
        kept, after = phrases("Keep only the leads with a score above 0.7 and notify the sales team")
        assert isinstance(kept, Keep)
        assert (kept.noun, kept.condition, kept.dropped) == ("leads", "a score above 0.7", False)
        assert after == Do("notify the sales team")


class TestAtTheSameTime:
    @pytest.mark.parametrize(
        "prompt",
        [
            "Get the weather and the news in parallel",
            "In parallel, get the weather and the news",
            "At the same time:\n- get the weather\n- the news",
        ],
    )
    def test_holds_every_step_of_the_list(self, prompt: str) -> None:
        (phrase,) = [phrase for phrase in phrases(prompt) if not isinstance(phrase, Heading)]
        assert isinstance(phrase, Together)
        assert len(phrase.parts) == 2


class TestAnyText:
    @given(
        st.lists(
            st.sampled_from(
                "for each lead , . : \n - 1. if it is valid otherwise score and then 'a' {b: 1} in parallel 5".split(
                    " "
                )
            ),
            max_size=40,
        )
    )
    def test_is_read_or_refused(self, words: list[str]) -> None:
        assert isinstance(phrases(" ".join(words)), tuple)

    @pytest.mark.parametrize(
        "word", ["a ", "if ", "for each x ", "x,", "{ ", "' ", "\n- a", "with with ", "retry ", "\ue000"]
    )
    def test_takes_bounded_time(self, word: str) -> None:
        before = time.perf_counter()
        try:
            phrases((word * 5000)[:5000])
        except ValueError:
            pass  # nested beyond what is read
        assert time.perf_counter() - before < 5
