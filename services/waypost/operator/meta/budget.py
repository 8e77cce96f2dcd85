"""Keeps a budget of management calls for each pair of app and account.

With this budget, many numbers together stay within Meta's hourly limit (error 80007). Meta counts calls on
the account's node and its edges per app, account and hour. This budget counts in the same way. An app that
names somebody else's account therefore uses up only its own calls on that account. Single calls are not
recorded, because each record would cost a write.

When a process ends in an orderly way, it hands the remaining calls to the next process
(`budget_handover.py`). After any other end the remainder is not known. The next process then begins with an
initial grant, which is half as large as the grant before it. So the remaining calls, all grants and the
refill together stay within the calls of an hour, even if an operator is killed many times. The remainder is
recorded as a share of the hour's calls, because the number of calls per hour is a setting that may change.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from waypost.cloudapi.graph.errors import GraphError

HOUR_S = 3600.0
GRANTS_SHARE = 0.3
"""Upper bound of all initial grants within an hour together, as a share of the hour's calls."""
BURST_SHARE = 0.2
"""Size of a bucket, as a share of the hour's calls. The refill gets the rest, so no hour exceeds the
limit."""
REFILL_SHARE = 1 - GRANTS_SHARE - BURST_SHARE
ROUTINE_RESERVE = 0.5
"""Share of the bucket that routine calls leave to numbers that are new or broken."""
LONGEST_BLOCK_S = 24 * HOUR_S
"""Longest time for which an app is blocked at an account, in seconds. Meta is asked again then, even if it named a
longer time."""
LEAST_SHARE = -REFILL_SHARE * (LONGEST_BLOCK_S / HOUR_S + 1)
"""Lowest possible remainder, as a share of the hour's calls: the refill of the longest block and one more hour is
missing."""
MOST_PAIRS = 10_000
MOST_NAMED = 1_000
"""Most pairs of app and account whose remainder is handed over one by one; they take about 80 kB. For all others one
lower bound is handed over."""


class BudgetSpent(GraphError):
    """The call was not made, because the app's calls on the account are used up. Retry after `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"the app's management calls on the WhatsApp account are used up for {wait_s:.0f} s")
        self.wait_s = wait_s


Share = Annotated[float, msgspec.Meta(ge=LEAST_SHARE, le=BURST_SHARE)]
"""A share of the hour's calls. If it is below zero, as many calls must be refilled before the first call is allowed."""


class Remaining(msgspec.Struct, frozen=True):
    """The calls that remain, as shares of the hour's calls."""

    others: Share
    """Share that remains to each pair of app and account that is not named."""
    accounts: dict[str, Share] = {}
    """Least share that remains to any app at an account, by the account's id. Processes of the release before pairs
    were counted read and write only this. Newer ones use it for accounts that `pairs` does not name. It can go one
    release later."""
    pairs: dict[str, Share] = {}
    """Share that remains to an app at an account, by `pair_of`."""


def initial_grant(before: int) -> Remaining:
    """Returns the grant for a process that found no remainder.

    `before` is the number of such grants within the last hour. The function has no side effects.
    """
    return Remaining(GRANTS_SHARE / 2.0 ** (before + 1))


def pair_of(app_id: str, account: str) -> str:
    """Returns the name of an app and an account together. Meta counts the calls of each such pair by itself."""
    return f"{app_id}/{account}"


def summarize(others: float, pairs: Mapping[str, float], most: int = MOST_NAMED) -> Remaining:
    """Returns the remainder with at most `most` named pairs. These are the pairs with the fewest calls left.

    No pair gets a larger share than it really has. The function has no side effects.
    """
    least = sorted((_floor(share), pair) for pair, share in pairs.items() if _floor(share) < _floor(others))
    rest, named = least[most:], {pair: share for share, pair in least[:most]}
    accounts: dict[str, float] = {}
    for pair, share in named.items():
        accounts[_account(pair)] = min(share, accounts.get(_account(pair), share))
    return Remaining(rest[0][0] if rest else _floor(others), accounts, named)


@dataclass
class _Bucket:
    calls: float
    at: float
    """Time up to which the bucket was refilled. If it is in the future, the refill begins then."""
    blocked_until: float = 0.0


class Budget:
    """Holds a bucket of calls for each pair of app and account. The buckets are refilled steadily.

    Pairs are named by `pair_of`. Calls are given only between `open` and `close`. `clock` returns seconds and must
    never jump.
    """

    def __init__(self, calls_per_hour: int, clock: Callable[[], float]) -> None:
        self._calls_per_hour = calls_per_hour
        self._burst = calls_per_hour * BURST_SHARE
        self._per_second = calls_per_hour * REFILL_SHARE / HOUR_S
        self._clock = clock
        self._others: _Bucket | None = None
        self._by_account: dict[str, _Bucket] = {}
        self._pairs: OrderedDict[str, _Bucket] = OrderedDict()

    def open(self, left: Remaining, *, age_s: float = 0.0) -> None:
        """Begins with the remainder `left`, which is `age_s` seconds old. The refill since then is added.

        If `age_s` is negative, the refill begins `-age_s` seconds from now.
        """
        at = self._clock() - age_s
        calls = self._calls_per_hour
        self._others = _Bucket(left.others * calls, at)
        self._pairs = OrderedDict((pair, _Bucket(share * calls, at)) for pair, share in left.pairs.items())
        named = {_account(pair) for pair in left.pairs}
        self._by_account = {
            account: _Bucket(share * calls, at) for account, share in left.accounts.items() if account not in named
        }

    def close(self) -> Remaining | None:
        """Ends the budget and returns the remainder. Returns None if the budget was not open."""
        others, self._others = self._others, None
        if others is None:
            return None
        now = self._clock()
        pairs = {pair: self._left(each, now) / self._calls_per_hour for pair, each in self._pairs.items()}
        found = summarize(self._left(others, now) / self._calls_per_hour, pairs)
        counted = {_account(pair) for pair in pairs}
        # What was left by a process that counted by account alone is handed on until an app was counted there.
        for account, each in self._by_account.items():
            if account not in counted and len(found.accounts) < MOST_NAMED:
                found.accounts[account] = _floor(self._left(each, now) / self._calls_per_hour)
        return found

    def take(self, pair: str, *, routine: bool) -> float:
        """Takes one call from the pair's bucket and returns 0.

        If there is no call to take, returns the seconds after which to ask again. Calls that look at a healthy number
        are `routine`. They leave a reserve for numbers that are new or broken.
        """
        now = self._clock()
        entry = self._entry(pair, now)
        if entry is None:
            return 1 / self._per_second
        if entry.blocked_until > now:
            return entry.blocked_until - now
        floor = self._burst * ROUTINE_RESERVE if routine else 0.0
        missing = floor + 1 - entry.calls
        if missing > 1e-9:
            return entry.at - now + missing / self._per_second
        entry.calls -= 1
        return 0.0

    def block(self, pair: str, for_s: float) -> None:
        """Blocks the pair for `for_s` seconds, but at most for a day.

        Call this after Meta said that the app's limit at the account is reached.
        """
        now = self._clock()
        if (entry := self._entry(pair, now)) is not None:
            entry.calls = min(entry.calls, 0.0)
            entry.blocked_until = max(entry.blocked_until, now + min(for_s, LONGEST_BLOCK_S))

    def _entry(self, pair: str, now: float) -> _Bucket | None:
        if self._others is None:
            return None
        entry = self._pairs.get(pair)
        if entry is None:
            before = self._by_account.get(_account(pair), self._others)
            self._refill(before, now)
            entry = self._pairs[pair] = _Bucket(before.calls, before.at)
            if len(self._pairs) > MOST_PAIRS:
                _, forgotten = self._pairs.popitem(last=False)
                self._refill(self._others, now)
                self._others.calls = min(self._others.calls, self._left(forgotten, now))
        self._refill(entry, now)
        self._pairs.move_to_end(pair)
        return entry

    def _refill(self, entry: _Bucket, now: float) -> None:
        entry.calls = min(self._burst, entry.calls + max(0.0, now - entry.at) * self._per_second)
        entry.at = max(entry.at, now)

    def _left(self, entry: _Bucket, now: float) -> float:
        """Returns the remaining calls of `entry` as if its refill began now.

        If the refill begins later, the calls that a refill would add until then are subtracted.
        """
        calls = min(self._burst, entry.calls + (now - entry.at) * self._per_second)
        return min(calls, (now - entry.blocked_until) * self._per_second) if entry.blocked_until > now else calls


def _account(pair: str) -> str:
    return pair.partition("/")[2]


def _floor(share: float) -> float:
    return math.floor(share * 1e6) / 1e6
