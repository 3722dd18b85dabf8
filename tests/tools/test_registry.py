"""The registry: one tool an id, one join a pair; categories that load when first needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dynamicflow.errors import UsageError
from dynamicflow.tools import Join, Tool, ToolRegistry, create_tool, tool


def named(id: str, category: str = "general") -> Tool:
    return tool(lambda a: a, id=id, category=category)


class TestARegistry:
    def test_maps_ids_to_tools(self) -> None:
        a, b = named("a"), named("b", "x")
        registry = ToolRegistry.from_tools([a, b])
        assert list(registry) == ["a", "b"]
        assert registry["a"] is a
        assert registry.get("c") is None
        assert "b" in registry and registry.has("b") and not registry.has("c")
        assert registry.specs["b"].category == "x"
        assert registry.list_by_category("x") == [b]
        assert registry.list() == [a, b]

    def test_takes_tools_definitions_and_joins(self) -> None:
        join = Join("a", "b", lambda value: value)
        registry = ToolRegistry.from_tools([named("a"), {"id": "b", "execute": lambda inputs: inputs}, join])
        assert list(registry) == ["a", "b"]
        assert registry.joins == {("a", "b"): join}

    def test_refuses_duplicates(self) -> None:
        registry = ToolRegistry.from_tools([named("a")], [Join("a", "b", mapping={})])
        with pytest.raises(UsageError) as caught:
            registry.register(named("a"))
        assert caught.value.code == "DUPLICATE_TOOL"
        with pytest.raises(UsageError) as caught:
            registry.register_join(Join("a", "b", mapping={}))
        assert caught.value.code == "DUPLICATE_JOIN"

    def test_refuses_a_plain_function_saying_what_to_do(self) -> None:
        def f() -> None: ...

        with pytest.raises(UsageError, match="f is no tool: decorate the function with @tool"):
            ToolRegistry.from_tools([f])

    def test_forgets(self) -> None:
        registry = ToolRegistry.from_tools([named("a"), named("b")])
        assert registry.unregister("a") and not registry.unregister("a")
        registry.clear()
        assert len(registry) == 0

    def test_knows_the_nearest_ids(self) -> None:
        registry = ToolRegistry.from_tools([named("validateEmail"), named("sendEmail"), named("x")])
        assert registry.nearest("validate_email")[0] == "validateEmail"

    def test_exports_what_json_can_say(self) -> None:
        exported = ToolRegistry.from_tools([named("a"), Join("a", "b", mapping={})]).export()
        assert exported["tools"][0]["id"] == "a"
        assert exported["joins"][0]["toTool"] == "b"

    def test_validates_inputs_and_outputs(self) -> None:
        shape = {"properties": {"n": {"type": "integer"}}}
        made = create_tool({"id": "a", "inputSchema": shape, "outputSchema": shape, "execute": lambda inputs: inputs})
        registry = ToolRegistry.from_tools([made])
        assert registry.validate_input("a", {"n": 1}) is None
        assert registry.validate_output("a", {"n": 1, "more": 2}) is None
        error = registry.validate_input("a", {"n": "1"})
        assert error is not None and error.code == "TOOL_INPUT_INVALID"
        error = registry.validate_output("a", {"n": "1"})
        assert error is not None and error.code == "TOOL_OUTPUT_INVALID"


class TestLazyCategories:
    def test_load_once_and_only_when_needed(self) -> None:
        loaded: list[str] = []

        def mail() -> list[Tool]:
            loaded.append("mail")
            return [named("send", "mail")]

        def money() -> list[Tool]:
            loaded.append("money")
            return [named("pay", "money")]

        registry = ToolRegistry.from_tools([named("a")])
        registry.load({"mail": mail, "money": money})
        assert registry["a"].id == "a"
        assert loaded == []
        assert [one.id for one in registry.list_by_category("money")] == ["pay"]
        assert loaded == ["money"]
        assert sorted(registry) == ["a", "pay", "send"]
        assert loaded == ["money", "mail"]


def test_importing_the_package_brings_no_client() -> None:
    program = (
        "import sys, dynamicflow.tools as tools; tools.tool; tools.ToolHost; tools.builtin_tools();"
        "sys.exit(sum(name in sys.modules for name in ('openai', 'httpx2')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
