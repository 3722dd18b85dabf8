"""A local HTTP server that speaks the OpenAI chat-completions protocol, from a script of replies.

    with OpenAIServer(says('{"nodes": []}'), rate_limited(2)) as server:
        AsyncOpenAI(base_url=server.base_url, api_key="any")     # first reply, then the second, then 500

As a pytest fixture: ``pytest_plugins = ["tests.openai_server"]`` or ``from tests.openai_server import openai_server``.
As a script: ``python tests/openai_server.py --port 8080 --answer plan.json`` answers every question with that file.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest

Format = Literal["text", "json_object", "json_schema"]


@dataclass(frozen=True)
class Reply:
    """What the server does with one question. Make one with the functions below."""

    text: str = ""
    finish: str = "stop"
    status: int = 200
    body: bytes | None = None
    """Sent as it is in place of a completion."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0
    """Seconds before anything is sent; ends early when the server closes."""
    cut: bool = False
    """The connection closes after half of the body."""
    usage: tuple[int, int] = (100, 20)
    """Tokens of prompt and completion."""
    refusal: str | None = None


def says(text: str, *, finish: str = "stop", usage: tuple[int, int] = (100, 20)) -> Reply:
    """A completion with this text; streamed in pieces where the question asks for a stream."""
    return Reply(text, finish, usage=usage)


def truncated(text: str) -> Reply:
    """A completion that hit the limit of tokens."""
    return says(text, finish="length")


def refuses(why: str) -> Reply:
    """A completion in which the model declines."""
    return Reply(refusal=why)


def fails(status: int, message: str = "it failed", *, code: str | None = None, param: str | None = None) -> Reply:
    """An error as the protocol shapes it."""
    error = {"message": message, "type": "error", "code": code, "param": param}
    return Reply(status=status, body=json.dumps({"error": error}).encode())


def rate_limited(retry_after: float | str) -> Reply:
    """429 with ``Retry-After``: seconds, or an HTTP date."""
    return replace(fails(429, "too many requests", code="rate_limit"), headers={"Retry-After": str(retry_after)})


def slow(seconds: float, text: str = "{}") -> Reply:
    """A completion that comes late."""
    return Reply(text, delay=seconds)


def cut_off(text: str = "{}") -> Reply:
    """A completion whose connection closes half-way."""
    return Reply(text, cut=True)


def malformed(body: bytes = b'{"id": "x", "choices": [') -> Reply:
    """200 with a body that is not JSON."""
    return Reply(body=body)


def no_choices() -> Reply:
    """200 with ``choices: []``."""
    return Reply(body=json.dumps({"id": "x", "object": "chat.completion", "choices": []}).encode())


class OpenAIServer:
    """Serves ``script`` on 127.0.0.1, one reply a question, then 500. ``formats``: the ``response_format`` it knows."""

    def __init__(
        self,
        *script: Reply,
        formats: tuple[Format, ...] = ("text", "json_object", "json_schema"),
        always: Reply | None = None,
        port: int = 0,
    ) -> None:
        self.formats = formats
        self.always = always
        self.questions: list[dict[str, Any]] = []
        """The bodies received, in order."""
        self.headers: list[dict[str, str]] = []
        """Their headers, names in lower case."""
        self._script: deque[Reply] = deque(script)
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._http = _Http(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def base_url(self) -> str:
        """For ``OPENAI_BASE_URL``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def script(self, *replies: Reply) -> None:
        """Adds replies to the end of the script."""
        with self._lock:
            self._script.extend(replies)

    def next_reply(self, question: dict[str, Any], headers: dict[str, str]) -> Reply:
        """Notes the question; what to do with it. A format it does not know is refused and uses up no reply."""
        with self._lock:
            self.questions.append(question)
            self.headers.append(headers)
            wanted = (question.get("response_format") or {}).get("type", "text")
            if wanted not in self.formats:
                return fails(400, f"'response_format' of type '{wanted}' is not supported", param="response_format")
            if self._script:
                return self._script.popleft()
            return self.always or fails(500, "the script has no further reply")

    def serve_forever(self) -> None:
        """Serves in this thread, until interrupted."""
        self._http.serve_forever()

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def openai_server() -> Iterator[OpenAIServer]:
    """A server with an empty script: add replies with ``script``."""
    with OpenAIServer() as server:
        yield server


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], owner: OpenAIServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        models = {"object": "list", "data": [{"id": "scripted", "object": "model", "created": 0, "owned_by": "tests"}]}
        found = self.path.endswith("/models")
        answer = models if found else {"error": {"message": "not found"}}
        self._send(200 if found else 404, json.dumps(answer).encode(), {})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.path.endswith("/chat/completions"):
            self._send(404, json.dumps({"error": {"message": f"no such path: {self.path}"}}).encode(), {})
            return
        question = json.loads(raw)
        owner = self.server.owner
        reply = owner.next_reply(question, {name.lower(): value for name, value in self.headers.items()})
        if reply.delay and owner.closing.wait(reply.delay):
            self.close_connection = True
        elif reply.body is not None:
            self._send(reply.status, reply.body, reply.headers, cut=reply.cut)
        elif question.get("stream"):
            self._stream(question, reply)
        else:
            self._send(reply.status, json.dumps(_completion(question, reply)).encode(), reply.headers, cut=reply.cut)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def _stream(self, question: dict[str, Any], reply: Reply) -> None:
        """Server-sent events, one piece of the text each. Chunked, so that a client sees whether the end is missing."""
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunks = list(_chunks(question, reply))
        for chunk in chunks[: len(chunks) // 2] if reply.cut else chunks:
            self._chunk(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        if reply.cut:
            self._chunk(b'data: {"id": "chatcmpl-scripted", "cho')
            self.close_connection = True
        else:
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the questions are kept."""


def _usage(reply: Reply) -> dict[str, int]:
    asked, said = reply.usage
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _head(question: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 0, "model": question.get("model", "scripted")}


def _completion(question: dict[str, Any], reply: Reply) -> dict[str, Any]:
    content = None if reply.refusal else reply.text
    message = {"role": "assistant", "content": content, "refusal": reply.refusal}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}
    return {**_head(question, "chat.completion"), "choices": [choice], "usage": _usage(reply)}


def _chunks(question: dict[str, Any], reply: Reply, size: int = 8) -> Iterator[dict[str, Any]]:
    head = _head(question, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for start in range(0, len(reply.text), size):
        yield chunk({"content": reply.text[start : start + size]})
    yield chunk({}, reply.finish)
    if (question.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _usage(reply)}


def main(arguments: list[str] | None = None) -> None:
    """Serves one answer for every question until interrupted."""
    parser = argparse.ArgumentParser(
        description="A local OpenAI-compatible endpoint that always gives the same answer."
    )
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--answer", type=Path, help="a file with the text of the answer; {} when absent")
    options = parser.parse_args(arguments)
    text = options.answer.read_text(encoding="utf-8") if options.answer else "{}"
    server = OpenAIServer(always=says(text), port=options.port)
    sys.stdout.write(f"OPENAI_BASE_URL={server.base_url}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.stdout.write("stopped\n")


if __name__ == "__main__":
    main()
