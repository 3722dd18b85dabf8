"""A plan between what was given and the canonical form: nodes as drafts that know where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ...values import Json
from .fields import ITEM_BODIES

Path: TypeAlias = tuple[str | int, ...]
"""The canonical place of a body in its node: ``("ifTrue",)``, ``("cases", "refund")``, ``("branches", 0)``."""

ON_ERROR: Final[Path] = ("onError", "nodes")


@dataclass(slots=True)
class IdRef:
    """A node named by its id where a node stands in the canonical form (dialects B and D)."""

    id: str
    given: str


@dataclass(slots=True, eq=False)
class Draft:
    """One node on its way: fields by canonical name, bodies apart, and the pointers of where it was given."""

    type: str
    variant: str
    given: str
    raw_id: Json = None
    id: str = ""
    fields: dict[str, Json] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """Canonical field -> pointer as given."""
    bodies: dict[Path, list[Draft | IdRef]] = field(default_factory=dict)
    outputs: list[tuple[str, str]] = field(default_factory=list)
    """Other names of its output, each with its pointer."""
    depth: int = 1
    """Bodies around it as read, plus one; ids in branches may still move it."""
    suffix: str = ""
    """Names it after its owner: ``<owner>_test``, where the body it stands in says something else."""

    def place(self, name: str) -> str:
        """The pointer of a field as given; that of the node where it was not given."""
        return self.places.get(name, self.given)

    def nodes(self, path: Path) -> list[Draft]:
        """The nodes of one body, once ids are resolved."""
        return [child for child in self.bodies.get(path, ()) if isinstance(child, Draft)]


@dataclass(frozen=True, slots=True)
class Deferred:
    """An expression over a node that has no id yet: ``$`` + id + ``suffix``."""

    node: Draft
    suffix: str


@dataclass(slots=True, eq=False)
class Spot:
    """Where a draft stands."""

    draft: Draft
    owner: Spot | None
    path: Path
    index: int
    depth: int
    """1 at the top."""

    @property
    def top(self) -> Spot:
        """The spot of its top-level ancestor."""
        spot = self
        while spot.owner is not None:
            spot = spot.owner
        return spot

    def in_item_body(self) -> bool:
        """Whether it stands right in the body that its owner runs per item or iteration."""
        return self.owner is not None and self.path == ("body",) and self.owner.draft.type in ITEM_BODIES

    def within(self, other: Spot) -> bool:
        """Whether ``other`` is one of the owners around it."""
        spot = self.owner
        while spot is not None:
            if spot is other:
                return True
            spot = spot.owner
        return False


def walk(tops: Iterable[Draft]) -> Iterator[Spot]:
    """Every node with its place, owners before what they own, in document order."""
    todo = [Spot(draft, None, (), index, 1) for index, draft in enumerate(tops)]
    todo.reverse()
    while todo:
        spot = todo.pop()
        yield spot
        inner = [
            Spot(child, spot, path, index, spot.depth + 1)
            for path, body in spot.draft.bodies.items()
            for index, child in enumerate(body)
            if isinstance(child, Draft)
        ]
        todo.extend(reversed(inner))
