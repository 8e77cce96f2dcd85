"""Runs `waypost console`."""

import signal

import structlog
import uvicorn
from prometheus_client import REGISTRY

from waypost.analytics import gauges
from waypost.clients import networks
from waypost.console import app
from waypost.console.access import LONG_PASSWORD
from waypost.settings import Settings
from waypost.store.connection import database
from waypost.store.connection.readiness import DatabaseReadiness
from waypost.telemetry import logs, probes, tracing


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Needs `database_url`.

    Without `console_password`, the console listens only on loopback.
    """
    logs.configure("console", settings.log_level)
    traces = tracing.configure("console", settings.trace_dir)
    engine = database.connect(settings.database_url, application="waypost-console", pool_size=3)

    password = settings.console_password.get_secret_value() if settings.console_password else None
    host = settings.host if password else "127.0.0.1"
    if not password:
        structlog.get_logger(__name__).info(
            "the console listens on loopback only; set WAYPOST_CONSOLE_PASSWORD to open it"
        )
    elif len(password) < LONG_PASSWORD:
        structlog.get_logger(__name__).warning(
            "WAYPOST_CONSOLE_PASSWORD is short, so wrong passwords from an address lock it out for a minute",
            characters_needed=LONG_PASSWORD,
        )
    exported = gauges.register(engine)
    serving = probes.serve(
        settings.probe_port, ready=DatabaseReadiness(engine, writes=False).reason, host=settings.host
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app.create(engine, password=password, trusted_proxies=networks(settings.trusted_proxies)),
            host=host,
            port=settings.console_port,
            log_config=None,
            access_log=False,
            server_header=False,
            # A client can forge the forwarded address; the guard believes trusted proxies only.
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
            limit_concurrency=100,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again once it has drained, which would end the process before it cleans up.
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    finally:
        serving.close()
        REGISTRY.unregister(exported)
        engine.dispose()
        traces.shutdown()
