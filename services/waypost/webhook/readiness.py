"""Whether this process can acknowledge deliveries."""

import threading

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import database, inbox, schema
from waypost.webhook.directory import Directory
from waypost.webhook.intake import Intake


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
            return f"the database cannot be used: {database.trouble(error)}"
        finally:
            self._asking.release()

    def _ask_database(self) -> str | None:
        if not self._migrated:
            if schema.pending(self._engine):
                return "the database lacks a migration: run `waypost migrate`"
            self._migrated = True
        with self._engine.connect() as connection:
            return None if inbox.is_writable(connection) else "the database is read-only"
