"""Words: splitting, light stems, a few synonyms, and which tool a piece of a prompt means. Pure and deterministic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ...tools.spec import ToolSpec
from .lexicon import ALSO_NOUNS, DETERMINERS, GENERIC, IRREGULAR, MAKING, SAME, STOP, SUFFIXES, VERBS
from .shapes import Shape

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
_OBJECT_AFTER: Final = re.compile(
    r"^\W*\w+\s+(?:the|a|an|it|them|him|her|their|his|each|every|all|any|this|that|our|my|us|me|to)\b", re.IGNORECASE
)
_DETAIL: Final = re.compile(r"\b(?:with|containing|including|about|using|from|of|where|whose)\b", re.IGNORECASE)


_LOOK_UP: Final = re.compile(r"\blook(?:s|ed|ing)?\s+up\b", re.IGNORECASE)
_FILLER: Final = re.compile(r"\b(?:make sure|be sure|ensure)\b(?:\s+(?:to|that)\b)?", re.IGNORECASE)
_BY_ID: Final = 100
"""The score of a tool that is named by its id."""
_CLAUSE: Final = 300
"""Characters of a clause that are looked at to know its tool."""


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """The part of a word that its forms share: validate, validated, validation, validator -> valid."""
    agent = re.fullmatch(r"(.{3,}?)(?:er|or|ers|ors)", word.lower())
    roots = [_cut(agent[1]), _cut(agent[1] + "e")] if agent else []
    return next((root for root in roots if root in _VERB_STEMS), None) or _cut(word)


def _cut(word: str) -> str:
    """The word without its ending."""
    word = word.lower()
    if word in IRREGULAR:
        return IRREGULAR[word]
    for suffix, kept in SUFFIXES:
        if not word.endswith(suffix) or (suffix == "s" and word.endswith(("ss", "us"))):
            continue
        root = word[: len(word) - len(suffix)] + kept
        if len(root) < 3:
            continue
        doubled = len(root) > 3 and root[-1] == root[-2] and root[-1] not in "aeiousl"
        return root[:-1] if doubled and suffix in ("ing", "ings", "ed") else root
    return word


def split(name: str) -> list[str]:
    """The words of a text or an identifier, in lower case: ``sendWelcome_email`` -> send, welcome, email."""
    text = _LOOK_UP.sub("lookup", _FILLER.sub("", name.replace("’", "'").replace("'s ", " ")))
    return [word.lower() for word in _WORD.findall(text)]


@lru_cache(maxsize=4096)
def stems(text: str) -> tuple[str, ...]:
    """The stems of a text's words, in order."""
    return tuple(stem(word) for word in split(text))


def same_name(left: str, right: str) -> bool:
    """Whether two field names say the same: ``user_id``, ``userId``, ``userID``."""
    return left == right or stems(left) == stems(right) != ()


_VERB_STEMS: Final = frozenset(_cut(verb) for verb in VERBS)
_GROUPS: Final = {stem(word): stem(group.split()[0]) for group in SAME for word in group.split()}
_GENERIC_STEMS: Final = frozenset(stem(verb) for verb in GENERIC)
_ALSO_NOUN_STEMS: Final = frozenset(stem(verb) for verb in ALSO_NOUNS)
_WRITING: Final = frozenset(stem(word) for word in ("email", "message", "mail", "text"))
"""Verbs that mean to send what they name."""
_MAKING_STEMS: Final = frozenset(stem(verb) for verb in MAKING)


def _forms(verb: str) -> set[str]:
    bare = verb[:-1] if verb.endswith("e") else verb
    made = {verb, verb + "s", verb + "es", bare + "ing", bare + "ed", bare + bare[-1] + "ing", bare + bare[-1] + "ed"}
    return made | {verb[:-1] + "ies", verb[:-1] + "ied"} if verb.endswith("y") else made


_VERB_FORMS: Final = frozenset(form for verb in (*VERBS, *GENERIC) for form in _forms(verb)) | {
    "sent",
    "found",
    "paid",
}


def meanings(text: str) -> list[str]:
    """The stems of a text without stop words, synonyms as one."""
    return [_GROUPS.get(root, root) for word in split(text) if word not in STOP for root in (stem(word),)]


def verb_of(text: str) -> str | None:
    """The verb a clause begins with, as a stem: its first word that is one, within the first three."""
    return next((stem(word) for word, verb in _counted(text)[:3] if verb), None)


def _counted(text: str) -> list[tuple[str, bool]]:
    """The words that count, and whether each is a verb there ("the score" is no order to score)."""
    words = split(text)
    before = ["", *words]
    return [
        (word, is_verb(word) and before[at] not in DETERMINERS) for at, word in enumerate(words) if word not in STOP
    ]


def is_verb(word: str) -> bool:
    """Whether a word is a form of a known verb (which "valid" and "active" are not, although they share a stem)."""
    return word.lower() in _VERB_FORMS


def begins_with_verb(text: str) -> bool:
    """Whether the first word that counts is a verb, as in an instruction of its own."""
    counted = _counted(text)
    return bool(counted) and counted[0][1]


def is_generic(verb: str | None) -> bool:
    """Whether a verb (a stem) says nothing about what is done; so does no verb."""
    return verb is None or verb in _GENERIC_STEMS


def singular(noun: str) -> str:
    """One of them."""
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("sses", "xes", "ches", "shes")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) else noun


@dataclass(frozen=True)
class Match:
    """A tool that a clause may mean, and by which words."""

    tool: ToolSpec
    score: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Profile:
    """What is known of a tool as words."""

    tool: ToolSpec
    named: tuple[str, ...]
    """Of its id and name."""
    verbs: frozenset[str]
    described: frozenset[str]
    """Of its description, category and fields."""
    spelled: re.Pattern[str] | None
    """Its id as such, where that is no plain word."""


@dataclass(frozen=True)
class _Clause:
    """What a piece of a prompt says."""

    text: str
    heard: frozenset[str]
    verb: str | None

    @classmethod
    def of(cls, text: str) -> _Clause:
        verb, heard = verb_of(text), frozenset(meanings(text))
        if verb in _WRITING:  # "email the customer", but not "email validation"
            told = _OBJECT_AFTER.search(text) is not None
            return cls(text, heard | {stem("send")} if told else heard, stem("send") if told else None)
        return cls(text, heard, _GROUPS.get(verb, verb) if verb else None)


class Matcher:
    """Says which tool a clause means. Build once per request."""

    def __init__(self, tools: Mapping[str, ToolSpec]) -> None:
        self._profiles = [_profile(tool) for tool in tools.values()]

    def rank(self, clause: str) -> list[Match]:
        """The tools a clause may mean, best first; of equals the first in the order given."""
        read = _Clause.of(clause)
        found = [match for profile in self._profiles if (match := _match(profile, read)) is not None]
        return sorted(found, key=lambda match: -match.score) or self._by_verb(clause)

    def _by_verb(self, clause: str) -> list[Match]:
        """The only tool of that verb, for a clause that says no more: "score it"."""
        said = meanings(clause)
        found = [profile.tool for profile in self._profiles if len(said) == 1 and said[0] in profile.verbs]
        return [Match(found[0], 1, (said[0],))] if len(found) == 1 else []

    def is_step(self, piece: str, before: str) -> bool:
        """Whether a piece after "and" or a comma is an instruction of its own, ``before`` being what it follows."""
        said = [word for word in split(piece) if word not in STOP]
        detail = bool(_DETAIL.search(before))
        if not said:
            return False
        if not begins_with_verb(piece):
            own = None if detail else self.best(piece)
            other = self.best(before[:_CLAUSE]) if own else None
            return own is not None and other is not None and own.tool.id != other.tool.id
        noun = stem(said[0]) in _ALSO_NOUN_STEMS and not _OBJECT_AFTER.search(piece)
        return not noun or self.best(piece) is not None

    def best(self, clause: str) -> Match | None:
        """The tool a clause means, if any."""
        ranked = self.rank(clause)
        return ranked[0] if ranked else None

    def touches(self, clause: str) -> list[ToolSpec]:
        """Every tool whose words occur in a text at all, in the order given."""
        said = set(meanings(clause))
        return [one.tool for one in self._profiles if said & (set(one.named) - one.verbs or set(one.named))]


def nouns_of(tool: ToolSpec) -> frozenset[str]:
    """The things a tool is about: the words of its id but the verb it begins with."""
    verb = _verb_in(tool.id)
    return frozenset(root for root in stems(tool.id) if root != verb)


def _verb_in(tool_id: str) -> str | None:
    """The verb of an id, as a stem: ``sendEmail``, but also ``email-validator``, ``orderValidation``."""
    words = split(tool_id)
    if not words:
        return None
    first, last = stem(words[0]), stem(words[-1])
    nominal = last in _VERB_STEMS and words[-1] not in _VERB_FORMS
    if first in _VERB_STEMS and not (nominal and first in _ALSO_NOUN_STEMS):
        return first
    return last if nominal else None


def makes(tool: ToolSpec) -> bool:
    """Whether a tool returns the thing it is about, as its verb says: ``getOrder``, ``enrichLead``."""
    return _verb_in(tool.id) in _MAKING_STEMS


def _profile(tool: ToolSpec) -> _Profile:
    named = tuple(dict.fromkeys(meanings(tool.id)))
    verb = _verb_in(tool.id)
    fields = " ".join(_field_names(tool))
    category = "" if tool.category == "general" else tool.category
    described = frozenset(meanings(f"{tool.name} {tool.description} {category} {fields}"))
    plain = tool.id.isalpha() and tool.id.islower()
    spelled = None if plain else re.compile(rf"(?<![\w-]){re.escape(tool.id)}(?![\w-])")
    verbs = frozenset({_GROUPS.get(verb, verb)}) if verb else frozenset()
    return _Profile(tool, named, verbs, described, spelled)


def _field_names(tool: ToolSpec) -> Iterable[str]:
    yield from Shape.of(tool.input_schema).fields
    yield from Shape.of(tool.output_schema).fields


def _match(profile: _Profile, clause: _Clause) -> Match | None:
    """The tool as a reading of the clause; None when the words do not carry it.

    The verb has to agree where both name one, and a noun has to be shared where the tool names one: "delete the user"
    is not ``lookupUser``, "check the credit" is not ``checkInventory``.
    """
    if profile.spelled is not None and profile.spelled.search(clause.text):
        return Match(profile.tool, _BY_ID, (profile.tool.id,))
    heard, verb, named = clause.heard, clause.verb, set(profile.named)
    if not is_generic(verb) and profile.verbs and verb not in named | profile.described:
        return None
    nouns, shared = named - profile.verbs, heard & named
    agrees = bool(profile.verbs & ({verb} if verb else heard))
    told = (heard & profile.described) - named - {verb}
    if nouns and not heard & nouns and len(told) < (1 if agrees and verb else 2):
        return None
    cover = len(shared) / len(named) if named else 0
    if cover < 0.5 and not (agrees and heard & nouns) and not _much_described(heard, profile):
        return None
    score = 3 * len(shared) + len(told) + 2 * cover + (2 if agrees else 0)
    words = dict.fromkeys(word for word in split(clause.text) if _known(word, named | told))
    return Match(profile.tool, score, tuple(words))


def _much_described(heard: frozenset[str], profile: _Profile) -> bool:
    return len(heard & profile.described) >= 2


def _known(word: str, roots: set[str]) -> bool:
    root = stem(word)
    return word not in STOP and _GROUPS.get(root, root) in roots
