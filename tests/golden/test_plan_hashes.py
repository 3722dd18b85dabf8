"""The canonical form and hash of plans, pinned: runs and caches name plans by hash for ever (canonical.md §2).

The hash is worked out here from the letter alone, with the standard library.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import pytest

from dynamicflow.planner.ir import Plan
from dynamicflow.planner.loading import load_plan
from tests.golden.make import HERE

PLANS: Final = sorted(HERE.glob("v*-semantics*/plans.json"))
CASES: Final = [(name, case) for path in PLANS for name, case in json.loads(path.read_bytes()).items()]
NOT_HASHED: Final = ("metadata", "rationale", "alternatives", "assumptions")


def letter_hash(canonical: dict[str, Any]) -> str:
    form = {name: value for name, value in canonical.items() if name not in NOT_HASHED}
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
class TestAPlanOfAnEarlierVersion:
    def test_has_the_canonical_form_and_hash_it_had(self, name: str, case: dict[str, Any]) -> None:
        loaded = load_plan(json.dumps(case["plan"]))

        assert loaded.problems == ()
        assert loaded.plan is not None
        assert loaded.canonical == case["canonical"]
        assert loaded.plan.hash == case["planHash"]

    def test_the_hash_is_the_letter_s(self, name: str, case: dict[str, Any]) -> None:
        assert letter_hash(case["canonical"]) == case["planHash"]

    def test_the_canonical_form_has_the_same_hash_and_says_no_default(self, name: str, case: dict[str, Any]) -> None:
        plan = Plan.model_validate(case["canonical"])

        assert plan.hash == case["planHash"]
        assert plan.to_json() == case["canonical"]


class TestWhatAHashDoesNotCover:
    def test_defaults_written_out(self) -> None:
        by_name = dict(CASES)

        assert by_name["defaults written out"]["planHash"] == by_name["defaults left out"]["planHash"]

    @pytest.mark.parametrize("field", ["rationale", "metadata"])
    def test_what_is_said_about_the_plan(self, field: str) -> None:
        said: Any = {"rationale": "because", "metadata": {"name": "Another", "description": "x"}}
        plan = {"version": "1.0", "nodes": [{"id": "a", "type": "value", "value": None}]}

        loaded = load_plan({**plan, field: said[field]})

        assert loaded.plan is not None
        assert loaded.plan.hash == dict(CASES)["one value"]["planHash"]
