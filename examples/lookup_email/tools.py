"""Tools of the lookup example, and the join that fits the output of one to the inputs of the other."""

from typing_extensions import TypedDict

from dynamicflow import Join, ToolFailed, tool

USERS = {"u-1": ("Ada Lovelace", "ada@example.org"), "u-2": ("Alan Turing", "alan@example.org")}


class User(TypedDict):
    """As the directory knows a person."""

    id: str
    fullName: str
    email: str


class Email(TypedDict):
    """What it takes to write to someone."""

    to: str
    subject: str
    recipientName: str


class Sent(TypedDict):
    """What went out."""

    to: str
    text: str


@tool(category="user-management", side_effect="none")
def lookup_user(user_id: str) -> User:
    """Look up a user by id. Returns the id, the full name and the email address."""
    if user_id not in USERS:
        raise ToolFailed(f"there is no user {user_id}", retryable=False)
    name, email = USERS[user_id]
    return {"id": user_id, "fullName": name, "email": email}


@tool(category="communication")
def send_email(to: str, subject: str, recipientName: str, closing: str = "Yours, the team") -> Sent:
    """Send an email to a person."""
    return {"to": to, "text": f"{subject}\n\nDear {recipientName},\n\n{closing}"}


def addressed(user: User) -> Email:
    """A field renamed, one derived, one constant."""
    return {"to": user["email"], "recipientName": user["fullName"].split()[0], "subject": "Your account"}


user_to_email = Join("lookup_user", "send_email", decode=addressed)
