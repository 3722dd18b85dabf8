"""docs/events.md says what is in a log: every event, every field, the order around a tool node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.derive import Derived, Deriver
from tests.golden.make import HERE
from tests.golden.test_golden_logs import Golden
from tests.spec.given import Given, step

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
FACTS: Final[tuple[type[e.Event], ...]] = e.Fact.__args__
TOLD: Final[tuple[type[e.Event], ...]] = e.Told.__args__


def table(heading: str) -> dict[str, list[str]]:
    """The rows of a section: name in the first cell -> the other cells."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {cells[0].strip("`"): cells[1:] for cells in rows[2:]}


def named(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def fields(kind: type[e.Event]) -> set[str]:
    """Names on the wire of what a kind has beyond the envelope."""
    own = set(kind.model_fields) - set(e.Event.model_fields) - {"type"}
    return {kind.model_fields[name].alias or name for name in own}


def wire_type(kind: type[e.Event]) -> str:
    return str(kind.model_fields["type"].default)


def shown(log: Golden) -> list[e.Event]:
    """What a reader of a log sees."""
    deriver = Deriver(log.name)
    return [event for record in log.records for event in deriver.feed(decode_event(record), log.values)]


class TestThePageListsEveryEvent:
    @pytest.mark.parametrize(("heading", "kinds"), [("Facts", FACTS), ("Announcements", TOLD)])
    def test_in_the_order_of_the_source(self, heading: str, kinds: tuple[type[e.Event], ...]) -> None:
        assert list(table(heading)) == [wire_type(kind) for kind in kinds]

    @pytest.mark.parametrize("kind", FACTS + TOLD, ids=wire_type)
    def test_with_its_fields(self, kind: type[e.Event]) -> None:
        rows = table("Facts" if kind.folded else "Announcements")

        assert named(rows[wire_type(kind)][0]) == fields(kind)

    def test_and_the_fields_of_the_envelope(self) -> None:
        always = {"id", "type", "runId", "timestamp", "v", "semantics"}
        envelope = {info.alias or name for name, info in e.Event.model_fields.items()}

        assert set(table("The envelope")) | always == envelope | {"type"}

    def test_and_every_derived_one_that_a_reader_can_meet(self) -> None:
        met = {
            event.type
            for path in HERE.glob("v*/*.jsonl")
            for event in shown(Golden(path))
            if isinstance(event, Derived)
        }

        assert met == set(table("Derived on reading"))

    def test_with_the_fields_it_has(self) -> None:
        envelope = {info.alias or name for name, info in e.Event.model_fields.items()} - {"planHash", "attempt"}
        rows = table("Derived on reading")
        derived = [
            event for path in HERE.glob("v*/*.jsonl") for event in shown(Golden(path)) if isinstance(event, Derived)
        ]

        for event in derived:
            own = {name for name in event.model_dump(by_alias=True, exclude_none=True)} - envelope - {"type", "derived"}
            said = named(rows[event.type][-1]) | {"planHash", "attempt"}
            assert own <= said, event.type


class TestTheOrderOfThePage:
    def test_is_that_of_a_run_with_one_tool_node(self) -> None:
        block = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
        assert block is not None
        run = Given(step("a"))
        run.output("a", 1)
        log: list[Any] = [*map(decode_event, run.facts)]
        log.insert(2, run.told("flow-start", ever=True)[0])
        log.append(run.told("flow-complete")[0])
        deriver = Deriver("r")

        lines = [
            f"{' ' if isinstance(event, Derived) else '+'} {event.type}"
            for one in log
            for event in deriver.feed(one, {})
        ]

        assert block[1].splitlines() == lines
