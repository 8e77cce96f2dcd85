"""Runs `waypost simulator`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from waypost.settings import Settings
from waypost.simulator.app import build
from waypost.simulator.graph.api import CUT
from waypost.simulator.world.world import WorldSeed
from waypost.telemetry import logs, probes


class CuttableProtocol(HttpToolsProtocol):
    """An HTTP/1.1 protocol that lets the application close the connection.

    In this way the simulator can lose the reply to a request after the work is done.
    """

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, object] = {CUT: self.transport.abort}
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item]


class Server(uvicorn.Server):
    """A server whose `serve` returns after a signal.

    Uvicorn's own server would raise the signal again. This would end the process before it has cleaned up.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(settings: Settings) -> None:
    """Serves until SIGTERM.

    All state is in memory. After a restart, only the objects of the file `simulator_world` exist.

    Raises OSError and `msgspec.MsgspecError` when that file cannot be read.
    """
    logs.configure("simulator", settings.log_level)
    app = build()
    if settings.simulator_world is not None:
        simulation = app.state.simulation
        seed = msgspec.json.decode(settings.simulator_world.read_bytes(), type=WorldSeed)
        simulation.world.merge(seed, simulation.now())
    probe = probes.serve(settings.probe_port, ready=lambda: None, host=settings.host)
    try:
        Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.simulator_port,
                http=CuttableProtocol,
                loop="uvloop",
                access_log=False,
                log_config=None,
                server_header=False,
                # Longer than our client keeps an idle connection, as at Meta: a send that meets the end of its
                # connection ends as unknown.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
            )
        ).run()
    finally:
        probe.close()
