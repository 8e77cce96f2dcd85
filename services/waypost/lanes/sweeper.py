"""The sweeper finds lanes whose wake-up was lost and wakes them again. It also deletes what is old.

Because of the sweeper, no work is lost when Redis loses its data. Every worker runs a sweeper. Two sweepers
may wake the same lane without harm.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import claims, counts, rates
from waypost.store.connection.outage import DatabaseOutage
from waypost.telemetry import metrics

TIDY_EVERY_S: Final = 600.0
DELETE_BATCH: Final = 2_000
"""Number of rows that one transaction deletes: few enough that no other transaction waits long for it."""


class Sweeper:
    """Wakes lanes whose events have been due for `interval_s` seconds. It looks for such lanes every `interval_s`."""

    def __init__(
        self, engine: Engine, wake: Callable[[Iterable[int]], None], *, interval_s: float, retention_days: int
    ) -> None:
        self._engine = engine
        self._wake = wake
        self._interval_s = interval_s
        self._retention_days = retention_days
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Starts the sweeper's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread after the current sweep."""
        self._stop.set()
        self._thread.join(timeout=10)

    def sweep(self) -> list[int]:
        """Sweeps once. Returns the lanes that were woken."""
        with self._engine.connect() as connection:
            found = claims.lanes_with_due_events(connection, idle_s=self._interval_s)
        if found:
            metrics.swept_lanes_total.inc(len(found))
            self._wake(found)
        return found

    def tidy(self) -> None:
        """Deletes events whose retention time is over, and the limits of idle pairs.

        It also merges the rows of each old daily count into one.
        """
        self._delete(
            lambda connection: claims.delete_finished(connection, days=self._retention_days, limit=DELETE_BATCH)
        )
        self._delete(lambda connection: rates.forget_idle_pairs(connection, limit=DELETE_BATCH), autocommit=True)
        with self._engine.begin() as connection:
            counts.fold(connection)

    def _delete(self, delete_batch: Callable[[Connection], int], *, autocommit: bool = False) -> None:
        # With autocommit, a batch is one statement, and a process that is suspended after it holds no lock.
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT") if autocommit else self._engine
        while True:
            with engine.begin() as connection:
                deleted = delete_batch(connection)
            if deleted < DELETE_BATCH or self._stop.is_set():
                return

    def _run(self) -> None:
        tidy_at = time.monotonic() + TIDY_EVERY_S
        outage = DatabaseOutage(__name__, began="database is away; lanes are not swept", ended="lanes are swept again")
        while not self._stop.wait(self._interval_s):
            try:
                self.sweep()
                if time.monotonic() >= tidy_at:
                    tidy_at = time.monotonic() + TIDY_EVERY_S
                    self.tidy()
            except SQLAlchemyError as error:
                outage.failed(error)
            else:
                outage.answered()
