"""Draining a lane: take the lease, handle what is due batch by batch, give the lane back when it is empty.

A batch is two transactions. The first reads the events and writes their ids into the lane's row (`trying`), so that a
crash is counted as an attempt of each; the second stores all effects and ends the events. Between them run the turns,
which are pure. An event that was tried before is handled alone, so that a poisonous one takes nobody with it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import lanes
from waypost.store.connection.database import is_about_content
from waypost.store.lanes import Lease, LeaseLost, WaitingEvent
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)


class Batch(Protocol):
    """The effects of some events, gathered in memory until they are stored together."""

    def handle(self, event: WaitingEvent) -> str | None:
        """Work out what the event changes; returns why it changes nothing, or None.

        Raises `Unhandled` to refuse it; any other exception counts as a failed attempt. On an exception the batch
        must be as it was before.
        """

    def store(self, connection: Connection) -> None:
        """Write the gathered effects in the caller's transaction."""

    def committed(self) -> None:
        """Called once the effects are durable."""


class Handler(Protocol):
    """What is done with events; the worker brings the bot and the sender in through it."""

    def begin(self, connection: Connection, events: Sequence[WaitingEvent]) -> Batch:
        """Read what the turns of these events need to know, in the transaction that claims them."""


class Unhandled(Exception):
    """An event can never be handled; it is dead at once with this reason (CamelCase). No retry makes sense."""


class Postponed(Exception):
    """An event cannot be handled yet, through nobody's fault; says why (CamelCase). It waits and loses no attempt."""


class TurnTimeout(BaseException):
    """A turn took longer than allowed. Not an `Exception`, so that a bot's own `except Exception` cannot eat it."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a drain; times in seconds."""

    batch: int = 100
    """Events per transaction: large enough to make a commit cheap, small enough to end well within the lease."""
    slice_s: float = 5.0
    """After this a drain gives the lane back and asks for another job, so that every lane gets its turn."""
    lease_ttl_s: float = 8.0
    """A vanished process holds its lane this long at most."""
    attempts: int = 3
    retry_delays_s: tuple[float, ...] = (1.0, 5.0)
    postponed_s: float = 2.0


class LeaseKeeper:
    """Renews the lease of the running drain every quarter of its time, from a thread of its own."""

    def __init__(self, engine: Engine, ttl_s: float) -> None:
        self._engine = engine
        self._ttl_s = ttl_s
        self._lease: Lease | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="lease-keeper", daemon=True).start()

    def hold(self, lease: Lease | None) -> None:
        """Keep this lease alive from now on; None: keep none."""
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
                with _claiming(self._engine) as connection:
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
        again: Callable[[int], None] = lambda _lane: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """`again(lane)` asks for another drain of a lane that is not empty yet; `stopping` ends a drain early."""
        self._engine = engine
        self._handler = handler
        self._owner = owner
        self._limits = limits or Limits()
        self._again = again
        self._stopping = stopping
        self._keeper = LeaseKeeper(engine, self._limits.lease_ttl_s)
        self._interrupted: Lease | None = None

    def run(self, lane: int) -> str:
        """Drain the lane until it is empty or the time slice is over; returns what happened, in a word."""
        with _claiming(self._engine) as connection:
            if self._interrupted is not None:
                lanes.abandon(connection, self._interrupted)
            lease = lanes.acquire(connection, lane, self._owner, ttl_s=self._limits.lease_ttl_s)
        self._interrupted = None
        if lease is None:
            metrics.lane_drains_total.labels(result="held").inc()
            return "held"
        self._keeper.hold(lease)
        try:
            result = self._drain(lease)
        except LeaseLost:
            log.warning("lease lost; its effects were dropped", lane=lane)
            result = "lost"
        except SQLAlchemyError:
            # The database went away under a batch. That is no attempt of its events, so the claim is taken back
            # before this process does anything else; should it die first, it counts as a crash.
            self._interrupted = lease
            raise
        finally:
            self._keeper.hold(None)
        metrics.lane_drains_total.labels(result=result).inc()
        return result

    def _drain(self, lease: Lease) -> str:
        deadline = time.monotonic() + self._limits.slice_s
        while True:
            handled = self._handle_next(lease, deadline)
            if handled:
                if time.monotonic() < deadline and not self._stopping():
                    continue
                with _claiming(self._engine) as connection:
                    lanes.abandon(connection, lease)
                self._again(lease.lane)
                return "sliced"
            with _claiming(self._engine) as connection:
                wanted = lanes.release(connection, lease)
            if wanted is None:
                return "emptied"
            lease = wanted

    def _handle_next(self, lease: Lease, deadline: float) -> int:
        """Handle the next events together; where that fails, one by one. Returns how many have been handled."""
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
        """Handle at most `limit` events in one go. With a limit of one, what fails around its turn is its own fault."""
        events: list[WaitingEvent] = []
        try:
            with _claiming(self._engine) as connection:
                events = self._claim(connection, lease, limit)
                if self._bury_exhausted(connection, lease, events):
                    return len(events)
                batch = self._handler.begin(connection, events) if events else None
            if batch is None:
                return 0
            turns = self._take_turns(batch, events, deadline)
            self._end(lease, turns, batch)
        except Exception as error:
            if limit > 1 or not events or not _is_about_events(error):
                raise
            event = events[0]
            log.warning("event failed", event_id=event.id, error=type(error).__name__, attempt=event.attempts + 1)
            self._end(lease, _Turns(failed=[(event, type(error).__name__)]))
            return 1
        batch.committed()
        return len(turns)

    def _claim(self, connection: Connection, lease: Lease, limit: int) -> list[WaitingEvent]:
        """The next events, written down as being tried."""
        events = _together(lanes.due(connection, lease.lane, limit=limit))
        if events:
            lanes.renew(connection, lease, ttl_s=self._limits.lease_ttl_s, trying=[event.id for event in events])
        return events

    def _bury_exhausted(self, connection: Connection, lease: Lease, events: Sequence[WaitingEvent]) -> bool:
        """Whether these events, which then is only one, had all their attempts in processes that died of it."""
        exhausted = [event for event in events if event.attempts >= self._limits.attempts]
        lanes.bury(connection, lease.lane, [(event, "WorkerCrashed") for event in exhausted])
        for event in exhausted:
            metrics.events_dead_total.labels(event.number_id, "WorkerCrashed").inc()
        return bool(exhausted)

    def _take_turns(self, batch: Batch, events: Sequence[WaitingEvent], deadline: float) -> "_Turns":
        """Let each event have its turn; what comes behind a failed one in its conversation stays where it is."""
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
            except (Exception, SystemExit, TurnTimeout) as error:  # noqa: BLE001 - a bot may raise anything: an attempt
                log.warning("turn failed", event_id=event.id, error=type(error).__name__, attempt=event.attempts + 1)
                turns.failed.append((event, type(error).__name__))
                if event.contact_key:
                    held.add(conversation)
        return turns

    def _end(self, lease: Lease, turns: "_Turns", batch: Batch | None = None) -> None:
        """Write how the turns ended, and the effects of `batch`, in one transaction."""
        again = [item for item in turns.failed if item[0].attempts + 1 < self._limits.attempts]
        exhausted = [item for item in turns.failed if item[0].attempts + 1 >= self._limits.attempts]
        with self._engine.begin() as connection:
            lanes.renew(connection, lease, ttl_s=self._limits.lease_ttl_s, trying=())
            if batch is not None:
                batch.store(connection)
            lanes.finish(connection, lease.lane, turns.done)
            lanes.bury(connection, lease.lane, [*turns.dead, *exhausted])
            for event, reason in again:
                delay = self._limits.retry_delays_s[min(event.attempts, len(self._limits.retry_delays_s) - 1)]
                lanes.put_back(connection, event, delay_s=delay, reason=reason)
            for event, reason in turns.postponed:
                lanes.postpone(connection, event, delay_s=self._limits.postponed_s, reason=reason)
        for buried, why in [*turns.dead, *exhausted]:
            metrics.events_dead_total.labels(buried.number_id, why).inc()


@contextmanager
def _claiming(engine: Engine) -> Iterator[Connection]:
    """A transaction of leases and claims. Of the four commits of a small drain, only the one with effects then waits.

    What a claim finds out by the way, such as who is new or which event has had all its attempts, it would find again.
    """
    with engine.begin() as connection:
        lanes.commit_lazily(connection)
        yield connection


@dataclass(frozen=True, slots=True)
class _Turns:
    """How the turns of a batch ended, each with its reason."""

    done: list[tuple[WaitingEvent, str | None]] = field(default_factory=list)
    dead: list[tuple[WaitingEvent, str]] = field(default_factory=list)
    failed: list[tuple[WaitingEvent, str]] = field(default_factory=list)
    postponed: list[tuple[WaitingEvent, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.done) + len(self.dead) + len(self.failed) + len(self.postponed)


def _is_about_events(error: Exception) -> bool:
    """Whether the events made it fail, which costs them an attempt. A lost lease or a database that is away, locked or
    without its tables is nobody's attempt, or an outage would kill all that waits.
    """
    if isinstance(error, SQLAlchemyError):
        return is_about_content(error)
    return not isinstance(error, LeaseLost)


def _together(events: list[WaitingEvent]) -> list[WaitingEvent]:
    """The leading events that may share a transaction: an event that was tried before comes alone."""
    if not events:
        return []
    if events[0].attempts > 0:
        return events[:1]
    for position, event in enumerate(events):
        if event.attempts > 0:
            return events[:position]
    return events
