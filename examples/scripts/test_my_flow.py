"""How to test a flow of one's own: in memory, on a clock that jumps. A wait of a day takes no time."""

import asyncio
from datetime import timedelta
from typing import Any

from dynamicflow import Engine, VirtualClock, tool

PLAN = {
    "version": "1.0",
    "nodes": [
        {"id": "invoice", "type": "tool", "toolId": "send_invoice", "inputs": {"customer": "$input.customer"}},
        {"id": "a_day", "type": "wait", "duration": "1d"},
        {"id": "paid", "type": "tool", "toolId": "is_paid", "inputs": {"customer": "$input.customer"}},
        {
            "id": "remind",
            "type": "conditional",
            "condition": "!$paid",
            "ifTrue": [{"id": "r", "type": "tool", "toolId": "remind", "inputs": {"customer": "$input.customer"}}],
        },
    ],
    "edges": [
        {"from": "invoice", "to": "a_day"},
        {"from": "a_day", "to": "paid"},
    ],
    "output": "$remind",
}


def run(customer: str, *, pays: bool) -> tuple[dict[str, Any], list[str], timedelta]:
    """The result, what was sent, and how long it took on the flow's clock. The tools are doubles that take notes."""
    sent: list[str] = []

    @tool
    def send_invoice(customer: str) -> str:
        sent.append(f"invoice to {customer}")
        return customer

    @tool
    def is_paid(customer: str) -> bool:
        return pays

    @tool
    def remind(customer: str) -> str:
        sent.append(f"reminder to {customer}")
        return "reminded"

    async def drive() -> tuple[dict[str, Any], timedelta]:
        clock = VirtualClock()
        begun = clock.now
        async with Engine.in_memory(tools=[send_invoice, is_paid, remind], clock=clock) as engine:
            result = await (await engine.start(PLAN, input={"customer": customer})).result()
        return result, clock.now - begun

    result, took = asyncio.run(drive())
    return result, sent, took


class TestAReminderGoesOutAfterADay:
    def test_to_those_who_have_not_paid(self) -> None:
        result, sent, took = run("ada", pays=False)

        assert (result["status"], result["output"]) == ("completed", "reminded")
        assert sent == ["invoice to ada", "reminder to ada"]
        assert took >= timedelta(days=1)

    def test_not_to_those_who_have(self) -> None:
        result, sent, _ = run("ada", pays=True)

        assert (result["status"], result["output"]) == ("completed", None)
        assert sent == ["invoice to ada"]
