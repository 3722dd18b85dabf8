"""Names in expressions and templates exchanged, token by token; strings, keys, methods and plain text stay.

No parsing: a text that is no expression passes through unchanged but for its names, and ``check`` says what is wrong
with it, in the words of the author. Every function here is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ..references import NAME, START, WHOLE

_TOKEN: Final = re.compile(
    rf"""(?P<string>"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|'(?:[^'\\]|\\.)*+(?:'|\\?\Z))"""
    rf"""|(?P<ref>\${NAME})|(?P<previous>\$(?=\.[A-Za-z_]))|(?P<number>[0-9]+)|(?P<name>{NAME})|(?P<blank>\s+)|.""",
    re.DOTALL,
)
_DOLLARS: Final = re.compile(rf"(?P<dollars>\$+)(?:(?P<brace>\{{)|(?P<name>{NAME}))?")
_SCOPE_NAMES: Final = frozenset({"item", "acc", "index"})
"""Names that may stand without their ``$`` in an expression."""
PREVIOUS: Final = "previousOutput"


@dataclass(frozen=True, slots=True)
class Names:
    """What to exchange. ``rename``: a name -> its new one, or itself. ``previous``: what ``$previousOutput`` and the
    root of ``$.x`` mean, ``$`` included; None where that is not one thing, and the text stays as it is."""

    rename: Callable[[str], str]
    previous: Callable[[], str | None]
    possible: Callable[[str], None] = lambda name: None
    """Told of a renamed name that stands in text, where it is no reference."""

    def root(self, name: str) -> str:
        """``$name`` under its new name."""
        if name == PREVIOUS:
            renamed = self.rename(name)
            return f"${renamed}" if renamed != name else self.previous() or f"${name}"
        return "$" + self.rename(name)


def expression(source: str, names: Names) -> str:
    """The source of an expression with its names exchanged, and bare ``item``, ``acc``, ``index`` with their ``$``."""
    tokens = list(_TOKEN.finditer(source))
    return "".join(_exchanged(tokens, names))


def _exchanged(tokens: list[re.Match[str]], names: Names) -> Iterator[str]:
    brackets: list[str] = []
    before = ""
    for at, token in enumerate(tokens):
        text = token[0]
        match token.lastgroup:
            case "ref":
                yield names.root(text[1:])
            case "previous":
                yield names.previous() or text
            case "name" if text in _SCOPE_NAMES and before != "." and not _is_key_or_call(tokens, at, before, brackets):
                yield "$" + text
            case _:
                yield text
        if token.lastgroup is None:
            if text in "([{":
                brackets.append(text)
            elif text in ")]}" and brackets:
                brackets.pop()
        if token.lastgroup != "blank":
            before = text


def _is_key_or_call(tokens: list[re.Match[str]], at: int, before: str, brackets: list[str]) -> bool:
    """Whether a bare name is an object's key (``{item: 1}``) or a function's name (``item(1)``)."""
    after = next((token[0] for token in tokens[at + 1 : at + 3] if token.lastgroup != "blank"), "")
    if after == "(":
        return True
    return after == ":" and before in ("{", ",") and bool(brackets) and brackets[-1] == "{"


def _closing(text: str, start: int) -> int:
    """The index of the ``}`` that closes a ``${`` whose expression begins at ``start``; -1 when there is none."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token.lastgroup is None:
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if depth < 0:
                return token.start()
    return -1


def is_one_expression(text: str) -> bool:
    """Whether the text is ``${…}`` from its first to its last character."""
    return text.startswith("${") and _closing(text, 2) == len(text) - 1


def template(text: str, names: Names) -> str:
    """One string of a template with the names in its references exchanged."""
    if "$" not in text:
        return text
    if whole := WHOLE.match(text):
        return names.root(whole[1]) + text[whole.end(1) :]
    if text.startswith("$.") and WHOLE.match("$_" + text[1:]) and not text[2].isdigit():
        return (names.previous() or "$") + text[1:]
    return "".join(_parts(text, names))


def _parts(text: str, names: Names) -> Iterator[str]:
    """Text with ``${…}``: the last two of several dollars escape, so only a single one begins an expression."""
    done = 0
    while found := _DOLLARS.search(text, done):
        yield text[done : found.start()]
        done = found.end()
        if len(found["dollars"]) == 1 and found["brace"]:
            end = _closing(text, done)
            if end < 0:  # never closed: check shows it as it was written
                done = found.start()
                break
            yield "${" + expression(text[done:end], names) + "}"
            done = end + 1
        elif len(found["dollars"]) == 1 and found["name"]:
            yield _mentioned(found, names)
        else:
            yield found[0]
    yield text[done:]


def _mentioned(found: re.Match[str], names: Names) -> str:
    """``$name`` in a text is no reference; at its beginning it is a mistake that check must recognise."""
    name = found["name"]
    renamed = names.rename(name)
    if renamed == name:
        return found[0]
    if found.start() == 0:
        return "$" + renamed
    names.possible(name)
    return found[0]


def roots(text: str) -> Iterator[str]:
    """Every ``$name`` in a text, wherever it stands."""
    return (found[1] for found in START.finditer(text))
