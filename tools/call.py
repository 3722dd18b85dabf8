"""The rules of one call: what it receives, what counts as its output, what an exception means. Pure, no waiting.

Order: nulls, input schema, undeclared fields → the call → JSON, size, output schema.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ..values import LARGE_VALUE_BYTES, MAX_VALUE_BYTES, Json, NotJson
from .context import ToolCancelled, ToolFailed
from .jsonable import to_json
from .schema import Errors
from .spec import ToolSpec, Validation

_LONGEST_MESSAGE: Final = 8_192
_TOLD: Final = 3
"""Errors that a message spells out; ``details`` holds them all."""


@dataclass(frozen=True, slots=True)
class CallError:
    """Why a call gave no output. ``bases``: unqualified names of the exception's class and its bases."""

    code: str
    message: str
    type: str | None = None
    bases: tuple[str, ...] = ()
    retryable: bool | None = None
    """None: the tool did not say."""
    retry_after_ms: float | None = None
    details: Json = None

    def to_json(self) -> dict[str, Json]:
        """The ``error`` of a tool-error fact: ``{code, message, type, bases, retryable, retryAfter, details}``."""
        return {
            "code": self.code,
            "message": self.message,
            "type": self.type,
            "bases": list(self.bases),
            "retryable": self.retryable,
            "retryAfter": self.retry_after_ms,
            "details": self.details,
        }


class CallResult(NamedTuple):
    """An output as it is recorded: a pure JSON copy and its encoding."""

    output: Json
    encoded: bytes
    warnings: tuple[str, ...] = ()


def check_inputs(
    spec: ToolSpec, inputs: Json, mode: Validation | None = None
) -> CallError | tuple[dict[str, Json], tuple[str, ...]]:
    """The inputs that the tool receives and warnings about them, or why it is not called. ``mode`` None: the tool's.

    A null for an optional top-level field whose schema refuses null is left out. For a required one it is
    UNRESOLVED_REFERENCE; with "warn" it is left out as well. What else does not fit is TOOL_INPUT_INVALID, or warnings.
    ``inputs`` is not changed.
    """
    mode = mode or spec.validation
    if not isinstance(inputs, dict):
        return CallError("TOOL_INPUT_INVALID", f"the inputs of {spec.id} are not an object", retryable=False)
    schema = spec.inputs
    if None in inputs.values():
        nulls = [name for name, value in inputs.items() if value is None and name in schema.refuses_null]
        unresolved = sorted(schema.required.intersection(nulls))
        if unresolved and mode == "strict":
            return _unresolved(spec, unresolved)
        inputs = {name: value for name, value in inputs.items() if value is not None or name not in nulls}
    errors = schema.errors(inputs)
    errors += [(path, "is no field of this tool's inputs") for path in schema.undeclared_fields(inputs)]
    if not errors:
        return inputs, ()
    if mode == "warn":
        return inputs, tuple(_lines(errors))
    return CallError(
        "TOOL_INPUT_INVALID",
        f"the inputs of {spec.id} do not fit its input schema: {_summary(errors)}",
        retryable=False,
        details=_details(errors),
    )


def _unresolved(spec: ToolSpec, names: Sequence[str]) -> CallError:
    listed = ", ".join(map(repr, names))
    return CallError(
        "UNRESOLVED_REFERENCE",
        f"{spec.id} requires {listed}, and got null: what the input refers to has no value "
        "(a skipped step, or a field that is not there)",
        retryable=False,
        details={"fields": list(names)},
    )


def check_output(spec: ToolSpec, raw: Any, mode: Validation | None = None) -> CallResult | CallError:
    """What ``raw`` is as JSON, or why it cannot be recorded. ``mode`` None: the tool's. Extra fields are kept.

    TOOL_OUTPUT_TOO_LARGE above 32 MiB; TOOL_OUTPUT_INVALID when it is no JSON or, in strict mode, breaks the schema.
    """
    try:
        output, encoded = to_json(raw)
    except OverflowError as error:
        return CallError("TOOL_OUTPUT_TOO_LARGE", f"the output of {spec.id} has {error} ({MAX_VALUE_BYTES >> 20} MiB)")
    except NotJson as error:
        return CallError("TOOL_OUTPUT_INVALID", _clean(f"the output of {spec.id} is not JSON: {error}"))
    errors = spec.output.errors(output) if spec.output is not None else []
    if not errors:
        return CallResult(output, encoded)
    if (mode or spec.validation) == "warn":
        return CallResult(output, encoded, tuple(_lines(errors)))
    return CallError(
        "TOOL_OUTPUT_INVALID",
        f"the output of {spec.id} does not fit its output schema: {_summary(errors)}",
        details=_details(errors),
    )


def describe_exception(error: BaseException) -> CallError:
    """What an exception of a call means. ToolFailed says it itself; any other is TOOL_EXECUTION_FAILED.

    An attribute ``retry_after`` (seconds) of any exception is respected.
    """
    kind = type(error)
    bases = tuple(cls.__name__ for cls in kind.__mro__ if issubclass(cls, BaseException) and cls is not BaseException)
    message = _text(error)
    retry_after = _milliseconds(_retry_after(error))
    if isinstance(error, ToolFailed):
        code, details = _clean(str(error.code)), _plain_details(error.details)
        retryable = error.retryable if isinstance(error.retryable, bool) else None
        return CallError(code, message, kind.__name__, bases, retryable, retry_after, details)
    if isinstance(error, ToolCancelled):
        return CallError("CANCELLED", message, kind.__name__, bases, False)
    return CallError("TOOL_EXECUTION_FAILED", message, kind.__name__, bases, None, retry_after)


def _retry_after(error: BaseException) -> Any:
    try:
        return getattr(error, "retry_after", None)
    except Exception:  # an exception of the user's whose own attribute fails
        return None


def _text(error: BaseException) -> str:
    try:
        said = str(error)
    except Exception:  # an exception of the user's whose own text fails
        said = ""
    return _clean(said or type(error).__name__)


def _clean(text: str) -> str:
    """Without lone surrogates, which no record may hold, and of bounded length."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


def _milliseconds(seconds: Any) -> float | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return seconds * 1000.0 if math.isfinite(seconds) and 0 <= seconds < 1e12 else None


def _plain_details(details: Any) -> Json:
    try:
        return to_json(details, max_bytes=LARGE_VALUE_BYTES)[0]
    except (NotJson, OverflowError) as error:
        return {"unusable": _clean(str(error))}


def _lines(errors: Errors) -> list[str]:
    return [f"{path or '(the whole)'}: {message}" for path, message in errors]


def _summary(errors: Errors) -> str:
    more = f"; and {len(errors) - _TOLD} more" if len(errors) > _TOLD else ""
    return _clean("; ".join(_lines(errors[:_TOLD])) + more)


def _details(errors: Errors) -> Json:
    return {"errors": [{"path": path, "message": message} for path, message in errors]}
