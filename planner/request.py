"""What a planner is asked and may answer: data. The loop is ``planning``, the planners ``llm`` and ``offline``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from ..errors import Problem
from ..tools.joins import Join
from ..tools.spec import ToolSpec
from ..values import Json
from .options import Options

OFFLINE: Final = "offline"
"""The name under which the planner without a model is asked for."""


class Absent(Enum):
    """Not given, which is not null."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT

Usage: TypeAlias = dict[str, int]
"""``{"promptTokens", "completionTokens", "totalTokens"}``."""


@dataclass(frozen=True)
class PlanRequest:
    """One prompt, and what the plan may use. ``input``: the run's input where it is known, else ``ABSENT``.

    A planner looks at the names and types of the input's fields. No value of it leaves the process.
    """

    prompt: str
    tools: Mapping[str, ToolSpec]
    joins: Sequence[Join] = ()
    model: str | None = None
    options: Options = field(default_factory=Options)
    input: Json = ABSENT


@dataclass(frozen=True)
class Proposal:
    """One answer of a planner: ``text`` still to be read, or a ``plan``, or ``questions`` it cannot go on without."""

    text: str | None = None
    plan: dict[str, Any] | None = None
    questions: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What is wrong with the answer as such (cut off, for one); then it is not read."""
    usage: Usage | None = None
    final: bool = False
    """Asking again would give the same."""


@dataclass(eq=False)
class NoAnswer(Exception):
    """The planner could not answer at all: a refused key, an unreachable endpoint, a body that is not JSON."""

    problem: Problem
    names: tuple[str, ...] = ()
    """What ``retryableErrors`` may call it, beside the problem's code: the exception's class and its bases."""
    again: bool = True
    """Whether the same model may be asked again."""
    fatal: bool = False
    """Whether no other model of this endpoint would answer either."""
    wait_ms: float | None = None
    """What the endpoint asked us to wait; None leaves it to the backoff."""
    usage: Usage | None = None

    def __str__(self) -> str:
        return str(self.problem)


class Planner(Protocol):
    """Proposes plans. It need not be right: what it says is checked before anything runs."""

    @property
    def name(self) -> str:
        """``metadata.source`` of its plans: ``"model"`` or ``"offline"``."""

    @property
    def model(self) -> str:
        """The model asked when the request names none."""

    async def propose(self, request: PlanRequest, problems: Sequence[Problem], previous: Json, model: str) -> Proposal:
        """An answer to the request; ``problems`` are those of ``previous``, its last answer. Raises NoAnswer."""


def shape(value: Json, depth: int = 4) -> Json:
    """A JSON Schema of a value's field names and types, down to ``depth`` levels; no value of it is in it."""
    match value:
        case None:
            return {}
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case dict() if depth:
            return {"type": "object", "properties": {str(key): shape(part, depth - 1) for key, part in value.items()}}
        case list() | tuple() if value and depth:
            return {"type": "array", "items": shape(value[0], depth - 1)}
        case list() | tuple():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
        case _:
            return {}
