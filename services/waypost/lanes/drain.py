"""Drains lanes.

A drain takes the leases of lanes, handles their due events batch by batch, and releases each lane once it is
empty.

A batch needs two transactions. The first transaction reads the data that the turns need. Then the turns run.
They are pure. The second transaction stores all effects, finishes the events and claims the events of the
next batch.

A claim writes the ids of its events into the rows of their lanes (`trying`). So a crash counts as an attempt
of each of these events. An event that was being handled when a process ended is handled alone. So a repeated
crash affects no other event.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.contracts.states import EventReason
from waypost.lanes import retry
from waypost.lanes.handler import Batch, Handler, NotServedHere, TurnTimeout, Unhandled
from waypost.lanes.renewer import LeaseRenewer
from waypost.store import claims, leases
from waypost.store.claims import WaitingEvent
from waypost.store.connection.database import is_about_content
from waypost.store.leases import Lease, LeaseLost
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)


class DrainResult(StrEnum):
    """Results of a drain, as the metrics count them and `rq info` shows them."""

    EMPTIED = "emptied"
    SLICED = "sliced"
    """The time slice was over before the lanes were empty."""
    HELD = "held"
    """Other processes hold the lanes."""
    LOST = "lost"
    """Another process took over a lane during the drain; the last batch had no effect."""


@dataclass(frozen=True)
class Limits:
    """Limits of a drain, with times in seconds."""

    batch: int = 192
    """Events per transaction: large enough to make a commit cheap, small enough to finish well within the lease."""
    turns_s: float = 0.1
    """Time after which a batch is stored with the turns that it has, so that no number waits for another's turns."""
    slice_s: float = 5.0
    """Time after which a drain releases its lanes and requests another, so that every worker gets its share."""
    lease_ttl_s: float = 8.0
    """Longest time for which a process that has vanished still holds its lanes."""
    attempts: int = retry.ATTEMPTS
    retry_delays_s: tuple[float, ...] = retry.DELAYS_S
    skip_s: float = 2.0
    """Time for which the messages of a number are left out after one could not be handled here."""


class Drain:
    """Drains lanes for one process, in one thread."""

    def __init__(
        self,
        engine: Engine,
        handler: Handler,
        *,
        owner: str,
        limits: Limits | None = None,
        request_drain: Callable[[Collection[int]], None] = lambda _lanes: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Creates a drain for `handler`. The leases name this process as `owner`.

        If the drain leaves lanes before they are empty, it calls `request_drain(lanes)`. The drain ends early when
        `stopping` returns True.
        """
        self._engine = engine
        self._handler = handler
        self._owner = owner
        self._limits = limits or Limits()
        self._woken: Callable[[], Collection[int]] = frozenset
        self._request_drain = request_drain
        self._stopping = stopping
        self._leases: dict[int, Lease] = {}
        self._interrupted: tuple[Lease, ...] = ()
        self._positions: dict[int, str] = {}
        """For each held lane the number behind which its next claim begins. Lanes served last stand at the end."""
        self._skipped: dict[str, float] = {}
        """Numbers whose messages are left out, each with the end of that time, by the monotonic clock."""
        self._alone = 0
        """How many of the next events are handled alone, because a batch that had them could not be stored."""
        self._renewer = LeaseRenewer(engine, lambda: tuple(self._leases.values()), ttl_s=self._limits.lease_ttl_s)
        self._renewer.start()

    def run(self, lanes: Collection[int], woken: Callable[[], Collection[int]] = frozenset) -> DrainResult:
        """Drains the lanes until they are empty or the time slice is over. Returns the result.

        Before each claim, the drain calls `woken()` and adds the lanes that this call returns.
        """
        self._woken = woken
        try:
            result = self._run(lanes)
        except LeaseLost:
            log.warning("lease lost; its effects were dropped")
            with self._lazy_transaction() as connection:
                leases.release(connection, self._leases.values())
            self._request_drain(tuple(self._leases))
            result = DrainResult.LOST
        except SQLAlchemyError:
            # The database went away during a batch. That is no attempt of its events, so the next `run` of this
            # process releases the lanes before anything else. If the process dies first, it counts as a crash.
            self._interrupted = tuple(self._leases.values())
            raise
        finally:
            self._leases = {}
            self._positions = {}
        metrics.lane_drains_total.labels(result=result).inc()
        return result

    def _run(self, lanes: Collection[int]) -> DrainResult:
        ends_at = time.monotonic() + self._limits.slice_s
        with self._lazy_transaction() as connection:
            leases.release(connection, self._interrupted)
            self._acquire(connection, lanes)
            events = self._claim(connection)
        self._interrupted = ()
        if not self._positions:
            return DrainResult.HELD
        while self._leases:
            # Without events, a drain of a lane was requested while it was being emptied.
            events = self._handle(events, ends_at) if events else self._finish(_Turns(), None, ends_at)
        return DrainResult.SLICED if self._is_over(ends_at) else DrainResult.EMPTIED

    def _is_over(self, ends_at: float) -> bool:
        return self._stopping() or time.monotonic() >= ends_at

    def _acquire(self, connection: Connection, lanes: Collection[int]) -> None:
        wanted = set(lanes).difference(self._leases)
        if not wanted:
            return
        acquired = leases.acquire(connection, wanted, self._owner, ttl_s=self._limits.lease_ttl_s)
        for lease in acquired.leases:
            self._leases[lease.lane] = lease
            self._positions.setdefault(lease.lane, "")
        if acquired.locked:
            self._request_drain(acquired.locked)

    # -- batches

    def _handle(self, events: Sequence[WaitingEvent], ends_at: float) -> list[WaitingEvent]:
        """Handles a claimed batch and returns the next batch.

        If the batch fails, its events are claimed again, one by one.
        """
        try:
            with self._lazy_transaction() as connection:
                batch = self._handler.begin(connection, events)
            turns = self._take_turns(batch, events)
            following = self._finish(turns, batch, ends_at)
        except Exception as error:
            if not _is_about_events(error):
                raise
            if len(events) > 1:
                log.warning("batch failed; its events are handled alone", error=type(error).__name__)
                self._alone = len(events)
                return self._finish(_Turns(), None, ends_at)
            event = events[0]
            log.warning("event failed", event_id=event.id, error=type(error).__name__, attempt=event.attempts + 1)
            return self._finish(_Turns(failed=[(event, type(error).__name__)]), None, ends_at)
        batch.committed()
        return following

    def _take_turns(self, batch: Batch, events: Sequence[WaitingEvent]) -> "_Turns":
        """Handles each event. If an event fails, the later events of its conversation wait for another drain.

        If this process cannot handle an event, the later events of the same number wait too. The reason is that the
        number may become known, or its script compiled, between two events of one conversation. Without this rule,
        the second event could be handled before the first event.
        """
        turns = _Turns()
        left: set[str] = set()
        held: set[tuple[str, str, str]] = set()
        ends_at = time.monotonic() + self._limits.turns_s
        for event in events:
            conversation = (event.number_id, event.kind, event.contact_key)
            if conversation in held or event.number_id in left:
                continue
            try:
                turns.done.append((event, batch.handle(event)))
            except Unhandled as refusal:
                turns.dead.append((event, str(refusal)))
            except NotServedHere:
                left.add(event.number_id)
                self._skipped[event.number_id] = time.monotonic() + self._limits.skip_s
            except (Exception, SystemExit, TurnTimeout) as error:  # noqa: BLE001 - a bot may raise anything
                log.warning("turn failed", event_id=event.id, error=type(error).__name__, attempt=event.attempts + 1)
                turns.failed.append((event, type(error).__name__))
                if event.attempts + 1 >= self._limits.attempts:
                    batch.give_up(event)
                if event.contact_key:
                    held.add(conversation)
            if time.monotonic() > ends_at:
                break
        return turns

    def _finish(self, turns: "_Turns", batch: Batch | None, ends_at: float) -> list[WaitingEvent]:
        """Ends a batch in one transaction and returns the events of the next batch.

        The transaction writes the results of the turns and the effects of `batch`, and claims the next events. If the
        time slice is over, it releases the lanes instead of claiming events.
        """
        over = self._is_over(ends_at)
        if not over and (woken := self._woken()):
            with self._lazy_transaction() as connection:
                self._acquire(connection, woken)
        retried = [item for item in turns.failed if item[0].attempts + 1 < self._limits.attempts]
        exhausted = [item for item in turns.failed if item[0].attempts + 1 >= self._limits.attempts]
        following: list[WaitingEvent] = []
        with self._engine.begin() as connection:
            leases.hold(connection, self._leases.values())
            if turns.is_empty:
                leases.commit_lazily(connection)
            elif batch is not None:
                batch.store(connection)
            claims.mark_done(connection, min(self._leases), turns.done)
            claims.mark_dead(connection, turns.dead)
            claims.mark_dead(connection, exhausted, attempts=1)
            delays_s = self._limits.retry_delays_s
            claims.retry_later(
                connection,
                [(event, reason, retry.delay_s(event, event.attempts + 1, delays_s)) for event, reason in retried],
            )
            if over:
                leases.release(connection, self._leases.values())
            else:
                following = self._claim(connection)
        if over:
            self._request_drain(tuple(self._leases))
            self._leases = {}
        for event, why in [*turns.dead, *exhausted]:
            metrics.events_dead_total.labels(event.number_id, why).inc()
        return following

    # -- claims

    def _claim(self, connection: Connection) -> list[WaitingEvent]:
        """Claims the events of the next batch and releases the lanes that have none."""
        if not self._leases:
            return []
        limit = self._limits.batch if self._alone == 0 else 1
        now = time.monotonic()
        self._skipped = {number: until for number, until in self._skipped.items() if until > now}
        while True:
            positions = {lane: after for lane, after in self._positions.items() if lane in self._leases}
            claimed = claims.claim(connection, positions, limit=limit, skipped=self._skipped)
            # Only attempts that crash their process leave an event waiting with all its attempts used up.
            exhausted = [event for event in claimed if event.attempts >= self._limits.attempts]
            if not exhausted:
                break
            claims.mark_dead(connection, [(event, EventReason.WORKER_CRASHED) for event in exhausted])
            for event in exhausted:
                metrics.events_dead_total.labels(event.number_id, EventReason.WORKER_CRASHED).inc()
        chosen = self._choose(claimed)
        trying: dict[int, list[int]] = defaultdict(list)
        for event in chosen:
            trying[event.lane].append(event.id)
        is_whole = self._advance(positions, claimed)
        stay = {event.lane for event in claimed} if is_whole else set(self._leases)
        remaining = leases.conclude(
            connection, self._leases.values(), trying, stay=stay, ttl_s=self._limits.lease_ttl_s
        )
        self._leases = {lease.lane: lease for lease in remaining}
        return chosen

    def _choose(self, claimed: list[WaitingEvent]) -> list[WaitingEvent]:
        """Returns the claimed events that may share a batch.

        An event that may have crashed a process is handled alone.
        """
        if self._alone:
            self._alone = self._alone - 1 if claimed else 0
            return claimed[:1]
        unsuspected = [event for event in claimed if not event.suspected]
        return unsuspected or claimed[:1]

    def _advance(self, positions: dict[int, str], claimed: Sequence[WaitingEvent]) -> bool:
        """Sets where the next claim begins. Returns whether this claim looked at every number of the lanes."""
        served = dict.fromkeys((event.lane, event.number_id) for event in claimed if event.attempts == 0)
        if len(served) < claims.NUMBERS_PER_CLAIM:
            self._positions.update(dict.fromkeys(positions, ""))
            return not any(positions.values())
        for lane, number_id in served:
            self._positions.pop(lane, None)
            self._positions[lane] = number_id
        return False

    @contextmanager
    def _lazy_transaction(self) -> Iterator[Connection]:
        """Runs a transaction whose commit does not wait for the disk. Leases, claims and reads use it.

        The transaction may also add contacts or mark an exhausted event dead. If a crash loses such a change, the
        next claim makes the change again.
        """
        with self._engine.begin() as connection:
            leases.commit_lazily(connection)
            yield connection


@dataclass(frozen=True, slots=True)
class _Turns:
    """The events of a batch, grouped by the results of their turns, each with the reason for its result."""

    done: list[tuple[WaitingEvent, str | None]] = field(default_factory=list)
    dead: list[tuple[WaitingEvent, str]] = field(default_factory=list)
    failed: list[tuple[WaitingEvent, str]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.done or self.dead or self.failed)


def _is_about_events(error: Exception) -> bool:
    """Returns whether an error was caused by the events. If so, the events lose an attempt.

    Some errors have other causes. For example, a lease is lost, or the database is away, is locked or has no
    tables. Such errors do not count, because an outage would otherwise use up the attempts of all waiting events.
    """
    if isinstance(error, SQLAlchemyError):
        return is_about_content(error)
    return not isinstance(error, LeaseLost)
