"""Configures uvicorn for the webhook: uvloop and httptools, deadlines for requests, and an orderly drain."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from waypost.telemetry import metrics

LAST_ANSWERS_S = 20
"""Seconds for the last answers of an ending process. The chart's grace period for pods is longer than this."""

_CLOSE = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits for clients, in seconds."""

    headers_s: float = 10.0
    """Limit from a request's first byte (or from the connection) to the end of its headers."""
    body_s: float = 5.0
    """Limit from the end of the headers to the end of the body."""
    last_answers_s: int = LAST_ANSWERS_S
    """Limit for the deliveries in flight, once no new ones are accepted."""


DEADLINES = Deadlines()


class Config(uvicorn.Config):
    """uvicorn's configuration. Some features are off for speed or for secrecy: access logs would show verify tokens."""

    def __init__(self, app: Any, *, host: str, port: int, deadlines: Deadlines = DEADLINES) -> None:
        super().__init__(
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
            timeout_graceful_shutdown=deadlines.last_answers_s,
        )
        self.deadlines = deadlines


class Protocol(HttpToolsProtocol):
    """Closes a connection whose client does not complete its request, on any route.

    uvicorn 0.54 has no limit for headers and no limit for a body, and waits for ever. This class can be removed
    when uvicorn has both limits. A request that arrives in one piece, as nearly all do, costs no timer.
    """

    config: Config

    _expected = 1
    """The part still to arrive: an odd value means the headers of a request, an even value its body, 0 nothing.

    Each request has two values of its own, so that a request's timer is never taken for the next request's.
    """
    _requests = 0
    _timed = 0
    """The value of `_expected` when `_timer` was started."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer for the headers of the connection's first request."""
        super().connection_made(transport)
        self._restart_timer()

    def on_message_begin(self) -> None:
        """Records that the headers of a new request are expected."""
        self._requests += 2
        self._expected = self._requests + 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Records that the headers have arrived and the request's body is expected."""
        self._expected = self._requests
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Records that the request is complete and nothing is expected."""
        self._expected = 0
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parses the data, then starts or stops the timer for the part that is still expected."""
        super().data_received(data)
        if self._expected != self._timed:
            self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Records that the connection is closed and nothing is expected."""
        self._expected = 0
        self._restart_timer()
        super().connection_lost(exc)

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed = self._expected
        if self._expected:
            deadlines = self.config.deadlines
            limit_s = deadlines.headers_s if self._expected % 2 else deadlines.body_s
            self._timer = self.loop.call_later(limit_s, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._expected % 2 or self.pipeline or self.cycle is None or self.cycle.response_started:
            # There is no request to answer, or another's answer is due first.
            self.transport.abort()
            return
        metrics.deliveries_total.labels("408").inc()
        self.transport.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class Server(uvicorn.Server):
    """An HTTP server that accepts deliveries for a while after SIGTERM, so that no delivery is lost.

    After SIGTERM the server accepts deliveries for `drain_s` more seconds, on new and on old connections, because
    proxies may still send deliveries here for that long. Each answer announces that its connection closes. A
    delivery that is on its way is lost if the connection closes without notice. `on_end` is called when no more
    deliveries are accepted.

    `run` returns when the server has ended. It does not raise the signal again.
    """

    def __init__(self, config: uvicorn.Config, *, on_end: Callable[[], None], drain_s: float = 0.0) -> None:
        super().__init__(config)
        self._on_end = on_end
        self._drain_s = drain_s
        self._drained_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins the drain on the first SIGTERM.

        SIGINT or a second SIGTERM ends the drain. Another SIGINT abandons the requests in flight.
        """
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
        """Returns whether the server should end. uvicorn calls this method ten times a second."""
        drained = self._drained_at is not None and time.monotonic() >= self._drained_at
        ends = await super().on_tick(counter) or drained
        if ends:
            self._on_end()
        return ends
