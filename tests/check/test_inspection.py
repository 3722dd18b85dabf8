"""The inspection report and the Mermaid picture of a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from dynamicflow.planner.inspection import Inspection, inspect_plan
from dynamicflow.planner.mermaid import mermaid
from dynamicflow.tools.spec import ToolSpec
from tests.check.check_kit import TEXT, TOOLS, call, check, fields, plan, spec, value

ASKS = {
    "askA": spec("askA", None, fields(a=TEXT), side_effect="none"),
    "askB": spec("askB", None, fields(b=TEXT), side_effect="none"),
    "fetch": spec("fetch", None, fields(b=TEXT), category="network"),
    "wipe": spec("wipe", sensitive=True, side_effect="non_idempotent"),
}


def report(given: dict[str, Any], tools: dict[str, ToolSpec] | None = None) -> Inspection:
    checked = check(given, tools=tools or ASKS)
    assert checked.valid and checked.plan is not None, [str(problem) for problem in checked.problems]
    return inspect_plan(checked.plan, tools or ASKS, checked.certificate, joined=checked.joined)


def issues(given: dict[str, Any], about: str) -> list[tuple[str, str | None]]:
    return [(issue.severity, issue.node_id) for issue in report(given).issues if about in issue.message]


SEED = plan(
    call("validate_email", "validateEmail", email="$input.email"),
    {
        "id": "decide",
        "type": "conditional",
        "condition": "$validate_email.valid === true",
        "ifTrue": call("send", "sendEmail", email="$validate_email.email"),
        "ifFalse": {"id": "no", "type": "value", "value": {"sent": False}},
    },
    edges=[("validate_email", "decide")],
    metadata={"name": "Welcome", "description": "Greets new users"},
)


class TestTheReport:
    made = report(SEED, TOOLS)

    def test_what_it_is_about(self) -> None:
        assert (self.made.name, self.made.description, self.made.steps) == ("Welcome", "Greets new users", 4)

    def test_the_figures(self) -> None:
        assert self.made.complexity.to_json() == {
            "nodes": 4,
            "depth": 2,
            "width": 1,
            "branches": 2,
            "loops": 0,
            "maxNodeExecutions": 4,
            "llmCalls": 0,
            "sideEffecting": 2,
            "criticalPath": 2,
            "cyclomatic": 2,
            "label": "low",
        }

    def test_the_graph_and_the_flow_of_data(self) -> None:
        form = self.made.to_json()
        assert form["graph"][0] == {
            "index": 0,
            "type": "tool",
            "id": "validate_email",
            "toolId": "validateEmail",
            "inputs": {"email": "$input.email"},
        }
        assert {"from": "validate_email", "to": "decide", "kind": "control", "label": ""} in form["dataFlow"]
        assert {"from": "decide", "to": "send", "kind": "body", "label": "ifTrue"} in form["dataFlow"]
        json.dumps(form)

    def test_the_lines(self) -> None:
        lines = self.made.lines()
        assert lines[0] == "Welcome"
        assert "    2. send: tool sendEmail" in lines
        assert "  validate_email → decide" in lines

    def test_many_ways_make_it_high(self) -> None:
        cases = {str(at): [value(f"v{at}")] for at in range(12)}
        node = {"id": "s", "type": "switch", "on": "$input", "cases": cases, "default": [value("d")]}
        assert report(plan(node)).complexity.label == "high"


class TestIssues:
    def test_unused_tools(self) -> None:
        assert len(issues(plan(call("a", "askA")), "is not used")) == 3

    def test_a_chain_that_could_be_parallel(self) -> None:
        chain = plan(call("a", "askA"), call("b", "askB"), edges=[("a", "b")])
        assert issues(chain, "could run beside") == [("info", "b")]
        body = plan({"id": "q", "type": "sequence", "body": [call("a", "askA"), call("b", "askB")]})
        assert issues(body, "could run beside") == [("info", "b")]

    def test_not_where_it_takes_something_or_acts(self) -> None:
        used = plan(call("a", "askA"), {**call("b", "askB"), "onError": {"value": "$a"}}, edges=[("a", "b")])
        assert issues(used, "could run beside") == []
        acting = plan(call("a", "askA"), call("w", "wipe"), edges=[("a", "w")])
        assert issues(acting, "could run beside") == []

    def test_a_network_without_retry_or_on_error(self) -> None:
        assert issues(plan(call("f", "fetch")), "over a network") == [("info", "f")]
        assert issues(plan({**call("f", "fetch"), "retry": {"maxAttempts": 2}}), "over a network") == []
        caught = {"id": "q", "type": "sequence", "body": [call("f", "fetch")], "onError": "continue"}
        assert issues(plan(caught), "over a network") == []

    def test_what_must_not_run_twice(self) -> None:
        each = {"id": "m", "type": "map", "over": "$input", "body": [call("w", "wipe")]}
        assert issues(plan(each), "once per item") == [("warning", "w")]
        again = {**call("w", "wipe"), "retry": {"maxAttempts": 2}}
        assert issues(plan(again), "must not run twice") == [("warning", "w")]

    def test_a_sensitive_tool_without_approval(self) -> None:
        assert issues(plan(call("w", "wipe")), "sensitive") == [("warning", "w")]
        assert issues(plan({**call("w", "wipe"), "approval": True}), "sensitive") == []

    def test_a_collection_without_a_bound_of_its_own(self) -> None:
        node = {"id": "m", "type": "map", "over": "$input", "body": [value("x")]}
        assert issues(plan(node), "maxItems") == [("info", "m")]
        assert issues(plan({**node, "maxItems": 5}), "maxItems") == []
        assert issues(plan({**node, "over": [1]}), "maxItems") == []

    def test_an_answer_that_nobody_reads(self) -> None:
        assert issues(plan(call("a", "askA"), call("b", "askB"), output="$b"), "nothing reads") == [("info", "a")]
        assert issues(plan(call("a", "askA")), "nothing reads") == []

    def test_a_constant_condition(self) -> None:
        node = {"id": "c", "type": "conditional", "condition": "true", "ifTrue": [value("x")]}
        assert issues(plan(node), "never changes") == [("warning", "c")]

    def test_warnings_come_first(self) -> None:
        severities = [issue.severity for issue in report(plan(call("w", "wipe"))).issues]
        assert severities == sorted(severities, key=["warning", "info"].index)


class TestMermaid:
    def picture(self, given: dict[str, Any]) -> str:
        checked = check(given)
        assert checked.plan is not None
        return mermaid(checked.plan)

    def test_nodes_owners_and_edges(self) -> None:
        lines = self.picture(SEED).splitlines()
        assert lines[0] == "flowchart TD"
        assert '    n0["validate_email<br/>validateEmail"]' in lines
        assert '    subgraph n1["decide<br/>if $validate_email.valid === true"]' in lines
        assert "    n0 --> n1" in lines
        assert lines.count("    end") + lines.count("        end") == 3

    def test_references_are_dotted_and_conditions_are_labels(self) -> None:
        given = plan(value("a"), value("b", "$a"), value("c"), edges=[{"from": "a", "to": "c", "condition": "$a > 1"}])
        lines = self.picture(given).splitlines()
        assert "    n0 -.-> n1" in lines
        assert '    n0 -->|"$a #gt; 1"| n2' in lines

    def test_nothing_in_a_label_means_anything(self) -> None:
        tools = {**TOOLS, 'odd"]<b>': replace(TOOLS["poll"], id='odd"]<b>')}
        checked = check(plan(call("end", 'odd"]<b>')), tools=tools)
        assert checked.plan is not None
        assert 'n0["end<br/>odd#quot;]#lt;b#gt;"]' in mermaid(checked.plan)

    def test_long_texts_are_cut_to_one_line(self) -> None:
        given = plan(
            {"id": "c", "type": "conditional", "condition": "$input.x ||\n" * 30 + "true", "ifTrue": [value("x")]}
        )
        assert max(map(len, self.picture(given).splitlines())) < 150
