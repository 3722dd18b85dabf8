"""Tools of the orders example: check an order, look for stock, take the money. Prices are in cents."""

from typing_extensions import TypedDict

from dynamicflow import ToolContext, ToolFailed, tool

PRICES = {"pen": 250, "notebook": 700, "lamp": 4900}
STOCK = {"pen": 100, "notebook": 20, "lamp": 0}


class Item(TypedDict):
    """One line of an order."""

    sku: str
    quantity: int


class Customer(TypedDict):
    """Who pays."""

    id: str
    email: str


class Order(TypedDict):
    """What is bought, and by whom."""

    orderId: str
    customer: Customer
    items: list[Item]


class Validated(TypedDict):
    """An order with a price on it."""

    orderId: str
    items: list[Item]
    total: int


class Stock(TypedDict):
    """Whether everything is there; ``missing`` names what is not."""

    available: bool
    missing: list[str]


class Payment(TypedDict):
    """Money taken."""

    orderId: str
    charged: int
    reference: str


@tool(id="validateOrder", category="order-processing", side_effect="none")
def validate_order(order: Order) -> Validated:
    """Validate an order. Returns its id, its items and the total to pay in cents."""
    unknown = [item["sku"] for item in order["items"] if item["sku"] not in PRICES]
    if unknown:
        raise ToolFailed(f"not for sale: {', '.join(unknown)}", retryable=False)
    total = sum(PRICES[item["sku"]] * item["quantity"] for item in order["items"])
    return {"orderId": order["orderId"], "items": order["items"], "total": total}


@tool(id="checkInventory", category="inventory", side_effect="none")
def check_inventory(items: list[Item]) -> Stock:
    """Check the inventory for items. Returns whether all are available, and those that are missing."""
    missing = [item["sku"] for item in items if STOCK.get(item["sku"], 0) < item["quantity"]]
    return {"available": not missing, "missing": missing}


@tool(id="processPayment", category="financial-services", side_effect="non_idempotent")
def process_payment(orderId: str, total: int, customer: Customer, context: ToolContext) -> Payment:
    """Process the payment of an order. Takes the total in cents from the customer; returns a reference."""
    return {"orderId": orderId, "charged": total, "reference": f"{customer['id']}:{context.node_id}:{orderId}"}
