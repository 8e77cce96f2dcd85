"""Drains a lane: takes the lease, handles due events batch by batch, and releases the lane when it is empty.

A batch has two transactions. The first one reads the events and writes their ids into the lane's row
(`trying`). Because of these ids, a crash counts as an attempt of each event. The second transaction stores
all effects and finishes the events. The turns run between the two transactions and are pure. An event that
was tried before is handled alone, so that a repeated failure affects no other event.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.contracts.states import EventReason
from waypost.store import lanes
from waypost.store.connection.database import is_about_content
from waypost.store.lanes import Lease, LeaseLost, WaitingEvent
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)


class Batch(Protocol):
    """The effects of several events, collected in memory until they are stored together."""

    def handle(self, event: WaitingEvent) -> str | None:
        """Computes the effects of one event. Returns None, or the reason if the event has no effects.

        Raises `Unhandled` to refuse the event and `Postponed` to let the event wait. Any other exception counts as a
        failed attempt. After an exception the batch must be as it was before the call.
        """

    def store(self, connection: Connection) -> None:
        """Writes the collected effects in the caller's transaction."""

    def committed(self) -> None:
        """Does the work that must follow the commit. The effects are durable by then."""


class Handler(Protocol):
    """The interface for code that handles events. The worker uses it to plug in the bot and the sender."""

    def begin(self, connection: Connection, events: Sequence[WaitingEvent]) -> Batch:
        """Reads the data that the turns of these events need.

        The read happens in the transaction that claims the events.
        """


class Unhandled(Exception):
    """Raised, with a CamelCase reason, for an event that can never be handled.

    The event is dead at once. Do not retry.
    """


class Postponed(Exception):
    """Raised, with a CamelCase reason, for an event that cannot be handled yet.

    The event waits and loses no attempt.
    """


class TurnTimeout(BaseException):
    """Raised when a turn takes too long. It is a `BaseException`, so a bot's `except Exception` cannot catch it."""


class DrainResult(StrEnum):
    """Results of a drain, as the metrics count them and `rq info` shows them."""

    EMPTIED = "emptied"
    SLICED = "sliced"
    """The time slice was over before the lane was empty."""
    HELD = "held"
    """Another process holds the lane."""
    LOST = "lost"
    """Another process took over the lane during the drain; the last batch had no effect."""


@dataclass(frozen=True)
class Limits:
    """Limits of a drain, with times in seconds."""

    batch: int = 100
    """Events per transaction: large enough to make a commit cheap, small enough to finish well within the lease."""
    slice_s: float = 5.0
    """Time after which a drain releases the lane and requests another job, so that every lane is served."""
    lease_ttl_s: float = 8.0
    """Longest time for which a process that has vanished still holds its lane."""
    attempts: int = 3
    retry_delays_s: tuple[float, ...] = (1.0, 5.0)
    postponed_s: float = 2.0


class LeaseRenewer:
    """Renews the lease of the running drain, in a thread of its own.

    The lease is renewed each time that a quarter of its lifetime has passed.
    """

    def __init__(self, engine: Engine, ttl_s: float) -> None:
        self._engine = engine
        self._ttl_s = ttl_s
        self._lease: Lease | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="lease-renewer", daemon=True).start()

    def hold(self, lease: Lease | None) -> None:
        """Renews `lease` from now on. None stops the renewal."""
        with self._changed:
            self._lease = lease
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lease is not None)
                self._changed.wait(self._ttl_s / 4)
                lease = self._lease
            if lease is None:
                continue
            try:
                with _lazy_transaction(self._engine) as connection:
                    lanes.keep_alive(connection, lease, ttl_s=self._ttl_s)
            except SQLAlchemyError as error:
                log.warning("lease not renewed", lane=lease.lane, error=type(error).__name__)


class Drain:
    """Drains lanes, one at a time, for one process."""

    def __init__(
        self,
        engine: Engine,
        handler: Handler,
        *,
        owner: str,
        limits: Limits | None = None,
        request_drain: Callable[[int], None] = lambda _lane: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Creates a drain for `handler`. The lease names this process as `owner`.

        If the drain leaves a lane before the lane is empty, it calls `request_drain(lane)`. The drain ends early when
        `stopping` returns True.
        """
        self._engine = engine
        self._handler = handler
        self._owner = owner
        self._limits = limits or Limits()
        self._request_drain = request_drain
        self._stopping = stopping
        self._renewer = LeaseRenewer(engine, self._limits.lease_ttl_s)
        self._interrupted: Lease | None = None

    def run(self, lane: int) -> DrainResult:
        """Drains the lane until it is empty or the time slice is over. Returns the result."""
        with _lazy_transaction(self._engine) as connection:
            if self._interrupted is not None:
                lanes.release_now(connection, self._interrupted)
            lease = lanes.acquire(connection, lane, self._owner, ttl_s=self._limits.lease_ttl_s)
        self._interrupted = None
        if lease is None:
            metrics.lane_drains_total.labels(result=DrainResult.HELD).inc()
            return DrainResult.HELD
        self._renewer.hold(lease)
        try:
            result = self._drain(lease)
        except LeaseLost:
            log.warning("lease lost; its effects were dropped", lane=lane)
            result = DrainResult.LOST
        except SQLAlchemyError:
            # The database went away during a batch. That is no attempt of its events, so the next `run` of this
            # process releases the lane before anything else. If the process dies first, it counts as a crash.
            self._interrupted = lease
            raise
        finally:
            self._renewer.hold(None)
        metrics.lane_drains_total.labels(result=result).inc()
        return result

    def _drain(self, lease: Lease) -> DrainResult:
        deadline = time.monotonic() + self._limits.slice_s
        while True:
            handled = self._handle_next(lease, deadline)
            if handled:
                if time.monotonic() < deadline and not self._stopping():
                    continue
                with _lazy_transaction(self._engine) as connection:
                    lanes.release_now(connection, lease)
                self._request_drain(lease.lane)
                return DrainResult.SLICED
            with _lazy_transaction(self._engine) as connection:
                requested_again = lanes.release_if_drained(connection, lease)
            if requested_again is None:
                return DrainResult.EMPTIED
            lease = requested_again

    def _handle_next(self, lease: Lease, deadline: float) -> int:
        """Handles the next events together, or one by one if the batch fails. Returns the number of handled events."""
        try:
            return self._handle_batch(lease, self._limits.batch, deadline)
        except Exception as error:
            if not _is_about_events(error):
                raise
            log.warning("batch failed; its events are handled alone", lane=lease.lane, error=type(error).__name__)
        handled = 0
        for _ in range(self._limits.batch):
            one = self._handle_batch(lease, 1, deadline)
            handled += one
            if not one or time.monotonic() > deadline:
                break
        return handled

    def _handle_batch(self, lease: Lease, limit: int, deadline: float) -> int:
        """Handles at most `limit` events together. Returns the number of handled events.

        If the limit is one, a failure to read or to store counts as a failed attempt of that event.
        """
        events: list[WaitingEvent] = []
        try:
            with _lazy_transaction(self._engine) as connection:
                events = self._claim(connection, lease, limit)
                if self._mark_exhausted_dead(connection, lease, events):
                    return len(events)
                batch = self._handler.begin(connection, events) if events else None
            if batch is None:
                return 0
            turns = self._take_turns(batch, events, deadline)
            self._finish(lease, turns, batch)
        except Exception as error:
            if limit > 1 or not events or not _is_about_events(error):
                raise
            event = events[0]
            log.warning("event failed", event_id=event.id, error=type(error).__name__, attempt=event.attempts + 1)
            self._finish(lease, _Turns(failed=[(event, type(error).__name__)]))
            return 1
        batch.committed()
        return len(turns)

    def _claim(self, connection: Connection, lease: Lease, limit: int) -> list[WaitingEvent]:
        """Writes the ids of the next events into the lane's row, then returns the events."""
        events = _leading_batch(lanes.due(connection, lease.lane, limit=limit))
        if events:
            lanes.renew(connection, lease, ttl_s=self._limits.lease_ttl_s, trying=[event.id for event in events])
        return events

    def _mark_exhausted_dead(self, connection: Connection, lease: Lease, events: Sequence[WaitingEvent]) -> bool:
        """Marks an event dead if its last allowed attempt crashed the process. Returns whether there was such an event.

        An event that waits with all its attempts used up can only come from such crashes. It comes alone in a batch.
        """
        exhausted = [event for event in events if event.attempts >= self._limits.attempts]
        lanes.mark_dead(connection, lease.lane, [(event, EventReason.WORKER_CRASHED) for event in exhausted])
        for event in exhausted:
            metrics.events_dead_total.labels(event.number_id, EventReason.WORKER_CRASHED).inc()
        return bool(exhausted)

    def _take_turns(self, batch: Batch, events: Sequence[WaitingEvent], deadline: float) -> "_Turns":
        """Handles each event. If one fails, the later events of its conversation wait for another drain."""
        turns = _Turns()
        held: set[tuple[str, str, str]] = set()
        for event in events:
            conversation = (event.number_id, event.kind, event.contact_key)
            if conversation in held:
                continue
            if time.monotonic() > deadline and len(turns):
                break
            try:
                turns.done.append((event, batch.handle(event)))
            except Unhandled as refusal:
                turns.dead.append((event, str(refusal)))
            except Postponed as wait:
                turns.postponed.append((event, str(wait)))
                if event.contact_key:
                    held.add(conversation)
            except (Exception, SystemExit, TurnTimeout) as error:  # noqa: BLE001 - a bot may raise anything
                log.warning("turn failed", event_id=event.id, error=type(error).__name__, attempt=event.attempts + 1)
                turns.failed.append((event, type(error).__name__))
                if event.contact_key:
                    held.add(conversation)
        return turns

    def _finish(self, lease: Lease, turns: "_Turns", batch: Batch | None = None) -> None:
        """Writes the results of the turns and the effects of `batch` in one transaction."""
        retried = [item for item in turns.failed if item[0].attempts + 1 < self._limits.attempts]
        exhausted = [item for item in turns.failed if item[0].attempts + 1 >= self._limits.attempts]
        with self._engine.begin() as connection:
            lanes.renew(connection, lease, ttl_s=self._limits.lease_ttl_s, trying=())
            if batch is not None:
                batch.store(connection)
            lanes.mark_done(connection, lease.lane, turns.done)
            lanes.mark_dead(connection, lease.lane, [*turns.dead, *exhausted])
            for event, reason in retried:
                delay = self._limits.retry_delays_s[min(event.attempts, len(self._limits.retry_delays_s) - 1)]
                lanes.retry_later(connection, event, delay_s=delay, reason=reason)
            for event, reason in turns.postponed:
                lanes.postpone(connection, event, delay_s=self._limits.postponed_s, reason=reason)
        for dead, why in [*turns.dead, *exhausted]:
            metrics.events_dead_total.labels(dead.number_id, why).inc()


@contextmanager
def _lazy_transaction(engine: Engine) -> Iterator[Connection]:
    """Runs a transaction for leases and claims. Its commit does not wait for the disk.

    A small drain has four commits. Only the commit with the effects waits for the disk. A claim may also add
    contacts or mark an exhausted event dead. If a crash loses these changes, the next claim makes them again.
    """
    with engine.begin() as connection:
        lanes.commit_lazily(connection)
        yield connection


@dataclass(frozen=True, slots=True)
class _Turns:
    """The events of a batch, grouped by the result of their turns. Each event comes with its reason."""

    done: list[tuple[WaitingEvent, str | None]] = field(default_factory=list)
    dead: list[tuple[WaitingEvent, str]] = field(default_factory=list)
    failed: list[tuple[WaitingEvent, str]] = field(default_factory=list)
    postponed: list[tuple[WaitingEvent, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.done) + len(self.dead) + len(self.failed) + len(self.postponed)


def _is_about_events(error: Exception) -> bool:
    """Returns whether an error was caused by the events. If so, the events lose an attempt.

    Some errors have other causes: a lost lease, or a database that is away, locked or without its tables. They do
    not count, because an outage would otherwise use up the attempts of all waiting events.
    """
    if isinstance(error, SQLAlchemyError):
        return is_about_content(error)
    return not isinstance(error, LeaseLost)


def _leading_batch(events: list[WaitingEvent]) -> list[WaitingEvent]:
    """Returns the first events that may share a transaction.

    An event that was tried before gets a transaction of its own.
    """
    if not events:
        return []
    if events[0].attempts > 0:
        return events[:1]
    for position, event in enumerate(events):
        if event.attempts > 0:
            return events[:position]
    return events
