"""Everyday scenarios, said as people say them, become valid and sensible plans without a model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicflow.errors import PlanningFailed
from dynamicflow.planner.offline import OfflinePlanner
from dynamicflow.planner.options import Options
from dynamicflow.planner.planning import Planned, make_plan
from dynamicflow.planner.request import PlanRequest
from dynamicflow.tools.joins import Join
from dynamicflow.values import Json
from tests.planning.planning_tools import (
    asked,
    check_inventory,
    create_shipment,
    enrich_lead,
    get_news,
    get_order,
    get_stock,
    get_weather,
    lookup_user,
    notify_sales,
    process_payment,
    record,
    score_lead,
    send_email,
    send_welcome,
    spec,
    validate_email,
    validate_order,
)


async def planned(request: PlanRequest) -> dict[str, Any]:
    made: Planned = await make_plan(request, OfflinePlanner())
    assert made.check.valid
    assert made.check.plan is not None
    return made.check.plan.to_json()


def tool(node_id: str, tool_id: str, inputs: Json) -> dict[str, Json]:
    return {"id": node_id, "type": "tool", "toolId": tool_id, "inputs": inputs}


class TestOnboarding:
    """Scenario 1."""

    @pytest.mark.parametrize(
        "prompt",
        [
            "Validate the email address. Send a welcome email only if it is valid, "
            "otherwise return {sent: false, reason: 'Invalid email'}.",
            "Onboard a new user:\n1. Validate the email\n2. If the email is valid, send the welcome email\n"
            '3. Otherwise return {"sent": false, "reason": "Invalid email"}',
            "When a user signs up, validate their email and, if it is valid, send them a welcome message. "
            "If not, return sent false with reason 'Invalid email'.",
            "Validate the email; unless it is valid return sent: false, reason: 'Invalid email', "
            "otherwise send a welcome email",
        ],
    )
    async def test_a_welcome_is_sent_only_to_a_valid_address(self, prompt: str) -> None:
        plan = await planned(asked(prompt, validate_email, send_welcome, input={"email": "a@b.c", "name": "Ann"}))
        check, decide = plan["nodes"]
        assert check == tool("validate_email", "validateEmail", {"email": "$input.email"})
        sends = tool("send_welcome_email", "sendWelcomeEmail", {"email": "$input.email", "name": "$input.name"})
        refuses = {"id": "result", "type": "value", "value": {"sent": False, "reason": "Invalid email"}}
        turned = decide["condition"] == "$validate_email.valid === false"
        assert turned or decide["condition"] == "$validate_email.valid === true"
        assert [decide["ifTrue"], decide["ifFalse"]] == ([[refuses], [sends]] if turned else [[sends], [refuses]])


class TestOrder:
    """Scenario 7."""

    @pytest.mark.parametrize(
        "prompt",
        [
            "Validate the order, check the inventory and process the payment",
            "1. Validate the order\n2. Check that all items are in stock\n3. Process the payment",
            "First validate the order. Then check inventory. Finally, process the payment for the order.",
        ],
    )
    async def test_runs_in_order_with_nested_inputs(self, prompt: str) -> None:
        plan = await planned(asked(prompt, validate_order, check_inventory, process_payment))
        payment = {
            "orderId": "$validate_order.orderId",
            "total": "$validate_order.total",
            "customer": "$validate_order.customer",
        }
        assert plan["nodes"] == [
            tool("validate_order", "validateOrder", {"orderId": "$input.orderId", "items": "$input.items"}),
            tool("check_inventory", "checkInventory", {"items": "$input.items"}),
            tool("process_payment", "processPayment", {"payment": payment}),
        ]
        assert [(edge["from"], edge["to"]) for edge in plan["edges"]] == [
            ("validate_order", "check_inventory"),
            ("check_inventory", "process_payment"),
        ]

    async def test_stops_where_a_condition_says_so(self) -> None:
        prompt = "Validate the order. If it is valid, check the inventory, and if available process the payment."
        plan = await planned(asked(prompt, validate_order, check_inventory, process_payment))
        outer = plan["nodes"][1]
        inner = outer["ifTrue"][1]
        assert outer["condition"] == "$validate_order.valid === true"
        assert inner["condition"] == "$check_inventory.available === true"
        assert inner["ifTrue"][0]["toolId"] == "processPayment"


class TestLookupAndEmail:
    """Scenario 8."""

    prompt = "Look up the user by id, then send an email to them"

    async def test_through_a_join(self) -> None:
        def decode(user: dict[str, str]) -> dict[str, str]:
            return {"to": user["email"], "recipientName": user["name"]}

        plan = await planned(
            asked(self.prompt, lookup_user, send_email, joins=[Join("lookupUser", "sendEmail", decode)])
        )
        assert plan["nodes"] == [
            tool("lookup_user", "lookupUser", {"userId": "$input.userId"}),
            tool("send_email", "sendEmail", "$lookup_user"),
        ]

    async def test_through_a_suggested_join(self) -> None:
        options = Options(enable_join_suggestions=True)
        plan = await planned(asked(self.prompt, lookup_user, send_email, options=options))
        (join,) = plan["joins"]
        assert (join["fromTool"], join["toTool"], join["suggested"]) == ("lookupUser", "sendEmail", True)
        assert join["mapping"] == {"to": "$source.email", "recipientName": "$source.name"}


class TestShipping:
    """Scenario 9."""

    async def test_sums_and_maxima_stay_in_the_join(self) -> None:
        mapping = {
            "weight": "${sum($source.items, $item.weight)}",
            "longest": "${max($source.items[*].length)}",
            "address": "$source.address",
        }
        join = Join("getOrder", "createShipment", mapping=mapping)
        prompt = "Get the order and create a shipment for it with carrier 'DHL'"
        plan = await planned(asked(prompt, get_order, create_shipment, joins=[join]))
        assert plan["nodes"][1] == tool("create_shipment", "createShipment", {"carrier": "DHL"})
        assert plan["edges"] == [{"from": "get_order", "to": "create_shipment"}]


class TestLeads:
    """Scenario 10."""

    prompt = (
        "For each lead in the list, enrich the lead and score it, at most 5 at a time. "
        "Then keep only the leads with a score above 0.7 and tell the sales team about them."
    )

    @pytest.mark.parametrize(
        "given", [{}, {"input": {"leads": [{"name": "Ann", "company": "Acme"}]}}], ids=["unknown", "known"]
    )
    async def test_a_list_is_mapped_filtered_and_passed_on(self, given: Any) -> None:
        plan = await planned(asked(self.prompt, enrich_lead, score_lead, notify_sales, **given))
        each, keep, notify = plan["nodes"]
        assert (each["type"], each["over"], each["concurrency"]) == ("map", "$input.leads", 5)
        assert [node["toolId"] for node in each["body"]] == ["enrichLead", "scoreLead"]
        assert each["body"][0]["inputs"] == {"lead": "$item"}
        assert each["body"][1]["inputs"] == {"lead": {"name": "$enrich_lead.name", "company": "$enrich_lead.company"}}
        assert (keep["type"], keep["over"], keep["condition"]) == ("filter", "$each_lead", "$item.score > 0.7")
        assert notify["inputs"] == {"leads": "${map($keep_leads, {name: $item.name, score: $item.score})}"}

    async def test_a_condition_may_stand_inside(self) -> None:
        prompt = (
            "For each lead:\n- score it\n- if it is qualified, return {keep: true}\n- otherwise return {keep: false}"
        )
        (each,) = (await planned(asked(prompt, score_lead)))["nodes"]
        assert each["body"][1]["condition"] == "$score_lead.qualified === true"


class TestAtTheSameTime:
    async def test_steps_become_named_branches(self) -> None:
        prompt = "Get the weather, the news and the stock price in parallel"
        (node,) = (await planned(asked(prompt, get_weather, get_news, get_stock)))["nodes"]
        assert node["type"] == "parallel"
        assert list(node["branches"]) == ["get_weather", "get_news", "get_stock_price"]

    async def test_what_follows_sees_what_they_gave(self) -> None:
        prompt = "Get the weather and the news in parallel; then return the temperature and the headlines"
        plan = await planned(asked(prompt, get_weather, get_news))
        assert plan["output"] == {"temperature": "$get_weather.temperature", "headlines": "$get_news.headlines"}


class TestStepsBehindACondition:
    async def test_that_need_what_it_gives_run_where_it_did(self) -> None:
        price = spec("calculateRefund", "", record("orderId", orderId="s"), record("refundAmount", refundAmount="n"))
        refund = spec("processRefund", "", record("amount", amount="n"), record())
        prompt = "Validate the order. If it is valid, calculate the refund. Then process the refund."
        plan = await planned(asked(prompt, validate_order, price, refund))
        assert plan["nodes"][2]["inputs"] == {"amount": "$calculate_refund.refundAmount"}
        assert [(edge["from"], edge["to"]) for edge in plan["edges"]] == [
            ("validate_order", "if_valid"),
            ("calculate_refund", "process_refund"),
        ]


PIECES = (
    "validate the email",
    "send a welcome email",
    "if it is valid,",
    "otherwise",
    "return {sent: false}",
    "then",
    "and",
    ".",
    "look up user 42",
    "send an email",
    "for each lead,",
    "score it",
    "enrich the lead",
    "retry 3 times",
    "after approval",
    "keep only leads with a score above 0.7",
    "get the weather and the news in parallel",
    "validate the order",
    "\n- ",
    "process the payment",
    "if it fails,",
    "unless it is valid",
    "return the score",
    "get the stock price",
    "notify sales",
)
TOOLS = (
    validate_email, send_welcome, lookup_user, send_email, enrich_lead, score_lead, notify_sales, get_weather, get_news,
    get_stock, validate_order, process_payment,
)  # fmt: skip


class TestWhateverIsAsked:
    @given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9), st.booleans())
    async def test_the_plan_is_valid_or_there_are_questions(self, pieces: list[str], suggest: bool) -> None:
        request = asked(" ".join(pieces), *TOOLS, options=Options(enable_join_suggestions=suggest))
        try:
            made = await make_plan(request, OfflinePlanner())
        except PlanningFailed as failed:
            too_much = {problem.code for problem in failed.problems} == {"BOUND_EXCEEDED"}  # loops in loops in loops
            assert failed.questions or too_much, failed
        else:
            assert made.check.valid


class TestThePlanSays:
    async def test_who_made_it_from_what(self) -> None:
        plan = await planned(asked("Validate the email", validate_email))
        assert plan["metadata"] == {
            "name": "Validate the email",
            "description": "Validate the email",
            "generated": True,
            "source": "offline",
        }
        assert "without a model" in plan["rationale"]
