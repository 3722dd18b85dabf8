"""A prompt's text -> phrases: sentences, lists, then, if, for each, in parallel. Syntax only: no tool is chosen.

    "Validate the email, then send a welcome only if it is valid. For each lead: score it."
    -> Do("Validate the email"), If("it is valid", (Do("send a welcome"),)), Each("lead", "", (Do("score it"),))

``is_step`` says whether a piece after "and" or a comma is an instruction of its own or belongs to the one before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from .literals import Masked
from .phrases import Detached, Do, Each, Else, Heading, If, Keep, Pace, Phrase, Piece, Together, joined
from .words import is_verb, singular

IsStep: TypeAlias = Callable[[str, str], bool]
"""(piece, the instruction before it) -> whether the piece is an instruction of its own."""

_I: Final = re.IGNORECASE
_NUMBERS: Final = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10, "twenty": 20}
_LINE: Final = re.compile(r"^(\s*)(?:(?:\d{1,3}[.)]|step\s+\d{1,3}\s*[:.)]|[-*•–])\s+)?(.*)$", _I)
_BULLET: Final = re.compile(r"^\s*(?:\d{1,3}[.)]|step\s+\d{1,3}\s*[:.)]|[-*•–])\s+", _I)
_SENTENCE: Final = re.compile(r"(?<=[.;!?])\s+")
_INLINE_NUMBER: Final = re.compile(r"(?:^|(?<=\s))\(?\d{1,2}[.)]\s+(?=\w)")
_LEAD_IN: Final = re.compile(
    r"^(?:(?:and|so|but|then|next|finally|lastly|afterwards?|after that|after this|first(?:ly)?|second(?:ly)?|"
    r"third(?:ly)?|also|please|subsequently|in the end|to (?:start|begin)(?: with)?|once (?:that is )?done|you should|"
    r"(?:i )?(?:want|would like)(?: you)? to)\b[\s,:]*)+",
    _I,
)
_THEN: Final = re.compile(r"\s*(?:,|;)?\s*\b(?:and\s+)?(?:then|after that|afterwards|finally)\b[\s,]*|\s*;\s*", _I)
_LIST: Final = re.compile(r"\s*,(?!\d)\s*(?:and\s+|as well as\s+)?|\s+and\s+|\s+as well as\s+", _I)
_STARTER: Final = re.compile(
    r"(?:[,;:]\s*|\s+)(?:(?:and|but|then)\s+)*(?=(?:for\s+(?:each|every)|otherwise|or else|else|in parallel,)\b)|"
    r"[,;]\s*(?:(?:and|but|then)\s+)*(?=(?:if|unless|when)\b)|\s+(?:and|then)\s+(?=(?:if|unless)\b)",
    _I,
)
_ONLY_IF: Final = re.compile(r"[\s,;]*\b(?:but\s+)?only\s+(?:if|when)\b\s*", _I)
_IF: Final = re.compile(r"^(only\s+if|if|when(?:ever)?|unless|in case|provided(?:\s+that)?)\b\s*(.*)$", _I | re.DOTALL)
_TRAILING: Final = re.compile(r"^(.+?)[\s,]+(only\s+if|if|when|unless|provided(?:\s+that)?)\s+(.+)$", _I | re.DOTALL)
_ELSE: Final = re.compile(r"^(?:otherwise|or else|else|if not)\b[\s,:]*(.*)$", _I | re.DOTALL)
_EACH: Final = re.compile(
    r"^for\s+(?:each|every)\s+(?:one\s+)?(?:of\s+)?(?:the\s+)?(.+?)(?:\s+(?:in|from|of|on|within)\s+(.+?))?"
    r"\s*(?:[,:]\s*|$)(.*)$",
    _I | re.DOTALL,
)
_EACH_BARE: Final = re.compile(
    r"^for\s+(?:each|every)\s+(\w+)(?:\s+(?:in|from|of)\s+((?:(?:the|a|my|our)\s+)?\w+))?\s+(.+)$", _I | re.DOTALL
)
_EVERY: Final = re.compile(
    r"\b(?:each|every)\s+(?:one\s+)?(?:of\s+)?(?:the\s+)?(\w+)(?:\s+(?:in|from)\s+((?:the\s+)?\w+))?", _I
)
_TOGETHER: Final = re.compile(r"[\s,(]*\b(?:in parallel|at the same time|simultaneously|concurrently)\b[\s,:)]*", _I)
_MOST: Final = r"(?:\b(?:at most|up to|a maximum of|max(?:imum)?|no more than)\s+)?"
_PACES: Final = (
    re.compile(
        r"[\s,(]*(?:\b(?:with|using|at|and|process(?:ing)?|run(?:ning)?|do)\s+)*"
        + _MOST
        + rf"\b(\d{{1,5}}|{'|'.join(_NUMBERS)})(?:\s+\w+)?\s+"
        + r"(?:at a time|at once|in parallel|concurrently|simultaneously|at the same time)\b[\s)]*",
        _I,
    ),
    re.compile(
        r"[\s,(]*(?:\b(?:with|using|use|and|at|set)\s+)*(?:a\s+|the\s+)?(?:max(?:imum)?\s+)?\bconcurrency"
        r"(?:\s+limit)?(?:\s+(?:of|to|is|at))?[\s:=]+(\d{1,5})\b[\s)]*",
        _I,
    ),
)
_KEEP: Final = re.compile(
    r"^(keep|select|filter(?:\s+out)?|drop|discard|take|pick)\s+(?:only\s+|just\s+)?(?:the\s+|those\s+|all\s+|any\s+)*"
    r"(.+?)(?:,)?\s+(?:that|which|who|whose|where|with|having)\s+(.+)$",
    _I | re.DOTALL,
)
_NO_END: Final = frozenset(
    "the a an is are was be not to of no their its his her our my any each every in with".split()
)
"""Words after which a condition goes on: "if the order is", "if there is no"."""
_IS: Final = re.compile(r"\s+(?:is|are|was|were|has|have|isn't|contains|equals|exists)\b|\s*[=<>!]", _I)
_DETACHED: Final = re.compile(
    r"^(?:finally|lastly|afterwards?|after (?:that|all)|in the end|at the end|once|when all)\b", _I
)


MAX_NESTING: Final = 20
"""Conditions, loops and headings inside one another, and structures in one sentence."""


class TooNested(ValueError):
    """A prompt no person would follow either."""


_WHETHER: Final = re.compile(
    r"\b(check|verify|determine|see|confirm|decide|find out|test|assess|validate|ask)\s+(?:if|whether)\b", _I
)
_FLOW: Final = re.compile(
    r"^(?:create|build|make|design|generate|plan|write|set up|i need|i have)\s+(?:a|an|the|my|our)\s+[\w -]{0,60}?"
    r"(?:flow|process|pipeline|plan|automation|sequence)\s+(?:that|which|to)\s+(?:(?:will|should|can|must)\s+)?",
    _I,
)
_ALL: Final = re.compile(r"\ball\s+(?:of\s+)?(?:the\s+|my\s+|our\s+)?(\w+s)\b", _I)
_OVER: Final = re.compile(
    r"^(?:map|iterate|loop|go)\s+(?:over|through)\s+(?:the\s+|all\s+|each\s+|every\s+)*(\w+)[^,:]*?(?:[,:]|\s+and\b)\s*(.+)$",
    _I | re.DOTALL,
)
_KEEP_SUCH: Final = re.compile(r"^(?:keep|select|retain|take)\s+(?:only\s+)?(?:the\s+)?(\w+)\s+(\w+s)$", _I)


def read(masked: Masked, is_step: IsStep) -> tuple[Phrase, ...]:
    """The phrases of a prompt, in its order. Raises TooNested."""
    return joined(_Reader(is_step).lines(masked.text.splitlines()))


@dataclass(frozen=True)
class _Reader:
    is_step: IsStep
    depth: int = 0

    def _inner(self) -> _Reader:
        if self.depth == MAX_NESTING:
            raise TooNested
        return replace(self, depth=self.depth + 1)

    def lines(self, lines: Sequence[str]) -> Iterator[Piece]:
        """Paragraphs and bullets; a heading (``For each lead:``) takes the bullets below it."""
        blocks = list(_blocks(lines))
        while blocks:
            indent, text = blocks.pop(0)
            if not text.endswith(":"):
                yield from self.paragraph(text)
                continue
            below: list[str] = []
            while blocks and (blocks[0][0] > indent):
                depth, inner = blocks.pop(0)
                below.append(" " * depth + "- " + inner)
            yield from self._headed(text[:-1].strip(), joined(self._inner().lines(below)))

    def _headed(self, title: str, body: tuple[Phrase, ...]) -> Iterator[Piece]:
        """What a heading opens with the steps below it; one that opens nothing is a title."""
        pieces = list(self.paragraph(title))
        opened = [index for index, piece in enumerate(pieces) if _is_open(piece)]
        if opened:
            pieces[opened[-1]] = _filled(pieces[opened[-1]], body)
            yield from pieces
            return
        paces = [piece for piece in pieces if isinstance(piece, Pace)]
        yield Heading(title)
        yield from (Together(body),) if body and not paces and _TOGETHER.search(title) else body
        yield from paces

    def paragraph(self, text: str) -> Iterator[Piece]:
        """Its sentences; one that speaks of "it" after "for each" belongs to the loop."""
        for title, sentence in _sentences(text):
            if title:
                yield Heading(title)
            yield from self.sentence(sentence)

    def sentence(self, text: str) -> Iterator[Piece]:
        """One sentence. What begins inside it with if, otherwise or for each is read as its own."""
        detached = bool(_DETACHED.match(text.strip()))
        text = _FLOW.sub("", _LEAD_IN.sub("", text.strip())).strip(" ,.;!")
        if not text:
            return
        text, pace = _paced(_WHETHER.sub(r"\1 that", text))
        pieces = list(self._structure(_ONLY_IF.sub(" only if ", text)))
        if pace is not None and len(pieces) == 1 and isinstance(only := pieces[0], Do):
            pieces = [_for_all(only)]
        if pace is not None and not any(isinstance(piece, Each) for piece in pieces):
            yield Pace(pace)
        for piece in pieces:
            if isinstance(piece, Each) and pace is not None:
                piece = replace(piece, concurrency=pace)
            yield Detached(piece) if detached and isinstance(piece, Do) else piece

    def _structure(self, text: str) -> Iterator[Piece]:
        if (found := _ELSE.match(text)) is not None:
            yield Else(self._all(found[1]))
        elif (found := _EACH.match(text) or _EACH_BARE.match(text)) is not None:
            yield self._each(text)
        elif (found := _OVER.match(text)) is not None:
            said = re.sub(r"\b(?:each|every)\s+one\b", "it", found[2])
            yield Each(singular(found[1]), found[1], self._all(said))
        elif (found := _IF.match(text)) is not None:
            yield from self._if(found[1], found[2])
        elif (found := _STARTER.search(text)) is not None:
            yield from self._before(text[: found.start()], text[found.end() :])
        else:
            yield from self._chain(text)

    def _before(self, head: str, tail: str) -> Iterator[Piece]:
        """An instruction, then a structure; ``…, if COND`` without anything to do is about the instruction."""
        pieces = list(self._inner()._structure(head)) if head.strip() else []
        after = list(self._inner()._structure(tail))
        first, last = (after[0] if after else None), (pieces[-1] if pieces else None)
        if isinstance(first, If) and not first.then and isinstance(last, Do):
            pieces, after[0] = pieces[:-1], replace(first, then=(last,))
        yield from pieces
        yield from after

    def _all(self, text: str) -> tuple[Phrase, ...]:
        text = _LEAD_IN.sub("", text.strip()).strip(" ,.;")
        return joined(self._inner()._structure(text)) if text else ()

    def _each(self, text: str) -> Each:
        bare = _EACH_BARE.match(text)
        found = _EACH.match(text)
        if bare is not None and (found is None or not found[3]):
            return Each(bare[1], bare[2] or "", self._all(bare[3]))
        assert found is not None
        return Each(found[1].split()[-1] if found[1].split() else "item", found[2] or "", self._all(found[3]))

    def _if(self, word: str, rest: str) -> Iterator[Piece]:
        """``if COND, THEN[, otherwise ELSE]``; the condition ends at "then" or at the comma."""
        rest, otherwise = _split_else(rest)
        cut = re.search(r"\s*,?\s*\bthen\b\s*|\s*(?:,(?!\d)|:)\s*", rest, _I)
        condition, body = (rest[: cut.start()], rest[cut.end() :]) if cut else self._at_verb(rest)
        if cut and ":" in cut[0] and self._at_verb(condition)[1]:  # "if it is valid return sent: true"
            condition, body = self._at_verb(rest)
        kind = word.lower()
        yield If(
            condition.strip(), self._all(body), self._all(otherwise), kind == "unless", occasion=kind.startswith("when")
        )

    def _at_verb(self, text: str) -> tuple[str, str]:
        """``it is valid send a welcome``, cut before the instruction; no second part where there is none."""
        before = ""
        for found in re.finditer(r"[A-Za-z']+|\ue000\d+\ue001", text):
            word = found[0].lower()
            goes_on = before in _NO_END or before.endswith("'s") or _IS.match(text, found.end())
            if before and not goes_on and is_verb(word):
                piece = _piece(text, found.start())
                if word == "return" or self.is_step(piece, ""):
                    return text[: found.start()], text[found.start() :]
            before = word
        return text, ""

    def _chain(self, text: str) -> Iterator[Piece]:
        """Instructions joined by then, commas and "and"."""
        for part in _THEN.split(text):
            part = part.strip(" ,.;")
            if not part:
                continue
            if _TOGETHER.search(part):
                yield Together(tuple(self._items(_TOGETHER.sub(" ", part).strip(" ,"))))
            elif (kept := _KEEP.match(part)) is not None:
                dropped = kept[1].lower() in ("filter out", "drop", "discard")
                condition, after = self._condition_end(kept[3])
                yield Keep(kept[2].split()[-1], condition, part[: len(part) - len(after)] if after else part, dropped)
                yield from self._items(after) if after else ()
            elif (kept := _KEEP_SUCH.match(part)) is not None:
                yield Keep(kept[2], kept[1], part)
            elif (found := _TRAILING.match(part)) is not None:
                yield from self._trailing(found[1], found[2], found[3])
            else:
                yield from self._items(part)

    def _trailing(self, before: str, word: str, rest: str) -> Iterator[Piece]:
        """``A and B only if COND and C``: the condition is about B; C is a step after it."""
        items = list(self._items(before))
        condition, after = self._condition_end(rest)
        yield from items[:-1]
        yield If(condition, tuple(items[-1:]), negated=word.lower() == "unless")
        if after:
            yield from self._items(after)

    def _condition_end(self, text: str) -> tuple[str, str]:
        for found in _LIST.finditer(text):
            if self.is_step(_piece(text, found.end()), ""):
                return text[: found.start()], text[found.end() :]
        return text, ""

    def _items(self, text: str) -> Iterator[Phrase]:
        """The instructions of ``A, B and C``; a piece that is none of its own stays with the one before."""
        start = 0
        for found in _LIST.finditer(text):
            if self.is_step(_piece(text, found.end()), text[start : found.start()]):
                yield _instruction(text[start : found.start()])
                start = found.end()
        yield _instruction(text[start:])


def _is_open(piece: Piece) -> bool:
    match piece:
        case Each(body=()) | If(then=()) | Else(body=()):
            return True
    return False


def _filled(piece: Piece, body: tuple[Phrase, ...]) -> Piece:
    match piece:
        case Each():
            return replace(piece, body=body)
        case If():
            return replace(piece, then=body)
    return Else(body)


def _for_all(phrase: Do) -> Phrase:
    """``score all leads`` as an instruction for each of them."""
    found = _ALL.search(phrase.text)
    if found is None:
        return phrase
    noun = singular(found[1])
    return Each(noun, found[1], (Do(f"{phrase.text[: found.start()]}the {noun}{phrase.text[found.end() :]}"),))


def _instruction(text: str) -> Phrase:
    """One instruction; one about "each lead" is one for each of them."""
    text = text.strip(" ,.;")
    found = _EVERY.search(text)
    if found is None:
        return Do(text)
    noun = singular(found[1])
    return Each(noun, found[2] or "", (Do(f"{text[: found.start()]}the {noun}{text[found.end() :]}"),))


def _piece(text: str, start: int) -> str:
    """What stands between one comma or "and" and the next."""
    following = _LIST.search(text, start)
    return text[start : following.start() if following else len(text)]


def _split_else(text: str) -> tuple[str, str]:
    found = re.search(r"[\s,;]*\b(?:otherwise|or else|else)\b[\s,:]*", text, _I)
    return (text[: found.start()], text[found.end() :]) if found else (text, "")


def _paced(text: str) -> tuple[str, int | None]:
    """The text without its "5 at a time", and the number."""
    for pattern in _PACES:
        for found in pattern.finditer(text):
            number = _NUMBERS.get(found[1].lower()) or int(found[1])
            if number > 0:
                rest = f"{text[: found.start()]} {text[found.end() :]}".strip()
                return rest if re.search(r"\w", rest) else "", number
    return text, None


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(indent, text) of each bullet and paragraph; wrapped lines are one. A bullet below a heading counts as deeper."""
    current: tuple[int, str] | None = None
    for line in lines:
        found = _LINE.match(line)
        body = found[2].strip() if found else line.strip()
        indent, bullet = len(line) - len(line.lstrip()), bool(_BULLET.match(line))
        if (
            current is None
            or not body
            or bullet
            or current[1].endswith(":")
            or (indent < current[0] and not body[0].islower())
        ):
            if current:
                yield current
            current = (indent + bullet, body) if body else None
        else:
            current = (current[0], f"{current[1]} {body}")
    if current:
        yield current


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    """(what stands before a colon as a title, the sentence)."""
    for sentence in _SENTENCE.split(text):
        numbered = _INLINE_NUMBER.split(sentence)
        for part in numbered if len(numbered) > 2 else [sentence]:
            title, colon, rest = part.partition(": ")
            if colon and _is_title(title):
                yield title.strip(), rest
            elif part.strip():
                yield "", part


def _is_title(text: str) -> bool:
    """Whether what stands before a colon only says what the steps after it are for."""
    opens = re.match(r"(?:for\s+(?:each|every)|in parallel)\b", text, _I)
    return not (opens or _IF.match(text) or _ELSE.match(text) or re.search(r"\bwith\b|,", text, _I))
