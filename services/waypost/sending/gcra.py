"""Meta's limits in whole microseconds: GCRA with short reservations.

`Terms` are what a number's limit means. `State` is the reference of the function in the database, which does the
same computation for all processes; a test compares the two.

GCRA is the generic cell rate algorithm ("leaky bucket as a meter"). A row that may be sent gets a start time,
which is now or within a short horizon. The starts in any window of length t are at most burst + rate * t. A
start is reserved a moment ahead. This keeps the pace even, without a burst that Meta would see as too fast.

Replies go before bulk messages, because bulk messages have a shorter horizon. Only replies can take starts
beyond the horizon of bulk messages. When the number is busy, bulk messages are therefore refused first. A
reply waits for bulk messages no longer than the horizon of bulk messages.

The clock may jump. A state that is further ahead than any grant can make it comes from before a jump back. It
is pulled in to the latest state that a grant can have made now. So a number waits about as long as its horizon,
not as long as the jump, and no start that is still pending is granted twice. After a jump ahead, a full burst may
start at once, beside the starts that are pending: at most a horizon's worth more than the limit, once.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SECOND = 1_000_000
FULL = 1000
"""The full rate (per mille), at which a number is not slowed down."""
_LOWEST = 62
_RECOVERY = 60 * SECOND
_MAX_DEBT = SECOND

UTILISATION = 0.985
"""Long-run rate as a share of the configured limit."""

BURST_SHARE = 0.01
"""Size of a burst as a share of a second's limit. Plus UTILISATION it is below 1, so no second exceeds the limit."""

PAIR_INTERVAL = 6 * SECOND
"""Time per message to one contact, as Meta allows in the long run, in microseconds."""

PAIR_BURST = 44
"""Messages to one contact in a burst. Meta lets 45 be borrowed from the future (About the platform, 2025-12-05).

One stays unused: Meta counts when a call arrives, and the first of a burst may take longer to arrive than the last.
"""


MISSED = SECOND // 4
"""Time after its start at which a call has missed it, or the interval of the number if that is longer.

Claiming a row takes less, except on a stalled machine.
"""


class LimitResult(enum.IntEnum):
    """What the limits answer when they are asked whether a row may be sent."""

    GO = 0
    NUMBER_BUSY = 1
    PAIR_BUSY = 2
    ROW_BUSY = 3
    """The row was granted a start a moment ago. The database answers so; `State` does not know rows."""


class Answer(NamedTuple):
    """The answer of the limits for one row.

    `wait` is the time in microseconds until the row may be sent or may ask again.
    """

    result: LimitResult
    wait: int


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits of one number, in microseconds."""

    interval: int
    tolerance: int
    reply_horizon: int
    bulk_horizon: int
    pair_interval: int = PAIR_INTERVAL
    pair_tolerance: int = PAIR_BURST * PAIR_INTERVAL

    @classmethod
    def of(cls, per_second: float) -> "Terms":
        """Returns the terms for `per_second` messages."""
        rate = max(per_second, 0.01)
        interval = math.ceil(SECOND / (rate * UTILISATION))
        return cls(
            interval=interval,
            tolerance=int(interval * max(1.0, rate * BURST_SHARE)),
            reply_horizon=min(2 * SECOND, max(150_000, 2 * interval)),
            bulk_horizon=min(SECOND, max(75_000, interval)),
        )


@dataclass(slots=True)
class State:
    """The counters of one number."""

    arrival: int = 0
    factor: int = FULL
    factor_at: int = 0
    pairs: dict[int, int] = field(default_factory=dict)

    def slowed(self, terms: Terms, now: int) -> tuple[int, int]:
        """Returns the interval and the tolerance at the current rate."""
        factor = self._factor(now)
        return terms.interval * FULL // factor, terms.tolerance * FULL // factor

    def _factor(self, now: int) -> int:
        return min(FULL, self.factor + max(0, now - self.factor_at) * FULL // _RECOVERY)

    def take(self, terms: Terms, rows: Sequence[tuple[int, bool]], now: int) -> list[Answer]:
        """Returns an answer for each row. A row is given as `(conversation, bulk)`. Earlier rows get earlier starts."""
        self._pull_in(terms, now)
        interval, tolerance = self.slowed(terms, now)
        for conversation, _ in rows:
            if conversation in self.pairs:
                self.pairs[conversation] = min(self.pairs[conversation], now + terms.pair_tolerance)
        answers = []
        for conversation, bulk in rows:
            start = max(now, self.arrival + interval - tolerance)
            pair = self.pairs.get(conversation, 0)
            pair_start = pair + terms.pair_interval - terms.pair_tolerance
            if pair_start > now:
                answers.append(Answer(LimitResult.PAIR_BUSY, pair_start - now))
            elif start - now > (horizon := terms.bulk_horizon if bulk else terms.reply_horizon):
                # Ask again before the start itself: a late question would leave a gap in the pace.
                answers.append(Answer(LimitResult.NUMBER_BUSY, start - now - horizon // 2))
            else:
                self.arrival = max(self.arrival, start) + interval
                self.pairs[conversation] = max(pair, start) + terms.pair_interval
                answers.append(Answer(LimitResult.GO, start - now))
        return answers

    def charge(self, terms: Terms, count: int, now: int) -> None:
        """Counts `count` incoming messages against the limit, because they use the same limit as sent messages.

        The debt is at most a second, so that a flood of incoming messages cannot silence the number.
        """
        self._pull_in(terms, now)
        interval = self.slowed(terms, now)[0]
        self.arrival = max(self.arrival, min(max(self.arrival, now) + count * interval, now + _MAX_DEBT))

    def slow_down(self, terms: Terms, now: int) -> None:
        """Halves the rate because Meta said "too fast".

        The rate is halved at most once per second, because many calls report the same overload.
        """
        self.factor_at = min(self.factor_at, now)
        if now - self.factor_at >= SECOND:
            self.factor = max(_LOWEST, self._factor(now) // 2)
            self.factor_at = now
        self._pull_in(terms, now)

    def _pull_in(self, terms: Terms, now: int) -> None:
        """Bounds a state that was written before the clock went back; see the top of this module."""
        self.factor_at = min(self.factor_at, now)
        tolerance = self.slowed(terms, now)[1]
        self.arrival = min(self.arrival, now + max(_MAX_DEBT, terms.reply_horizon + tolerance))
