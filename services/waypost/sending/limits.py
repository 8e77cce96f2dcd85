"""Meta's rate limits, which all processes share. One function in PostgreSQL counts the messages.

A sender cannot send without PostgreSQL, because it claims its rows there. So the place that grants starts is never
cut off from a sender that can use them, and no sender grants anything to itself. Time is the time of that server,
and no clock of a process counts.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from waypost.sending.gcra import MISSED, PAIR_BURST, PAIR_INTERVAL, SECOND, LimitResult, Terms
from waypost.store import rates
from waypost.telemetry import metrics


class BusyLimit(StrEnum):
    """The limit that makes a row wait."""

    NUMBER = "number"
    PAIR = "pair"
    ROW = "row"
    """The row itself: another sender was granted a start for it, and is about to claim it."""


@dataclass(frozen=True, slots=True)
class RateRequest:
    """One row that is ready to be sent."""

    number_id: str
    per_second: float
    conversation_id: int
    outbox_id: int
    bulk: bool


@dataclass(frozen=True, slots=True)
class RateDecision:
    """A decision about one row.

    If `busy` is None, the row may be sent after `wait_s` seconds. Otherwise ask again after `wait_s` seconds.
    """

    wait_s: float
    busy: BusyLimit | None = None


_BUSY = {
    LimitResult.GO: None,
    LimitResult.NUMBER_BUSY: BusyLimit.NUMBER,
    LimitResult.PAIR_BUSY: BusyLimit.PAIR,
    LimitResult.ROW_BUSY: BusyLimit.ROW,
}


@dataclass(slots=True)
class _Asked:
    """What is asked for one number in one call."""

    per_second: float
    incoming: int = 0
    positions: list[int] = field(default_factory=list)
    rows: list[tuple[int, bool, int]] = field(default_factory=list)


class RateLimits:
    """Asks the limits of all numbers for one process. The class is thread-safe.

    `engine` needs one connection, so that a grant never waits for one that other work holds. `test_clock` (in Unix
    seconds) is for tests. It replaces the clock of the database. All methods that ask raise
    `sqlalchemy.exc.SQLAlchemyError` while the database is away.
    """

    def __init__(self, engine: Engine, *, test_clock: Callable[[], float] | None = None) -> None:
        # Each statement is its own transaction, so no lock is held while this process does something else.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._test_clock = test_clock
        self._lock = threading.Lock()
        self._incoming: dict[str, _Asked] = {}

    def take(self, requests: Sequence[RateRequest]) -> list[RateDecision]:
        """Decides about rows in the given order. A row that may be sent is counted at once.

        The order matters only among rows of the same number. Incoming messages that were charged before are counted
        first, in the same call.
        """
        if not requests:
            return []
        asked = self._take_incoming()
        for position, request in enumerate(requests):
            number = asked.setdefault(request.number_id, _Asked(request.per_second))
            number.per_second = request.per_second
            number.positions.append(position)
            number.rows.append((request.conversation_id, request.bulk, request.outbox_id))
        answers = self._ask([_request(number_id, number) for number_id, number in asked.items()])
        decisions: list[RateDecision] = [RateDecision(0.0)] * len(requests)
        for number, rows in zip(asked.values(), answers, strict=True):
            for position, (result, wait) in zip(number.positions, rows, strict=True):
                decisions[position] = _decision(LimitResult(result), wait)
        return decisions

    def charge(self, number_id: str, per_second: float, count: int) -> None:
        """Notes incoming messages, which are counted with the next `take` or `flush`. Never blocks.

        Incoming messages use the same limit as sent messages (source: Meta, "Throughput"). They are counted even if
        the number's limit is used up.
        """
        with self._lock:
            self._incoming.setdefault(number_id, _Asked(per_second)).incoming += count

    def flush(self) -> None:
        """Counts the incoming messages that no `take` has counted yet. If the database is away, they are forgotten.

        They would count for a second at most, and nothing is sent while the database is away.
        """
        asked = self._take_incoming()
        if asked:
            self._ask([_request(number_id, number) for number_id, number in asked.items()])

    def slow_down(self, number_id: str, per_second: float) -> None:
        """Halves the rate of a number after Meta said "too fast" (130429, 80007). The rate recovers within a minute."""
        self._ask([_request(number_id, _Asked(per_second), slow_down=True)])

    def _take_incoming(self) -> dict[str, _Asked]:
        with self._lock:
            incoming, self._incoming = self._incoming, {}
        return incoming

    def _ask(self, requests: Sequence[rates.NumberRequest]) -> list[list[tuple[int, int]]]:
        try:
            return self._grant(requests)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # A connection that broke while idle says nothing about the server now. If the first call was counted after all,
        # its starts are wasted, which is safe.
        return self._grant(requests)

    def _grant(self, requests: Sequence[rates.NumberRequest]) -> list[list[tuple[int, int]]]:
        with self._engine.connect() as connection:
            return rates.grant_starts(
                connection,
                requests,
                pair_interval=PAIR_INTERVAL,
                pair_tolerance=PAIR_BURST * PAIR_INTERVAL,
                repeat_after=MISSED,
                test_clock=None if self._test_clock is None else int(self._test_clock() * SECOND),
            ).answers


def _request(number_id: str, asked: _Asked, *, slow_down: bool = False) -> rates.NumberRequest:
    terms = Terms.of(asked.per_second)
    return rates.NumberRequest(
        number_id,
        terms.interval,
        terms.tolerance,
        terms.reply_horizon,
        terms.bulk_horizon,
        incoming=asked.incoming,
        slow_down=slow_down,
        rows=asked.rows,
    )


def _decision(result: LimitResult, wait: int) -> RateDecision:
    busy = _BUSY[result]
    if busy is not None:
        metrics.rate_limit_wait_seconds.labels(busy).observe(wait / SECOND)
    return RateDecision(wait / SECOND, busy)
