"""What the pages say of names and places is true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("examples/*/*.md")}
)


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_lead_to_files_that_are_there(self, page: Path) -> None:
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))

        missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]

        assert not missing


class TestArchitecture:
    def test_names_files_that_are_there(self) -> None:
        """A name without a folder stands in the folder of the one before it in its row."""
        for row in (ROOT / "docs/architecture.md").read_text("utf-8").splitlines():
            folder = ROOT
            for name in re.findall(r"`([\w/]+(?:\.py|/))`", row):
                if "/" in name.rstrip("/"):
                    folder = (ROOT / name).parent
                places = (ROOT / name, folder / name, ROOT / "streams/core" / name, ROOT / "planner" / name)

                assert any(place.exists() for place in places), f"{name} in: {row}"


class TestPythonOnPages:
    @pytest.mark.parametrize("page", ["README.md"])
    def test_runs_as_it_stands(self, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
        script = tmp_path / "page.py"
        script.write_text("\n".join(blocks), "utf-8")
        monkeypatch.chdir(tmp_path)

        runpy.run_path(str(script))

        assert blocks
