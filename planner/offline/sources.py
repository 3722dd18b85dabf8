"""Where a step's arguments may come from: the input, outputs of earlier steps, the element of a loop."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ...values import Json
from .shapes import Shape
from .words import same_name, split, stems

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(-[A-Za-z0-9_]+)*\Z")
COMMON: Final = frozenset(
    {"id", "identifier", "name", "status", "type", "message", "value", "result", "data", "text", "description"}
)
"""Names that many things have: inside another object they say too little."""
_OWN: Final = frozenset({"id", "identifier", "status", "type", "key"})
"""Names that mean another thing for another thing: an order's ``id`` is no user's."""

_MAILS: Final = frozenset(
    {
        "email",
        "email address",
        "user email",
        "customer email",
        "to",
        "recipient",
        "recipient email",
        "to email",
        "to address",
    }
)
_NAMES: Final = frozenset({"name", "full name", "user name", "username", "customer name", "recipient name", "to name"})


@dataclass(frozen=True)
class Source:
    """A value in sight. ``guess``: its form is not known, so a field may be assumed; ``maybe``: it may be null."""

    ref: str
    shape: Shape
    nouns: frozenset[str] = frozenset()
    """Stems of what it is about."""
    node: str | None = None
    tool: str | None = None
    guess: bool = False
    maybe: bool = False
    makes: bool = False
    """The value is what the nouns say (``getOrder``), not something about it (``validateOrder``)."""

    def at(self, path: Sequence[str]) -> str:
        """The reference to a field of it."""
        return self.ref + "".join(f".{part}" if _NAME.match(part) else f"[{_quoted(part)}]" for part in path)


def _quoted(key: str) -> str:
    return "'" + key.replace("\\", "\\\\").replace("'", "\\'") + "'"


def nearest(sources: Sequence[Source]) -> list[Source]:
    """The sources a step looks at, in order: latest first, those that may be null last."""
    latest = list(reversed(sources))
    return [source for source in latest if not source.maybe] + [source for source in latest if source.maybe]


@dataclass(frozen=True)
class Wanted:
    """A field that a tool asks for."""

    name: str
    shape: Shape
    nouns: frozenset[str]
    """Of the tool."""


def by_name(wanted: Wanted, sources: Sequence[Source]) -> str | None:
    """The reference to a field of the same name and a fitting type; one level deep before two."""
    for depth in (1, 2):
        for source in nearest(sources):
            if source.node and source.tool is None and _stands_for(wanted, source):
                return source.ref  # what a loop or filter made of a list comes before the list
            for path, shape in source.shape.paths(depth):
                if len(path) == depth and shape.fits(wanted.shape) and _named(wanted, source, path):
                    return source.at(path)
    return None


def _named(wanted: Wanted, source: Source, path: tuple[str, ...]) -> bool:
    if len(path) == 1:
        foreign = wanted.name.lower() in _OWN and source.tool is not None and not source.nouns & wanted.nouns
        if same_name(path[0], wanted.name):
            return not foreign
        own = tuple(root for root in stems(path[0]) if root not in wanted.nouns)
        return own == stems(wanted.name) != ()  # the ``refundAmount`` that ``processRefund`` calls ``amount``
    joined = tuple(root for part in path for root in stems(part))
    return joined == stems(wanted.name) or (same_name(path[-1], wanted.name) and path[-1].lower() not in COMMON)


def misfit(wanted: Wanted, sources: Sequence[Source]) -> str | None:
    """A step's field of the right name and the wrong type."""
    for source in nearest(sources):
        for name, shape in source.shape.fields.items():
            if source.tool and same_name(name, wanted.name) and not shape.fits(wanted.shape):
                return source.at([name])
    return None


def whole(wanted: Wanted, sources: Sequence[Source]) -> Json:
    """A whole value that the field is named after (``order``, of ``getOrder``) or has the form of; else None.

    A reference, or an object of references where the value has fields too many.
    """
    about = set(stems(wanted.name))
    for source in nearest(sources):
        if _stands_for(wanted, source):
            return source.ref
        if (
            about
            and about <= source.nouns
            and source.makes
            and wanted.shape.required
            and source.shape.covers(wanted.shape)
        ):
            shared = [name for name, shape in source.shape.fields.items()
                      if name in wanted.shape.fields and shape.fits(wanted.shape.fields[name])]  # fmt: skip
            return {name: source.at([name]) for name in shared} or None
    for source in nearest(sources):
        formed = wanted.shape.kinds == {"object"} and wanted.shape.required and source.shape.fields
        if formed and source.shape.fits(wanted.shape):
            return source.ref
    return None


def _stands_for(wanted: Wanted, source: Source) -> bool:
    about = set(stems(wanted.name))
    formed = source.shape.known and bool(wanted.shape.required)
    return bool(about) and about <= source.nouns and source.shape.fits(wanted.shape) and (source.makes or formed)


def projected(wanted: Wanted, sources: Sequence[Source]) -> str | None:
    """A template for a list that the field is named after, of whose elements only the declared fields have a place."""
    about = set(stems(wanted.name))
    if wanted.shape.kinds != {"array"} or not wanted.shape.items.required:
        return None
    for source in nearest(sources):
        for ref, items, names in lists(source):
            if about & names and items.fields and items.covers(wanted.shape.items):
                element = Source("$item", items)
                parts = [
                    f"{_key(name)}: {element.at([name])}"
                    for name, shape in wanted.shape.items.fields.items()
                    if name in items.fields and items.fields[name].fits(shape)
                ]
                return f"${{map({ref}, {{{', '.join(parts)}}})}}"
    return None


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else _quoted(name)


def lists(source: Source) -> Iterator[tuple[str, Shape, frozenset[str]]]:
    """The lists in a source: (reference, shape of the elements, stems of what it is called)."""
    if source.shape.kinds == {"array"}:
        yield source.ref, source.shape.items, source.nouns
    for path, shape in source.shape.paths():
        if shape.kinds == {"array"}:
            own = frozenset(root for part in path for root in stems(part))
            yield source.at(path), shape.items, own | source.nouns if len(path) == 1 else own


def alike(wanted: Wanted, source: Source) -> str | None:
    """The only field of a source that usually means the same under another name: ``email`` for ``to``."""
    found = [
        name for name, shape in source.shape.fields.items() if shape.fits(wanted.shape) and _alike(name, wanted, source)
    ]
    return found[0] if len(found) == 1 else None


def _alike(name: str, wanted: Wanted, source: Source) -> bool:
    given, asked = " ".join(split(name)), " ".join(split(wanted.name))
    if given == asked:
        return False
    if any(given in group and asked in group for group in (_MAILS, _NAMES)):
        return True
    return _entity(given, source.nouns) & _entity(asked, wanted.nouns) != frozenset()


def _entity(name: str, nouns: frozenset[str]) -> frozenset[str]:
    """Whose id a name is: of ``user id`` a user's, of a bare ``id`` that of the thing itself; none for other names."""
    if name in ("id", "identifier"):
        return nouns
    found = re.fullmatch(r"(.+) (?:id|identifier)", name)
    return frozenset(stems(found[1])) if found else frozenset()


def possible(sources: Sequence[Source]) -> list[Source]:
    """The same sources, as they are for what comes after a condition: perhaps null."""
    return [replace(source, maybe=True) for source in sources]
