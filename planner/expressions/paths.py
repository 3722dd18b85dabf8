"""What a path leads to: the type of ``base.segment[key][*]…`` and the fields that are certainly not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...values import Json
from ..near import nearest
from ..types import NULL, NUMBER, UNKNOWN, Type, join, list_of, nullable, possible
from . import syntax as s


@dataclass(frozen=True, slots=True)
class Missing:
    """An undeclared field of a closed object."""

    name: str
    before: str
    """The path up to the object, as source."""
    available: tuple[str, ...]


@dataclass(slots=True)
class Walk:
    """One walk along a path. ``type`` is where it stands; below a ``[*]`` it is that of one element."""

    type: Type
    source: str
    missing: list[Missing] = field(default_factory=list)
    _lists: list[bool] = field(default_factory=list)
    """Of every ``[*]`` passed: whether there may be null instead of a list, because it stands on something else."""

    def follow(self, segments: Sequence[s.Segment], keys: Sequence[Type | None], *, node: bool) -> Type:
        """The type at the end. ``keys``: the type of each computed key. ``node``: ``.output`` may mean the whole."""
        for position, (segment, key) in enumerate(zip(segments, keys, strict=True)):
            if node and position == 0 and isinstance(segment, s.Field) and segment.name == "output":
                self.type = _output(self.type)
                self.source += ".output"
            else:
                self._step(segment, key)
        made = self.type
        for maybe in reversed(self._lists):
            made = nullable(list_of(made)) if maybe else list_of(made)
        return made

    def _step(self, segment: s.Segment, key: Type | None) -> None:
        if isinstance(segment, s.Star):
            self._star()
        elif isinstance(segment, s.Field):
            self._to(self._named(segment.name))
            self.source += f".{segment.name}"
        else:
            known, value = literal(segment.key)
            self._to(self._literal_key(value) if known else self._computed(key or UNKNOWN))
            self.source += f"[{value!r}]" if known else "[…]"

    def _to(self, found: Type) -> None:
        """Go on to ``found``, or to null where there was no value to look into."""
        self.type = nullable(found) if "null" in possible(self.type) else found

    def _star(self) -> None:
        may = possible(self.type)
        self.source += "[*]"
        if "list" not in may:
            self.type = NULL
        else:
            self._lists.append(may != {"list"})
            self.type = self.type.item or UNKNOWN

    def _named(self, name: str) -> Type:
        may = possible(self.type)
        found: Type | None = self._field(name) if "object" in may else None
        if name == "length" and may & {"list", "string"}:
            found = NUMBER if found is None else join(found, NUMBER)
        elif name.isdigit() and "list" in may:
            item = nullable(self.type.item or UNKNOWN)
            found = item if found is None else join(found, item)
        if found is None:
            return NULL
        return found if may <= {"object", "null"} or "object" not in may else UNKNOWN

    def _field(self, name: str) -> Type:
        here = self.type
        declared = here.fields.get(name)
        if declared is not None:
            return declared if name in here.required else nullable(declared)
        besides = possible(here)
        elsewhere = (name == "length" and besides & {"list", "string"}) or (name.isdigit() and "list" in besides)
        if here.closed and not elsewhere:
            self.missing.append(Missing(name, self.source, tuple(sorted(here.fields))))
        return UNKNOWN

    def _literal_key(self, value: Json) -> Type:
        may = possible(self.type)
        if isinstance(value, str):
            if "object" not in may:
                return NULL
            found = self._field(value)
            return found if may <= {"object", "null"} else UNKNOWN
        if "list" not in may or isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
            return NULL
        return nullable(self.type.item or UNKNOWN) if may <= {"list", "null"} else UNKNOWN

    def _computed(self, key: Type) -> Type:
        may, keyed = possible(self.type), possible(key)
        if "list" in may and "number" in keyed and may <= {"list", "null"}:
            return nullable(self.type.item or UNKNOWN)
        works = ("list" in may and "number" in keyed) or ("object" in may and "string" in keyed)
        return UNKNOWN if works else NULL


def literal(key: s.Node) -> tuple[bool, Json]:
    """Whether a key is known from the text, and its value: ``['a b']``, ``[0]``, ``[-1]``."""
    while isinstance(key, s.Group):
        key = key.inner
    if isinstance(key, s.Literal):
        return True, key.value
    if isinstance(key, s.Unary) and key.operator == "-" and isinstance(key.operand, s.Literal):
        value = key.operand.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return True, -value
    return False, None


def _output(whole: Type) -> Type:
    """``$node.output``: the field of that name where the output has one, else the whole of it."""
    if "object" not in possible(whole):
        return whole
    declared = whole.fields.get("output")
    if declared is not None and whole.kind == "object":
        if "output" in whole.required and not whole.nullable:
            return declared
        return nullable(declared) if "output" in whole.required else join(declared, whole)
    return whole if declared is None and whole.closed else UNKNOWN


def field_hint(missing: Missing) -> str:
    """What may have been meant by an undeclared field."""
    head, hyphen, tail = missing.name.partition("-")
    while hyphen:
        if head in missing.available:
            meant = tail if tail.isdigit() else f"${tail}"
            return f"A hyphen belongs to the name. Subtraction needs blanks: {missing.before}.{head} - {meant}"
        more, hyphen, tail = tail.partition("-")
        head = f"{head}-{more}"
    near = nearest(missing.name, missing.available)
    return f"Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
