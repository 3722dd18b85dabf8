"""Tools of everyday scenarios as specs: what a planner sees of them."""

from __future__ import annotations

from typing import Any

from dynamicflow.planner.request import PlanRequest
from dynamicflow.tools.spec import ToolSpec
from dynamicflow.values import Json

_KINDS = {"s": "string", "n": "number", "i": "integer", "b": "boolean", "o": "object"}


def record(required: str = "", **fields: Json) -> dict[str, Json]:
    """An object schema; a letter is a plain type, a string in ``required`` names the fields that must be there."""
    properties = {name: {"type": _KINDS[kind]} if isinstance(kind, str) else kind for name, kind in fields.items()}
    return {"type": "object", "properties": properties, "required": required.split()}


def listed(items: Json) -> dict[str, Json]:
    """A list schema."""
    return {"type": "array", "items": {"type": _KINDS[items]} if isinstance(items, str) else items}


def spec(
    tool_id: str, description: str, inputs: dict[str, Json], outputs: dict[str, Json] | None, **more: Any
) -> ToolSpec:
    """A tool as a planner sees it."""
    return ToolSpec(
        id=tool_id, name=tool_id, description=description, input_schema=inputs, output_schema=outputs, **more
    )


def asked(prompt: str, *tools: ToolSpec, **more: Any) -> PlanRequest:
    """A request with these tools."""
    return PlanRequest(prompt=prompt, tools={tool.id: tool for tool in tools}, **more)


validate_email = spec(
    "validateEmail",
    "Validates an email address",
    record("email", email="s"),
    record("valid", valid="b", reason="s"),
)
send_welcome = spec(
    "sendWelcomeEmail",
    "Sends a welcome email to a new user",
    record("email", email="s", name="s"),
    record("sent messageId", sent="b", messageId="s"),
    side_effect="non_idempotent",
)
line = record("sku quantity", sku="s", quantity="i")
validate_order = spec(
    "validateOrder",
    "Validates an order and its items",
    record("orderId items", orderId="s", items=listed(line)),
    record(
        "valid orderId total customer",
        valid="b",
        orderId="s",
        total="n",
        customer=record("id email", id="s", email="s"),
    ),
)
check_inventory = spec(
    "checkInventory",
    "Checks that all items are in stock",
    record("items", items=listed(line)),
    record("available", available="b", reservationId="s"),
)
process_payment = spec(
    "processPayment",
    "Processes the payment of an order",
    record(
        "payment",
        payment=record(
            "orderId total customer", orderId="s", total="n", customer=record("id email", id="s", email="s")
        ),
    ),
    record("paymentId status", paymentId="s", status="s"),
    side_effect="non_idempotent",
)
lookup_user = spec(
    "lookupUser",
    "Looks up a user by id",
    record("userId", userId="s"),
    record("id name email", id="s", name="s", email="s"),
    side_effect="none",
)
send_email = spec(
    "sendEmail",
    "Sends an email",
    record("to recipientName", to="s", recipientName="s", subject="s"),
    record("messageId", messageId="s"),
    side_effect="non_idempotent",
)
get_order = spec(
    "getOrder",
    "Fetches an order",
    record("orderId", orderId="s"),
    record("id items address", id="s", items=listed(record("weight length", weight="n", length="n")), address="s"),
)
create_shipment = spec(
    "createShipment",
    "Creates a shipment",
    record("weight longest address", weight="n", longest="n", address="s", carrier="s"),
    record("trackingNumber", trackingNumber="s"),
)
lead = record("name company", name="s", company="s", email="s")
enrich_lead = spec(
    "enrichLead",
    "Adds company data to a lead",
    record("lead", lead=lead),
    record("name company employees", name="s", company="s", employees="i"),
)
score_lead = spec(
    "scoreLead",
    "Scores a lead between 0 and 1",
    record("lead", lead=record("name company", name="s", company="s")),
    record("name score qualified", name="s", score="n", qualified="b"),
)
notify_sales = spec(
    "notifySales",
    "Tells the sales team about qualified leads",
    record("leads", leads=listed(record("name score", name="s", score="n"))),
    record("notified", notified="i"),
)
get_weather = spec(
    "getWeather", "The weather in a city", record("city", city="s"), record("temperature", temperature="n")
)
get_news = spec("getNews", "The news of a city", record("city", city="s"), record("headlines", headlines=listed("s")))
get_stock = spec("getStockPrice", "The price of a stock", record("symbol", symbol="s"), record("price", price="n"))
