"""Configures uvicorn for the webhook: uvloop and httptools, limits for requests, and an orderly drain."""

import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn

from waypost.clients import Network
from waypost.webhook.protocol import LAST_ANSWERS_S, Deadlines, Protocol
from waypost.webhook.room import Room

__all__ = ["DEADLINES", "LAST_ANSWERS_S", "Config", "Deadlines", "Protocol", "Server"]

_CLOSE = (b"connection", b"close")


DEADLINES = Deadlines()


class Config(uvicorn.Config):
    """uvicorn's configuration. Some features are off for speed or for secrecy: access logs would show verify tokens."""

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        deadlines: Deadlines = DEADLINES,
        room: Room | None = None,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
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
        self.room = Room() if room is None else room
        self.trusted_proxies = trusted_proxies


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
