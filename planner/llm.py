"""The planner that asks a language model, through any endpoint that speaks the OpenAI chat-completions protocol.

The only file of the planner that imports ``openai``, and only when it asks (the import costs most of a second). Its own
retries are off: ``planning`` counts the attempts. The body is read here, because a cut, malformed or empty one is no
error of that client. The key appears in no message and no log.
"""

from __future__ import annotations

import email.utils
import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..errors import Problem
from ..values import Json, NotJson, decode
from .prompt import answer_schema, messages
from .request import NoAnswer, PlanRequest, Proposal, Usage

if TYPE_CHECKING:
    import openai

DEFAULT_MODEL: Final = "gpt-4o"
"""Asked when neither the request nor DYNAMICFLOW_MODEL names one."""
TIMEOUT_SECONDS: Final = 120.0
"""For one whole answer; plans of some thousand tokens take a minute on slow endpoints."""
_NO_KEY: Final = "no-key"
"""Sent where a base URL is set without a key: local servers ask for none, the client insists on one."""
_LONGEST_MESSAGE: Final = 500

_FORMATS: Final = ("json_schema", "json_object", "text")
_FORMAT_WORDS: Final = ("response_format", "json_schema", "json_object", "schema", "structured output", "grammar")


class ModelPlanner:
    """Asks one endpoint. What an endpoint refused (a format, a parameter) is remembered per model."""

    name = "model"

    def __init__(
        self,
        *,
        model: str | None = None,
        api_key: str = "",
        base_url: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.model = model or DEFAULT_MODEL
        self._key, self._base_url, self._timeout = api_key.strip(), base_url, timeout
        self._dialects: dict[str, _Dialect] = {}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, model: str | None = None) -> ModelPlanner:
        """Reads OPENAI_API_KEY, OPENAI_BASE_URL and, where ``model`` is None, DYNAMICFLOW_MODEL."""
        return cls(
            model=model or environ.get("DYNAMICFLOW_MODEL"),
            api_key=environ.get("OPENAI_API_KEY", ""),
            base_url=environ.get("OPENAI_BASE_URL") or None,
        )

    def __repr__(self) -> str:
        return f"ModelPlanner(model={self.model!r}, endpoint={self._where()!r})"

    async def propose(self, request: PlanRequest, problems: Sequence[Problem], previous: Json, model: str) -> Proposal:
        """One answer of ``model``. Raises NoAnswer for everything that is not an answer."""
        if (unfit := self._unfit()) is not None:
            raise NoAnswer(Problem("ENDPOINT_UNUSABLE", "", *unfit), again=False, fatal=True)
        dialect = self._dialects.setdefault(model, _Dialect())
        while True:
            body = dialect.body(request, messages(request, problems, previous), model)
            try:
                return _read(await self._post(body), dialect)
            except _Unsupported:
                continue  # the dialect is narrower now, and can become so only a few times

    def _unfit(self) -> tuple[str, str] | None:
        """What is wrong with the settings, and what to do; None when a question may be sent."""
        if not self._key and not self._base_url:
            return (
                "no key for the model endpoint: OPENAI_API_KEY is not set",
                "Set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint without key, or name the model 'offline'.",
            )
        if not (self._key.isascii() and self._key.isprintable()):
            return "OPENAI_API_KEY holds characters that no key has", "Copy it again."
        if self._base_url is not None and not _is_web_address(self._base_url):
            return f"OPENAI_BASE_URL is no address: {self._where()!r}", "Expected http(s)://host[:port]/path."
        return None

    async def _post(self, body: dict[str, Any]) -> bytes:
        import httpx2
        import openai

        dialect = self._dialects[body["model"]]
        try:
            async with openai.AsyncOpenAI(
                api_key=self._key or _NO_KEY, base_url=self._base_url, max_retries=0, timeout=self._timeout
            ) as client:
                answer = await client.chat.completions.with_raw_response.create(**body)
                content: bytes = answer.content
                return content
        except openai.APIStatusError as error:
            if error.status_code in (400, 422) and dialect.narrow(_said(error)):
                raise _Unsupported from error
            raise self._refused(error, body["model"]) from error
        except openai.APITimeoutError as error:
            message = f"no answer within {self._timeout:g} s from {self._where()}"
            raise NoAnswer(Problem("TIMEOUT", "", message), _names(error)) from error
        except openai.APIConnectionError as error:
            why = self._clean(str(error.__cause__ or error))
            message = f"the model endpoint {self._where()} cannot be reached, or broke off: {why}"
            raise NoAnswer(
                Problem("ENDPOINT_UNUSABLE", "", message, "Is OPENAI_BASE_URL right, and the endpoint up?"),
                _names(error),
            ) from error
        except openai.OpenAIError as error:
            raise NoAnswer(
                Problem("ENDPOINT_UNUSABLE", "", self._clean(str(error))), _names(error), again=False
            ) from error
        except (ValueError, httpx2.InvalidURL) as error:  # a URL or a text that cannot be sent
            message = f"the question to {self._where()} cannot be sent: {self._clean(str(error))}"
            raise NoAnswer(Problem("ENDPOINT_UNUSABLE", "", message), _names(error), again=False) from error

    def _refused(self, error: openai.APIStatusError, model: str) -> NoAnswer:
        """What a 4xx or 5xx means for the next attempt."""
        status, said = error.status_code, self._clean(_said(error))
        names, wait = _names(error), _retry_after_ms(error.response.headers)
        if status in (401, 403):
            problem = Problem(
                "ENDPOINT_UNUSABLE",
                "",
                f"the model endpoint {self._where()} refused the key ({status}): {said}",
                "Set OPENAI_API_KEY to a key of this endpoint.",
            )
            return NoAnswer(problem, names, again=False, fatal=True)
        if status == 429:
            problem = Problem("RATE_LIMITED", "", f"the model endpoint {self._where()} is over its limit (429): {said}")
            return NoAnswer(problem, names, again=error.code != "insufficient_quota", wait_ms=wait)
        if status >= 500 or status in (408, 409):
            problem = Problem("ENDPOINT_FAILED", "", f"the model endpoint {self._where()} failed ({status}): {said}")
            return NoAnswer(problem, names, wait_ms=wait)
        hint = "Is the model's name right?" if status == 404 else ""
        problem = Problem("ENDPOINT_REFUSED", "", f"{self._where()} refused to ask {model!r} ({status}): {said}", hint)
        return NoAnswer(problem, names, again=False)

    def _where(self) -> str:
        """The endpoint as a person knows it, without what may be secret in a URL."""
        if self._base_url is None:
            return "api.openai.com"
        return self._base_url.rpartition("@")[2].partition("?")[0]

    def _clean(self, text: str) -> str:
        """A server's words, short and without the key: some repeat it."""
        return (text.replace(self._key, "***") if self._key else text)[:_LONGEST_MESSAGE]


def _is_web_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets that do not match, a port beyond 65535
        return False


class _Unsupported(Exception):
    """The endpoint does not know a part of the request; the next form leaves it out."""


class _Dialect:
    """Which parts of the protocol an endpoint took so far. Starts with all of them."""

    def __init__(self) -> None:
        self._format = 0
        self._limit = "max_tokens"
        self._temperature = True

    def body(self, request: PlanRequest, said: list[dict[str, str]], model: str) -> dict[str, Any]:
        made: dict[str, Any] = {"model": model, "messages": said, self._limit: request.options.max_tokens}
        if self._temperature:
            made["temperature"] = request.options.temperature
        match _FORMATS[self._format]:
            case "json_schema":
                schema = {"name": "plan", "schema": answer_schema(request), "strict": False}
                made["response_format"] = {"type": "json_schema", "json_schema": schema}
            case "json_object":
                made["response_format"] = {"type": "json_object"}
        return made

    def narrow(self, said: str) -> bool:
        """Whether a refusal names a part that can be left out; then the next body has it no more."""
        words = said.lower()
        if "max_completion_tokens" in words and self._limit == "max_tokens":
            self._limit = "max_completion_tokens"
            return True
        if "temperature" in words and self._temperature:
            self._temperature = False
            return True
        if self._format < len(_FORMATS) - 1 and any(word in words for word in _FORMAT_WORDS):
            self._format += 1
            return True
        return False


def _said(error: openai.APIStatusError) -> str:
    """The words of an error body, wherever this endpoint puts them."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message", inner) if isinstance(inner, dict) else inner
        param = inner.get("param") if isinstance(inner, dict) else None
        return f"{message} ({param})" if param else str(message)
    return str(body) if body else error.message


def _names(error: BaseException) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in type(error).__mro__[:-2])


def _retry_after_ms(headers: Mapping[str, str]) -> float | None:
    """Milliseconds of ``retry-after-ms`` or ``Retry-After`` (seconds, or a date); None when there is none."""
    for name, unit in (("retry-after-ms", 1.0), ("retry-after", 1000.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= wait < float("inf"):
            return wait
    try:
        until = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds() * 1000)


def _read(body: bytes, dialect: _Dialect) -> Proposal:
    """The text in a chat-completions body. Raises NoAnswer when there is none."""
    try:
        answer = decode(body)
    except NotJson as error:
        raise NoAnswer(_unreadable(str(error)), ("JSONDecodeError",)) from error
    if not isinstance(answer, dict):
        raise NoAnswer(_unreadable("it is no object"))
    usage = _usage(answer.get("usage"))
    if isinstance(answer.get("error"), dict | str) and not answer.get("choices"):
        if dialect.narrow(str(answer["error"])):
            raise _Unsupported
        raise NoAnswer(_unreadable(f"it holds an error: {str(answer['error'])[:_LONGEST_MESSAGE]}"), usage=usage)
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise NoAnswer(_unreadable("it holds no choices"), usage=usage)
    return _taken(message, choice.get("finish_reason"), usage)


def _taken(message: dict[str, Any], finish: Json, usage: Usage | None) -> Proposal:
    text = message.get("content")
    if finish == "length":
        problem = Problem(
            "ANSWER_TRUNCATED",
            "",
            "the answer was cut off at the limit of tokens",
            "Answer with a shorter plan: fewer nodes, no descriptions. (options.maxTokens raises the limit.)",
        )
        return Proposal(text=text if isinstance(text, str) else None, problems=(problem,), usage=usage)
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        problem = Problem("ANSWER_REFUSED", "", f"the model refused: {message['refusal'][:_LONGEST_MESSAGE]}")
        return Proposal(problems=(problem,), usage=usage)
    if not isinstance(text, str) or not text.strip():
        raise NoAnswer(_unreadable(f"its message is empty (finish_reason {finish!r})"), usage=usage)
    return Proposal(text=text, usage=usage)


def _unreadable(why: str) -> Problem:
    return Problem("ANSWER_UNREADABLE", "", f"the model endpoint's answer cannot be read: {why}")


def _usage(given: Json) -> Usage | None:
    if not isinstance(given, dict):
        return None
    fields = {"promptTokens": "prompt_tokens", "completionTokens": "completion_tokens", "totalTokens": "total_tokens"}
    counted = {name: given.get(field) for name, field in fields.items()}
    return {name: count for name, count in counted.items() if isinstance(count, int) and not isinstance(count, bool)}
