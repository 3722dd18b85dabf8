"""Tools of the onboarding example: check an e-mail address, greet its owner."""

import re

from typing_extensions import TypedDict

from dynamicflow import tool

ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


class Verdict(TypedDict):
    """Whether an address can be written to; ``reason`` says why not."""

    valid: bool
    reason: str | None


class Receipt(TypedDict):
    """A message that went out."""

    sent: bool
    to: str
    subject: str


@tool(category="user-management", side_effect="none")
def validate_email(email: str) -> Verdict:
    """Validate an email address. Returns valid, and the reason when it is not."""
    if ADDRESS.fullmatch(email):
        return {"valid": True, "reason": None}
    return {"valid": False, "reason": f"{email!r} is no e-mail address"}


@tool(category="communication", side_effect="idempotent", timeout=30)
def send_welcome(email: str, name: str) -> Receipt:
    """Send a welcome message to an email address."""
    return {"sent": True, "to": email, "subject": f"Welcome, {name}!"}
