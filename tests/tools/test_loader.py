"""Tools files: executed once under a private name; every fault is a message with a place."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from dynamicflow.errors import UsageError
from dynamicflow.tools import ToolContext, load_tools_file

GOOD = """
from __future__ import annotations
import dataclasses
from dynamicflow.tools import Join, create_tool, tool
from helper_of_these_tools import suffix

@dataclasses.dataclass
class Person:
    name: str

@tool
def greet(person: Person) -> Person:
    return Person(person.name + suffix)

made = create_tool({"id": "made", "execute": lambda inputs: inputs})
more = [create_tool({"id": "more", "execute": lambda inputs: inputs}), made]
join = Join("greet", "made", lambda value: value)
"""


def write(folder: Path, text: str, name: str = "tools.py") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def refused(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_tools_file(path)
    return caught.value


class TestAToolsFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        write(tmp_path, "suffix = '!'", "helper_of_these_tools.py")
        return write(tmp_path, GOOD)

    def test_gives_its_tools_and_joins(self, file: Path) -> None:
        loaded = load_tools_file(file)
        assert [one.id for one in loaded.tools] == ["greet", "made", "more"]
        assert [one.key for one in loaded.joins] == [("greet", "made")]
        path = list(sys.path)
        person = loaded.tools[0].invoke({"person": {"name": "Ada"}}, ToolContext())
        assert person.name == "Ada!"
        assert pickle.loads(pickle.dumps(person)) == person
        assert str(file.parent) not in path

    def test_shadows_nothing(self, file: Path) -> None:
        load_tools_file(file)
        assert "tools" not in sys.modules

    def test_is_executed_once(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = load_tools_file(file)
        monkeypatch.chdir(file.parent)
        assert load_tools_file("tools.py").tools[0] is first.tools[0]

    def test_two_of_one_name_stay_apart(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write(tmp_path / name, f"from dynamicflow.tools import tool\n@tool\ndef {name}() -> int: return 1")
        found = [load_tools_file(tmp_path / name / "tools.py").tools[0].id for name in ("a", "b")]
        assert found == ["a", "b"]


class TestAFault:
    def test_no_such_file(self, tmp_path: Path) -> None:
        assert refused(tmp_path / "none.py").code == "TOOLS_FILE_NOT_FOUND"
        assert "is a folder" in refused(tmp_path).message
        assert refused(Path("a\0b")).code == "TOOLS_FILE_NOT_FOUND"

    def test_syntax(self, tmp_path: Path) -> None:
        error = refused(write(tmp_path, "x = 1\ndef f(:\n"))
        assert error.code == "TOOLS_FILE_INVALID"
        assert "tools.py, line 2: " in error.message

    def test_bytes_that_are_no_source(self, tmp_path: Path) -> None:
        file = tmp_path / "tools.py"
        file.write_bytes(b"\xff\xfe\x00")
        assert refused(file).code == "TOOLS_FILE_INVALID"

    @pytest.mark.parametrize(
        ("statement", "says"),
        [
            ("1 / 0", "line 3: importing it raised ZeroDivisionError: division by zero"),
            ("import no_such_module_here", "line 3: No module named 'no_such_module_here'; install it"),
            ("raise SystemExit(2)", "line 3: importing it raised SystemExit: 2"),
            ("create_tool({})", "line 3: create_tool: 'id' is missing"),
        ],
    )
    def test_while_it_is_imported(self, tmp_path: Path, statement: str, says: str) -> None:
        file = write(tmp_path, f"from dynamicflow.tools import create_tool\n\n{statement}\n")
        assert says in refused(file).message
        write(
            tmp_path,
            "from dynamicflow.tools import create_tool\nt = create_tool({'id': 'x', 'execute': print})\n# longer",
        )
        assert load_tools_file(file).tools[0].id == "x"

    def test_nothing_in_it(self, tmp_path: Path) -> None:
        assert refused(write(tmp_path, "x = 1")).code == "NO_TOOLS"
