"""Phrases -> nodes: which tool each instruction means, where its arguments come from, and why. No IO, no chance.

What is not understood is a question; a plan is only made when there is none. Every choice is written down: tools in the
rationale, everything taken for granted in the assumptions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ...tools.spec import ToolSpec
from ...values import Json, digest
from ..request import ABSENT, PlanRequest, shape
from .binding import Binder, Bound
from .conditions import FAILURE, negated, understand
from .details import MOST_NAMED, extras_of, in_sight, one_of_all, plural, referred
from .lexicon import STOP
from .literals import Masked, fields_said
from .phrases import Do, Each, Heading, If, Keep, Phrase, Together
from .shapes import Shape
from .sources import Source, lists, nearest, possible
from .words import Matcher, is_generic, makes, meanings, nouns_of, singular, split, stem, stems, verb_of

_RESERVED: Final = frozenset("input item index acc last vars run error signal source start end".split())
_DEMAND: Final = re.compile(
    r"\b(?:must|needs?|requires?|required|should|never|always|only|ensure|make sure)\b", re.IGNORECASE
)
_RETURN: Final = re.compile(
    r"^(?:just\s+)?(?:(?:return|respond with|reply with|answer with|output|give back|report back|give|use)\b\s*"
    r"(?:with\s+)?(?:the\s+)?)?(?:value\b\s*)?",
    re.IGNORECASE,
)
_SUCH: Final = re.compile(r"^(?:only\s+)?(?:the\s+)?(\w+)\s+(\w+s)$", re.IGNORECASE)
_MASK_ONLY: Final = re.compile("\ue000\\d+\ue001")

Node = dict[str, Any]


@dataclass
class Scope:
    """What is in sight at a place, and which calls were made on the way there."""

    sources: list[Source]
    calls: dict[str, str] = field(default_factory=dict)
    """Digest of a call -> its node: the same call with the same arguments is made once."""
    top: bool = False

    def inner(self, *more: Source) -> Scope:
        """The scope of a body; an element hides that of a loop around it."""
        hidden = {source.ref for source in more}
        return Scope([*(source for source in self.sources if source.ref not in hidden), *more], dict(self.calls))


@dataclass
class Builder:
    """Makes one plan. ``nodes`` first, then what it left in the other fields."""

    request: PlanRequest
    masked: Masked
    matcher: Matcher
    questions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    joins: list[dict[str, Json]] = field(default_factory=list)
    follows: list[tuple[str, str]] = field(default_factory=list)
    """Edges that joins need."""
    branched: dict[str, str] = field(default_factory=dict)
    """Node inside a condition -> that condition at the top level: what needs the node runs only where it did."""
    output: Json = ABSENT
    _ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._binder = Binder(self.request.joins, self.request.options, self.masked)

    def start(self) -> Scope:
        """The scope of the top level: the input, whose shape is known where the input is."""
        known = self.request.input is not ABSENT
        given = Shape.of(shape(self.request.input)) if known else Shape.of({})
        return Scope([Source("$input", given, guess=not known)], top=True)

    def nodes(self, phrases: Sequence[Phrase], scope: Scope) -> list[Node]:
        """The nodes of a body, in order; each sees those before it."""
        made: list[Node] = []
        for phrase in phrases:
            match phrase:
                case Do(text):
                    made.extend(self._do(text, scope, made))
                case If():
                    made.extend(self._if(phrase, scope, made))
                case Each():
                    made.extend(self._each(phrase, scope))
                case Together(parts):
                    made.extend(self._together(parts, scope))
                case Keep():
                    made.extend(self._keep(phrase, scope, made))
                case Heading(text):
                    self._note(f"“{self._shown(text)}” is a heading")
        return made

    # One instruction.

    def _do(self, text: str, scope: Scope, before: list[Node]) -> list[Node]:
        text, extras = extras_of(text)
        if not meanings(self.masked.plain(text)) and not list(self.masked.within(text)):
            if before and before[-1]["type"] == "tool":
                before[-1].update(extras)  # a sentence of its own: "Retry up to 3 times."
            return []
        if (value := self._returned(text, scope)) is not None:
            return value
        tool = self._tool(text, scope)
        if tool is None:
            return []
        if (noun := one_of_all(text, tool)) is not None:
            return self._each(
                Each(singular(noun), noun, (Do(text.replace(f"all {noun}", f"the {singular(noun)}")),)), scope
            )
        return self._call(tool, text, scope, extras)

    def _tool(self, text: str, scope: Scope) -> ToolSpec | None:
        """The tool that a clause means; None after a question or note about it."""
        plain = self.masked.plain(text)
        ranked = self.matcher.rank(plain)
        if len(ranked) > 1 and ranked[0].score == ranked[1].score:
            either = " or ".join(match.tool.id for match in ranked if match.score == ranked[0].score)
            self._ask(f"Which tool is meant by “{self._shown(text)}”: {either}? Name it in the prompt.")
            return None
        if ranked:
            words = ", ".join(ranked[0].words)
            self.reasons.append(f"{ranked[0].tool.id}: for “{self._shown(text)}” (shared words: {words}).")
            return ranked[0].tool
        self._not_a_step(text, plain, scope)
        return None

    def _not_a_step(self, text: str, plain: str, scope: Scope) -> None:
        known = {root for source in scope.sources for path, _ in source.shape.paths() for root in stems(path[-1])}
        wanted = set(meanings(plain)) - {verb_of(plain)}
        if verb_of(plain) in _GETTING and wanted and wanted & known:
            self._note(f"“{self._shown(text)}” needs no step: an earlier one returns it")
        elif is_generic(verb_of(plain)) and not _DEMAND.search(plain):
            self._note(f"“{self._shown(text)}” describes the request and is no step")
        else:
            ids = list(self.request.tools)[:MOST_NAMED]
            self._ask(f"Which tool does “{self._shown(text)}”? None of {', '.join(ids)} fits its words.")

    def _call(self, tool: ToolSpec, text: str, scope: Scope, extras: dict[str, Json]) -> list[Node]:
        bound = self._binder.bind(tool, text, scope.sources, top=scope.top)
        for question in bound.questions:
            self._ask(question)
        call = digest([tool.id, bound.inputs, bound.suggested])
        if call in scope.calls and not bound.questions:
            self._note(f"“{self._shown(text)}” is the call that {scope.calls[call]} makes already")
            return []
        node: Node = {"id": self.ident(tool.id), "type": "tool", "toolId": tool.id, "inputs": bound.inputs, **extras}
        self._keep_promises(bound, node["id"])
        scope.calls[call] = node["id"]
        output = Shape.of(tool.output_schema)
        scope.sources.append(Source(f"${node['id']}", output, nouns_of(tool), node["id"], tool.id, makes=makes(tool)))
        return [node]

    def _keep_promises(self, bound: Bound, node_id: str) -> None:
        for note in bound.notes:
            self._note(note)
        if bound.follows is not None:
            self.follows.append((bound.follows, node_id))
        if bound.suggested is not None and bound.suggested not in self.joins:
            self.joins.append(bound.suggested)

    def _returned(self, text: str, scope: Scope) -> list[Node] | None:
        """``return {…}``, ``return sent false``: a value; at the top ``return the order id`` is the plan's output."""
        found = _RETURN.match(text)
        if (
            found is None
            or not (found[0] or _MASK_ONLY.fullmatch(text))
            or ((best := self.matcher.best(self.masked.plain(text))) is not None and best.score >= 8)
        ):
            return None
        rest = text[found.end() :]
        objects = [constant.value for _, constant in self.masked.within(rest) if constant.kind == "object"]
        value: Json = objects[0] if objects else fields_said(rest, self.masked) or None
        quoted = [constant.value for _, constant in self.masked.within(rest)]
        if value is None and len(quoted) == 1 and not meanings(self.masked.plain(rest)):
            value = quoted[0]
        if isinstance(value, dict) and not objects:
            value |= referred(rest, scope.sources, set(value))
        if value is None:
            value = referred(rest, scope.sources, set()) or None
        if value is None and (such := _SUCH.match(rest)) is not None:
            return self._keep(Keep(such[2], such[1], text), scope, [])
        if value is None:
            self._note(f"“{self._shown(text)}” returns what the step before it does")
            return []
        if scope.top:
            self.output = value
            return []
        return [{"id": self.ident("result"), "type": "value", "value": value}]

    # Conditions.

    def _if(self, phrase: If, scope: Scope, before: list[Node]) -> list[Node]:
        condition = understand(phrase.condition, scope.sources, self.masked)
        if condition is None and FAILURE.match(phrase.condition) and before and before[-1]["type"] == "tool":
            return self._on_error(phrase, scope, before[-1])
        if condition is None and phrase.occasion and scope.top and not before:
            self._note(f"“when {self._shown(phrase.condition)}” is what starts the run, and is not tested")
            return self.nodes(phrase.then, scope)
        if condition is None:
            self._ask(
                f"What does “{self._shown(phrase.condition)}” look at? No output before it has a boolean of that name, "
                f"or a value to compare. In sight: {in_sight(scope.sources)}."
            )
            return []
        if phrase.negated:
            condition = negated(condition)
        for note in condition.notes:
            self._note(note)
        node_id = self.ident(f"if_{condition.name}" if condition.name else "decide")
        then, otherwise, seen = scope.inner(), scope.inner(), len(scope.sources)
        node: Node = {"id": node_id, "type": "conditional", "condition": condition.expression}
        node["ifTrue"] = self.nodes(phrase.then, then)
        if phrase.otherwise and (nodes := self.nodes(phrase.otherwise, otherwise)):
            node["ifFalse"] = nodes
        if not node["ifTrue"] and not node.get("ifFalse"):
            self._ask(f"What is to be done if “{self._shown(phrase.condition)}”?")
            return []
        for inner in (then, otherwise):
            made = possible(inner.sources[seen:])
            scope.sources.extend(made)
            if scope.top:
                self.branched |= {source.node: node_id for source in made if source.node}
        return [node]

    def _on_error(self, phrase: If, scope: Scope, failed: Node) -> list[Node]:
        """``if it fails, …`` is what a step does in place of failing."""
        nodes = self.nodes(phrase.then, Scope([source for source in scope.sources if source.node != failed["id"]]))
        if nodes:
            failed["onError"] = {"nodes": nodes}
        return self.nodes(phrase.otherwise, scope) if phrase.otherwise else []

    # Lists.

    def _each(self, phrase: Each, scope: Scope) -> list[Node]:
        found = self._list(phrase.noun, phrase.source, scope)
        if found is None:
            self._ask(f"Which list is “each {phrase.noun}” about? In sight: {in_sight(scope.sources)}.")
            return []
        over, element = found
        noun = frozenset(stems(phrase.noun))
        inner = scope.inner(Source("$item", element, noun, guess=not element.known, makes=True))
        body = self.nodes(phrase.body, inner)
        if not body:
            self._ask(f"What is to be done for each {phrase.noun}?")
            return []
        node: Node = {"id": self.ident(f"each_{phrase.noun}"), "type": "map", "over": over, "body": body}
        if phrase.concurrency is not None:
            node["concurrency"] = phrase.concurrency
        last = inner.sources[-1]
        made = last.shape if last.node == body[-1]["id"] else Shape.of({})
        scope.sources.append(Source(f"${node['id']}", made.listed(), noun, node["id"], makes=True))
        return [node]

    def _list(self, noun: str, said: str, scope: Scope) -> tuple[str, Shape] | None:
        """The list that "each lead in the list" means: named so, made by a tool that is about them, or the only one."""
        wanted = set(stems(noun)) | {stem(word) for word in split(said) if word not in STOP} - {"list", "input"}
        every = [(ref, items, names) for source in nearest(scope.sources) for ref, items, names in lists(source)]
        named = [one for one in every if wanted & one[2]]
        if named:
            return named[0][0], named[0][1]
        guess = next((source for source in scope.sources if source.guess), None)
        if len(every) == 1 and (guess is None or every[0][0] != "$input"):
            self._note(f"“each {noun}” is taken to be each of {every[0][0]}")
            return every[0][0], every[0][1]
        if every or guess is None:
            return None
        name = next((word for word in split(said) if stem(word) == stem(noun)), None) or plural(noun)
        ref = guess.at([name])
        self._note(f"{ref} is a list")
        return ref, Shape.of({})

    def _keep(self, phrase: Keep, scope: Scope, before: list[Node]) -> list[Node]:
        if phrase.noun == "ones" and (last := next((one for one in nearest(scope.sources) if any(lists(one))), None)):
            phrase = replace(phrase, noun=next(iter(sorted(last.nouns)), "ones"))
        match = self.matcher.best(self.masked.plain(phrase.text))
        if match is not None and set(stems(match.tool.id)) & {"filt", "filter", "select", "keep"}:
            return self._do(phrase.text, scope, before)
        found = self._list(phrase.noun, "", scope)
        if found is None:
            self._ask(f"Which list is “{self._shown(phrase.text)}” about? In sight: {in_sight(scope.sources)}.")
            return []
        over, element = found
        noun = frozenset(stems(phrase.noun))
        item = Source("$item", element, noun, guess=not element.known, makes=True)
        condition = understand(phrase.condition, [item], self.masked)
        if condition is None:
            self._ask(f"What does “{self._shown(phrase.condition)}” look at? Known of an element: {in_sight([item])}.")
            return []
        for note in condition.notes:
            self._note(note)
        node: Node = {
            "id": self.ident(f"keep_{phrase.noun}"),
            "type": "filter",
            "over": over,
            "condition": condition.expression,
        }
        if phrase.dropped:
            node["mode"] = "exclude"
        scope.sources.append(Source(f"${node['id']}", element.listed(), noun, node["id"], makes=True))
        return [node]

    # At the same time.

    def _together(self, parts: Sequence[Phrase], scope: Scope) -> list[Node]:
        branches: dict[str, list[Node]] = {}
        seen: list[Source] = []
        for part in parts:
            inner = scope.inner()
            body = self.nodes([part], inner)
            if body:
                branches[body[-1]["id"]] = body
                seen.extend(inner.sources[len(scope.sources) :])
        scope.sources.extend(seen)
        if len(branches) < 2:
            return [node for body in branches.values() for node in body]
        return [{"id": self.ident("together"), "type": "parallel", "branches": branches}]

    # Words for people, names for machines.

    def ident(self, text: str) -> str:
        """A node id of these words that no other node has."""
        base = "_".join(split(text))
        base = re.sub(r"[^A-Za-z0-9_]", "", base)[:60] or "step"
        base = f"step_{base}" if base[0].isdigit() or base in _RESERVED else base
        made, count = base, 2
        while made in self._ids:
            made, count = f"{base}_{count}", count + 1
        self._ids.add(made)
        return made

    def _shown(self, text: str) -> str:
        return self.masked.shown(text).strip()

    def _ask(self, question: str) -> None:
        if question not in self.questions:
            self.questions.append(question)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


_GETTING: Final = frozenset(
    stem(verb) for verb in ("get", "fetch", "find", "retrieve", "read", "obtain", "collect", "extract", "use", "take")
)
