"""TEMPLATEs: any JSON whose strings may refer; keys never do (canonical.md §3, "Strings in templates").

"$a.b"              one reference: its value, type kept
"${$a.b + 1}"       one expression: its value, type kept
"Dear ${$a.name}"   a text
"$$name", "$${"     a dollar that refers to nothing
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, Final

from ..values import Json
from . import references
from .expressions import Bind, Expression, ExpressionFailed, ExpressionSyntax, Finding, Getter, Name, Named, parse
from .expressions.operators import Failure, text_form, text_of_size
from .types import STRING, UNKNOWN, Type, join, list_of, object_of, of_value

_INSIDE: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[{}'"]""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Text:
    """One string of a template, read. ``parts`` alternate freely; one part alone keeps its type."""

    parts: tuple[str | Expression, ...]
    typed: bool
    """It is exactly one reference or expression: the value keeps its type."""
    findings: tuple[Finding, ...] = ()

    @property
    def expressions(self) -> list[Expression]:
        return [part for part in self.parts if isinstance(part, Expression)]


@dataclass(frozen=True)
class Template:
    """A template, read. ``findings`` say what is wrong with its strings; their pointers lie within ``value``."""

    value: Json
    texts: dict[str, Text]
    """Pointer -> string, of the strings that refer or are wrong."""
    findings: tuple[Finding, ...]

    @property
    def literal(self) -> bool:
        """It refers to nothing and stands for itself."""
        return not any(text.expressions for text in self.texts.values())

    @cached_property
    def names(self) -> tuple[tuple[str, Name], ...]:
        """Every free root name, with the pointer of its string."""
        return tuple(
            (at, name)
            for at, text in self.texts.items()
            for expression in text.expressions
            for name in expression.names
        )

    @property
    def whole(self) -> Name | None:
        """The name, when the template is one string that is exactly one reference (``"$a.b"`` or ``"${$a.b}"``)."""
        text = self.texts.get("")
        return text.expressions[0].whole_reference if text is not None and text.typed and text.expressions else None

    def compile(self, bind: Bind) -> Getter:
        """A closure that makes the value. Literal parts are shared between the values made: nobody may change them.

        Evaluating raises ExpressionFailed and nothing else. Raises KeyError here for a template with findings.
        """
        return self._compile(self.value, "", bind)

    def _compile(self, value: Json, at: str, bind: Bind) -> Getter:
        if isinstance(value, str):
            text = self.texts.get(at)
            return _Constant(value) if text is None else _compile_text(text, bind)
        if isinstance(value, list):
            items = [self._compile(part, f"{at}/{index}", bind) for index, part in enumerate(value)]
            if all(isinstance(item, _Constant) for item in items):
                return _Constant([item.value for item in items if isinstance(item, _Constant)])
            return lambda context: [item(context) for item in items]
        if isinstance(value, dict):
            pairs = [(key, self._compile(part, f"{at}/{_escaped(key)}", bind)) for key, part in value.items()]
            if all(isinstance(part, _Constant) for _, part in pairs):
                return _Constant({key: part.value for key, part in pairs if isinstance(part, _Constant)})
            return lambda context: {key: part(context) for key, part in pairs}
        return _Constant(value)

    def infer(
        self, types: Callable[[str], Named], *, unset: frozenset[str] = frozenset()
    ) -> tuple[Type, list[Finding]]:
        """The type of the value it makes, and what is certain to be wrong."""
        findings: list[Finding] = []
        return self._infer(self.value, "", types, unset, findings), findings

    def _infer(
        self, value: Json, at: str, types: Callable[[str], Named], unset: frozenset[str], found: list[Finding]
    ) -> Type:
        if isinstance(value, str) and at in self.texts:
            text = self.texts[at]
            kind: Type = UNKNOWN if text.typed else STRING
            for expression in text.expressions:
                made, more = expression.infer(types, unset=unset)
                found += [replace(finding, pointer=at) for finding in more]
                kind = made if text.typed else STRING
            return kind
        if isinstance(value, list):
            parts = [self._infer(part, f"{at}/{index}", types, unset, found) for index, part in enumerate(value)]
            return list_of(reduce(join, parts) if parts else UNKNOWN)
        if isinstance(value, dict):
            fields = {
                key: self._infer(part, f"{at}/{_escaped(key)}", types, unset, found) for key, part in value.items()
            }
            return object_of(fields, closed=True, required=frozenset(fields))
        return of_value(value)


class _Constant:
    """A closure that gives one value."""

    __slots__ = ("value",)

    def __init__(self, value: Json) -> None:
        self.value = value

    def __call__(self, context: Any) -> Json:
        return self.value


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _compile_text(text: Text, bind: Bind) -> Getter:
    if text.typed:
        (only,) = text.expressions
        return only.compile(bind)
    if not text.expressions:
        return _Constant("".join(part for part in text.parts if isinstance(part, str)))
    parts = [part if isinstance(part, str) else part.compile(bind) for part in text.parts]

    def make(context: Any) -> Json:
        made = "".join(part if isinstance(part, str) else text_form(part(context)) for part in parts)
        try:
            return text_of_size(made)
        except Failure as failure:
            raise ExpressionFailed(str(failure)) from None

    return make


def parse_template(value: Json, known: Container[str], *, suggest: Collection[str] = ()) -> Template:
    """Read a template. Never raises: what is wrong is in ``findings``.

    ``known`` holds the names a reference may begin with: node ids, variables, ``as`` names, reserved names.
    """
    texts: dict[str, Text] = {}
    for at, string in _strings(value, ""):
        if "$" in string:
            texts[at] = read_text(string, known, suggest)
    findings = tuple(replace(finding, pointer=at) for at, text in texts.items() for finding in text.findings)
    return Template(value, texts, findings)


def _strings(value: Json, at: str) -> Iterator[tuple[str, str]]:
    todo: list[tuple[str, Json]] = [(at, value)]
    while todo:
        where, part = todo.pop()
        if isinstance(part, str):
            yield where, part
        elif isinstance(part, list):
            todo.extend((f"{where}/{index}", inner) for index, inner in reversed(list(enumerate(part))))
        elif isinstance(part, dict):
            todo.extend((f"{where}/{_escaped(key)}", inner) for key, inner in reversed(part.items()))


def read_text(string: str, known: Container[str], suggest: Collection[str] = ()) -> Text:
    """One string of a template."""
    whole = references.WHOLE.match(string)
    if whole is not None:
        if whole[1] not in known:
            return Text((string,), False, (_unknown(whole[1], string, suggest, known),))
        try:
            return Text((parse(string),), True)
        except ExpressionSyntax as error:
            return Text((string,), False, (_syntax(error),))
    start = references.START.match(string)
    if start is not None and start[1] in known:
        return Text((string,), False, (_goes_on(string),))
    return _interpolation(string, known)


def _interpolation(string: str, known: Container[str]) -> Text:
    parts: list[str | Expression] = []
    findings: list[Finding] = []
    text, at = "", 0
    while (dollar := string.find("$", at)) >= 0:
        text += string[at:dollar]
        after = dollar
        while string[after : after + 1] == "$":
            after += 1
        count = after - dollar
        name = references.START.match(string, after - 1)
        braced = string[after : after + 1] == "{"
        if braced and count == 1:
            end = _closing(string, after + 1)
            if end is None:
                findings.append(Finding("EXPRESSION_SYNTAX", "this ${ is not closed by }", 1, dollar + 1))
                return Text((string,), False, tuple(findings))
            try:
                parts += [text, parse(string[after + 1 : end])]
            except ExpressionSyntax as error:
                findings.append(_syntax(error, dollar + 2 if error.line == 1 else 0))
                parts.append(text)
            text, at = "", end + 1
        elif count > 1 and (braced or name is not None):
            text += "$" * (count - 1)
            if braced and (inner := references.START.match(string, after + 1)) and inner[1] in known:
                findings.append(_possible(f"${{{inner[0]}…", dollar, "A dollar before a value is written ${'$'}${…}."))
                text += string[after : inner.end()]
                after = inner.end()
            at = after
        else:
            if name is not None and name[1] in known:
                findings.append(_possible(name[0], dollar, f"To insert its value, write ${{{name[0]}}}."))
            text += "$" * count
            at = after
    text += string[at:]
    kept = tuple(part for part in (*parts, text) if part != "")
    typed = len(kept) == 1 and isinstance(kept[0], Expression)
    return Text(kept, typed, tuple(findings))


def _closing(string: str, at: int) -> int | None:
    """Where the brace that closes an expression stands; quotes and inner braces are stepped over."""
    depth = 1
    for token in _INSIDE.finditer(string, at):
        match token[0]:
            case "{":
                depth += 1
            case "}":
                depth -= 1
                if depth == 0:
                    return int(token.start())
            case "'" | '"':
                return None  # a string that does not end
    return None


def _syntax(error: ExpressionSyntax, moved: int = 0) -> Finding:
    return Finding("EXPRESSION_SYNTAX", error.message, error.line, error.column + moved, error.suggestion)


def _possible(shown: str, at: int, suggestion: str) -> Finding:
    message = f"{shown} stands in a text and is not replaced"
    return Finding("POSSIBLE_REFERENCE", message, 1, at + 1, suggestion, warning=True)


def _goes_on(string: str) -> Finding:
    path = references.LONGEST_PATH.match(string)
    shown = path[0] if path is not None else string
    rest = string[len(shown) :].strip()
    operator = rest[:1] in "+-*/%<>=!&|?" and len(rest) > 1
    fixed = f"${{{string}}}" if operator else f"${{{shown}}}{string[len(shown) :]}"
    message = f"the text begins with a reference and goes on: {string[:60]!r}; write {fixed[:80]}"
    return Finding("EXPRESSION_SYNTAX", message, 1, len(shown) + 1, f"Write {fixed[:120]}")


def _unknown(name: str, string: str, suggest: Collection[str], known: Container[str]) -> Finding:
    names = sorted(suggest or (known if isinstance(known, Collection) else ()))
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"Did you mean {', '.join('$' + one for one in near)}?" if near else ""
    head, dash, tail = name.partition("-")
    if dash and head in known:
        hint = f"A hyphen without spaces belongs to the name; to subtract write ${{${head} - {tail}}}."
    if not hint:
        hint = f"For the text itself write ${string}."
    message = f"${name} refers to nothing"
    return Finding("UNRESOLVED_REFERENCE", message, 1, 1, hint, available=tuple(names[:50]), actual=name)
