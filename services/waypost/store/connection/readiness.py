"""Checks whether the database is ready for a process."""

import threading

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import inbox
from waypost.store.connection import database, schema


class DatabaseReadiness:
    """Checks whether a process can work with the database. The probes' threads call it. Every wait is bounded."""

    def __init__(self, engine: Engine, *, writes: bool = True) -> None:
        """Creates a check. With `writes`, the database is ready only if rows can be written."""
        self._engine = engine
        self._writes = writes
        self._asking = threading.Lock()
        self._migrated = False

    def reason(self) -> str | None:
        """Returns None if the database can be used. Otherwise returns one line that says why it cannot be used."""
        # One at a time. Otherwise probes that wait for a hung database would take every connection of the pool.
        if not self._asking.acquire(blocking=False):
            return "the database has not answered yet"
        try:
            return self._ask()
        except SQLAlchemyError as error:
            return f"the database cannot be used: {database.explain(error)}"
        finally:
            self._asking.release()

    def _ask(self) -> str | None:
        if not self._migrated:
            if schema.pending(self._engine):
                return "the database lacks a migration: run `waypost migrate`"
            self._migrated = True
        with self._engine.connect() as connection:
            if self._writes:
                return None if inbox.is_writable(connection) else "the database is read-only"
            connection.execute(text("SELECT 1"))
        return None
