"""Commits the intake's batches, and handles rows that the database refuses and outages of the database."""

import contextlib
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.store import inbox
from waypost.telemetry import metrics

ROWS_PER_COMMIT = 2_000

BYTES_PER_COMMIT = 4 * 1024 * 1024
"""Bytes of payloads at which a transaction takes no further event. On their way to the database they are copied."""

UNSTORABLE = "Unstorable"
"""The reason of a dead event whose row the database refused because of its content."""

log = structlog.get_logger(__name__)


class Committer:
    """Owns one database connection for one thread. Other threads may call only `abort`."""

    def __init__(self, engine: Engine, *, on_committed: Callable[[set[int]], None], writer: int | None = None) -> None:
        # Each statement is its own transaction, so a batch costs a single round trip to the server.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._on_committed = on_committed
        self._writer = random.randrange(1000) if writer is None else writer  # noqa: S311 - no secret
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def commit(self, arrivals: list[inbox.Arrival]) -> int:
        """Stores events, in transactions of a bounded size, and wakes their lanes. Raises `SQLAlchemyError`.

        Returns the time at which all events were durable, in nanoseconds since the epoch. After an error, some of the
        events may be stored. It is safe to store all of them again.
        """
        lanes: set[int] = set()
        try:
            for chunk in _chunks(arrivals):
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
                return self._insert_halves(arrivals)
            self.close()
            if not (error.connection_invalidated or _is_transient(error)):
                raise
        # A connection that broke while idle says nothing about the server now. If the first attempt was committed after
        # all, the second one stores nothing: the inbox counts its rows as duplicates.
        try:
            return inbox.insert(self._connected(), arrivals, self._writer)
        except DBAPIError:
            self.close()
            raise

    def _insert_halves(self, arrivals: list[inbox.Arrival]) -> inbox.Inserted:
        """Stores events after the database has refused one of their rows.

        The events are divided into halves until each refused row is alone. A refused row is stored as dead, and all
        other rows are stored as usual.
        """
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
                inserted.add(self._insert_halves(half))
        return inserted

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._engine.connect()
            with self._lock:
                self._connection = connection
        return self._connection

    def close(self) -> None:
        """Drops the connection. The next commit opens a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def abort(self) -> None:
        """Shuts down the connection's socket. The thread that waits for the connection then gets an error.

        Other threads call this method.
        """
        with self._lock:
            if self._connection is None or self._connection.invalidated:
                return
            driver = self._connection.connection.driver_connection
            assert driver is not None
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(driver.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)


def _chunks(arrivals: list[inbox.Arrival]) -> Iterator[list[inbox.Arrival]]:
    """Yields the events in order, in lists of at most `ROWS_PER_COMMIT` that end when they reach `BYTES_PER_COMMIT`."""
    start = size = 0
    for end, (event, _) in enumerate(arrivals, 1):
        size += len(event.payload)
        if end - start == ROWS_PER_COMMIT or size >= BYTES_PER_COMMIT:
            yield arrivals[start:end]
            start, size = end, 0
    if start < len(arrivals):
        yield arrivals[start:] if start else arrivals


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


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _is_about_content(error: DBAPIError) -> bool:
    """Returns whether the database would always refuse the same row.

    This is true for data exceptions, constraints and program limits.
    """
    return _sqlstate(error)[:2] in {"22", "23", "54"} or isinstance(error.orig, UnicodeError)


def _is_transient(error: DBAPIError) -> bool:
    """Returns whether the transaction may succeed if it is repeated.

    This is true after deadlocks and serialization failures.
    """
    return _sqlstate(error)[:2] == "40"


def name_of(error: SQLAlchemyError) -> str:
    """Returns the class and SQLSTATE of a database error.

    The error's message must not be logged, because it could quote a row.
    """
    if isinstance(error, DBAPIError):
        return f"{type(error.orig).__name__} {_sqlstate(error)}".strip()
    return type(error).__name__


def _count(inserted: inbox.Inserted) -> None:
    for (number_id, kind), count in inserted.received.items():
        metrics.events_received_total.labels(_label(number_id), kind).inc(count)
    for (number_id, kind), count in inserted.duplicates.items():
        metrics.events_duplicate_total.labels(_label(number_id), kind).inc(count)
    for (number_id, reason), count in inserted.dead.items():
        metrics.events_dead_total.labels(_label(number_id), reason).inc(count)


def _label(number_id: str) -> str:
    """Returns the label that identifies a number in metrics.

    If the number is not registered, the label contains only the app's id. Otherwise payloads could create any
    number of time series.
    """
    return ":".join(number_id.split(":")[:2]) if number_id.startswith("app:") else number_id
