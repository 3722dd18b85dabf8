"""Tools of the research example: a small library on the shelf instead of the web, so that it runs anywhere."""

from typing_extensions import TypedDict

from dynamicflow import ToolFailed, tool

LIBRARY = {
    "shelf:comte": (
        "selflessness",
        "Selflessness is living for others. It can be learned. It asks for no reward.",
    ),
    "shelf:smith": (
        "selflessness",
        "Selflessness grows out of sympathy. It can be learned. It is never quite free of self-interest.",
    ),
    "shelf:kropotkin": (
        "selflessness",
        "Selflessness is mutual aid. It helps a species to survive. It asks for no reward.",
    ),
    "shelf:tea": ("tea", "Tea is a drink."),
    "shelf:leaf": ("tea", "Green leaves are steamed."),
    "shelf:cup": ("tea", "A cup holds two decilitres."),
}


class Hit(TypedDict):
    """Something a search has found."""

    url: str
    rank: int


class Page(TypedDict):
    """The claims of one source, in its order."""

    url: str
    claims: list[str]


class Summary(TypedDict):
    """What the sources say together."""

    text: str
    sources: list[str]
    clarified: bool


@tool(side_effect="none")
def search(query: str, limit: int = 3) -> list[Hit]:
    """Search for sources on a subject. Returns at most limit hits, best first."""
    subjects = query.lower()
    urls = [url for url, (subject, _) in LIBRARY.items() if subject in subjects]
    return [{"url": url, "rank": rank} for rank, url in enumerate(urls[:limit], 1)]


@tool(side_effect="none", retry=3)
def fetch_page(url: str) -> Page:
    """Fetch a source. Returns what it claims."""
    if url not in LIBRARY:
        raise ToolFailed(f"there is nothing at {url}", retryable=False)
    text = LIBRARY[url][1]
    return {"url": url, "claims": [claim.rstrip(".") for claim in text.split(". ")]}


@tool(side_effect="none")
def compare_pages(pages: list[Page]) -> str:
    """Compare sources. Says whether they are distinct, or overlap, and in how many claims."""
    common = _common(pages)
    return f"{len(pages)} sources overlap in {len(common)} claims" if common else f"{len(pages)} distinct sources"


@tool(side_effect="none")
def clarify(comparison: str, pages: list[Page]) -> list[str]:
    """Clarify a comparison. Returns the claims that more than one source makes."""
    return _common(pages)


@tool(side_effect="none")
def summarise(pages: list[Page], shared: list[str] | None = None) -> Summary:
    """Summarise sources. Claims that they share come first, and once."""
    first = shared or []
    rest = [claim for page in pages for claim in page["claims"] if claim not in first]
    text = ". ".join([*first, *rest]) + "."
    return {"text": text, "sources": [page["url"] for page in pages], "clarified": shared is not None}


@tool(side_effect="none")
def find_contradictions(pages: list[Page]) -> list[list[str]]:
    """Find pairs of claims of which one denies the other."""
    claims = [claim for page in pages for claim in page["claims"]]
    denials = [claim for claim in claims if " never " in claim]
    praise = [claim for claim in dict.fromkeys(claims) if " no reward" in claim]
    return [[claim, denial] for claim in praise for denial in denials]


def _common(pages: list[Page]) -> list[str]:
    claims = [claim for page in pages for claim in page["claims"]]
    return [claim for claim in dict.fromkeys(claims) if claims.count(claim) > 1]
