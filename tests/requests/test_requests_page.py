"""docs/requests.md: every request on it is taken, every answer on it is the one that comes."""

from __future__ import annotations

import ast
import base64
import inspect
import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer

from dynamicflow import Engine
from dynamicflow.errors import RunExists
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.streams.requests import CONTROLS, StartRequest, read_request
from tests.examples.example_flows import Block, blocks
from tests.requests.make import DOCS
from tests.requests.request_kit import dead_letter, faults, read, refused, schema

PAGE: Final = blocks("requests.md")


def of_kind(*kinds: str) -> list[Any]:
    return [pytest.param(block, id=f"line {block.line}") for block in PAGE if block.kind in kinds]


def the(kind: str) -> Any:
    (found,) = [block.value for block in PAGE if block.kind == kind]
    return found


def commands() -> Iterator[list[str]]:
    """Every command on the page, as a shell splits it, pipes apart."""
    for block in PAGE:
        if block.language == "sh":
            for line in re.split(r"\n(?!\s)", block.text.strip()):
                lexer = shlex.shlex(line, posix=True, punctuation_chars="|")
                lexer.whitespace_split = True
                yield list(lexer)


class TestTheRequestsPage:
    def test_shows_nothing_that_is_not_tested(self) -> None:
        kinds = {block.kind for block in PAGE if block.language == "json"}

        assert kinds == {"start", "control", "result", "wrong", "dead-letter"}
        assert {block.language for block in PAGE} == {"json", "sh", "python"}

    @pytest.mark.parametrize("block", of_kind("start", "control"))
    def test_its_requests_are_taken(self, block: Block) -> None:
        made = read(block.value)

        assert isinstance(made, StartRequest) == (block.kind == "start")
        assert faults("request.json", block.value) == []

    def test_shows_every_kind(self) -> None:
        assert {block.value["type"] for block in PAGE if block.kind == "control"} == set(CONTROLS)

    def test_lists_every_field_of_a_start(self) -> None:
        page = (DOCS / "requests.md").read_text("utf-8").split("\n## A start\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)

        assert set(rows) == set(schema("request.json")["$defs"]["StartRequest"]["properties"])

    async def test_its_plan_gives_the_result_it_shows(self) -> None:
        (asked,) = [
            made
            for block in PAGE
            if block.kind == "start"
            if isinstance((made := read(block.value)).to_json().get("plan"), dict)
        ]
        assert isinstance(asked, StartRequest)
        shown = the("result")

        async with Engine.in_memory() as engine:
            result = await (await engine.start(asked.plan, input=asked.input, run_id=asked.run_id)).result()
            with pytest.raises(RunExists):
                await engine.start(asked.plan, input="other", run_id=asked.run_id)

        for name in ("startedAt", "completedAt", "duration"):
            result["metadata"][name] = shown["metadata"][name]
        assert result == shown
        assert faults("result.json", shown) == []

    async def test_its_wrong_request_gives_the_dead_letter_it_shows(self) -> None:
        value = next(block.text for block in PAGE if block.kind == "wrong").strip().encode()
        error = refused(value)

        letter, _ = await dead_letter(value, [problem.to_json() for problem in error.problems])

        assert letter == the("dead-letter")
        assert (error.code, error.message) == (letter["code"], letter["message"])
        assert base64.b64decode(letter["base64"]) == value

    def test_what_its_commands_send_is_taken(self) -> None:
        sent = 0
        for words in commands():
            if words[0] == "echo":
                options = dict(zip(words[5::2], words[6::2], strict=True))
                key = options.get("-k")
                assert words[2:5] == ["|", "kcat", "-P"]
                read_request(words[1].encode(), None if key is None else key.encode())
                sent += 1
        assert sent == 3

    def test_its_python_sends_what_is_taken(self) -> None:
        (source,) = [block.text for block in PAGE if block.language == "python"]
        nodes = list(ast.walk(ast.parse(source)))
        (asked,) = [ast.literal_eval(node.value) for node in nodes if isinstance(node, ast.Assign)]
        calls = {ast.unparse(node.func): node for node in nodes if isinstance(node, ast.Call)}
        sent = calls["producer.send_and_wait"]
        options = {str(option.arg) for option in calls["AIOKafkaProducer"].keywords}
        (key,) = [ast.literal_eval(option.value) for option in sent.keywords if option.arg == "key"]

        assert ast.literal_eval(sent.args[0]) == Topics().requests
        assert read(asked, key).run_id == "welcome-4"
        assert options <= set(inspect.signature(AIOKafkaProducer).parameters)

    def test_its_codes_are_those_there_are(self) -> None:
        page = (DOCS / "requests.md").read_text("utf-8").split("\n## When a request is wrong\n")[1].split("\n## ")[0]
        rows = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))

        reader = {
            refused(value, key, **limits).code
            for value, key, limits in (
                (None, None, {}),
                (b"{}", None, {"most": 1}),
                (b"{", None, {}),
                (b'{"type": "x"}', None, {}),
                (b'{"prompt": "x"}', b"a b", {}),
                (b'{"prompt": "x", "runId": "a"}', b"b", {}),
                (b"{}", None, {}),
            )
        }
        assert rows == reader | {"NOT_SUPPORTED_YET"}
