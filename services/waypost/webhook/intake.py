"""Commits deliveries in groups. All deliveries that arrive during one transaction go into the next one.

The event loop collects deliveries, and one thread commits them. A delivery waits for its commit at most
`wait_s` seconds. Then it is refused. A refusal is always safe, because Meta delivers again and the inbox
stores each event once.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.cloudapi.inbound.delivery import Event
from waypost.store import inbox
from waypost.webhook.committer import BYTES_PER_COMMIT, ROWS_PER_COMMIT, Committer, name_of

WAIT_S = 5.0
"""Seconds that a delivery waits for its commit before it is refused."""
QUEUE_ROWS = 40_000
"""Most events that may wait in memory for a commit."""
QUEUE_BYTES = 24 * 1024 * 1024
"""Most bytes of payloads that may wait in memory for a commit. No delivery has more, see `delivery.MOST_BYTES`."""

log = structlog.get_logger(__name__)


class IntakeUnavailable(Exception):
    """Raised when a delivery may not be committed. Meta retries the delivery.

    The database is away or slow, or too many deliveries wait already.
    """


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that made a group of deliveries durable."""

    began_ns: int
    """Time at which the batch was handed to the database, in nanoseconds since the epoch, as spans have it."""
    ended_ns: int
    """Time at which the batch was durable; from then on no crash loses any of its events."""
    events: int
    """Number of events in the batch, over all its deliveries."""


@dataclass(slots=True, eq=False)
class _Batch:
    """The deliveries that go into one commit."""

    began: float
    arrivals: list[inbox.Arrival] = field(default_factory=list)
    waiting: list[asyncio.Future[Commit]] = field(default_factory=list)
    """One future for each delivery."""
    size: int = 0

    def refuse(self, reason: str) -> None:
        """Fails the deliveries that still wait, because their events were not committed in time or not at all."""
        for future in self.waiting:
            if not future.done():
                future.set_exception(IntakeUnavailable(reason))


class Intake:
    """Writes deliveries into the inbox. Call `start` and `stop` on the event loop that calls `store`."""

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
        self._committer = Committer(engine, on_committed=on_committed, writer=writer)
        self._wait_s = wait_s
        self._queue_rows = queue_rows
        self._queue_bytes = queue_bytes
        self._rows = 0
        self._bytes = 0
        self._open: deque[_Batch] = deque()
        """Batches without an outcome, oldest first: the one being committed, then those that still collect."""
        self._committing = False
        self._to_commit: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Starts the thread. The thread connects when there is something to store."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()
        self._check_deadlines()

    async def stop(self) -> None:
        """Commits the deliveries that wait, then ends the thread. Call this only after the last call of `store`."""
        if self._thread is None:
            return
        if self._open:
            await asyncio.wait([future for batch in self._open for future in batch.waiting])
        self._to_commit.put(None)
        await asyncio.to_thread(self._thread.join, self._wait_s)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def oldest_wait_s(self) -> float:
        """Returns how many seconds the oldest delivery has waited for its commit. Returns 0 if no delivery waits.

        Any thread may read this value.
        """
        try:
            return time.monotonic() - self._open[0].began
        except IndexError:
            return 0.0

    async def store(self, events: Sequence[Event], traceparent: str | None) -> Commit:
        """Returns when all events are committed. Returns at once if there are no events. Raises `IntakeUnavailable`."""
        if not events:
            now_ns = time.time_ns()
            return Commit(now_ns, now_ns, 0)
        loop = self._loop
        assert loop is not None
        size = sum([len(event.payload) for event in events])
        if self._rows + len(events) > self._queue_rows or self._bytes + size > self._queue_bytes:
            raise IntakeUnavailable("too much waits for the database")
        self._rows += len(events)
        self._bytes += size
        batch = self._joinable_batch()
        batch.arrivals += [(event, traceparent) for event in events]
        batch.size += size
        committed: asyncio.Future[Commit] = loop.create_future()
        batch.waiting.append(committed)
        return await committed

    # On the event loop

    def _joinable_batch(self) -> _Batch:
        """Returns the batch that new deliveries join."""
        # While a commit runs the first batch is closed; `_committing` counts as 1 then.
        last = self._open[-1] if len(self._open) > self._committing else None
        if last is not None and len(last.arrivals) < ROWS_PER_COMMIT and last.size < BYTES_PER_COMMIT:
            return last
        batch = _Batch(time.monotonic())
        self._open.append(batch)
        if len(self._open) == 1:
            # The loop first handles the other deliveries that have arrived by now, so that they join this batch.
            assert self._loop is not None
            self._loop.call_soon(self._hand_over)
        return batch

    def _hand_over(self) -> None:
        self._committing = bool(self._open)
        if self._committing:
            self._to_commit.put(self._open[0])

    def _settle(self, batch: _Batch, outcome: Commit | str) -> None:
        self._open.popleft()
        self._hand_over()
        self._rows -= len(batch.arrivals)
        self._bytes -= batch.size
        if isinstance(outcome, str):
            batch.refuse(outcome)
            return
        for future in batch.waiting:
            if not future.done():
                future.set_result(outcome)

    def _check_deadlines(self) -> None:
        assert self._loop is not None
        overdue = time.monotonic() - self._wait_s
        for batch in self._open:
            if batch.began <= overdue:
                batch.refuse("the database does not answer")
        if self.oldest_wait_s > self._wait_s + 1:
            # The time limits of the connection have not ended the wait: the server hangs, or its machine vanished.
            self._committer.abort()
        self._timer = self._loop.call_later(min(0.25, self._wait_s / 4), self._check_deadlines)

    # On the thread

    def _run(self) -> None:
        assert self._loop is not None
        while (batch := self._to_commit.get()) is not None:
            outcome: Commit | str
            began_ns = time.time_ns()
            try:
                outcome = Commit(began_ns, self._committer.commit(batch.arrivals), len(batch.arrivals))
            except SQLAlchemyError as error:
                outcome = "the database did not store it"
                log.warning("events were not committed", deliveries=len(batch.waiting), reason=name_of(error))
            except Exception:
                outcome = "the events were not committed"
                log.exception("events were not committed because of a defect")
            # After a forced exit the loop may be closed; then no delivery waits for an answer.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, batch, outcome)
        self._committer.close()
