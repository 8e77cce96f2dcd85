"""Runs `waypost webhook`."""

import gc

import structlog

from waypost.clients import networks
from waypost.contracts import registry
from waypost.lanes import wake
from waypost.settings import Settings
from waypost.store.connection import database
from waypost.telemetry import logs, probes, tracing
from waypost.webhook import allocator, app, server
from waypost.webhook.adoption import Adoption
from waypost.webhook.directory import Directory
from waypost.webhook.intake import WAIT_S, Intake
from waypost.webhook.readiness import Readiness

log = structlog.get_logger(__name__)


def run(settings: Settings, *, deadlines: server.Deadlines = server.DEADLINES, commit_wait_s: float = WAIT_S) -> None:
    """Serves until SIGTERM or SIGINT. Returns when every delivery in flight is answered.

    `commit_wait_s` is the time, in seconds, that a delivery waits for its commit before it is refused.
    """
    logs.configure("webhook", settings.log_level)
    allocator.give_memory_back()
    traces = tracing.configure("webhook", settings.trace_dir)
    waker = wake.Waker(wake.connect(settings.redis_url))
    engine = database.connect(settings.database_url, application="waypost-webhook", pool_size=3)
    directory = Directory(registry.routes(settings.registry_dir))
    intake = Intake(engine, on_committed=waker.wake, wait_s=commit_wait_s)
    readiness = Readiness(engine, directory, intake)
    trusted_proxies = networks(settings.trusted_proxies)
    application = app.create(
        directory,
        intake,
        adoption=Adoption(engine, directory),
        trusted_proxies=trusted_proxies,
    )
    web = server.Server(
        server.Config(
            application,
            host=settings.host,
            port=settings.webhook_port,
            deadlines=deadlines,
            trusted_proxies=trusted_proxies,
        ),
        on_end=readiness.drain,
        drain_s=settings.drain_s,
    )
    probe = probes.serve(settings.probe_port, ready=readiness.reason, host=settings.host)
    # Start-up objects live as long as the process and deliveries create no cycles: exclude the former from collection,
    # and collect rarely.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 100)
    try:
        web.run()
    finally:
        probe.close()
        waker.close()
        engine.dispose()
        traces.shutdown()
