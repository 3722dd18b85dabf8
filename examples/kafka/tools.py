"""Tools of the Kafka example. Each call is written into a diary, so that one can count what was really called."""

import asyncio
import os

from dynamicflow import ToolContext, tool


def note(context: ToolContext, name: str) -> None:
    """One line a call: who, for which step, under which key."""
    diary = os.environ.get("DEMO_DIARY")
    if diary:
        with open(diary, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {name} {context.idempotency_key}\n")


@tool(side_effect="none")
async def price(sku: str, context: ToolContext) -> dict[str, int]:
    """Looks a price up, in cents."""
    note(context, "price")
    await asyncio.sleep(0.2)
    return {"cents": 100 + len(sku)}


@tool(side_effect="non_idempotent")
async def charge(order: str, cents: int, context: ToolContext) -> dict[str, str]:
    """Takes the money. Twice would be once too often."""
    note(context, "charge")
    await asyncio.sleep(0.1)
    return {"receipt": f"{order}:{cents}"}


@tool
async def pack(order: str, context: ToolContext) -> dict[str, bool]:
    """Packs the parcel: takes its time."""
    note(context, "pack")
    await asyncio.sleep(1.5)
    return {"packed": True}
