"""Tools of the shipping example. Weights are in grams, lengths in millimetres."""

from typing_extensions import TypedDict

from dynamicflow import ToolFailed, tool


class Address(TypedDict):
    """Where a customer lives."""

    street: str
    city: str
    postcode: str
    country: str


class Item(TypedDict):
    """One line of an order."""

    sku: str
    quantity: int
    grams: int
    longest: int


class Order(TypedDict):
    """As the shop keeps it."""

    id: str
    customer: str
    address: Address
    items: list[Item]


class Parcel(TypedDict):
    """One box."""

    grams: int
    longest: int


class Shipment(TypedDict):
    """As the carrier answers."""

    tracking: str
    label: str
    service: str
    contents: list[str]


ORDERS: dict[str, Order] = {
    "order-42": {
        "id": "order-42",
        "customer": "Ada Lovelace",
        "address": {"street": "12 St James's Square", "city": "London", "postcode": "SW1Y 4JH", "country": "UK"},
        "items": [
            {"sku": "pen", "quantity": 4, "grams": 15, "longest": 140},
            {"sku": "lamp", "quantity": 1, "grams": 1250, "longest": 410},
            {"sku": "notebook", "quantity": 2, "grams": 300, "longest": 210},
        ],
    }
}


@tool(category="order-processing", side_effect="none")
def get_order(order_id: str) -> Order:
    """Get an order by id."""
    if order_id not in ORDERS:
        raise ToolFailed(f"there is no order {order_id}", retryable=False)
    return ORDERS[order_id]


@tool(category="logistics")
def create_shipment(
    reference: str, recipient: str, address: str, parcels: list[Parcel], contents: list[str], insured: bool = False
) -> Shipment:
    """Create a shipment: parcels to a recipient at an address on one line."""
    heavy = any(parcel["grams"] > 2000 or parcel["longest"] > 1000 for parcel in parcels)
    service = ("freight" if heavy else "parcel") + ("-insured" if insured else "")
    grams = sum(parcel["grams"] for parcel in parcels)
    return {
        "tracking": f"{reference}-{grams}",
        "label": f"{recipient}, {address}",
        "service": service,
        "contents": contents,
    }
