"""The simulator as a process."""

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from waypost.settings import Settings
from waypost.simulator.app import build
from waypost.simulator.graph import CUT
from waypost.telemetry import logs, probes


class CuttableProtocol(HttpToolsProtocol):
    """HTTP/1.1 that lets the application drop the connection: the only way to lose a reply after the work is done."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, object] = {CUT: self.transport.abort}
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item]


def run(settings: Settings) -> None:
    """Serve until SIGTERM. State is in memory: after a restart the world must be put again."""
    logs.configure("simulator", settings.log_level)
    app = build()
    probe = probes.serve(settings.probe_port, ready=lambda: None, host=settings.host)
    try:
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.simulator_port,
            http=CuttableProtocol,
            loop="uvloop",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    finally:
        probe.close()
