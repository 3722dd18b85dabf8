"""From a prompt to a validated plan: ask, parse, check, send *all* problems back, within bounds.

    ask ──> read ──> check ──valid──> Planned
     ^                 │
     └── all problems ─┘   planning.retry.maxAttempts times per model, then the next model of the escalation path

An invalid plan never leaves here: what cannot be mended ends as PlanningFailed with every problem of the last attempt.
An attempt that brought no answer at all (429, 5xx, a lost connection) counts, and waits before the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from ..errors import PlanningFailed, Problem
from ..values import Json, format_time
from .answer import read_answer
from .check import Check, check_plan
from .llm import ModelPlanner
from .offline import OfflinePlanner, relevant_tools
from .options import RetryStrategy
from .request import ABSENT, OFFLINE, NoAnswer, Planner, PlanRequest, Proposal, Usage

__all__ = ["ABSENT", "OFFLINE", "Attempt", "PlanRequest", "Planned", "Planner", "Proposal", "make_plan", "planner_for"]

MAX_ESCALATIONS: Final = 2
"""Models of the escalation path that are asked, where ``planning.retry.maxEscalations`` names no other number."""
_LONGEST_NAME: Final = 200


@dataclass(frozen=True)
class Attempt:
    """One question to one model and what was wrong with its answer; nothing, for the one that was taken."""

    model: str
    problems: tuple[Problem, ...] = ()
    answered: bool = True

    def to_json(self) -> Json:
        """``{"model", "problems"}``."""
        return {"model": self.model, "problems": [problem.to_json() for problem in self.problems]}


@dataclass(frozen=True)
class Planned:
    """A plan that may run, and how it came about. ``usage`` is the sum over all attempts."""

    check: Check
    source: str
    model: str | None
    usage: Usage | None
    attempts: int
    execution_time_ms: float
    tried: tuple[Attempt, ...] = ()


def planner_for(model: str | None, environ: Mapping[str, str]) -> Planner:
    """The model planner when OPENAI_API_KEY or OPENAI_BASE_URL is set, else the offline planner.

    The model is ``model``, else DYNAMICFLOW_MODEL, else ``llm.DEFAULT_MODEL``; the name ``offline`` asks for no model.
    """
    named = model or environ.get("DYNAMICFLOW_MODEL")
    configured = environ.get("OPENAI_API_KEY") or environ.get("OPENAI_BASE_URL")
    if named == OFFLINE or not configured:
        return OfflinePlanner()
    return ModelPlanner.from_environ(environ, model=named)


async def make_plan(
    request: PlanRequest,
    planner: Planner,
    *,
    now: datetime | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Planned:
    """A valid plan for the request. ``now`` becomes its timestamp; ``sleep`` takes seconds.

    Raises PlanningFailed: PLANNING_FAILED with the problems of the last attempt (or the planner's questions), or
    ENDPOINT_UNUSABLE when no attempt brought an answer.
    """
    request = replace(request, prompt=request.prompt.encode("utf-8", "replace").decode())  # no lone surrogates
    if request.options.tool_optimisation:
        request = _narrowed(request)
    return await _Loop(request, planner, now, sleep).run()


def _narrowed(request: PlanRequest) -> PlanRequest:
    tools = relevant_tools(request)
    joins = [join for join in request.joins if join.from_tool in tools and join.to_tool in tools]
    return replace(request, tools=tools, joins=joins)


class _Loop:
    """One request on its way to a plan: what was tried, what it cost."""

    def __init__(
        self,
        request: PlanRequest,
        planner: Planner,
        now: datetime | None,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._request, self._planner, self._now, self._sleep = request, planner, now, sleep
        self._retry: RetryStrategy = request.options.planning.retry
        self._tried: list[Attempt] = []
        self._usage: Usage | None = None
        self._started = time.perf_counter()

    async def run(self) -> Planned:
        for planner, model in self._models():
            problems: tuple[Problem, ...] = ()
            previous: Json = None
            for attempt in range(1, self._retry.max_attempts + 1):
                last = attempt == self._retry.max_attempts
                try:
                    proposal = await planner.propose(self._request, problems, previous, model)
                except NoAnswer as failure:
                    if await self._unanswered(failure, model, attempt, last=last, open_problems=problems):
                        continue
                    break
                self._count(proposal.usage)
                outcome = self._judge(proposal, planner, model)
                if isinstance(outcome, Planned):
                    return outcome
                problems, previous = outcome
                if proposal.final:
                    raise self._given_up()
        raise self._given_up()

    def _models(self) -> Iterator[tuple[Planner, str]]:
        """Whom to ask, in order: the request's model, then the escalation path."""
        first = self._planner.model if self._planner.name == OFFLINE else self._request.model or self._planner.model
        yield self._planner, first
        most = self._retry.max_escalations
        path = self._request.options.escalation_path[: MAX_ESCALATIONS if most is None else most]
        for model in path:
            yield (OfflinePlanner() if model == OFFLINE else self._planner), model

    async def _unanswered(
        self, failure: NoAnswer, model: str, attempt: int, *, last: bool, open_problems: tuple[Problem, ...]
    ) -> bool:
        """Whether to ask the same model again, after the wait that is due. Raises PlanningFailed when none would do."""
        self._count(failure.usage)
        self._tried.append(Attempt(model, (failure.problem, *open_problems), answered=False))
        if failure.fatal:
            raise self._given_up()
        wanted = {"*", failure.problem.code, *failure.names} & set(self._retry.retryable_errors)
        wait_ms = _backoff_ms(self._retry, attempt) if failure.wait_ms is None else failure.wait_ms
        if last or not failure.again or not wanted or wait_ms > self._retry.max_delay:
            return False  # a wait beyond maxDelay is not worth it: another model may answer now
        await self._sleep(wait_ms / 1000)
        return True

    def _judge(self, proposal: Proposal, planner: Planner, model: str) -> Planned | tuple[tuple[Problem, ...], Json]:
        """A plan that may run, or all that is wrong with the answer and the answer itself."""
        plan, problems = proposal.plan, proposal.problems
        questions = proposal.questions
        if plan is None and not problems and not questions:
            answer = read_answer(proposal.text or "")
            plan, questions = answer.plan, answer.questions
            problems = (answer.problem,) if answer.problem else ()
        if questions:
            raise self._asked(questions, model)
        if plan is not None:
            check = check_plan(
                {**plan, "metadata": self._metadata(plan.get("metadata"), planner, model)},
                tools=self._request.tools,
                joins=self._request.joins,
                options=self._request.options,
                planned=True,
            )
            if check.valid:
                return self._planned(check, planner, model)
            problems = tuple(check.problems)
        self._tried.append(Attempt(model, problems))
        return problems, plan if plan is not None else proposal.text

    def _planned(self, check: Check, planner: Planner, model: str) -> Planned:
        self._tried.append(Attempt(model))
        took = (time.perf_counter() - self._started) * 1000
        named = None if planner.name == OFFLINE else model
        return Planned(check, planner.name, named, self._usage, len(self._tried), took, tuple(self._tried))

    def _metadata(self, given: Json, planner: Planner, model: str) -> dict[str, Any]:
        """What the plan says about itself. Of what the model wrote there only a name is taken."""
        name = given.get("name") if isinstance(given, dict) else None
        made: dict[str, Any] = {"description": self._request.prompt, "generated": True, "source": planner.name}
        if isinstance(name, str) and name.strip():
            made["name"] = name.strip()[:_LONGEST_NAME]
        if planner.name != OFFLINE:
            made["model"] = model
        if self._now is not None:
            made["timestamp"] = format_time(self._now)
        return made

    def _count(self, usage: Usage | None) -> None:
        if usage is not None:
            before = self._usage or {}
            self._usage = {key: before.get(key, 0) + amount for key, amount in usage.items()}

    def _asked(self, questions: Sequence[str], model: str) -> PlanningFailed:
        problems = tuple(Problem("PLANNER_QUESTION", "", question) for question in questions)
        self._tried.append(Attempt(model, problems))
        what = "one thing is" if len(questions) == 1 else f"{len(questions)} things are"
        message = f"the prompt cannot be planned yet: {what} missing. Say it in the prompt, or add the tool or join."
        return PlanningFailed("PLANNING_FAILED", message, problems, tuple(questions), self._records())

    def _given_up(self) -> PlanningFailed:
        problems = self._tried[-1].problems
        asked = ", ".join(dict.fromkeys(attempt.model for attempt in self._tried))
        tries = f"{len(self._tried)} attempt{'s' if len(self._tried) > 1 else ''} ({asked})"
        if not any(attempt.answered for attempt in self._tried):
            message = f"no plan could be asked for: the model endpoint gave no answer in {tries}"
            return PlanningFailed("ENDPOINT_UNUSABLE", message, problems, (), self._records())
        message = f"no valid plan came of the prompt in {tries}; the problems of the last one follow"
        return PlanningFailed("PLANNING_FAILED", message, problems, (), self._records())

    def _records(self) -> tuple[Json, ...]:
        return tuple(attempt.to_json() for attempt in self._tried)


def _backoff_ms(retry: RetryStrategy, attempt: int) -> float:
    """Milliseconds to wait after the failed ``attempt`` (1, 2, …). No jitter: one process asks for one plan."""
    match retry.backoff:
        case "fixed":
            wait = retry.initial_delay
        case "linear":
            wait = retry.initial_delay * attempt
        case "exponential":
            wait = retry.initial_delay * 2 ** min(attempt - 1, 30)
    return min(wait, retry.max_delay)
