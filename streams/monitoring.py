"""The HTTP endpoint of a process: what it counts, whether it lives, whether it is ready. On a thread of its own.

    with Monitoring(registry, host="0.0.0.0", port=9464, ready=worker.not_ready, stuck=pulse.stuck) as monitoring:
        print(monitoring.url)      # /metrics, /healthz, /readyz

``/metrics`` is what Prometheus scrapes; ``/healthz`` answers 503 when a loop is stuck: restart the process; ``/readyz``
answers 503 while work should not be sent to it. Both tell the reason as JSON.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self, TypeAlias

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..errors import UsageError

log = logging.getLogger(__name__)

Why: TypeAlias = Callable[[], str | None]
"""Says what is wrong; None when nothing is. Called on the endpoint's thread, and must be quick."""

SLOWEST_CLIENT_S: Final = 10.0


def _nothing_wrong() -> None:
    return None


class Pulse:
    """Tells a loop that works from one that is stuck: it beats at every turn, idle ones too."""

    def __init__(self, limit_s: float = 60.0) -> None:
        self._limit_s = limit_s
        self._last: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """This loop has come round."""
        self._last[loop] = time.monotonic()

    def end(self, loop: str) -> None:
        """This loop is over: nothing is expected of it any more."""
        self._last.pop(loop, None)

    def stuck(self) -> str | None:
        """Which loops have not come round within the limit; None when all have."""
        now = time.monotonic()
        late = [(name, now - last) for name, last in sorted(self._last.items()) if now - last > self._limit_s]
        return ", ".join(f"{name} has not come round for {ago:.0f} s" for name, ago in late) or None


class Monitoring:
    """Serves from :meth:`start` to :meth:`stop`; port 0 takes a free one, ``port`` tells which."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        stuck: Why = _nothing_wrong,
        ready: Why = _nothing_wrong,
    ) -> None:
        self._registry, self._host, self._wanted = registry, host, port
        self._checks: dict[str, tuple[str, Why]] = {"/healthz": ("stuck", stuck), "/readyz": ("not ready", ready)}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """It is bound and answers on return. Raises UsageError when the address cannot be had."""
        try:
            server = _Server(self._host, self._wanted, self._answer)
        except (OSError, OverflowError) as error:
            where = f"{self._host}:{self._wanted}"
            raise UsageError(
                "METRICS_ADDRESS", f"metrics cannot be served at {where}: {error}; choose another host or port"
            ) from error
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="dynamicflow-monitoring", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """The port is free on return. A second time does nothing."""
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on; the wanted one while it does not."""
        return self._wanted if self._server is None else int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """``http://HOST:PORT``, with the host it was bound to."""
        return f"http://[{self._host}]:{self.port}" if ":" in self._host else f"http://{self._host}:{self.port}"

    def _answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/metrics":
            encoder, content_type = choose_encoder(accept)
            return HTTPStatus.OK, content_type, encoder(_WithoutBirthdays(self._registry))
        if path not in self._checks:
            return _told(HTTPStatus.NOT_FOUND, "not found", "there are /metrics, /healthz and /readyz")
        status, check = self._checks[path]
        why = check()
        return _told(HTTPStatus.OK, "ok") if why is None else _told(HTTPStatus.SERVICE_UNAVAILABLE, status, why)


class _WithoutBirthdays(Collector):
    """A registry without the moments its counters were made at: nearly as many series again, and nobody reads them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _told(code: HTTPStatus, status: str, reason: str | None = None) -> tuple[HTTPStatus, str, bytes]:
    body = {"status": status} if reason is None else {"status": status, "reason": reason}
    return code, "application/json", json.dumps(body).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, answer: Callable[[str, str], tuple[HTTPStatus, str, bytes]]) -> None:
        self.answer = answer
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a client of the metrics endpoint went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOWEST_CLIENT_S

    def do_GET(self) -> None:
        try:
            code, content_type, body = self.server.answer(self.path.split("?")[0], self.headers.get("Accept") or "")
        except Exception as error:  # a check or a collector that raises is a fault to tell, not to die of
            log.exception("%s could not be answered", self.path)
            code, content_type, body = _told(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", repr(error))
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s %s", self.address_string(), format % args)
