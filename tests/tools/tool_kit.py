"""Builders for the tests of tools: a running host whose outcomes can be waited for, and a local HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dynamicflow.tools import Call, Tool, ToolContext, ToolHost, create_tool
from dynamicflow.tools.host import Delivered
from dynamicflow.tools.spec import Validation

WAIT_S = 10.0
"""How long a test waits for what must happen; nothing here takes that long."""


class Deck:
    """A started host. Every outcome is kept under its token."""

    def __init__(self, threads: int = 32) -> None:
        self.outcomes: list[Delivered] = []
        self._changed = threading.Condition()
        self.host = ToolHost(self._deliver, threads=threads)
        self.host.start()

    def _deliver(self, batch: list[Delivered]) -> None:
        with self._changed:
            self.outcomes.extend(batch)
            self._changed.notify_all()

    def submit(
        self,
        tool: Tool,
        token: Any = "t",
        timeout: float = WAIT_S,
        mode: Validation | None = None,
        context: ToolContext | None = None,
        **inputs: Any,
    ) -> Call:
        call = Call(tool, inputs, context or ToolContext(), timeout, token, mode)
        self.host.submit([call])
        return call

    def wait(self, token: Any = "t", seconds: float = WAIT_S) -> Delivered:
        def found() -> Delivered | None:
            return next((one for one in self.outcomes if one.call.token == token), None)

        with self._changed:
            if not self._changed.wait_for(lambda: found() is not None, seconds):
                raise AssertionError(f"no outcome for {token!r}")
        one = found()
        assert one is not None
        return one

    def outcome(self, tool: Tool, token: Any = "t", timeout: float = WAIT_S, **inputs: Any) -> Any:
        """What a call of the tool ends with: a raw value, or an exception."""
        self.submit(tool, token, timeout, **inputs)
        return self.wait(token).outcome


@contextmanager
def deck(threads: int = 32) -> Iterator[Deck]:
    made = Deck(threads)
    try:
        yield made
    finally:
        made.host.close(timeout=WAIT_S)


def takes(schema: dict[str, Any], output: dict[str, Any] | None = None, **config: Any) -> Tool:
    """A tool with this input schema that returns its inputs."""
    return create_tool(
        {
            "id": "t",
            "inputSchema": schema,
            "outputSchema": output,
            "config": config,
            "execute": lambda inputs, context: inputs,
        }
    )


@dataclass
class Answer:
    """What the HTTP server says to one path."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Site:
    """A local HTTP server with fixed answers; ``asked`` holds the requests."""

    def __init__(self, url: str, asked: list[Asked]) -> None:
        self.url, self.asked = url, asked


@contextmanager
def site(answers: Mapping[str, Answer | Callable[[], None]]) -> Iterator[Site]:
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Asked(self.command, self.path, headers, body))
            answer = answers.get(self.path.split("?")[0], Answer(404, b"no such page"))
            if not isinstance(answer, Answer):
                answer()
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Site(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def as_json(value: Any, content_type: str = "application/json") -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": content_type})
