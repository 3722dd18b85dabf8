"""A tool's arguments from what is in sight. Nothing is made up: what cannot be bound becomes a question.

Tried for each required field, in order: a constant that the clause gives it, the only value allowed, a join, a field of
the same name and a fitting type (latest step first, then the loop's element, then the input), a value of that name or
form, its parts, a constant the clause leaves no other place for, a usual other name (of the input; of a step with
enableJoinSuggestions), the schema's default, and where the input is not known the input's field of that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ...tools.joins import Join
from ...tools.spec import ToolSpec
from ...values import Json
from ..options import Options
from .literals import Masked, beside, is_for
from .shapes import Shape
from .sources import COMMON, Source, Wanted, alike, by_name, lists, misfit, nearest, projected, whole
from .words import nouns_of, stems

_CONTENT: Final = frozenset(stems("text content body message data document input payload value summary"))


@dataclass
class Bound:
    """A tool's inputs and what has to be said about them."""

    inputs: Json = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    follows: str | None = None
    """The node whose direct successor the step has to be, for a join."""
    suggested: dict[str, Json] | None = None
    """A join to be added to the plan."""


@dataclass(frozen=True)
class Binder:
    """Binds the steps of one request."""

    joins: Sequence[Join]
    options: Options
    masked: Masked

    def bind(self, tool: ToolSpec, clause: str, sources: Sequence[Source], *, top: bool) -> Bound:
        """The inputs of one step. ``top``: it stands at the top level, so edges may lead to it."""
        task = _Task(self, tool, clause, sources)
        joined = self._join(tool, sources)
        if joined is None:
            task.required()
        else:
            task.through(joined[0], joined[1], top=top)
        task.optional()
        task.suggest(top=top)
        return task.bound

    def _join(self, tool: ToolSpec, sources: Sequence[Source]) -> tuple[Join, Source] | None:
        for source in nearest(sources):
            for join in self.joins:
                if source.node and join.to_tool == tool.id and join.from_tool == source.tool:
                    return join, source
        return None

    @property
    def may_suggest(self) -> bool:
        """Whether a step's output may be taken under another name."""
        return self.options.enable_join_suggestions and not self.joins


class _Task:
    """One step's inputs in the making."""

    def __init__(self, binder: Binder, tool: ToolSpec, clause: str, sources: Sequence[Source]) -> None:
        self.bound = Bound()
        self._binder, self._tool, self._clause, self._sources = binder, tool, clause, sources
        self._target = Shape.of(tool.input_schema)
        self._nouns = nouns_of(tool)
        self._claimed: set[str] = set()
        self._mapped: dict[str, Source] = {}
        """Fields taken from a step under another name, for a suggested join."""

    def required(self, names: Sequence[str] | None = None) -> None:
        """Binds the required fields (or ``names``), constants first so that each is used for what it was said for."""
        names = self._target.required if names is None else names
        open_fields = [name for name in names if not self._constant(name)]
        open_fields = [name for name in open_fields if not self._found(name)]
        open_fields = [name for name in open_fields if not self._left_over(name, open_fields)]
        for name in open_fields:
            if not self._assumed(name):
                self.bound.questions.append(self._question(name))

    def through(self, join: Join, source: Source, *, top: bool) -> None:
        """Leaves to a join what it fills, and binds the rest."""
        mapping = join.mapping if isinstance(join.mapping, dict) else None
        filled = set(self._target.required if mapping is None else mapping)
        for name in self._target.fields:
            self._constant(name)
        self.required([name for name in self._target.required if name not in filled and name not in self.bound.inputs])
        self.bound.notes.append(f"the join {join.from_tool} -> {join.to_tool} fills what the step does not name itself")
        if not self.bound.inputs and not self.bound.questions:
            self.bound.inputs = source.ref
        elif top:
            self.bound.follows = source.node
        elif mapping is not None:
            self.bound.inputs = {
                **{name: _moved(part, source.ref) for name, part in mapping.items()},
                **self.bound.inputs,
            }
        else:
            self.bound.questions.append(
                f"the step “{self._said()}” gives {self._tool.id} constants beside a join in code, which works at the "
                "top level only: let the join set them, or take the step out of the condition or loop"
            )

    def optional(self) -> None:
        """Binds optional fields that the clause names a constant for, or that have a namesake in sight."""
        if not isinstance(self.bound.inputs, dict):
            return
        known = [source for source in self._sources if not source.guess and not source.maybe]
        for name, shape in self._target.fields.items():
            if name in self.bound.inputs or name in self._target.required or self._constant(name):
                continue
            own = [source for source in known if source.tool is None] if name.lower() in COMMON else known
            if shape.known and (ref := by_name(self._wanted(name), own)) is not None:
                self.bound.inputs[name] = ref

    def suggest(self, *, top: bool) -> None:
        """Turns what was taken under other names into a suggested join, where the step can be a join's target."""
        steps = {source.node: source for source in self._mapped.values()}
        if len(steps) != 1 or not isinstance(self.bound.inputs, dict):
            return
        (source,) = steps.values()
        inputs = self.bound.inputs
        own = {name: value for name, value in inputs.items() if _is_ref_to(value, source.ref)}
        rest = {name: value for name, value in inputs.items() if name not in own}
        if source.node is None or (rest and not top):
            return
        mapping = {name: "$source" + value[len(source.ref) :] for name, value in own.items()}
        self.bound.suggested = {
            "fromTool": source.tool,
            "toTool": self._tool.id,
            "mapping": mapping,
            "suggested": True,
            "confidence": 0.9,
        }
        self.bound.inputs = rest or source.ref
        self.bound.follows = source.node if rest else None

    def _wanted(self, name: str) -> Wanted:
        return Wanted(name, self._shape(name), self._nouns)

    def _shape(self, name: str) -> Shape:
        return self._target.fields.get(name) or Shape.of({})

    def _constant(self, name: str) -> bool:
        """A constant given by name in the clause, or the only value the schema allows."""
        shape = self._shape(name)
        said = beside(name, shape, self._clause, self._binder.masked)
        if said is not None and said[1] not in self._claimed:
            self._claimed.add(said[1])
            self.bound.inputs[name] = said[0]
            return True
        for index, constant in self._binder.masked.within(self._clause):
            if f"\ue000{index}\ue001" not in self._claimed and is_for(constant, name, shape):
                self._claimed.add(f"\ue000{index}\ue001")
                self.bound.inputs[name] = constant.value
                return True
        if name in self._target.required and len(shape.choices) == 1:
            self.bound.inputs[name] = shape.choices[0]
            return True
        return False

    def _found(self, name: str) -> bool:
        """A value in sight of that name, that form, or that content."""
        wanted = self._wanted(name)
        ref = by_name(wanted, self._sources) or whole(wanted, self._sources)
        ref = ref or projected(wanted, self._sources) or self._content(wanted)
        if ref is not None:
            self.bound.inputs[name] = ref
            return True
        if (parts := self._parts(wanted, 3, None)) is not None:
            self.bound.inputs[name] = parts
            return True
        return self._other_name(wanted)

    def _content(self, wanted: Wanted) -> str | None:
        """For a field that takes any text or list: what the step before made, or the output the clause names."""
        steps = [source for source in nearest(self._sources) if source.node]
        if not steps:
            return None
        alone = len(self._target.required) == 1
        if wanted.shape.kinds == {"array"}:
            found = [ref for ref, items, _ in lists(steps[0]) if items.fits(wanted.shape.items)]
            return self._noted(wanted, found[0]) if len(found) == 1 else None
        if not (alone or set(stems(wanted.name)) & _CONTENT) or wanted.shape.kinds - {"string", "number"}:
            return None
        if steps[0].shape.known and steps[0].shape.kinds <= {"string", "number"} and steps[0].shape.fits(wanted.shape):
            return self._noted(wanted, steps[0].ref)
        said = set(stems(self._clause))
        for source in steps:
            named = [key for key, shape in source.shape.fields.items() if shape.known and shape.fits(wanted.shape)
                     and set(stems(key)) <= said]  # fmt: skip
            if len(named) == 1:
                return self._noted(wanted, source.at(named))
        return None

    def _noted(self, wanted: Wanted, ref: str) -> str:
        self.bound.notes.append(f"{self._tool.id}.{wanted.name} is taken to be {ref}")
        return ref

    def _parts(self, wanted: Wanted, depth: int, guess: Source | None) -> dict[str, Any] | None:
        """An object put together from its required fields; None when one is not in sight and ``guess`` has no say."""
        shape = wanted.shape
        if shape.kinds != {"object"} or not shape.required or not depth:
            return None
        made: dict[str, Any] = {}
        missing: list[str] = []
        for name in shape.required:
            part = Wanted(name, shape.fields.get(name) or Shape.of({}), self._nouns | frozenset(stems(wanted.name)))
            said = beside(name, part.shape, self._clause, self._binder.masked)
            found = by_name(part, self._sources) or whole(part, self._sources) or self._parts(part, depth - 1, guess)
            if said is None and found is None:
                missing.append(name)
            made[name] = said[0] if said else found
        if missing and (guess is None or len(missing) == len(made)):
            return None
        for name in missing:
            made[name] = self._guessed(guess, name) if guess else None
        return made

    def _guessed(self, source: Source, name: str) -> str:
        self.bound.notes.append(f"{source.at([name])} is there, for {self._tool.id}.{name}")
        return source.at([name])

    def _other_name(self, wanted: Wanted) -> bool:
        for source in nearest(self._sources):
            if source.tool is not None and not self._binder.may_suggest:
                continue
            if (name := alike(wanted, source)) is not None:
                self.bound.inputs[wanted.name] = self._noted(wanted, source.at([name]))
                if source.tool is not None:
                    self._mapped[wanted.name] = source
                return True
        return False

    def _left_over(self, name: str, open_fields: Sequence[str]) -> bool:
        """The one quoted text that nothing else claimed, for the one text field that nothing else fills."""
        texts = [one for one in open_fields if self._shape(one).kinds <= {"string"} and one not in self.bound.inputs]
        free = [(f"\ue000{index}\ue001", constant) for index, constant in self._binder.masked.within(self._clause)
                if constant.kind != "object" and f"\ue000{index}\ue001" not in self._claimed]  # fmt: skip
        if texts != [name] or len(free) != 1 or not self._shape(name).takes(free[0][1].value):
            return False
        self._claimed.add(free[0][0])
        self.bound.inputs[name] = free[0][1].value
        self.bound.notes.append(f"{self._tool.id}.{name} is taken to be {free[0][1].raw}")
        return True

    def _assumed(self, name: str) -> bool:
        """The schema's default; else, of an input that is not known, the field of that name."""
        shape = self._shape(name)
        if "default" in shape.schema and shape.takes(shape.schema["default"]):
            self.bound.inputs[name] = shape.schema["default"]
            return True
        if misfit(self._wanted(name), self._sources) or self._near(name):
            return False
        for source in nearest(self._sources):
            if source.guess:
                parts = self._parts(self._wanted(name), 3, source)
                self.bound.inputs[name] = parts or self._bare_item(source, name) or self._guessed(source, name)
                return True
        item = next((source for source in nearest(self._sources) if source.ref == "$item"), None)
        if item and item.shape.known and item.shape.kinds <= {"string", "number"} and self._bare_item(item, name):
            self.bound.inputs[name] = self._noted(self._wanted(name), item.ref)
            return True
        return False

    def _bare_item(self, source: Source, name: str) -> str | None:
        """The element itself, for a tool that asks for one plain value and nothing else."""
        alone = len(self._target.required) == 1 and source.shape.fits(self._shape(name))
        return source.ref if source.ref == "$item" and source.shape.known and alone else None

    def _near(self, name: str) -> str | None:
        """A step's field that may be meant, had suggestions been allowed."""
        for source in nearest(self._sources):
            if source.tool is not None and (found := alike(self._wanted(name), source)) is not None:
                return f"{source.tool} returns `{found}`, which may be meant"
        return None

    def _question(self, name: str) -> str:
        kinds = " or ".join(sorted(self._shape(name).kinds)) or "any type"
        start = f"Where does {self._tool.id} get `{name}` ({kinds}) from, for “{self._said()}”?"
        if (near := self._near(name)) is not None:
            return f"{start} {near}: add a join to {self._tool.id}, or set options.enableJoinSuggestions."
        if (wrong := misfit(self._wanted(name), self._sources)) is not None:
            return f"{start} {wrong} has another type: add a join that converts it."
        return f"{start} No earlier step and no field of the input gives it: add it to the input, or quote it."

    def _said(self) -> str:
        return self._binder.masked.shown(self._clause)


def _is_ref_to(value: Json, ref: str) -> bool:
    return isinstance(value, str) and (value == ref or value.startswith((ref + ".", ref + "[")))


def _moved(template: Json, ref: str) -> Json:
    """A join's mapping with ``$source`` as a step's reference."""
    match template:
        case str():
            return template.replace("$source", ref)
        case list():
            return [_moved(part, ref) for part in template]
        case dict():
            return {key: _moved(part, ref) for key, part in template.items()}
    return template
