"""Text -> syntax tree. LALR by lark: nothing recurses, whatever the text; nesting is counted while building."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from ...values import Json
from . import syntax as s

MAX_SOURCE_BYTES: Final = 4096
MAX_NESTING: Final = 64
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "matches", "true", "false", "null", "undefined"})
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/", "'": "'"}
_BEFORE: Final = re.compile(
    r"(?<![\w.$-])(?!(?:and|or|not|in|matches|true|false|null|undefined)\b)([A-Za-z_]\w*)[ \t\r\n]*\Z"
)
_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ExpressionSyntax(Exception):
    """A text that is no expression. ``line`` and ``column`` count from 1."""

    code = "EXPRESSION_SYNTAX"

    def __init__(self, message: str, line: int = 1, column: int = 1, suggestion: str = "") -> None:
        super().__init__(message, line, column, suggestion)
        self.message, self.line, self.column, self.suggestion = message, line, column, suggestion

    def __str__(self) -> str:
        return f"{self.message} (line {self.line}, column {self.column})"


def parse_tree(source: str) -> s.Node:
    """The tree of an expression. Raises ExpressionSyntax for anything that is none, or is over a limit."""
    if len(source) > MAX_SOURCE_BYTES or len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise ExpressionSyntax(f"an expression has at most {MAX_SOURCE_BYTES} bytes, this one has {len(source)}")
    if not source.strip(" \t\r\n"):
        raise ExpressionSyntax("an expression is expected, this is empty")
    try:
        made = _parser().parse(source)
    except VisitError as error:
        if isinstance(error.orig_exc, ExpressionSyntax):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        raise _explained(source, error) from None
    return made  # type: ignore[return-value]  # the transformer makes nodes of ours


@cache
def _parser() -> Lark:
    return Lark.open(
        "grammar.lark",
        rel_to=__file__,
        parser="lalr",
        lexer="contextual",
        transformer=_Build(),
        maybe_placeholders=True,
    )


def _explained(source: str, error: UnexpectedInput) -> ExpressionSyntax:
    line, column = max(error.line, 1), max(error.column, 1)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return ExpressionSyntax("the expression ends too early", line, len(source) + 1 if line == 1 else column)
    at = (
        error.pos_in_stream
        if isinstance(error, UnexpectedCharacters)
        else getattr(getattr(error, "token", None), "start_pos", 0)
    )
    rest = source[at or 0 :]
    word = _BARE.match(rest)
    if rest[:1] == "=":
        return ExpressionSyntax("unexpected '='", line, column, "compare with ==")
    if rest[:1] in ("'", '"'):
        return ExpressionSyntax("this string does not end, or stands where none may", line, column)
    if word is not None and word[0] not in _KEYWORDS:
        name = word[0]
        return ExpressionSyntax(f"unexpected {name!r}", line, column, f"a reference begins with a dollar: ${name}")
    if word is None and isinstance(error, UnexpectedToken) and error.token.type == "NAME":
        name = str(error.token)
        return ExpressionSyntax(f"unexpected {name!r}", line, column, f"a reference begins with a dollar: ${name}")
    if bare := _BEFORE.search(source[: at or 0]):
        name = bare[1]
        return ExpressionSyntax(f"unexpected {rest[:1]!r}", line, column, f"a reference begins with a dollar: ${name}")
    shown = word[0] if word else rest[:1]
    return ExpressionSyntax(f"unexpected {shown!r}", line, column, _hint(source, at or 0))


def _hint(source: str, at: int) -> str:
    before, here = source[max(0, at - 1) : at], source[at : at + 1]
    if here in (".", "[", "(") and before.isspace():
        return "a path holds no blanks"
    if here in ("&", "|"):
        return f"write {here * 2}"
    if here == "$":
        return "after $ comes a name, without a blank"
    return ""


class _Build(Transformer[Token, s.Node]):
    """Called by the parser at each reduction; counts nesting as it goes, so that a limit is met before any walk."""

    def __init__(self) -> None:
        super().__init__(visit_tokens=False)

    # lark calls these by the grammar's aliases, each with the list of parts
    def choice(self, parts: list[Any]) -> s.Node:
        test: s.Node = parts[0]
        yes, no = parts[1:]
        return test if yes is None else s.Choice(_at(test.at, parts, 1), test, yes, no)

    def any_of(self, parts: list[Any]) -> s.Node:
        return _logic("||", parts)

    def all_of(self, parts: list[Any]) -> s.Node:
        return _logic("&&", parts)

    def negated(self, parts: list[Any]) -> s.Node:
        return s.Unary(_at(parts[0], parts[1:], 1), "!", parts[1])

    def compare(self, parts: list[Any]) -> s.Node:
        left: s.Node = parts[0]
        operator, right = parts[1:]
        if operator is None:
            return left
        name = " ".join(str(operator).split())
        name = {"===": "==", "!==": "!="}.get(name, name)
        return s.Compare(_at(operator, [left, right]), name, left, right)

    def chain(self, parts: list[Any]) -> s.Node:
        first, *rest = parts
        if not rest:
            return first  # type: ignore[no-any-return]
        pairs = tuple((str(sign), part, _at(sign, [])) for sign, part in zip(rest[::2], rest[1::2], strict=True))
        return s.Arithmetic(_at(rest[0], [first, *rest[1::2]]), first, pairs)

    def signed(self, parts: list[Any]) -> s.Node:
        return s.Unary(_at(parts[0], parts[1:], 1), str(parts[0]), parts[1])

    def path(self, parts: list[Any]) -> s.Node:
        base: s.Node = parts[0]
        segments: list[s.Segment] = []
        for tail in parts[1:]:
            if isinstance(tail, s.Call):
                receiver = _path(base, segments)
                base, segments = s.Call(_at(tail.at, [receiver, tail]), tail.name, (receiver, *tail.args), True), []
            else:
                segments.append(tail)
        return _path(base, segments)

    def segment(self, parts: list[Any]) -> s.Field:
        return s.Field(str(parts[0])[1:])

    def index(self, parts: list[Any]) -> s.Index:
        _at(parts[0], parts[1:], 1)
        return s.Index(s.Group(_at(parts[0], parts[1:], 1), parts[1]))

    def star(self, parts: list[Any]) -> s.Star:
        return s.Star()

    def method(self, parts: list[Any]) -> s.Call:
        args = tuple(parts[1] or ())
        return s.Call(_at(parts[0], args, 1), str(parts[0])[1:], args, True)

    def args(self, parts: list[Any]) -> list[Any]:
        return parts

    def number(self, parts: list[Any]) -> s.Literal:
        return s.Literal(_at(parts[0], []), _number(parts[0]))

    def string(self, parts: list[Any]) -> s.Literal:
        return s.Literal(_at(parts[0], []), _string(parts[0]))

    def true(self, parts: list[Any]) -> s.Literal:
        return s.Literal(_at(parts[0], []), True)

    def false(self, parts: list[Any]) -> s.Literal:
        return s.Literal(_at(parts[0], []), False)

    def null(self, parts: list[Any]) -> s.Literal:
        return s.Literal(_at(parts[0], []), None)

    def ref(self, parts: list[Any]) -> s.Ref:
        return s.Ref(_at(parts[0], []), str(parts[0])[1:])

    def call(self, parts: list[Any]) -> s.Call:
        args = tuple(parts[1] or ())
        return s.Call(_at(parts[0], args, 1), str(parts[0]), args, False)

    def group(self, parts: list[Any]) -> s.Group:
        return s.Group(_at(parts[0], parts[1:], 1), parts[1])

    def list_of(self, parts: list[Any]) -> s.ListOf:
        items = tuple(parts[1] or ())
        return s.ListOf(_at(parts[0], items, 1), items)

    def pair(self, parts: list[Any]) -> tuple[str, s.Node]:
        key, value = parts
        return (_string(key) if key.type == "STRING" else str(key), value)

    def object_of(self, parts: list[Any]) -> s.ObjectOf:
        pairs = tuple(pair for pair in parts[1:] if pair is not None)
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ExpressionSyntax(f"the key {twice!r} stands twice in one object", parts[0].line, parts[0].column)
        return s.ObjectOf(_at(parts[0], [value for _, value in pairs], 1), pairs)


def _at(place: Any, inner: Any, more: int = 0) -> s.At:
    nesting = more + max((_nesting(part) for part in inner), default=0)
    if nesting > MAX_NESTING:
        raise ExpressionSyntax(f"nested more than {MAX_NESTING} levels deep", place.line, place.column)
    return s.At(place.line, place.column, nesting)


def _nesting(part: Any) -> int:
    at = getattr(part, "at", None)
    return at.nesting if isinstance(at, s.At) else 0


def _path(base: s.Node, segments: list[s.Segment]) -> s.Node:
    if not segments:
        return base
    keys = [segment.key for segment in segments if isinstance(segment, s.Index)]
    return s.Path(_at(base.at, [base, *keys]), base, tuple(segments))


def _logic(operator: str, parts: list[Any]) -> s.Node:
    kept = [part for part in parts if not isinstance(part, Token)]
    if len(kept) == 1:
        return kept[0]  # type: ignore[no-any-return]
    return s.Logic(_at(kept[0].at, kept), operator, tuple(kept))


def _number(token: Token) -> int | float:
    text = str(token)
    if text.isdigit():
        if len(text) > 19 or int(text) >= 2**63:
            raise ExpressionSyntax("an integer has at most 63 bits", token.line or 1, token.column or 1)
        return int(text)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ExpressionSyntax(f"{text:.40} is beyond what a double holds", token.line or 1, token.column or 1)
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _string(token: Token) -> str:
    body = str(token)[1:-1]
    if "\\" not in body:
        text = body
    else:
        text = _ESCAPE.sub(lambda match: _unescaped(match[1], token), body)
        if any("\ud800" <= char <= "\udfff" for char in text):
            text = _joined(text, token)
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ExpressionSyntax("half of a surrogate pair is no character", token.line or 1, token.column or 1)
    return text


def _unescaped(escape: str, token: Token) -> str:
    if len(escape) == 5 and escape[0] == "u":
        return chr(int(escape[1:], 16))
    if escape not in _ESCAPES:
        message = f"\\{escape} is no escape; a backslash is written \\\\"
        raise ExpressionSyntax(message, token.line or 1, token.column or 1)
    return _ESCAPES[escape]


def _joined(text: str, token: Token) -> str:
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ExpressionSyntax("half of a surrogate pair is no character", token.line or 1, token.column or 1) from None


def add_dollars(source: str) -> str:
    """The source with bare ``item``, ``acc`` and ``index`` written as references (canonical.md §2, Normalising).

    Not inside strings, after a dot or a dollar, before ``(``, nor where they are keys of an object.
    """
    return _DOLLARS.sub(lambda match: f"${match[0]}" if match[0] in _SCOPE else match[0], source)


_SCOPE: Final = frozenset({"item", "acc", "index"})
_DOLLARS: Final = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[{,]\s*(?:item|acc|index)\s*:|(?<![\w.$-])(?:item|acc|index)(?![\w(-])(?!\s*\()|\$[\w-]+|\.[\w-]+""",
    re.DOTALL,
)


def quoted(value: Json) -> str:
    """A value as it stands in a message."""
    return json.dumps(value, ensure_ascii=False)[:60]
