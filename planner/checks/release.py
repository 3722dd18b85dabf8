"""What a valid plan or its options ask for that this release cannot run, so that nothing runs without its gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...errors import Problem
from ...tools.spec import ToolSpec
from ...values import pointer
from .. import ir
from ..options import Options
from ..scope import lay_out
from .places import node_paths


def unsupported(plan: ir.Plan, tools: Mapping[str, ToolSpec], options: Options) -> tuple[Problem, ...]:
    """NOT_SUPPORTED_YET, once for everything that this release would have to leave out.

    Paths are into the plan; those of options begin with ``/options``.
    """
    paths = node_paths(plan)
    found = []
    for node_id, place in lay_out(plan).places.items():
        for what, field in _of_node(place.node, tools, options):
            found.append(_problem(pointer(*paths[node_id], *field), what))
    return (*found, *(_problem(pointer("options", *path), what) for what, path in _of_options(options)))


def _problem(path: str, what: str) -> Problem:
    return Problem(
        "NOT_SUPPORTED_YET",
        path,
        f"{what} cannot be run by this release; it can be checked",
        "Leave it out to run the plan.",
    )


def _of_node(node: ir.Common, tools: Mapping[str, ToolSpec], options: Options) -> Iterator[tuple[str, tuple[str, ...]]]:
    match node:
        case ir.LlmNode() | ir.AwaitInputNode() | ir.SubflowNode():
            yield f"the {node.type} node {node.id!r}", ("type",)
        case ir.WaitNode() if node.signal is not None:
            yield f"the wait of {node.id!r} for a signal", ("signal",)
    if isinstance(node, ir.Step) and node.approval is not False:
        yield f"the approval of {node.id!r}", ("approval",)
    tool = tools.get(node.tool_id) if isinstance(node, ir.ToolNode) else None
    if tool is None:
        return
    gated = options.enable_approval_workflow or options.security_mode == "strict"
    if tool.requires_approval:
        yield f"the approval that the tool {tool.id!r} of {node.id!r} requires", ("toolId",)
    elif tool.sensitive and gated:
        yield f"the approval for the sensitive tool {tool.id!r} of {node.id!r}", ("toolId",)


def _of_options(options: Options) -> Iterator[tuple[str, tuple[str, ...]]]:
    if options.enable_approval_workflow:
        yield "enableApprovalWorkflow", ("enableApprovalWorkflow",)
    if options.security_mode == "strict":
        yield "securityMode strict", ("securityMode",)
    if options.audit_logging:
        yield "auditLogging", ("auditLogging",)
    behavior = options.fallback_behavior
    for name, value in (
        ("onPlanningFailure", behavior.on_planning_failure),
        ("onExecutionFailure", behavior.on_execution_failure),
        ("onTimeoutFailure", behavior.on_timeout_failure),
    ):
        if value not in ("fail", "partial-results"):
            yield f"{name} {value!r}", ("fallbackBehavior", name)
