"""Without a model: which tool a step means, where its arguments come from, and what is asked instead of guessed."""

from __future__ import annotations

from typing import Any

import pytest

from dynamicflow.planner.offline import plan_offline, relevant_tools
from dynamicflow.planner.offline.literals import mask, relaxed
from dynamicflow.planner.offline.words import Matcher, stem
from dynamicflow.planner.options import Options
from dynamicflow.tools.joins import Join
from dynamicflow.tools.spec import ToolSpec
from dynamicflow.values import Json
from tests.planning.planning_tools import (
    asked,
    check_inventory,
    get_order,
    get_weather,
    listed,
    lookup_user,
    process_payment,
    record,
    score_lead,
    send_email,
    send_welcome,
    spec,
    validate_email,
    validate_order,
)


def plan(prompt: str, *tools: ToolSpec, **more: Any) -> dict[str, Any]:
    proposal = plan_offline(asked(prompt, *tools, **more))
    assert proposal.questions == ()
    assert proposal.plan is not None
    return proposal.plan


def questions(prompt: str, *tools: ToolSpec, **more: Any) -> str:
    proposal = plan_offline(asked(prompt, *tools, **more))
    assert proposal.plan is None
    return "\n".join(proposal.questions)


def inputs(prompt: str, *tools: ToolSpec, **more: Any) -> Json:
    """Of the last step."""
    return plan(prompt, *tools, **more)["nodes"][-1]["inputs"]


class TestAToolIsMeant:
    ALL = (validate_email, send_welcome, validate_order, check_inventory, process_payment, lookup_user, get_weather)

    @pytest.mark.parametrize(
        ("clause", "tool"),
        [
            ("validate the customer's email address", "validateEmail"),
            ("email validation", "validateEmail"),
            ("verify the order", "validateOrder"),
            ("make sure to check that everything is in stock", "checkInventory"),
            ("send them a welcome message", "sendWelcomeEmail"),
            ("look up the user", "lookupUser"),
            ("find the user by id", "lookupUser"),
            ("process the payment", "processPayment"),
            ("use lookupUser", "lookupUser"),
            ("what is the weather", "getWeather"),
        ],
    )
    def test_by_its_words(self, clause: str, tool: str) -> None:
        match = Matcher({one.id: one for one in self.ALL}).best(clause)
        assert match is not None
        assert match.tool.id == tool

    @pytest.mark.parametrize(
        "clause", ["delete the user", "check the credit", "make me a sandwich", "send a fax", "the", ""]
    )
    def test_never_by_half_of_them(self, clause: str) -> None:
        assert Matcher({one.id: one for one in self.ALL}).best(clause) is None

    def test_two_that_fit_alike_are_asked_about(self) -> None:
        twins = [spec(f"sendEmail{letter}", "", record(), record()) for letter in "XY"]
        assert "sendEmailX or sendEmailY" in questions("send email", *twins)

    def test_a_step_that_no_tool_does_is_asked_about(self) -> None:
        assert "“delete the account”" in questions("Validate the email and delete the account", validate_email)

    @pytest.mark.parametrize(
        ("clause", "tool"),
        [
            ("validate the user's email", "email-validator"),
            ("scrape the page", "web-scraper"),
            ("analyze its sentiment", "sentiment-analysis"),
            ("search the corpus for papers", "corpus:search"),
        ],
    )
    def test_whose_id_is_a_noun(self, clause: str, tool: str) -> None:
        named = {
            "email-validator": "Validates an email address",
            "web-scraper": "Scrapes the text of a web page",
            "sentiment-analysis": "Says how a text feels",
            "corpus:search": "Searches papers",
        }
        match = Matcher({name: spec(name, words, record(), record()) for name, words in named.items()}).best(clause)
        assert match is not None
        assert match.tool.id == tool

    def test_forms_of_a_word_are_one(self) -> None:
        assert len({stem(word) for word in ("validate", "validates", "validated", "validation", "validator")}) == 1
        assert stem("processes") == stem("process") != stem("proceed")


class TestArgumentsComeFrom:
    def test_an_earlier_step_before_the_input(self) -> None:
        normalise = spec("normalizeEmail", "", record("email", email="s"), record("email", email="s"))
        got = inputs(
            "Normalize the email, then validate the email", normalise, validate_email, input={"email": "A@B.c"}
        )
        assert got == {"email": "$normalize_email.email"}

    def test_a_field_of_another_spelling(self) -> None:
        assert inputs("Look up the user", lookup_user, input={"user_id": "u"}) == {"userId": "$input.user_id"}

    def test_a_field_one_level_down(self) -> None:
        assert inputs("Look up the user", lookup_user, input={"user": {"id": "u"}}) == {"userId": "$input.user.id"}

    def test_a_usual_other_name_in_the_input(self) -> None:
        got = inputs("Send an email", send_email, input={"email": "a@b.c", "name": "Ann"})
        assert got == {"to": "$input.email", "recipientName": "$input.name"}

    def test_parts_that_make_an_object(self) -> None:
        got = inputs("Validate the order, then process the payment", validate_order, process_payment)
        assert got == {
            "payment": {
                "orderId": "$validate_order.orderId",
                "total": "$validate_order.total",
                "customer": "$validate_order.customer",
            }
        }

    def test_the_whole_thing_that_a_step_fetched(self) -> None:
        ship = spec("shipOrder", "Ships an order", record("order", order="o"), record())
        assert inputs("Get the order and ship it", get_order, ship) == {"order": "$get_order"}

    def test_not_from_what_only_checked_it(self) -> None:
        ship = spec("shipOrder", "Ships an order", record("order", order="o"), record())
        assert inputs("Validate the order and ship the order", validate_order, ship) == {"order": "$input.order"}

    def test_an_input_of_unknown_form_and_says_so(self) -> None:
        made = plan("Look up the user", lookup_user)
        assert made["nodes"][0]["inputs"] == {"userId": "$input.userId"}
        assert made["assumptions"] == ["$input.userId is there, for lookupUser.userId"]

    def test_optional_fields_only_where_they_have_a_namesake(self) -> None:
        given = {"email": "a@b.c"}
        assert inputs("Send a welcome email", send_welcome, input=given) == {"email": "$input.email"}
        assert inputs("Send a welcome email", send_welcome, input={**given, "name": "A"})["name"] == "$input.name"


class TestConstantsOfThePrompt:
    mail = spec(
        "sendEmail",
        "Sends an email",
        record("to subject", to="s", subject="s", body="s", copies="i", urgent="b", kind={"enum": ["plain", "html"]}),
        record(),
    )

    @pytest.mark.parametrize(
        ("words", "field", "value"),
        [
            ("with subject 'Hi, and bye'", "subject", "Hi, and bye"),
            ('with the subject: "It\'s"', "subject", "It's"),
            ("with subject “Hi” and body 'Bye'", "body", "Bye"),
            ("with 'Hi' as the subject", "subject", "Hi"),
            ("with subject 'Hi', copies 3", "copies", 3),
            ("with subject 'Hi', urgent true", "urgent", True),
            ("with subject 'Hi' of kind html", "kind", "html"),
            ("with subject 'costs $19.99 or ${x} or $name'", "subject", "costs $19.99 or $${x} or $$name"),
        ],
    )
    def test_go_to_the_field_beside_them(self, words: str, field: str, value: Json) -> None:
        assert inputs(f"Send an email to 'a@b.c' {words}", self.mail)[field] == value

    def test_an_address_goes_to_a_field_for_addresses(self) -> None:
        assert inputs("Send an email to a.b@c.de with subject 'x'", self.mail)["to"] == "a.b@c.de"
        page = spec("fetchPage", "Fetches a web page", record("url", url="s"), record())
        assert inputs("Fetch the page https://a.b/c?d=e.", page) == {"url": "https://a.b/c?d=e"}

    def test_an_id_stands_behind_its_thing(self) -> None:
        assert inputs("Look up user 42", lookup_user) == {"userId": "42"}

    def test_the_only_one_goes_to_the_only_open_field(self) -> None:
        search = spec("searchWeb", "Searches the web", record("query", query="s"), record())
        assert inputs("Search the web for 'kafka'", search) == {"query": "kafka"}

    def test_a_wrong_type_is_no_constant_of_a_field(self) -> None:
        assert "copies" not in inputs("Send an email to 'a@b.c' with subject 'x' and copies 'many'", self.mail)

    def test_a_tools_id_in_quotes_is_a_name(self) -> None:
        assert plan("Use 'lookupUser' for user 1", lookup_user)["nodes"][0]["toolId"] == "lookupUser"

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("{sent: false, reason: 'no'}", {"sent": False, "reason": "no"}),
            ('{"a": {"b": [1, 2.5, null]}}', {"a": {"b": [1, 2.5, None]}}),
            ("{price: '$5', to: '$name'}", {"price": "$5", "to": "$$name"}),
            ("{not an object", None),
            ("{a: {b: 1}", None),
        ],
    )
    def test_objects_are_read_as_people_write_them(self, text: str, value: Json) -> None:
        assert relaxed(text) == value

    def test_an_apostrophe_opens_no_quotation(self) -> None:
        assert mask("don't and won't").constants == ()


class TestJoins:
    join = Join("lookupUser", "sendEmail", mapping={"to": "$source.email", "recipientName": "$source.name"})

    def test_fill_what_they_are_for(self) -> None:
        assert (
            inputs("Look up user 1, then send an email", lookup_user, send_email, joins=[self.join]) == "$lookup_user"
        )

    def test_leave_room_for_a_constant(self) -> None:
        made = plan("Look up user 1, then send an email with subject 'Hi'", lookup_user, send_email, joins=[self.join])
        assert made["nodes"][-1]["inputs"] == {"subject": "Hi"}
        assert {"from": "lookup_user", "to": "send_email"} in made["edges"]

    def test_inside_a_branch_are_written_out(self) -> None:
        user = spec("lookupUser", "", record("userId", userId="s"), record("active", active="b", email="s", name="s"))
        prompt = "Look up user 1. If active, send an email with subject 'Hi'."
        (node,) = plan(prompt, user, send_email, joins=[self.join])["nodes"][-1]["ifTrue"]
        assert node["inputs"] == {"to": "$lookup_user.email", "recipientName": "$lookup_user.name", "subject": "Hi"}

    def test_are_suggested_only_where_asked_for(self) -> None:
        prompt = "Look up user 1 and send an email"
        assert "enableJoinSuggestions" in questions(prompt, lookup_user, send_email)
        (join,) = plan(prompt, lookup_user, send_email, options=Options(enable_join_suggestions=True))["joins"]
        assert join["mapping"] == {"to": "$source.email", "recipientName": "$source.name"}
        assert join["suggested"] is True


class TestConditions:
    result = spec(
        "assessRefund",
        "Assesses a refund",
        record(),
        record(eligible="b", inStock="b", amount="n", tier={"enum": ["gold", "silver"]}, note="s"),
    )

    @pytest.mark.parametrize(
        ("words", "expression"),
        [
            ("it is eligible", "$assess_refund.eligible === true"),
            ("it's not eligible", "$assess_refund.eligible === false"),
            ("the customer is ineligible", "$assess_refund.eligible === false"),
            ("it is in stock", "$assess_refund.inStock === true"),
            ("it is out of stock", "$assess_refund.inStock === false"),
            ("the amount is over $1,000", "$assess_refund.amount > 1000"),
            ("the amount is at least 0.5", "$assess_refund.amount >= 0.5"),
            ("the amount is 100 or more", "$assess_refund.amount >= 100"),
            ("amount <= 5", "$assess_refund.amount <= 5"),
            ("the amount is 5", "$assess_refund.amount == 5"),
            ("the amount is above 1 and below 9", "$assess_refund.amount > 1 && $assess_refund.amount < 9"),
            ("it is eligible or in stock", "$assess_refund.eligible === true || $assess_refund.inStock === true"),
            ("the tier is gold", "$assess_refund.tier == 'gold'"),
            ("the note is 'urgent'", "$assess_refund.note == 'urgent'"),
            ("the moon is full", None),
        ],
    )
    def test_look_at_what_was_returned_or_ask(self, words: str, expression: str | None) -> None:
        proposal = plan_offline(asked(f"Assess the refund. If {words}, return {{ok: true}}", self.result))
        if expression is None:
            assert proposal.plan is None
        else:
            assert proposal.plan is not None
            assert proposal.plan["nodes"][-1]["condition"] == expression

    def test_unless_turns_them_round(self) -> None:
        made = plan("Assess the refund. Unless it is eligible, return {ok: false}", self.result)
        assert made["nodes"][-1]["condition"] == "$assess_refund.eligible === false"

    def test_a_failure_is_an_error_handler(self) -> None:
        (node,) = plan("Assess the refund. If it fails, return {ok: false}", self.result)["nodes"]
        assert node["onError"]["nodes"][0]["value"] == {"ok": False}

    def test_a_retry_and_an_approval_are_of_the_step(self) -> None:
        (node,) = plan("Assess the refund after manager approval. Retry up to 3 times.", self.result)["nodes"]
        assert (node["approval"], node["retry"]) == (True, {"maxAttempts": 4})


class TestItIsHonest:
    def test_a_known_input_without_the_field_is_asked_about(self) -> None:
        assert "Where does lookupUser get `userId` (string)" in questions(
            "Look up the user", lookup_user, input={"x": 1}
        )

    def test_a_field_of_the_wrong_type_is_asked_about(self) -> None:
        count = spec("countUsers", "Counts users", record(), record("userId", userId="i"))
        assert "has another type" in questions("Count users, then look up the user", count, lookup_user)

    def test_every_question_is_asked_at_once(self) -> None:
        text = questions("Look up the user, delete it and send an email", lookup_user, send_email, input={})
        assert text.count("?") >= 4

    def test_a_list_that_is_not_there_is_asked_about(self) -> None:
        assert "each lead" in questions("Score each lead", score_lead, input={"people": [], "places": []})

    def test_the_plan_says_why_and_that_no_model_was_asked(self) -> None:
        made = plan("Validate the email", validate_email, model="gpt-4o")
        assert "without a model" in made["rationale"]
        assert "validateEmail: for “Validate the email”" in made["rationale"]
        assert "although gpt-4o is named" in made["assumptions"][0]

    def test_the_same_request_gives_the_same_plan(self) -> None:
        once, again = (
            plan("Validate the email, then send a welcome email", validate_email, send_welcome) for _ in range(2)
        )
        assert once == again

    @pytest.mark.parametrize("prompt", ["", " \n", "x" * 6000, "if " * 100, "\ud800", "{" * 100, "\ue0009\ue001"])
    def test_a_prompt_that_says_nothing_is_a_question(self, prompt: str) -> None:
        assert questions(prompt, validate_email)

    def test_no_tools_is_a_question(self) -> None:
        assert "tools" in questions("Validate the email")


class TestSchemas:
    def test_references_and_nulls_are_read_through(self) -> None:
        schema = {
            "type": "object",
            "properties": {"user": {"anyOf": [{"$ref": "#/$defs/User"}, {"type": "null"}]}},
            "required": ["user"],
            "$defs": {"User": record("email", email="s")},
        }
        greet = spec("greetUser", "Greets a user", schema, record())
        assert inputs("Look up user 1 and greet the user", lookup_user, greet) == {
            "user": {"email": "$lookup_user.email"}
        }

    @pytest.mark.parametrize(
        "schema",
        [
            {},
            {"$ref": "#"},
            {"$ref": "#/$defs/none"},
            {"anyOf": [{"$ref": "#"}]},
            {"type": 3, "properties": [], "required": 1},
            {"type": "object", "properties": {"a": True}, "required": ["a", 1, "b"]},
        ],
    )
    def test_odd_ones_stop_nothing(self, schema: dict[str, Json]) -> None:
        odd = spec("doOdd", "Does odd things", schema, schema)
        assert plan_offline(asked("Do odd, then do odd things for each thing", odd)).final

    def test_lists_are_found_by_what_they_hold(self) -> None:
        search = spec(
            "searchLeads",
            "Searches leads",
            record(),
            record("results", results=listed(record("name", name="s", company="s"))),
        )
        node = plan("Search leads, then score each lead", search, score_lead)["nodes"][-1]
        assert node["over"] == "$search_leads.results"


class TestRelevantTools:
    def test_are_those_whose_words_occur_and_their_partners(self) -> None:
        join = Join("lookupUser", "sendEmail", mapping={"to": "$source.email"})
        request = asked("Look up the user", lookup_user, send_email, get_weather, joins=[join])
        assert list(relevant_tools(request)) == ["lookupUser", "sendEmail"]

    def test_are_all_where_none_does(self) -> None:
        assert len(relevant_tools(asked("???", lookup_user, get_weather))) == 2
