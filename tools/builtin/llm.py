"""A language model as a tool: any OpenAI-compatible endpoint. OPENAI_API_KEY and OPENAI_BASE_URL say which.

The model is the input's, else DYNAMICFLOW_MODEL. Tokens stream to whoever watches the run. The client's own retries are
off: a retry is the step's. Errors: LLM_NOT_CONFIGURED, LLM_ERROR (by status; RateLimitError for 429), NETWORK_ERROR.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ..context import NetworkError, RateLimitError, ToolContext, ToolFailed, ToolTimeout
from ..decorate import tool
from ..spec import Tool
from .http import retry_after_seconds

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class LLMError(ToolFailed):
    """The endpoint refused the request, or its answer was no answer."""


class Usage(BaseModel):
    """Tokens, as the endpoint counted them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """What the model answered."""

    response: str
    usage: Usage | None = None


@tool(category="llm", side_effect="none")
async def llm_complete(
    prompt: Annotated[str, Field(description="What to ask the model")],
    system: Annotated[str, Field(description="Instructions that come before the prompt")] = "",
    model: Annotated[str | None, Field(description="The model's name; absent: the configured one")] = None,
    temperature: Annotated[float | None, Field(ge=0, le=2, description="0: the same answer again; 2: free")] = None,
    max_tokens: Annotated[int | None, Field(ge=1, alias="maxTokens", description="The longest answer")] = None,
    *,
    context: ToolContext,
) -> Completion:
    """Asks a language model. Returns {response, usage {promptTokens, completionTokens, totalTokens}}."""
    name = model or os.environ.get("DYNAMICFLOW_MODEL")
    if not name:
        raise _not_configured("no model is named; give `model`, or set DYNAMICFLOW_MODEL")
    messages = [{"role": "system", "content": system}] if system else []
    request: dict[str, Any] = {"model": name, "messages": [*messages, {"role": "user", "content": prompt}]}
    if temperature is not None:
        request["temperature"] = temperature
    if max_tokens is not None:
        request["max_tokens"] = max_tokens
    async with _client(context) as client:
        return await _complete(client, request, context)


async def _complete(client: AsyncOpenAI, request: dict[str, Any], context: ToolContext) -> Completion:
    pieces: list[str] = []
    usage: Usage | None = None
    ended = False
    stream = await client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
    async for chunk in stream:
        if chunk.usage is not None:
            usage = Usage.model_validate(chunk.usage.model_dump())
        for choice in chunk.choices[:1]:
            ended = ended or choice.finish_reason is not None
            if choice.delta.content:
                pieces.append(choice.delta.content)
                context.emit_token(choice.delta.content)
    if not ended:
        raise LLMError("the model's answer was cut off before its end", code="LLM_ERROR", retryable=True)
    return Completion(response="".join(pieces), usage=usage)


@asynccontextmanager
async def _client(context: ToolContext) -> AsyncIterator[AsyncOpenAI]:
    """A client of the configured endpoint; what it raises inside is turned into ToolFailed."""
    import openai  # 0.8 s, which a run without a model does not pay

    address, key = os.environ.get("OPENAI_BASE_URL") or None, os.environ.get("OPENAI_API_KEY")
    if not key and not address:
        raise _not_configured("there is no key; set OPENAI_API_KEY (or OPENAI_BASE_URL, for an endpoint without keys)")
    remaining = context.remaining()
    seconds = 600.0 if remaining > 600 else max(remaining, 0.001)
    try:
        async with openai.AsyncOpenAI(
            api_key=key or "none", base_url=address, max_retries=0, timeout=seconds
        ) as client:
            yield client
    except openai.APITimeoutError as error:
        raise ToolTimeout(f"the model gave no answer within {seconds:.6g} s", code="TIMEOUT", retryable=True) from error
    except openai.APIConnectionError as error:
        said = f"the model endpoint cannot be reached: {error.__cause__ or error}"
        raise NetworkError(said, code="NETWORK_ERROR", retryable=True) from error
    except openai.APIStatusError as error:
        raise _refused(error.status_code, error.message, error.response.headers.get("retry-after")) from error
    except (openai.OpenAIError, json.JSONDecodeError, ValueError) as error:
        said = f"the model endpoint's answer cannot be read: {type(error).__name__}: {error}"
        raise LLMError(said, code="LLM_ERROR", retryable=True) from error
    except _transport_errors() as error:
        said = f"the model's answer broke off: {type(error).__name__}: {error}"
        raise NetworkError(said, code="NETWORK_ERROR", retryable=True) from error


def _transport_errors() -> type[Exception]:
    import httpx2

    return httpx2.HTTPError


def _refused(status: int, message: str, retry_after: str | None) -> ToolFailed:
    kind = RateLimitError if status == 429 else LLMError
    return kind(
        f"the model endpoint answered {status}: {message}",
        code="LLM_ERROR",
        retryable=status in (408, 409, 429) or status >= 500,
        retry_after=retry_after_seconds(retry_after),
        details={"status": status},
    )


def _not_configured(message: str) -> ToolFailed:
    return ToolFailed(message, code="LLM_NOT_CONFIGURED", retryable=False)


TOOLS: Final[list[Tool]] = [llm_complete]
