"""`waypost webhook`: the process."""

import gc
import threading

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost import registry
from waypost.lanes import wake
from waypost.settings import Settings
from waypost.store import database, inbox, schema
from waypost.telemetry import logs, probes, tracing
from waypost.webhook import app, server
from waypost.webhook.adoption import Adoption
from waypost.webhook.directory import Directory
from waypost.webhook.intake import Intake
from waypost.webhook.throttle import networks

log = structlog.get_logger(__name__)


class Readiness:
    """Whether deliveries can be acknowledged. Called from the probe's threads; every wait in it is bounded."""

    def __init__(self, engine: Engine, directory: Directory, intake: Intake) -> None:
        self._engine = engine
        self._directory = directory
        self._intake = intake
        self._draining = threading.Event()
        self._asking = threading.Lock()
        self._migrated = False

    def drain(self) -> None:
        """From now on not ready; safe in a signal handler."""
        self._draining.set()

    def reason(self) -> str | None:
        """None when ready, else one line on why not."""
        if self._draining.is_set():
            return "draining"
        if self._directory.problem is not None:
            return self._directory.problem
        if self._intake.oldest_wait_s > 2:
            return "the database does not answer"
        if not self._asking.acquire(blocking=False):
            return "the database has not answered yet"
        try:
            return self._ask_database()
        except SQLAlchemyError as error:
            return f"the database is away: {type(error).__name__}"
        finally:
            self._asking.release()

    def _ask_database(self) -> str | None:
        if not self._migrated:
            if schema.pending(self._engine):
                return "the database lacks a migration: run `waypost migrate`"
            self._migrated = True
        with self._engine.connect() as connection:
            return None if inbox.is_writable(connection) else "the database is read-only"


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; returns when every delivery in flight is answered."""
    logs.configure("webhook", settings.log_level)
    traces = tracing.configure("webhook", settings.trace_dir)
    waker = wake.Waker(wake.connect(settings.redis_url))
    engine = database.connect(settings.database_url, application="waypost-webhook", pool_size=3)
    directory = Directory(registry.routes(settings.registry_dir))
    intake = Intake(engine, on_committed=waker.wake)
    readiness = Readiness(engine, directory, intake)
    application = app.create(
        directory,
        intake,
        adoption=Adoption(engine, directory),
        trusted_proxies=networks(settings.trusted_proxies),
    )
    web = server.Server(
        server.config(application, host=settings.host, port=settings.webhook_port), on_drain=readiness.drain
    )
    probe = probes.serve(settings.probe_port, ready=readiness.reason, host=settings.host)
    # What exists by now lives as long as the process, and a delivery leaves no cycles: look seldom, and not at that.
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
