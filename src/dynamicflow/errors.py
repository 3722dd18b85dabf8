"""Every error a person may see, in one tree.

    DynamicFlowError                 code, message, problems
    ├── InvalidJson                  INVALID_JSON, PLAN_TOO_LARGE: text that is not JSON as we mean it
    ├── PlanInvalid                  PLAN_INVALID: problems holds every fault
    ├── InputInvalid                 INPUT_INVALID: the run's input does not fit the plan
    ├── PlanningFailed               PLANNING_FAILED: no valid plan came of the prompt
    ├── RunExists / RunNotFound      RUN_EXISTS, RUN_NOT_FOUND
    ├── JournalError                 JOURNAL_*: the log cannot be used; nothing recorded is lost
    ├── BrokerError                  BROKER_*, TOPICS_*: the Kafka broker or its topics cannot be used as they are
    └── UsageError                   USAGE, KAFKA_SETTINGS: a call that cannot be carried out as given

A ``code`` is stable: programs may rely on it. A message says what, where, what was expected, what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .values import Json


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a plan, input or request. ``path`` is a JSON Pointer into what was given (canonical.md §2)."""

    code: str
    path: str
    message: str
    suggestion: str = ""
    expected: Json = None
    actual: Json = None
    available: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """``{"code", "path", "message", "suggestion", "context": {"expected", "actual", "availableOptions"}}``."""
        return {
            "code": self.code,
            "path": self.path,
            "message": self.message,
            "suggestion": self.suggestion,
            "context": {"expected": self.expected, "actual": self.actual, "availableOptions": list(self.available)},
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Json]) -> Problem:
        """The problem that :meth:`to_json` told; what is missing is empty."""
        code, path, message, hint = (str(given.get(key) or "") for key in ("code", "path", "message", "suggestion"))
        context = given.get("context") or {}
        options = tuple(context.get("availableOptions") or ())
        return cls(code, path, message, hint, context.get("expected"), context.get("actual"), options)

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        hint = f" {self.suggestion}" if self.suggestion else ""
        return f"{self.code}{where}: {self.message}{hint}"


@dataclass(eq=False)
class DynamicFlowError(Exception):
    """Base of all. ``code`` is stable, ``message`` is for people, ``problems`` lists every fault if there are many."""

    code: str
    message: str
    problems: Sequence[Problem] = field(default_factory=tuple)

    def __str__(self) -> str:
        lines = [f"{self.code}: {self.message}", *(f"  {problem}" for problem in self.problems)]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code, self.message, tuple(self.problems)))


class InvalidJson(DynamicFlowError):
    """Text that is not JSON as canonical.md §1 means it, or is over a limit."""


class PlanInvalid(DynamicFlowError):
    """A plan with faults; ``problems`` holds all of them."""


class InputInvalid(DynamicFlowError):
    """A run's input that the plan cannot start with."""


@dataclass(eq=False)
class PlanningFailed(DynamicFlowError):
    """The planner made no valid plan of the prompt; ``problems`` holds those of the last attempt.

    ``questions``: what the planner would have to know. ``tried``: one ``{"model", "problems"}`` for each attempt.
    """

    questions: Sequence[str] = ()
    tried: Sequence[Json] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code, self.message, tuple(self.problems), tuple(self.questions), tuple(self.tried)))


class RunExists(DynamicFlowError):
    """A start under the id of a run that was started with other content."""


class RunNotFound(DynamicFlowError):
    """No run of that id in this log."""


class JournalError(DynamicFlowError):
    """The log cannot be used: owned by another process, read-only, corrupt, newer, or the disk is full."""


class BrokerError(DynamicFlowError):
    """The broker cannot be used: unreachable, refused credentials, topics missing or wrong."""


class UsageError(DynamicFlowError):
    """A call or command that cannot be carried out as given."""
