"""Keeps the leases of a drain alive while its events are being handled."""

import threading
from collections.abc import Callable, Collection

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import leases
from waypost.store.leases import Lease

log = structlog.get_logger(__name__)


class LeaseRenewer:
    """Renews the leases that `held` returns. A thread does this after each quarter of the leases' lifetime."""

    def __init__(self, engine: Engine, held: Callable[[], Collection[Lease]], *, ttl_s: float) -> None:
        self._engine = engine
        self._held = held
        self._ttl_s = ttl_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-renewer", daemon=True)

    def start(self) -> None:
        """Starts the renewer's thread, which ends with the process or with `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(self._ttl_s / 4):
            held = self._held()
            if not held:
                continue
            try:
                with self._engine.begin() as connection:
                    leases.commit_lazily(connection)
                    leases.keep_alive(connection, held, ttl_s=self._ttl_s)
            except SQLAlchemyError as error:
                log.warning("leases not renewed", lanes=len(held), error=type(error).__name__)
