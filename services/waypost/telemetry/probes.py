"""Serves `/healthz`, `/readyz`, `/metrics` and JSON documents on a port of their own.

The threads that serve them cannot be blocked by a busy event loop.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

REQUESTS_AT_ONCE = 8
"""Most requests that are served at once. More are refused: only probes and one or two scrapers should connect."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(
        self,
        address: tuple[str, int],
        ready: Callable[[], str | None],
        alive: Callable[[], str | None],
        timeout_s: float,
        documents: Mapping[str, Callable[[], bytes]],
    ) -> None:
        self._ready = ready
        self.documents = documents
        self.alive = alive
        self.timeout_s = timeout_s
        self._logged: str | None = ""
        self._slots = threading.BoundedSemaphore(REQUESTS_AT_ONCE)
        super().__init__(address, _Handler)

    def ready(self) -> str | None:
        """Returns why the process is not ready, or None if it is ready. Logs each change."""
        reason = self._ready()
        logged, self._logged = self._logged, reason
        if reason != logged:
            log = structlog.get_logger(__name__)
            log.info("ready") if reason is None else log.warning("not ready", reason=reason)
        return reason

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        # An OSError means that the client hung up or was too slow.
        if not isinstance(sys.exception(), OSError):
            structlog.get_logger(__name__).warning("a probe request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "waypost"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.timeout_s)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._answer_reason(self.server.alive())
        elif path == "/readyz":
            self._answer_reason(self.server.ready())
        elif path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(REGISTRY), content_type)
        elif (document := self.server.documents.get(path)) is not None:
            self._answer(200, document(), "application/json")
        else:
            self._answer(404, "not found\n")

    def _answer_reason(self, reason: str | None) -> None:
        self._answer(200, "ok\n") if reason is None else self._answer(503, f"{reason}\n")

    def _answer(self, status: int, body: str | bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Logs nothing, because a line per probe would be noise."""


@dataclass
class Probes:
    """The running probe server."""

    port: int
    _server: _Server
    _thread: threading.Thread

    def close(self) -> None:
        """Stops listening, and returns when the server's thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def serve(
    port: int,
    *,
    ready: Callable[[], str | None],
    alive: Callable[[], str | None] = lambda: None,
    host: str = "0.0.0.0",  # noqa: S104 - a pod's network
    timeout_s: float = 5.0,
    documents: Mapping[str, Callable[[], bytes]] | None = None,
) -> Probes:
    """Serves probes from background threads. Port 0 takes any free port. Raises OSError when the port is taken.

    `ready` and `alive` return None if all is well. Otherwise they return one line that says what is wrong. Every
    caller sees that line, so it must not contain secrets. The line of `ready` is logged when it changes. Both
    functions are called in threads and must return within a bounded time. A process that is not `alive` is
    restarted. By default, a process is alive as long as it answers. `timeout_s` is the time that a client may
    take to send its request. `documents` maps further paths to functions that return JSON. Every caller sees a
    document, so it must not contain secrets either.
    """
    server = _Server((host, port), ready, alive, timeout_s, documents or {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="probes", daemon=True)
    thread.start()
    return Probes(server.server_address[1], server, thread)
