"""uvicorn as the webhook needs it: uvloop and httptools, deadlines for requests, and a drain in good order."""

import asyncio
import signal
import time
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

LAST_ANSWERS_S = 20
"""Seconds that deliveries in flight get once no new ones are taken."""

_CLOSE = (b"connection", b"close")


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
    """Drains before it stops to accept, and returns from `run` instead of dying of its own signal.

    After SIGTERM it takes deliveries for `drain_s` seconds more, on connections new and old: so long may proxies still
    send them here. Each answer says that its connection ends with it, for one that was ended unsaid would lose the
    delivery that is just on its way. `on_end` is called when no more are taken.
    """

    def __init__(self, config: uvicorn.Config, *, on_end: Callable[[], None], drain_s: float = 0.0) -> None:
        super().__init__(config)
        self._on_end = on_end
        self._drain_s = drain_s
        self._drained_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM drains. SIGINT, or a second SIGTERM, ends that; another SIGINT leaves what is in flight."""
        if sig == signal.SIGTERM and self._drained_at is None:
            self._drained_at = time.monotonic() + self._drain_s
            # uvicorn makes the headers of all answers from these, once a second.
            self.config.encoded_headers.append(_CLOSE)
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
            return
        super().handle_exit(sig, frame)
        # uvicorn raises captured signals again when it is done, which would skip whatever comes after `run`.
        self._captured_signals.clear()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; whether to end."""
        drained = self._drained_at is not None and time.monotonic() >= self._drained_at
        ends = await super().on_tick(counter) or drained
        if ends:
            self._on_end()
        return ends

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
        timeout_graceful_shutdown=LAST_ANSWERS_S,
    )
