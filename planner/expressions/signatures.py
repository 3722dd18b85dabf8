"""What functions and operators take and give, as types (canonical.md §3). A refusal is certain; None is "may work"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from ..types import (
    BOOLEAN,
    NUMBER,
    STRING,
    UNKNOWN,
    Type,
    describe,
    join,
    list_of,
    not_null,
    nullable,
    one_of,
    possible,
)

Kinds: TypeAlias = frozenset[str]

ANY: Final[Kinds] = frozenset({"null", "boolean", "number", "string", "list", "object"})
_STRING: Final[Kinds] = frozenset({"string"})
_NUMBER: Final[Kinds] = frozenset({"number"})
_LIST: Final[Kinds] = frozenset({"list"})
_SIZED: Final[Kinds] = frozenset({"string", "list", "object"})
_NULL: Final[Kinds] = frozenset({"null"})

TAKES: Final[Mapping[str, tuple[Kinds, ...]]] = {
    "contains": (_SIZED | _NULL, ANY),
    "startsWith": (_STRING | _NULL, _STRING),
    "endsWith": (_STRING | _NULL, _STRING),
    "lower": (_STRING,),
    "upper": (_STRING,),
    "trim": (_STRING,),
    "length": (_SIZED,),
    "size": (_SIZED,),
    "split": (_STRING, _STRING),
    "join": (_LIST, _STRING),
    "replace": (_STRING, _STRING, _STRING),
    "coalesce": (ANY,),
    "typeOf": (ANY,),
    "number": (frozenset({"string", "number", "boolean"}),),
    "string": (ANY,),
    "boolean": (ANY,),
    "keys": (frozenset({"object"}),),
    "values": (frozenset({"object"}),),
    "first": (_LIST,),
    "last": (_LIST,),
    "slice": (_STRING | _LIST, _NUMBER, _NUMBER | _NULL),
    "unique": (_LIST,),
    "sort": (_LIST,),
    "flatten": (_LIST,),
    "sum": (_LIST, ANY),
    "min": (_NUMBER,),
    "max": (_NUMBER,),
    "avg": (_LIST,),
    "count": (_LIST, ANY),
    "round": (_NUMBER, _NUMBER),
    "floor": (_NUMBER,),
    "ceil": (_NUMBER,),
    "abs": (_NUMBER,),
    "has": (frozenset({"object", "null"}), _STRING),
    "any": (_LIST, ANY),
    "all": (_LIST, ANY),
    "filter": (_LIST, ANY),
    "map": (_LIST, ANY),
}
"""The kinds each argument may have; the last entry holds for further ones."""

OF_NUMBERS: Final = frozenset({"sum", "avg"})
OF_COMPARABLES: Final = frozenset({"sort", "min", "max"})


def takes(name: str, position: int, arguments: int) -> Kinds:
    """What the argument at this position may be, of so many."""
    if name in ("min", "max") and arguments == 1:
        return _LIST
    given = TAKES.get(name, (ANY,))
    return given[min(position, len(given) - 1)]


def wrong_elements(name: str, given: Type) -> str:
    """What the elements of the list should be, when theirs certainly are not; else ``""``. Empty lists always work."""
    item = given.item
    if item is None:
        return ""
    may = possible(item)
    if name in OF_NUMBERS and "number" not in may:
        return "a list of numbers"
    if name in OF_COMPARABLES and not may & {"number", "string"}:
        return "a list of numbers or of strings"
    return ""


def item_of(given: Type) -> Type:
    """What an element of a list is."""
    return given.item if given.item is not None else UNKNOWN


def result(name: str, args: Sequence[Type]) -> Type:
    """The type of a call; of a per-element function the second argument's type is its body's."""
    simple = _SIMPLE.get(name)
    if simple is not None:
        return simple
    made = _MADE.get(name)
    return made(args) if made is not None and args else UNKNOWN


_SIMPLE: Final[Mapping[str, Type]] = {
    **dict.fromkeys(("contains", "startsWith", "endsWith", "boolean", "has", "any", "all"), BOOLEAN),
    **dict.fromkeys(("lower", "upper", "trim", "join", "replace", "typeOf", "string"), STRING),
    **dict.fromkeys(("length", "size", "number", "sum", "count", "round", "floor", "ceil", "abs"), NUMBER),
    **dict.fromkeys(("split", "keys"), list_of(STRING)),
    "avg": nullable(NUMBER),
}


def _element(args: Sequence[Type]) -> Type:
    return nullable(item_of(args[0]))


def _extreme(args: Sequence[Type]) -> Type:
    if len(args) > 1:
        return NUMBER
    return nullable(one_of(possible(item_of(args[0])) & {"number", "string"} or {"number", "string"}))


def _same(args: Sequence[Type]) -> Type:
    given = not_null(args[0])
    return given if given.kind == "list" else list_of(given.item)


def _slice(args: Sequence[Type]) -> Type:
    given = not_null(args[0])
    return given if given.kind in ("list", "string") else one_of(("list", "string"))


def _flatten(args: Sequence[Type]) -> Type:
    item = item_of(args[0])
    may = possible(item)
    if "list" not in may:
        return list_of(item)
    return list_of(item.item if may == {"list"} else None)


def _values(args: Sequence[Type]) -> Type:
    return list_of(None)  # what no schema declares is kept at run time, and is a value like the others


def _coalesce(args: Sequence[Type]) -> Type:
    made: Type | None = None
    for arg in args:
        if arg.kind != "null":
            made = not_null(arg) if made is None else join(made, not_null(arg))
    if made is None:
        return args[-1]
    return nullable(made) if all("null" in possible(arg) for arg in args) else made


_MADE: Final[Mapping[str, Callable[[Sequence[Type]], Type]]] = {
    "first": _element,
    "last": _element,
    "min": _extreme,
    "max": _extreme,
    "slice": _slice,
    "unique": _same,
    "sort": _same,
    "filter": _same,
    "flatten": _flatten,
    "values": _values,
    "coalesce": _coalesce,
    "map": lambda args: list_of(args[1] if len(args) > 1 else None),
}


# --- operators ------------------------------------------------------------------------------------------------------

_TEXTUAL: Final[Kinds] = frozenset({"string", "number", "boolean"})


def arithmetic(operator: str, left: Type, right: Type) -> Type | None:
    """The type of ``left operator right``; None when it certainly fails."""
    mine, theirs = possible(left), possible(right)
    made: set[str] = set()
    if "number" in mine & theirs:
        made.add("number")
    if operator == "+":
        if ("string" in mine and theirs & _TEXTUAL) or ("string" in theirs and mine & _TEXTUAL):
            made.add("string")
        if "list" in mine & theirs:
            made.add("list")
    if made == {"list"}:
        return list_of(join(left.item, right.item) if left.item is not None and right.item is not None else None)
    return one_of(made) if made else None


def ordering_works(left: Type, right: Type) -> bool:
    """Two numbers or two strings are possible."""
    return bool(possible(left) & possible(right) & {"number", "string"})


def equality_works(left: Type, right: Type) -> bool:
    """They may be equal, or one is null, which everything is compared with."""
    mine, theirs = possible(left), possible(right)
    return bool(mine & theirs) or _NULL in (mine, theirs)


def membership_works(left: Type, right: Type) -> bool:
    """``left in right`` may have a value."""
    theirs = possible(right)
    return bool(theirs & {"null", "list"} or (theirs & _SIZED and possible(left) & {"string", "null"}))


def matching_works(left: Type, right: Type) -> bool:
    """``left matches right`` may have a value."""
    return bool(possible(left) & {"string", "null"}) and "string" in possible(right)


def shown(kinds: Kinds) -> str:
    """Kinds for people."""
    every = [describe(one_of({kind})) for kind in ("number", "string", "boolean", "list", "object") if kind in kinds]
    return " or ".join(every) or "null"
