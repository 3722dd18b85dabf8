"""Options of a request: what binds the planner, what binds a run. British and American spellings.

Durations are milliseconds or ``"30s"`` texts. What a later release brings is accepted here and refused at start with
NOT_SUPPORTED_YET where leaving it out would be unsafe (a gate), so that nothing runs without the gate it asked for.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ..values import canonical, decode, duration_ms
from .ir import Retry


def _milliseconds(value: Any) -> Any:
    made = duration_ms(value)
    return value if made is None else made


Duration = Annotated[int | float, BeforeValidator(_milliseconds), Field(ge=0)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class RetryStrategy(_Options):
    """Retries of steps that name none themselves. ``backoffStrategy`` is read as ``backoff``."""

    max_attempts: Annotated[int, Field(ge=1)] = 1
    backoff: Annotated[
        Literal["exponential", "linear", "fixed"],
        Field(validation_alias=AliasChoices("backoff", "backoffStrategy", "backoff_strategy")),
    ] = "exponential"
    initial_delay: Duration = 1000
    max_delay: Duration = 60_000
    retryable_errors: list[str] = ["*"]
    max_escalations: Annotated[int, Field(ge=0)] | None = None

    def as_retry(self) -> Retry:
        """The same as a node's ``retry``."""
        return Retry(
            max_attempts=self.max_attempts,
            backoff=self.backoff,
            initial_delay=self.initial_delay,
            max_delay=self.max_delay,
            retryable_errors=self.retryable_errors,
        )


class Constraints(_Options):
    """Bounds on a plan that the planner makes."""

    max_nodes: Annotated[int, Field(ge=1)] = 50
    max_depth: Annotated[int, Field(ge=1)] = 10
    allowed_operations: list[str] | None = None


class Planning(_Options):
    """How often the planner is asked before it has failed."""

    retry: RetryStrategy = RetryStrategy(max_attempts=3)


class CustomPrompts(_Options):
    system_prompt: str = ""
    planning_prompt: str = ""


class FallbackBehavior(_Options):
    on_planning_failure: Literal["fail", "use-template", "cached-plan"] = "fail"
    on_execution_failure: Literal["fail", "partial-results", "replan", "compensate"] = "fail"
    on_timeout_failure: Literal["fail", "graceful-degradation"] = "fail"


class ResourceLimits(_Options):
    max_memory_mb: Annotated[
        float | None, Field(gt=0, validation_alias=AliasChoices("maxMemoryMB", "maxMemoryMb", "max_memory_mb"))
    ] = None
    max_execution_time: Duration | None = None


class MemoryOptions(_Options):
    streaming_execution: bool = False
    clear_intermediate_results: bool = False


class Options(_Options):
    """Everything a request may ask for beside prompt, plan, tools and input."""

    max_steps: Annotated[int, Field(ge=1)] = 50
    constraints: Constraints = Constraints()
    max_concurrency: Annotated[int, Field(ge=1)] = 10
    """Steps of one run in flight at once."""
    timeout: Duration | None = None
    """Of the whole run."""
    validation: Literal["strict", "warn"] | None = None
    retry_strategy: RetryStrategy | None = None
    fallback_behavior: Annotated[
        FallbackBehavior,
        Field(validation_alias=AliasChoices("fallbackBehavior", "fallbackBehaviour", "fallback_behavior")),
    ] = FallbackBehavior()
    planning: Planning = Planning()
    resource_limits: ResourceLimits = ResourceLimits()
    memory_optimisation: Annotated[
        MemoryOptions,
        Field(validation_alias=AliasChoices("memoryOptimisation", "memoryOptimization", "memory_optimisation")),
    ] = MemoryOptions()
    tool_optimisation: Annotated[
        bool, Field(validation_alias=AliasChoices("toolOptimisation", "toolOptimization", "tool_optimisation"))
    ] = False
    custom_prompts: CustomPrompts = CustomPrompts()
    enable_approval_workflow: bool = False
    enable_join_suggestions: bool = False
    enable_caching: Annotated[
        bool, Field(validation_alias=AliasChoices("enableCaching", "cache", "enable_caching"))
    ] = False
    enable_metrics: bool = True
    debug_mode: bool = False
    security_mode: Literal["standard", "strict"] = "standard"
    audit_logging: bool = False
    workflow_id: str | None = None
    escalation_path: list[str] = []
    model_pool: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.3
    max_tokens: Annotated[int, Field(ge=1)] = 4000

    @classmethod
    def of(cls, given: dict[str, Any] | None) -> Options:
        """The options of a request; the same ones are read once. Raises ValidationError."""
        return _options(canonical(given)) if given else NO_OPTIONS

    @cached_property
    def key(self) -> str:
        """What tells these options from others; ``{}`` when they are the defaults."""
        return self.model_dump_json(exclude_defaults=True)

    @cached_property
    def told(self) -> dict[str, Any]:
        """What differs from the defaults, as on the wire. Not to be changed."""
        return self.model_dump(by_alias=True, exclude_defaults=True, mode="json")

    @property
    def run_timeout(self) -> int | float | None:
        """Milliseconds that a run may take: the smaller of ``timeout`` and ``resourceLimits.maxExecutionTime``."""
        given = [limit for limit in (self.timeout, self.resource_limits.max_execution_time) if limit is not None]
        return min(given, default=None)


NO_OPTIONS: Final = Options()


@lru_cache(maxsize=256)
def _options(text: bytes) -> Options:
    return Options.model_validate(decode(text))
