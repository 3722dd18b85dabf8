"""Tools of the leads example: one score for one lead."""

from typing_extensions import TypedDict

from dynamicflow import tool

POINTS = {"enterprise": 50, "business": 30, "personal": 0}


class Lead(TypedDict):
    """A company that may buy."""

    company: str
    segment: str
    employees: int
    budget: int


class Scored(TypedDict):
    """A lead's score, 0 to 100, and what it may bring."""

    company: str
    score: int
    budget: int


@tool(category="data-processing", side_effect="none")
def score_lead(lead: Lead) -> Scored:
    """Score a lead. Returns the company, a score from 0 to 100 and the budget."""
    size = min(lead["employees"] // 10, 30)
    money = min(lead["budget"] // 1000, 20)
    return {
        "company": lead["company"],
        "score": POINTS.get(lead["segment"], 0) + size + money,
        "budget": lead["budget"],
    }
