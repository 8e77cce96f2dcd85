"""uvicorn as the webhook needs it: uvloop and httptools, deadlines for requests, and a drain in good order."""

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from waypost.telemetry import metrics

HEADER_DEADLINE_S = 10.0
"""Seconds from a request's first byte (or from the connection) to the end of its headers."""

BODY_DEADLINE_S = 5.0
"""Seconds from there to the end of the body. uvicorn 0.54 has neither limit, and waits for ever."""

DRAIN_S = 20
"""Seconds that deliveries in flight get after SIGTERM; a pod's grace period is 30."""


class Protocol(HttpToolsProtocol):
    """Gives up on a client that does not bring its request to an end, whatever route it is for.

    A request that comes in one piece, as nearly all do, costs no timer.
    """

    header_deadline_s = HEADER_DEADLINE_S
    body_deadline_s = BODY_DEADLINE_S

    _owed = 1
    """What has still to come: odd, the headers of a request; even, its body; 0, nothing. Each request has its own."""
    _requests = 0
    _watched = 0
    """What `_deadline` is for."""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection owes its first headers."""
        super().connection_made(transport)
        self._watch()

    def on_message_begin(self) -> None:
        """The first bytes of a request are here."""
        self._requests += 2
        self._owed = self._requests + 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._owed = self._requests
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All is here."""
        self._owed = 0
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse, then see what is still owed."""
        super().data_received(data)
        if self._owed != self._watched:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._owed = 0
        self._watch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._watched = self._owed
        if self._owed:
            limit = self.header_deadline_s if self._owed % 2 else self.body_deadline_s
            self._deadline = self.loop.call_later(limit, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._owed % 2 or self.pipeline or self.cycle is None or self.cycle.response_started:
            # There is no request to answer, or another's answer is due first.
            self.transport.abort()
            return
        metrics.deliveries_total.labels("408").inc()
        self.transport.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


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
