"""Group commit: whatever arrives while one transaction is being committed goes into the next one together.

One thread owns one database connection. A delivery waits for its commit, but never longer than the bound: then it is
refused, which is always safe, since Meta delivers again and the inbox keeps each event once.
"""

import asyncio
import contextlib
import hashlib
import os
import queue
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from waypost.cloudapi.webhook import Event, EventKind
from waypost.store import inbox
from waypost.telemetry import metrics

ROWS_PER_COMMIT = 2_000
WAIT_S = 5.0
QUEUE_ROWS = 40_000
QUEUE_BYTES = 32 * 1024 * 1024
"""What may wait in memory; a process is meant to stay under 120 MB."""

UNSTORABLE = "Unstorable"
"""Why an event is dead whose row the database refused for what is in it."""

log = structlog.get_logger(__name__)


class IntakeUnavailable(Exception):
    """Not committed, as far as we know: the database is away, too slow, or too much waits. Worth a redelivery."""


@dataclass(slots=True, eq=False)
class _Delivery:
    arrivals: list[inbox.Arrival]
    size: int
    committed: asyncio.Future[None]
    arrived: float


class Intake:
    """The way into the inbox. `start` and `stop` it on the event loop that calls `store`."""

    def __init__(
        self,
        engine: Engine,
        *,
        on_committed: Callable[[set[int]], None],
        writer: int | None = None,
        wait_s: float = WAIT_S,
        queue_rows: int = QUEUE_ROWS,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._on_committed = on_committed
        self._writer = random.randrange(1000) if writer is None else writer  # noqa: S311 - no secret
        self._wait_s = wait_s
        self._queue_rows = queue_rows
        self._queue_bytes = queue_bytes
        self._rows = 0
        self._bytes = 0
        self._waiting: deque[_Delivery] = deque()
        self._queue: queue.SimpleQueue[_Delivery | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._connection_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._watch: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the thread; it connects when there is something to store."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()
        self._look_at_the_clock()

    async def stop(self) -> None:
        """Commit what waits, then end the thread. Call it when nothing calls `store` any more."""
        if self._thread is None:
            return
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, self._wait_s + 1)
        if self._watch is not None:
            self._watch.cancel()

    @property
    def oldest_wait_s(self) -> float:
        """How long the oldest delivery has been waiting for its commit; 0 when none does. For any thread."""
        try:
            return time.monotonic() - self._waiting[0].arrived
        except IndexError:
            return 0.0

    async def store(self, events: Sequence[Event], traceparent: str | None) -> None:
        """Return once all events are committed. Raises `IntakeUnavailable`."""
        if not events:
            return
        assert self._loop is not None
        size = sum(len(event.payload) for event in events)
        if self._waiting and (self._rows + len(events) > self._queue_rows or self._bytes + size > self._queue_bytes):
            raise IntakeUnavailable("too much waits for the database")
        delivery = _Delivery(
            [(event, traceparent) for event in events], size, self._loop.create_future(), time.monotonic()
        )
        self._rows += len(events)
        self._bytes += size
        self._waiting.append(delivery)
        self._queue.put(delivery)
        await delivery.committed

    # On the event loop

    def _settle(self, batch: list[_Delivery], failure: str | None) -> None:
        for delivery in batch:
            self._waiting.popleft()
            self._rows -= len(delivery.arrivals)
            self._bytes -= delivery.size
            if delivery.committed.done():
                continue
            if failure is None:
                delivery.committed.set_result(None)
            else:
                delivery.committed.set_exception(IntakeUnavailable(failure))

    def _look_at_the_clock(self) -> None:
        assert self._loop is not None
        overdue = time.monotonic() - self._wait_s
        for delivery in self._waiting:
            if delivery.arrived > overdue:
                break
            if not delivery.committed.done():
                delivery.committed.set_exception(IntakeUnavailable("the database does not answer"))
        if self.oldest_wait_s > self._wait_s + 1:
            # The server's own time limits have not helped: it hangs, or is gone without a word.
            self._break_connection()
        self._watch = self._loop.call_later(min(0.25, self._wait_s / 4), self._look_at_the_clock)

    # On the thread

    def _run(self) -> None:
        assert self._loop is not None
        for batch in self._batches():
            failure: str | None = None
            try:
                self._commit([arrival for delivery in batch for arrival in delivery.arrivals])
            except SQLAlchemyError as error:
                failure = "the database did not take it"
                log.warning("events were not committed", deliveries=len(batch), reason=_name(error))
            except Exception:
                failure = "the events were not committed"
                log.exception("a defect kept events from being committed")
            # The loop may have ended under a forced exit; then nobody waits.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, batch, failure)
        self._disconnect()

    def _batches(self) -> Iterator[list[_Delivery]]:
        while (first := self._queue.get()) is not None:
            batch = [first]
            rows = len(first.arrivals)
            while rows < ROWS_PER_COMMIT:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._queue.put(None)
                    break
                batch.append(following)
                rows += len(following.arrivals)
            yield batch

    def _commit(self, arrivals: list[inbox.Arrival]) -> None:
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
        finally:
            if lanes:
                self._on_committed(lanes)

    def _insert(self, arrivals: list[inbox.Arrival]) -> inbox.Inserted:
        try:
            return inbox.insert(self._connected(), arrivals, self._writer)
        except DBAPIError as error:
            if _is_about_content(error):
                log.warning("the database refused a row", events=len(arrivals), reason=_name(error))
                return self._insert_apart(arrivals)
            self._disconnect()
            if not (error.connection_invalidated or _is_transient(error)):
                raise
        # A connection that broke while idle says nothing about the server now; and what was committed is a duplicate.
        try:
            return inbox.insert(self._connected(), arrivals, self._writer)
        except DBAPIError:
            self._disconnect()
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
                    self._disconnect()
                    raise
                inserted.add(self._insert_apart(half))
        return inserted

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._engine.connect()
            with self._connection_lock:
                self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        with self._connection_lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _break_connection(self) -> None:
        """Let the thread, which waits on the connection's socket, see its end."""
        with self._connection_lock:
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


def _name(error: SQLAlchemyError) -> str:
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
