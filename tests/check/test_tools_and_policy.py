"""Tools that are there and may meet; what a request allows a planner (canonical.md §2)."""

from __future__ import annotations

from dataclasses import replace

from dynamicflow.planner.check import unsupported
from dynamicflow.planner.ir import Plan
from dynamicflow.planner.options import Options
from dynamicflow.tools.spec import RetryPolicy
from tests.check.check_kit import TOOLS, call, check, codes, only, only_warning, plan, spec, value, warned


class TestAToolMustExist:
    def test_the_nearest_one_is_suggested_and_all_are_listed(self) -> None:
        problem = only(check(plan(call("v", "validatEmail", email="a@b.c"))))
        assert (problem.code, problem.path) == ("UNKNOWN_TOOL", "/nodes/0/toolId")
        assert "'validatEmail'" in problem.message
        assert "'validateEmail'" in problem.suggestion
        assert problem.available == tuple(sorted(TOOLS))

    def test_another_spelling_of_the_same_name_is_found(self) -> None:
        assert "'validateEmail'" in only(check(plan(call("v", "VALIDATE_EMAIL", email="a@b.c")))).suggestion

    def test_inside_the_body_of_a_functional_node_the_code_says_so(self) -> None:
        node = {"id": "m", "type": "map", "over": "$input.all", "body": [call("x", "scor")]}
        problem = only(check(plan(node)))
        assert (problem.code, problem.path) == ("UNKNOWN_TOOL_IN_OPERATION", "/nodes/0/body/0/toolId")

    def test_inside_a_loop_it_is_an_ordinary_step(self) -> None:
        node = {"id": "n", "type": "loop", "loop": "times", "times": 2, "body": [call("x", "scor")]}
        assert codes(check(plan(node))) == ["UNKNOWN_TOOL"]

    def test_a_tool_whose_schema_cannot_be_used_is_named(self) -> None:
        broken = spec("odd", {"type": "nonsense"})
        assert codes(check(plan(call("x", "odd")), tools={"odd": broken})) == ["TOOL_INVALID"]


class TestConnectionsThatToolsForbid:
    def test_either_side_may_forbid(self) -> None:
        tools = {**TOOLS, "refund": replace(TOOLS["refund"], connectivity={"forbidden": ["poll"]})}
        for first, second in (("poll", "refund"), ("refund", "poll")):
            nodes = [call("a", first), call("b", second)]
            nodes = [{**n, "inputs": {"amount": 1}} if n["toolId"] == "refund" else n for n in nodes]
            problem = only(check(plan(*nodes, edges=[("a", "b")]), tools=tools))
            assert (problem.code, problem.path) == ("FORBIDDEN_CONNECTION", "/nodes/1")

    def test_a_step_between_them_is_enough(self) -> None:
        tools = {**TOOLS, "refund": replace(TOOLS["refund"], connectivity={"forbidden": ["poll"]})}
        chain = plan(call("a", "poll"), value("v"), call("b", "refund", amount=1), edges=[("a", "v"), ("v", "b")])
        assert check(chain, tools=tools).valid


class TestRetriesOfWhatMustNotRunTwice:
    def test_a_retry_of_the_node_is_a_warning(self) -> None:
        node = {**call("s", "sendEmail", email="a"), "retry": {"maxAttempts": 3}}
        warning = only_warning(check(plan(node)))
        assert (warning.code, warning.path) == ("UNSAFE_RETRY", "/nodes/0/retry")

    def test_so_is_one_of_the_tool_or_of_the_options(self) -> None:
        tools = {**TOOLS, "sendEmail": replace(TOOLS["sendEmail"], retry=RetryPolicy(max_attempts=2))}
        assert warned(check(plan(call("s", "sendEmail", email="a")), tools=tools)) == ["UNSAFE_RETRY"]
        options = {"retryStrategy": {"maxAttempts": 2}}
        assert warned(check(plan(call("s", "sendEmail", email="a")), options=options)) == ["UNSAFE_RETRY"]

    def test_one_attempt_or_an_idempotent_tool_is_fine(self) -> None:
        once = {**call("s", "sendEmail", email="a"), "retry": {"maxAttempts": 1}}
        assert warned(check(plan(once), options={"retryStrategy": {"maxAttempts": 2}})) == []
        assert warned(check(plan({**call("p", "poll"), "retry": {"maxAttempts": 5}}))) == []


class TestConstraintsBindPlannedPlansOnly:
    many = plan(*(value(f"v{i}") for i in range(4)))

    def test_max_steps_counts_nested_nodes(self) -> None:
        nested = plan({"id": "q", "type": "sequence", "body": [value("a"), value("b")]})
        problem = only(check(nested, options={"maxSteps": 2}, planned=True, tools={}))
        assert (problem.code, problem.expected, problem.actual) == ("MAX_STEPS_EXCEEDED", 2, 3)

    def test_max_nodes_is_the_same_bound_by_another_name(self) -> None:
        checked = check(self.many, options={"constraints": {"maxNodes": 3}}, planned=True, tools={})
        assert "constraints.maxNodes" in only(checked).message

    def test_max_depth(self) -> None:
        node: dict[str, object] = value("deep")
        for level in range(2):
            node = {"id": f"q{level}", "type": "sequence", "body": [node]}
        checked = check(plan(node), options={"constraints": {"maxDepth": 2}}, planned=True, tools={})
        problem = only(checked)
        assert (problem.code, problem.path, problem.actual) == ("MAX_DEPTH_EXCEEDED", "/nodes/0/body/0/body/0", 3)

    def test_operations_by_any_of_their_names_and_values_always(self) -> None:
        node = {"id": "c", "type": "conditional", "condition": "$input.x", "ifTrue": [value("v")]}
        allowed = {"constraints": {"allowedOperations": ["tool", "if-then"]}}
        assert check(plan(node), options=allowed, planned=True, tools={}).valid
        problem = only(check(plan(node), options={"constraints": {"allowedOperations": ["tool"]}}, planned=True))
        assert (problem.code, problem.path, problem.actual) == ("OPERATION_NOT_ALLOWED", "/nodes/0/type", "conditional")

    def test_a_given_plan_is_not_bound(self) -> None:
        limits = {"maxSteps": 1, "constraints": {"maxNodes": 1, "allowedOperations": ["tool"]}}
        assert check(self.many, options=limits).valid

    def test_unused_tools_are_a_warning_of_planned_plans(self) -> None:
        assert warned(check(plan(call("p", "poll")), planned=True)) == ["UNUSED_TOOLS"]
        assert warned(check(plan(call("p", "poll")))) == []


class TestWhatThisReleaseCannotRun:
    def asked(self, node: dict[str, object], **options: object) -> list[tuple[str, str]]:
        tools = {
            **TOOLS,
            "pay": spec("pay", requires_approval=True),
            "wipe": spec("wipe", sensitive=True),
        }
        checked = check(plan(node), tools=tools)
        assert checked.valid and isinstance(checked.plan, Plan)
        given = Options.model_validate(options)
        return [(p.code, p.path) for p in unsupported(checked.plan, tools, given)]

    def test_nodes_that_need_a_person_a_model_or_another_run(self) -> None:
        assert self.asked({"id": "g", "type": "llm", "prompt": "Hello"}) == [("NOT_SUPPORTED_YET", "/nodes/0/type")]
        assert self.asked({"id": "h", "type": "awaitInput"}) == [("NOT_SUPPORTED_YET", "/nodes/0/type")]
        assert self.asked({"id": "z", "type": "subflow", "plan": "p"}) == [("NOT_SUPPORTED_YET", "/nodes/0/type")]
        assert self.asked({"id": "x", "type": "wait", "signal": "paid"}) == [("NOT_SUPPORTED_YET", "/nodes/0/signal")]

    def test_gates(self) -> None:
        assert self.asked({**call("p", "poll"), "approval": True}) == [("NOT_SUPPORTED_YET", "/nodes/0/approval")]
        assert self.asked(call("p", "pay")) == [("NOT_SUPPORTED_YET", "/nodes/0/toolId")]
        assert self.asked(call("w", "wipe")) == []
        assert ("NOT_SUPPORTED_YET", "/nodes/0/toolId") in self.asked(call("w", "wipe"), securityMode="strict")

    def test_options(self) -> None:
        assert self.asked(call("p", "poll"), auditLogging=True) == [("NOT_SUPPORTED_YET", "/options/auditLogging")]
        replan = {"onExecutionFailure": "replan"}
        paths = [path for _, path in self.asked(call("p", "poll"), fallbackBehavior=replan)]
        assert paths == ["/options/fallbackBehavior/onExecutionFailure"]
        assert self.asked(call("p", "poll"), fallbackBehavior={"onExecutionFailure": "partial-results"}) == []

    def test_everything_else_runs(self) -> None:
        assert self.asked({"id": "d", "type": "wait", "duration": "1s"}) == []
