"""The intake's connection: commits a batch, and does what it takes when the database refuses a row or goes away."""

import contextlib
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.store import inbox
from waypost.telemetry import metrics

ROWS_PER_COMMIT = 2_000

UNSTORABLE = "Unstorable"
"""Why an event is dead whose row the database refused for what is in it."""

log = structlog.get_logger(__name__)


class Committer:
    """One connection, used by one thread; only `break_off` is for others."""

    def __init__(self, engine: Engine, *, on_committed: Callable[[set[int]], None], writer: int | None = None) -> None:
        # One statement is one transaction: one way to the server and back per batch.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._on_committed = on_committed
        self._writer = random.randrange(1000) if writer is None else writer  # noqa: S311 - no secret
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def commit(self, arrivals: list[inbox.Arrival]) -> int:
        """Store them, at most `ROWS_PER_COMMIT` in a transaction, then wake their lanes. Raises `SQLAlchemyError`.

        Returns since when all are durable, in nanoseconds since the epoch. After an error part of them may be stored;
        it is safe to store all of them again.
        """
        lanes: set[int] = set()
        try:
            for start in range(0, len(arrivals), ROWS_PER_COMMIT):
                chunk = arrivals[start : start + ROWS_PER_COMMIT]
                began = time.perf_counter()
                inserted = self._insert(chunk)
                metrics.intake_commit_seconds.observe(time.perf_counter() - began)
                metrics.intake_batch_size.observe(len(chunk))
                _count(inserted)
                lanes |= inserted.lanes
            return time.time_ns()
        finally:
            if lanes:
                self._on_committed(lanes)

    def _insert(self, arrivals: list[inbox.Arrival]) -> inbox.Inserted:
        try:
            return inbox.insert(self._connected(), arrivals, self._writer)
        except DBAPIError as error:
            if _is_about_content(error):
                log.warning("the database refused a row", events=len(arrivals), reason=name_of(error))
                return self._insert_apart(arrivals)
            self.close()
            if not (error.connection_invalidated or _is_transient(error)):
                raise
        # A connection that broke while idle says nothing about the server now; and what was committed is a duplicate.
        try:
            return inbox.insert(self._connected(), arrivals, self._writer)
        except DBAPIError:
            self.close()
            raise

    def _insert_apart(self, arrivals: list[inbox.Arrival]) -> inbox.Inserted:
        """Halve until the refused rows are alone; each is stored dead, its bytes kept, and no other row suffers."""
        if len(arrivals) == 1:
            event, traceparent = arrivals[0]
            arrivals = [(_unstorable(event), traceparent)]
            return inbox.insert(self._connected(), arrivals, self._writer)
        inserted = inbox.Inserted()
        middle = len(arrivals) // 2
        for half in (arrivals[:middle], arrivals[middle:]):
            try:
                inserted.add(inbox.insert(self._connected(), half, self._writer))
            except DBAPIError as error:
                if not _is_about_content(error):
                    self.close()
                    raise
                inserted.add(self._insert_apart(half))
        return inserted

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._engine.connect()
            with self._lock:
                self._connection = connection
        return self._connection

    def close(self) -> None:
        """Drop the connection; the next commit makes a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def break_off(self) -> None:
        """Let the thread that waits on the connection's socket see its end. For other threads."""
        with self._lock:
            if self._connection is None or self._connection.invalidated:
                return
            driver = self._connection.connection.driver_connection
            assert driver is not None
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(driver.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)


def _unstorable(event: Event) -> Event:
    return Event(
        number_id=event.number_id,
        kind=EventKind.UNPARSEABLE,
        key=hashlib.sha256(event.payload).hexdigest()[:32],
        contact_key="",
        occurred_at=event.occurred_at,
        payload=event.payload,
        problem=UNSTORABLE,
    )


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _is_about_content(error: DBAPIError) -> bool:
    """Data exceptions, constraints and program limits: the same row would be refused for ever."""
    return _state(error)[:2] in {"22", "23", "54"} or isinstance(error.orig, UnicodeError)


def _is_transient(error: DBAPIError) -> bool:
    """A deadlock or a serialization failure: the transaction was undone, and may well succeed now."""
    return _state(error)[:2] == "40"


def name_of(error: SQLAlchemyError) -> str:
    """What may be logged of a database error: its message could quote a row."""
    if isinstance(error, DBAPIError):
        return f"{type(error.orig).__name__} {_state(error)}".strip()
    return type(error).__name__


def _count(inserted: inbox.Inserted) -> None:
    for (number_id, kind), count in inserted.received.items():
        metrics.events_received_total.labels(_label(number_id), kind).inc(count)
    for (number_id, kind), count in inserted.duplicates.items():
        metrics.events_duplicate_total.labels(_label(number_id), kind).inc(count)
    for (number_id, reason), count in inserted.dead.items():
        metrics.events_dead_total.labels(_label(number_id), reason).inc(count)


def _label(number_id: str) -> str:
    """Numbers that are not registered count under their app, so that a payload cannot make metrics."""
    return ":".join(number_id.split(":")[:2]) if number_id.startswith("app:") else number_id
