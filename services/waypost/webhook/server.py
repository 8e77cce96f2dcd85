"""uvicorn as the webhook needs it: uvloop and httptools, a deadline for headers, and a drain in good order."""

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_DEADLINE_S = 10.0
"""Seconds from a request's first byte (or the connection) to the end of its headers. uvicorn 0.54 has no such limit."""

DRAIN_S = 20
"""Seconds that deliveries in flight get after SIGTERM; a pod's grace period is 30."""


class Protocol(HttpToolsProtocol):
    """Closes a connection that does not bring its headers to an end. Bodies have a deadline in `body`.

    A request that comes in one piece, as nearly all do, costs no timer.
    """

    header_deadline_s = HEADER_DEADLINE_S
    _owes_headers = True
    _header_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection owes its first headers."""
        super().connection_made(transport)
        self._header_deadline = self.loop.call_later(self.header_deadline_s, self._too_slow)

    def on_message_begin(self) -> None:
        """The first bytes of a request are here."""
        self._owes_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._owes_headers = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse, then see whether headers are still owed."""
        super().data_received(data)
        if self._owes_headers:
            if self._header_deadline is None:
                self._header_deadline = self.loop.call_later(self.header_deadline_s, self._too_slow)
        elif self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None
        super().connection_lost(exc)

    def _too_slow(self) -> None:
        self._header_deadline = None
        if not self.transport.is_closing():
            self.transport.abort()


class Server(uvicorn.Server):
    """Says that it drains before it stops to accept, and returns from `run` instead of dying of its own signal."""

    def __init__(self, config: uvicorn.Config, *, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_drain = on_drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT; a second SIGINT ends it at once."""
        self._on_drain()
        super().handle_exit(sig, frame)
        # uvicorn raises captured signals again when it is done, which would skip whatever comes after `run`.
        self._captured_signals.clear()

    @property
    def port(self) -> int | None:
        """The port it listens on, once it does."""
        for server in getattr(self, "servers", ()):
            for listener in server.sockets:
                return int(listener.getsockname()[1])
        return None


def config(app: Any, *, host: str, port: int) -> uvicorn.Config:
    """The one configuration: what is off is off for speed or for secrecy (the access log prints verify tokens)."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        backlog=2048,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=DRAIN_S,
    )
