"""The tools and joins at hand: id -> tool, pair -> join. Refuses duplicates; categories may load when first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from ..errors import UsageError
from ..values import Json
from .call import CallError, CallResult, check_inputs, check_output
from .decorate import create_tool
from .joins import Join
from .settings import nearest
from .spec import Tool, ToolSpec

Tools: TypeAlias = list[Tool]
Names: TypeAlias = list[str]
Loader: TypeAlias = Callable[[], Iterable[Tool | Join]]


class ToolRegistry(Mapping[str, Tool]):
    """A mapping of ids to tools, in the order of registration."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}
        self._joins: dict[tuple[str, str], Join] = {}
        self._loaders: dict[str, Loader] = {}

    @classmethod
    def from_tools(cls, tools: Iterable[Any] = (), joins: Iterable[Join] = ()) -> ToolRegistry:
        """A registry of tools (``@tool`` functions, ``create_tool`` definitions); joins may stand among them."""
        made = cls()
        made.add(tools)
        made.add(joins)
        return made

    def add(self, things: Iterable[Any]) -> None:
        """Registers each: a Tool, a Join, a definition for ``create_tool``."""
        if isinstance(things, ToolRegistry):
            things = [*things.list(), *things.joins.values()]
        for thing in things:
            if isinstance(thing, Join):
                self.register_join(thing)
            else:
                self.register(create_tool(thing) if isinstance(thing, Mapping) else thing)

    def register(self, tool: Tool) -> Tool:
        """After this the tool is found by its id. Raises UsageError: DUPLICATE_TOOL, TOOL_INVALID."""
        given: object = tool
        if not isinstance(given, Tool):
            name = getattr(given, "__name__", None) or repr(given)
            raise UsageError("TOOL_INVALID", f"{name} is no tool: decorate the function with @tool, or use create_tool")
        if tool.spec.id in self._tools:
            raise UsageError("DUPLICATE_TOOL", f"two tools have the id {tool.spec.id!r}; give one of them another id")
        self._tools[tool.spec.id] = tool
        return tool

    def register_join(self, join: Join) -> Join:
        """After this the join is found by its pair. Raises UsageError: DUPLICATE_JOIN."""
        if join.key in self._joins:
            raise UsageError("DUPLICATE_JOIN", f"{join.name} is there twice; keep one of them")
        self._joins[join.key] = join
        return join

    def load(self, loaders: Mapping[str, Loader]) -> None:
        """Category -> a function that gives its tools, called once, when a tool of it may first be needed."""
        for category, loader in loaders.items():
            if category in self._loaders:
                raise UsageError("USAGE", f"the category {category!r} has a loader already")
            self._loaders[category] = loader

    def _load_all(self) -> dict[str, Tool]:
        while self._loaders:
            self._load(next(iter(self._loaders)))
        return self._tools

    def _load(self, category: str) -> None:
        loader = self._loaders.pop(category, None)
        if loader is not None:
            self.add(loader())

    def __getitem__(self, id: str) -> Tool:
        found = self._tools.get(id)
        return found if found is not None else self._load_all()[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load_all())

    def __len__(self) -> int:
        return len(self._load_all())

    def has(self, id: str) -> bool:
        """Is there a tool of that id?"""
        return id in self

    def list(self) -> Tools:
        """All tools, in the order of registration."""
        return [*self._load_all().values()]

    def list_by_category(self, category: str) -> Tools:
        """The tools of a category. Loads that category only."""
        self._load(category)
        return [tool for tool in self._tools.values() if tool.spec.category == category]

    def unregister(self, id: str) -> bool:
        """After this no tool has that id; was there one?"""
        return self._load_all().pop(id, None) is not None

    def clear(self) -> None:
        """After this the registry is empty."""
        self._tools.clear()
        self._joins.clear()
        self._loaders.clear()

    def nearest(self, id: str) -> Names:
        """At most three ids that ``id`` may have meant, best first."""
        return nearest(id, self._load_all())

    @property
    def specs(self) -> Mapping[str, ToolSpec]:
        """Id -> spec, as of now."""
        return {id: tool.spec for id, tool in self._load_all().items()}

    @property
    def joins(self) -> Mapping[tuple[str, str], Join]:
        """(from, to) -> join, as of now."""
        self._load_all()
        return dict(self._joins)

    def export(self) -> dict[str, Json]:
        """``{"tools": […], "joins": […]}``: what can be said in JSON."""
        return {
            "tools": [spec.to_json() for spec in self.specs.values()],
            "joins": [join.to_json() for join in self.joins.values()],
        }

    def validate_input(self, id: str, inputs: Json) -> CallError | None:
        """Why the tool refuses these inputs; None when it takes them. Raises KeyError for an unknown id."""
        checked = check_inputs(self[id].spec, inputs, "strict")
        return checked if isinstance(checked, CallError) else None

    def validate_output(self, id: str, output: Any) -> CallError | None:
        """Why this is no output of the tool; None when it is. Raises KeyError for an unknown id."""
        checked = check_output(self[id].spec, output, "strict")
        return None if isinstance(checked, CallResult) else checked
