"""The tools of ``dynamicflow demo``; also a tools file to copy from."""

from __future__ import annotations

import asyncio

from typing_extensions import TypedDict

from ...tools.decorate import tool


class Verdict(TypedDict):
    valid: bool
    domain: str


class Sent(TypedDict):
    sent: bool
    message_id: str


@tool
async def validate_email(email: str) -> Verdict:
    """Validate an email address."""
    await asyncio.sleep(0.15)
    name, at, domain = email.partition("@")
    return {"valid": bool(name and at and "." in domain), "domain": domain}


@tool
async def send_welcome_email(email: str) -> Sent:
    """Send a welcome email."""
    await asyncio.sleep(0.25)
    return {"sent": True, "message_id": f"welcome-{email}"}
