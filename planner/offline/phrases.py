"""What a prompt says, as a tree of phrases; and how its pieces come together: an "otherwise" with its "if"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias


@dataclass(frozen=True)
class Do:
    """One instruction."""

    text: str


@dataclass(frozen=True)
class If:
    """Instructions under a condition."""

    condition: str
    then: tuple[Phrase, ...]
    otherwise: tuple[Phrase, ...] = ()
    negated: bool = False
    occasion: bool = False
    """Said with "when": it may name what the whole request is for, not a test."""


@dataclass(frozen=True)
class Each:
    """Instructions for each element of a list. ``noun`` is one element, ``source`` what was said of the list."""

    noun: str
    source: str
    body: tuple[Phrase, ...]
    concurrency: int | None = None


@dataclass(frozen=True)
class Together:
    """Instructions at the same time."""

    parts: tuple[Phrase, ...]


@dataclass(frozen=True)
class Keep:
    """The elements of a list that meet a condition (or, with ``dropped``, all others)."""

    noun: str
    condition: str
    text: str
    dropped: bool = False


@dataclass(frozen=True)
class Heading:
    """What stands above a list of steps; no step."""

    text: str


@dataclass(frozen=True)
class Else:
    """What belongs to the condition before it."""

    body: tuple[Phrase, ...]


@dataclass(frozen=True)
class Pace:
    """How many at a time, said in a sentence of its own."""

    concurrency: int


@dataclass(frozen=True)
class Detached:
    """An instruction that a sentence set apart from a loop before it ("finally", "in the end")."""

    phrase: Do


Phrase: TypeAlias = Do | If | Each | Together | Keep | Heading
Piece: TypeAlias = "Phrase | Else | Pace | Detached"

_PRONOUN: Final = re.compile(r"\b(?:it|its|each|them)\b", re.IGNORECASE)


def joined(pieces: Iterable[Piece]) -> tuple[Phrase, ...]:
    """Otherwise goes to its if, a pace to its loop, a sentence about "it" into the loop before it."""
    made: list[Phrase] = []
    for piece in pieces:
        last = made[-1] if made else None
        match piece:
            case Else(body):
                if body and (last is None or not _attach_else(made, body)):
                    made.extend(body)
            case Pace(concurrency):
                if isinstance(last, Each):
                    made[-1] = replace(last, concurrency=concurrency)
            case Detached(phrase):
                made.append(phrase)
            case _ if isinstance(last, Each) and last.body and _about(piece, last.noun):
                made[-1] = replace(last, body=(*last.body, piece))
            case _:
                made.append(piece)
    return tuple(made)


def _attach_else(made: list[Phrase], body: tuple[Phrase, ...]) -> bool:
    """Gives ``body`` to the last condition that has no else yet; False when there is none."""
    match made[-1]:
        case If(occasion=True, then=inner) as last if inner:
            within = list(inner)
            attached = _attach_else(within, body)
            made[-1] = replace(last, then=tuple(within))
            return attached
        case If(otherwise=()) as last:
            made[-1] = replace(last, otherwise=body)
            return True
        case Each(body=inner) as last if inner:
            within = list(inner)
            attached = _attach_else(within, body)
            made[-1] = replace(last, body=tuple(within))
            return attached
    return False


def _about(piece: Phrase, noun: str) -> bool:
    """Whether a phrase after a loop speaks of the loop's element: "score it", "if the lead qualifies"."""
    match piece:
        case Do(text):
            said = text
        case If(condition, then):
            said = " ".join([condition, *(part.text for part in then if isinstance(part, Do))])
        case _:
            return False
    singular = noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun
    return bool(
        _PRONOUN.search(said) or re.search(rf"\b(?:the|that|this)\s+{re.escape(singular)}\b", said, re.IGNORECASE)
    )
