"""The documents for other programs are what the models say, and what we read and write is what the documents say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from dynamicflow import Engine, VirtualClock
from dynamicflow.errors import Problem
from dynamicflow.streams.asyncapi import KEYS, asyncapi
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.codec import decode_event
from dynamicflow.streams.core.commands import Dispatch, JoinInput
from dynamicflow.streams.core.derive import Deriver
from dynamicflow.streams.core.result import standing_record
from dynamicflow.streams.kafka.records import HeaderMaker, Mark, Work, encode_work, snapshot_key, work_key
from dynamicflow.streams.kafka.topics import Topics
from dynamicflow.streams.requests import KINDS
from dynamicflow.streams.schemas import event_kinds, schemas
from tests.engine.engine_kit import call, flaky, made, plan
from tests.golden.make import HERE as LOGS
from tests.golden.test_golden_logs import Golden
from tests.requests.make import DOCS, documents, text
from tests.requests.request_kit import OF_EVERY_KIND, PLAN, dead_letter, faults, refused, schema

OFFICIAL: Final = Path(__file__).with_name("asyncapi-3.0.0.json.gz")
"""schemas/3.0.0-without-$id.json of the npm package @asyncapi/specs 6.11.1 (Apache-2.0), as it is."""
AT: Final = "2024-01-15T10:30:00.000000Z"
GOLDEN: Final = sorted(LOGS.glob("v*/*.jsonl"))


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for name, part in document.items():
            if name == "$ref":
                yield part
            else:
                yield from references(part)
    elif isinstance(document, list):
        for part in document:
            yield from references(part)


def resolved(reference: str, document: Any) -> Any:
    """What a reference leads to: in the document, or in a file beside docs/asyncapi.json. Raises KeyError."""
    file, _, path = reference.partition("#")
    here = json.loads((DOCS / file).read_text("utf-8")) if file else document
    for part in path.split("/")[1:]:
        here = here[part.replace("~1", "/").replace("~0", "~")]
    return here


def declared(made_so: Any) -> set[str]:
    return set(made_so["properties"])


@cache
def component(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(asyncapi()["components"]["schemas"][name], validate_formats=True)


class TestTheFilesInDocs:
    @pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(DOCS)))
    def test_are_what_the_models_say(self, file: Path) -> None:
        assert file.read_text("utf-8") == text(documents()[file]), "stale: run `make schemas`"

    def test_no_others_lie_there(self) -> None:
        assert {*DOCS.glob("schemas/*"), DOCS / "asyncapi.json"} == set(documents())

    @pytest.mark.parametrize("name", schemas())
    def test_are_json_schemas_of_2020_12(self, name: str) -> None:
        made_so = schemas()[name]

        jsonschema_rs.meta.validate(made_so)
        assert made_so["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert all(resolved(reference, made_so) for reference in references(made_so))


class TestTheSchemaOfRequests:
    @pytest.mark.parametrize("name", OF_EVERY_KIND)
    def test_takes_every_kind(self, name: str) -> None:
        assert faults("request.json", OF_EVERY_KIND[name]) == []

    def test_has_every_kind(self) -> None:
        listed = [reference["$ref"].rpartition("/")[2] for reference in schema("request.json")["oneOf"]]

        assert listed == [kind.__name__ for kind in KINDS.values()]

    @pytest.mark.parametrize(
        "wrong",
        [
            {},
            {"prompt": "x", "plan": PLAN},
            {"prompt": None},
            {"prompt": "x", "input": 1, "Input": 2},
            {"prompt": "x", "options": {"timeout": "soon"}},
            {"type": "cancle", "runId": "r"},
            {"type": "cancel", "runId": "a b"},
            {"type": "resolve", "runId": "r", "nodeId": "n", "resolution": "fail", "output": 1},
            {"type": "approve", "runId": "r"},
        ],
    )
    def test_refuses_what_the_reader_refuses(self, wrong: Any) -> None:
        assert faults("request.json", wrong)
        assert refused(json.dumps(wrong).encode()).problems

    def test_both_spellings_of_options_and_both_forms_of_durations(self) -> None:
        many: list[Any] = [{"memoryOptimisation": {}}, {"memoryOptimization": {}}, {"timeout": 5}, {"timeout": "5.5m"}]

        for options in many:
            assert faults("request.json", {"prompt": "x", "options": options}) == []

    def test_says_what_fields_mean(self) -> None:
        for kind in KINDS.values():
            fields = schema("request.json")["$defs"][kind.__name__]["properties"]
            assert [name for name, field in fields.items() if name != "type" and "description" not in field] == []


class TestTheSchemaOfEvents:
    @pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
    def test_takes_every_record_of_every_version(self, path: Path) -> None:
        for record in Golden(path).decoded():
            assert faults("event.json", record) == []

    def test_has_every_type_with_its_fields(self) -> None:
        definitions = schema("event.json")["$defs"]
        envelope = declared(definitions["Envelope"])

        for name, kind in event_kinds().items():
            own = declared(definitions[kind.__name__])
            assert own | envelope == {info.alias or field for field, info in kind.model_fields.items()}, name

    def test_keeps_fields_it_does_not_know_and_refuses_other_types(self) -> None:
        record = {"id": "i", "type": "tool-lost", "runId": "r", "timestamp": AT, "v": 1, "semantics": 1}

        assert faults("event.json", {**record, "later": 1}) == []
        assert faults("event.json", {**record, "type": "tool-found"})
        assert faults("event.json", {name: part for name, part in record.items() if name != "timestamp"})


class TestTheSchemaOfResults:
    async def test_takes_how_runs_end(self) -> None:
        def fail(inputs: Any, context: Any) -> Any:
            raise ValueError("no")

        wait = {"id": "w", "type": "wait", "duration": "1d"}
        async with Engine.in_memory(tools=[flaky(1), made("fail", fail)], clock=VirtualClock()) as engine:
            runs = [
                await engine.start(plan(call("a", "flaky", retry={"maxAttempts": 2}))),
                await engine.start(plan(call("a", "fail"))),
                await engine.start(plan(call("a", "nobody"))),
                await engine.start(plan(wait), options={"timeout": "1h"}),
                await engine.start("say something that no tool can do"),
            ]
            results = [await run.result() for run in runs]

        statuses = [result["status"] for result in results]
        assert statuses == ["completed", "failed", "rejected", "timed_out", "rejected"]
        for result in results:
            self._check(result)

    @pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
    def test_takes_how_a_run_stands_at_any_moment(self, path: Path) -> None:
        log = Golden(path)
        deriver = Deriver(log.name)
        for record in log.records:
            event = decode_event(record)
            deriver.feed(event, log.values)
            if deriver.state.end is None:
                self._check(standing_record(deriver.state, event.timestamp))

    @staticmethod
    def _check(result: Any) -> None:
        fields = schema("result.json")["properties"]
        assert faults("result.json", json.loads(json.dumps(result))) == []
        assert set(result) == set(fields)
        assert set(result["metadata"]) <= declared(fields["metadata"])


class TestTheSchemaOfWork:
    @pytest.mark.parametrize("joins", [(), (JoinInput("a", 1, None), JoinInput("b", [2], {"x": "$source"}))])
    @pytest.mark.parametrize("inputs", [{"a": 1}, {"a": "x" * 400_000}])
    def test_takes_what_is_written(self, joins: tuple[JoinInput, ...], inputs: Any) -> None:
        step = Dispatch("r", "n", (2, 0), 1, 1, "tool", inputs, joins, "r/n/2.0", 60_000, True, "strict", "r/-/-/-/x")
        work = Work(
            step, "sha256:" + "0" * 64, "sha256:1", 1.7e12, "acme", 3, 17, 20, True, {"limit": 1}, {"tenant": "a"}
        )

        record = json.loads(encode_work(work.to_json()).record)

        assert faults("node-ready.json", record) == []
        assert set(record) <= declared(schema("node-ready.json"))


class TestTheAsyncApiDocument:
    def test_is_one_by_its_official_schema(self) -> None:
        official = jsonschema_rs.Draft7Validator(json.loads(gzip.decompress(OFFICIAL.read_bytes())))

        assert [f"{list(error.instance_path)}: {error.message}" for error in official.iter_errors(asyncapi())] == []

    def test_every_reference_leads_somewhere(self) -> None:
        document = asyncapi()

        assert all(resolved(reference, document) is not None for reference in set(references(document)))

    def test_every_message_has_a_place(self) -> None:
        document = asyncapi()
        placed = {name for channel in document["channels"].values() for name in channel["messages"]}

        assert placed == set(document["components"]["messages"])
        assert {f"request.{kind}" for kind in KINDS} | {f"event.{kind}" for kind in event_kinds()} <= placed

    def test_describes_the_topics_that_are_made(self) -> None:
        described = {
            channel["address"].format(prefix="acme.", queue="gpu"): channel
            for channel in asyncapi()["channels"].values()
        }
        made_so = {spec.name: spec for spec in Topics("acme.").specs(queues=["default", "gpu"])}

        assert list(described) == list(made_so)
        for name, spec in made_so.items():
            bound = described[name]["bindings"]["kafka"]
            config = bound["topicConfiguration"]
            assert ",".join(config["cleanup.policy"]) == spec.config["cleanup.policy"], name
            assert config.get("retention.ms") == _number(spec.config.get("retention.ms")), name
            assert ("partitions" in bound) == (spec.partitions == 1), name
            assert ("x-copartitioned-with" in described[name]) == spec.copartitioned, name

    def test_headers_are_those_we_write(self) -> None:
        maker = HeaderMaker(Topics("acme."))
        event = e.ToolLost(id="i", run_id="r", timestamp=AT, v=1, semantics=1)

        headers = {name: part.decode() for name, part in maker.of(event, "0" * 31 + "1")}

        assert [error.message for error in component("cloudEventHeaders").iter_errors(headers)] == []
        assert (headers["ce_type"], headers["ce_subject"], headers["ce_source"]) == (
            "tool-lost",
            "r",
            "dynamicflow/acme.",
        )
        assert set(headers) <= declared(asyncapi()["components"]["schemas"]["cloudEventHeaders"])

    def test_keys_are_those_we_write(self) -> None:
        keys = {"snapshot": snapshot_key("r", 7), "work": work_key("r", "n", (2, 0)), "runId": b"r"}

        for name, key in keys.items():
            assert jsonschema_rs.is_valid(dict(KEYS[name]), key.decode())

    def test_marks_are_those_we_write(self) -> None:
        mark = json.loads(Mark("r", "completed", 1, 9, "sha256:1").encode())

        assert component("mark").is_valid(mark)
        assert set(mark) == declared(asyncapi()["components"]["schemas"]["mark"])

    async def test_dead_letters_are_those_we_write(self) -> None:
        for value in (None, b"\xff{", b"{" * 100_000):
            letter, headers = await dead_letter(value, [Problem("INVALID_JSON", "", "no").to_json()])

            assert [error.message for error in component("deadLetter").iter_errors(letter)] == []
            assert set(letter) == declared(asyncapi()["components"]["schemas"]["deadLetter"])
            assert component("deadLetterHeaders").is_valid(headers)


def _number(value: str | None) -> int | None:
    return None if value is None else int(value)
