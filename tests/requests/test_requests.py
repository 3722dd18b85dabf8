"""What a record on flow-requests means, and everything that can be wrong with it."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicflow.errors import DynamicFlowError
from dynamicflow.planner.options import Options
from dynamicflow.streams.requests import (
    CONTROLS,
    KINDS,
    ControlRequest,
    RequestInvalid,
    ResolveRequest,
    StartRequest,
    read_request,
    request_digest,
    start_json,
)
from tests.requests.request_kit import (
    OF_EVERY_KIND,
    PLAN,
    encoded,
    faults,
    only_problem,
    problems,
    read,
    refused,
)

PROMPT = {"prompt": "do it"}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def start(request: Any, key: bytes | None = None) -> StartRequest:
    made = read(request, key)
    assert isinstance(made, StartRequest)
    return made


class TestWhatIsTaken:
    @pytest.mark.parametrize("name", OF_EVERY_KIND)
    def test_every_kind(self, name: str) -> None:
        given = OF_EVERY_KIND[name]

        made = read(given)

        assert type(made) is KINDS[given.get("type", "start")]
        assert read(made.to_json()) == made

    def test_nothing_is_added_to_what_was_given(self) -> None:
        assert read(OF_EVERY_KIND["start"]).to_json() == OF_EVERY_KIND["start"]
        assert start(PROMPT).to_json() == PROMPT

    def test_a_request_without_a_type_is_a_start(self) -> None:
        assert start(PROMPT).type == "start"

    def test_options_are_kept_as_given_and_read_when_asked_for(self) -> None:
        made = start({**PROMPT, "options": {"timeout": "5m"}})

        assert made.options == {"timeout": "5m"}
        assert made.chosen == Options(timeout=300_000)

    def test_an_index_may_be_written_as_a_whole_float(self) -> None:
        made = read({"type": "resolve", "runId": "r", "nodeId": "n", "resolution": "retry", "item": [2.0, 0]})

        assert isinstance(made, ResolveRequest)
        assert made.item == (2, 0)

    def test_a_byte_order_mark_is_no_fault(self) -> None:
        assert isinstance(read_request(b"\xef\xbb\xbf" + encoded(PROMPT)), StartRequest)

    def test_no_tools_is_not_all_tools(self) -> None:
        assert start({**PROMPT, "tools": []}).tools == []
        assert start(PROMPT).tools is None


class TestTheRunId:
    def test_is_the_bodys(self) -> None:
        assert start({**PROMPT, "runId": "a"}).run_id == "a"

    def test_else_the_key(self) -> None:
        assert start(PROMPT, b"a").run_id == "a"
        assert read({"type": "cancel"}, b"a").run_id == "a"

    def test_else_the_workflow_id(self) -> None:
        asked = {**PROMPT, "options": {"workflowId": "w"}}

        assert (start(asked).run_id, start(asked, b"a").run_id) == ("w", "a")

    def test_else_there_is_none_yet(self) -> None:
        assert start(PROMPT).run_id is None

    def test_must_be_the_key_where_both_are_given(self) -> None:
        assert start({**PROMPT, "runId": "a"}, b"a").run_id == "a"
        assert problems({**PROMPT, "runId": "a"}, b"b") == [("RUN_ID_MISMATCH", "/runId")]

    @pytest.mark.parametrize("key", [b"", b"\xff", b"a b", "ä".encode(), b"x" * 129])
    def test_a_key_that_is_none_differs_from_any(self, key: bytes) -> None:
        assert problems({**PROMPT, "runId": "a"}, key) == [("RUN_ID_MISMATCH", "/runId")]
        assert problems(PROMPT, key) == [("INVALID_RUN_ID", "")]

    @pytest.mark.parametrize("wrong", ["", "a b", "a/b", "-a", "a\n", "x" * 129, 42, None, ["a"]])
    def test_that_is_none_is_refused(self, wrong: Any) -> None:
        assert problems({**PROMPT, "runId": wrong}) == [("INVALID_RUN_ID", "/runId")]

    def test_of_the_options_is_looked_at_where_it_counts(self) -> None:
        asked = {**PROMPT, "options": {"workflowId": "a b"}}

        assert problems(asked) == [("INVALID_RUN_ID", "/options/workflowId")]
        assert start(asked, b"a").run_id == "a"

    def test_is_needed_to_steer_a_run(self) -> None:
        assert problems({"type": "cancel"}) == [("REQUEST_INVALID", "/runId")]

    def test_is_told_with_what_is_wrong(self) -> None:
        error = refused(encoded({"type": "resolve", "nodeId": "n"}), b"order-42")

        assert (error.run_id, error.kind) == ("order-42", "resolve")


class TestWhatIsNoRequest:
    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (None, "REQUEST_EMPTY"),
            (b"", "REQUEST_EMPTY"),
            (b" ", "INVALID_JSON"),
            (b"{", "INVALID_JSON"),
            (b"\xff", "INVALID_JSON"),
            (b'{"prompt": "\xff"}', "INVALID_JSON"),
            (b'{"prompt": "a", "prompt": "b"}', "INVALID_JSON"),
            (b'{"prompt": "a", "input": NaN}', "INVALID_JSON"),
            (b'{"prompt": "a", "input": 1e999}', "INVALID_JSON"),
            (b'{"prompt": "\\ud800"}', "INVALID_JSON"),
            (b'{"prompt": "a"} {}', "INVALID_JSON"),
            (b"[1]", "REQUEST_INVALID"),
            (b'"a"', "REQUEST_INVALID"),
            (b"null", "REQUEST_INVALID"),
        ],
    )
    def test_says_so(self, value: bytes | None, code: str) -> None:
        error = refused(value)

        assert (error.code, [problem.code for problem in error.problems]) == (code, [code])

    @pytest.mark.parametrize(("levels", "fits"), [(250, True), (251, False), (300, False), (100_000, False)])
    def test_a_value_may_be_nested_250_levels_deep(self, levels: int, fits: bool) -> None:
        value = b'{"prompt": "a", "input": ' + b"[" * levels + b"]" * levels + b"}"

        if fits:
            assert isinstance(read_request(value), StartRequest)
        else:
            assert refused(value).code == "INVALID_JSON"

    def test_its_size_is_bounded(self) -> None:
        value = encoded(PROMPT)

        assert isinstance(read_request(value, most=len(value)), StartRequest)
        assert refused(value, most=len(value) - 1).code == "REQUEST_TOO_LARGE"
        assert refused(b" " * (1024 * 1024 + 1)).code == "REQUEST_TOO_LARGE"

    @pytest.mark.parametrize(
        ("given", "hint"), [("cancle", "'cancel'"), ("Start", "'start'"), ("sing", "'signal'"), ("xyz", ""), (7, "")]
    )
    def test_an_unknown_type_suggests_the_nearest(self, given: Any, hint: str) -> None:
        problem = only_problem({"type": given, "runId": "r"})

        assert (problem.code, problem.path) == ("UNKNOWN_REQUEST_TYPE", "/type")
        assert hint in problem.suggestion
        assert set(problem.available) == {"start", *CONTROLS}


class TestFieldsThatAreWrong:
    def test_are_told_all_at_once(self) -> None:
        found = problems(
            {
                "type": "start",
                "runId": "a b",
                "promt": "x",
                "tools": ["a", 1],
                "joins": [{"from": "a", "toTool": "b", "mapping": {}}],
                "labels": {"n": 1},
                "options": {"maxStep": 1, "timeout": "soon", "constraints": {"maxdepth": 3}},
                "principal": [],
            }
        )

        assert sorted(found) == [
            ("INVALID_RUN_ID", "/runId"),
            ("REQUEST_INVALID", ""),
            ("REQUEST_INVALID", "/joins/0/from"),
            ("REQUEST_INVALID", "/joins/0/fromTool"),
            ("REQUEST_INVALID", "/labels/n"),
            ("REQUEST_INVALID", "/options/constraints/maxdepth"),
            ("REQUEST_INVALID", "/options/maxStep"),
            ("REQUEST_INVALID", "/options/timeout"),
            ("REQUEST_INVALID", "/principal"),
            ("REQUEST_INVALID", "/promt"),
            ("REQUEST_INVALID", "/tools/1"),
        ]

    @pytest.mark.parametrize(
        ("request_", "path", "hint"),
        [
            ({**PROMPT, "run_id": "a"}, "/run_id", "'runId'"),
            ({**PROMPT, "Labels": {}}, "/Labels", "'labels'"),
            ({**PROMPT, "option": {}}, "/option", "'options'"),
            ({**PROMPT, "options": {"maxConcurency": 1}}, "/options/maxConcurency", "'maxConcurrency'"),
            ({**PROMPT, "options": {"retryStrategy": {"maxAtempts": 1}}}, "/options/retryStrategy/maxAtempts", "'max"),
            ({**PROMPT, "a/b~": 1}, "/a~1b~0", ""),
            ({"type": "cancel", "runId": "r", "resaon": "x"}, "/resaon", "'reason'"),
        ],
    )
    def test_a_name_suggests_the_nearest(self, request_: Any, path: str, hint: str) -> None:
        problem = only_problem(request_)

        assert problem.path == path
        assert hint in problem.suggestion

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"prompt": "x", "plan": PLAN},
            {"plan": PLAN, "template": "t"},
            {"prompt": "x", "plan": PLAN, "template": "t"},
        ],
    )
    def test_exactly_one_thing_is_to_be_run(self, given: Any) -> None:
        problem = only_problem(given)

        assert problem.path == ""
        assert all(name in problem.message for name in given or ["none"])

    @pytest.mark.parametrize("name", ["prompt", "plan", "template", "tools", "joins", "model", "options", "labels"])
    def test_null_is_not_the_same_as_absent(self, name: str) -> None:
        assert ("REQUEST_INVALID", f"/{name}") in problems({**PROMPT, name: None})

    def test_a_plan_is_no_text_of_json(self) -> None:
        assert "as an object" in only_problem({"plan": json.dumps(PLAN)}).message

    @pytest.mark.parametrize(
        ("request_", "path"),
        [
            ({"type": "resolve", "runId": "r", "resolution": "done"}, "/nodeId"),
            ({"type": "resolve", "runId": "r", "nodeId": "n"}, "/resolution"),
            ({"type": "resolve", "runId": "r", "nodeId": "n", "resolution": "undo"}, "/resolution"),
            ({"type": "resolve", "runId": "r", "nodeId": "n", "resolution": "fail", "output": 1}, "/output"),
            ({"type": "resolve", "runId": "r", "nodeId": "n", "resolution": "fail", "item": [-1]}, "/item"),
            ({"type": "resolve", "runId": "r", "nodeId": "n", "resolution": "fail", "item": [True]}, "/item"),
            ({"type": "approve", "runId": "r"}, ""),
            ({"type": "approve", "runId": "r", "key": "k", "item": [1]}, "/nodeId"),
            ({"type": "approve", "runId": "r", "planHash": "sha256:1"}, "/planHash"),
            ({"type": "reject", "runId": "r", "by": "me"}, ""),
            ({"type": "answer", "runId": "r", "key": "k"}, "/payload"),
            ({"type": "answer", "runId": "r", "payload": 1}, ""),
            ({"type": "signal", "runId": "r", "payload": 1}, "/name"),
            ({"type": "signal", "runId": "r", "name": ""}, "/name"),
            ({"type": "fork", "runId": "r", "output": 1}, "/nodeId"),
            ({"type": "retry", "runId": "r", "nodeId": "n"}, "/nodeId"),
            ({"type": "cancel", "runId": "r", "by": 7}, "/by"),
            ({"type": "cancel", "runId": "r", "id": ""}, "/id"),
        ],
    )
    def test_what_a_control_record_needs(self, request_: Any, path: str) -> None:
        found = problems(request_)

        assert {where for _, where in found} <= {path, f"{path}/0"}
        assert found

    def test_a_duration_beyond_all_numbers_is_no_duration(self) -> None:
        assert problems({**PROMPT, "options": {"timeout": "9" * 400 + "d"}}) == [("REQUEST_INVALID", "/options")]

    @pytest.mark.parametrize(
        "part",
        [
            '"tools": [' + ",".join(["1"] * 100_000) + "]",
            '"labels": {' + ",".join(f'"{n}": 1' for n in range(50_000)) + "}",
            ",".join(f'"{n}": 1' for n in range(50_000)),
            '"options": {' + ",".join(f'"{n}": 1' for n in range(50_000)) + "}",
        ],
    )
    def test_of_very_many_the_first_are_told(self, part: str) -> None:
        error = refused(f'{{"prompt": "x", {part}}}'.encode())

        assert error.code == "REQUEST_INVALID"
        assert len(error.problems) <= 51

    def test_the_error_tells_itself_and_travels(self) -> None:
        error = refused(encoded({"promt": "x"}))

        again = pickle.loads(pickle.dumps(error))

        assert "Did you mean 'prompt'?" in str(error)
        assert (str(again), again.run_id, again.kind) == (str(error), None, "start")
        assert isinstance(error, DynamicFlowError)


fields_seen = sorted({name for one in OF_EVERY_KIND.values() for name in one})
values_seen = [part for one in OF_EVERY_KIND.values() for part in one.values()]
changes = st.dictionaries(st.sampled_from(fields_seen), st.none() | st.sampled_from(values_seen) | values, max_size=2)
bare = settings(deadline=None)


class TestWhateverTheBytesAre:
    @bare
    @given(value=st.none() | st.binary(max_size=200), key=st.none() | st.binary(max_size=20))
    def test_there_is_a_request_or_a_reason(self, value: bytes | None, key: bytes | None) -> None:
        self._read(value, key)

    @bare
    @given(name=st.sampled_from(sorted(OF_EVERY_KIND)), cut=st.integers(0, 400), noise=st.binary(max_size=3))
    def test_wherever_they_were_damaged(self, name: str, cut: int, noise: bytes) -> None:
        value = encoded(OF_EVERY_KIND[name])

        self._read(value[:cut] + noise + value[cut + 1 :], None)

    @settings(bare, max_examples=400)
    @given(name=st.sampled_from(sorted(OF_EVERY_KIND)), changed=changes, dropped=st.sampled_from(["", *fields_seen]))
    def test_reader_and_schema_say_the_same(self, name: str, changed: Any, dropped: str) -> None:
        body = {field: part for field, part in {**OF_EVERY_KIND[name], **changed}.items() if field != dropped}
        key = None if "runId" in body else b"r"

        made = self._read(encoded(body), key)

        assert (made is not None) == (faults("request.json", body) == [])
        if isinstance(made, StartRequest):
            assert request_digest(start_json(made, "r"))

    @staticmethod
    def _read(value: bytes | None, key: bytes | None) -> StartRequest | ControlRequest | None:
        try:
            return read_request(value, key)
        except RequestInvalid as error:
            assert error.problems and str(error)
            json.dumps([problem.to_json() for problem in error.problems])
            return None
