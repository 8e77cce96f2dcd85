"""How many management calls an account still has, so that many numbers together never run into Meta's limit (80007).

Meta counts calls on the account's node and its edges per app, account and hour. The calls are not written down, for
that would be a write per call. What outlives the process is what is left at its orderly end (`starts.py`), and the next
one goes on with that. After any other end nobody knows what was left: the next one begins with a grant instead, half of
the one before it, so that however often an operator is killed, what was saved up, all grants and what comes in are
together no more than the hour's calls. What is left is told as a share of the hour's calls: their number is a setting,
which may be another one in the next process, and Meta's own block lasts as long all the same.
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
"""Of the hour's calls, what all grants within an hour may be together."""
BURST_SHARE = 0.2
"""What can be saved up. With a refill of the rest, no hour sees more than the limit."""
REFILL_SHARE = 1 - GRANTS_SHARE - BURST_SHARE
ROUTINE_RESERVE = 0.5
"""Of what can be saved up, the part that is kept for numbers that are new or broken."""
LONGEST_BLOCK_S = 24 * HOUR_S
"""Then Meta is asked again, whatever it said."""
LEAST_SHARE = -REFILL_SHARE * (LONGEST_BLOCK_S / HOUR_S + 1)
"""Of the hour's calls; the longest block leaves an hour less."""
KEPT_ACCOUNTS = 10_000
TOLD_ACCOUNTS = 1_000
"""As many are told to the next process one by one, in some 30 kB; of the others, what each of them has at least."""


class BudgetSpent(GraphError):
    """Not asked: the account's calls are used up for now. `wait_s`: when to try again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"management calls of the WhatsApp account are used up for {wait_s:.0f} s")
        self.wait_s = wait_s


Share = Annotated[float, msgspec.Meta(ge=LEAST_SHARE, le=BURST_SHARE)]
"""Of the hour's calls; below zero: none before so many have come in."""


class Left(msgspec.Struct, frozen=True):
    """What is left."""

    others: Share
    """Of each account that is not named."""
    accounts: dict[str, Share] = {}
    """By the account's id."""


def granted(before: int) -> Left:
    """What to begin with when nobody knows what is left, and that was so `before` times within this hour. Pure."""
    return Left(GRANTS_SHARE / 2.0 ** (before + 1))


def told(others: float, accounts: Mapping[str, float], most: int = TOLD_ACCOUNTS) -> Left:
    """At most `most` accounts, those with the least; no account is told to have more than it has. Pure."""
    least = sorted((_floor(share), account) for account, share in accounts.items() if _floor(share) < _floor(others))
    rest = least[most:]
    return Left(rest[0][0] if rest else _floor(others), {account: share for share, account in least[:most]})


@dataclass
class _Account:
    calls: float
    at: float
    """Refilled up to then; in the future: not before then."""
    blocked_until: float = 0.0


class Budget:
    """A bucket of calls per account, refilled steadily between `open` and `close`; before and after it gives none.

    `clock` in seconds; it should be one that never jumps.
    """

    def __init__(self, calls_per_hour: int, clock: Callable[[], float]) -> None:
        self._calls_per_hour = calls_per_hour
        self._burst = calls_per_hour * BURST_SHARE
        self._per_second = calls_per_hour * REFILL_SHARE / HOUR_S
        self._clock = clock
        self._others: _Account | None = None
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def open(self, left: Left, *, age_s: float = 0.0) -> None:
        """Begin with `left`, which has been refilled for `age_s` since; below zero: is not refilled for so long."""
        at = self._clock() - age_s
        calls = self._calls_per_hour
        self._others = _Account(left.others * calls, at)
        self._accounts = OrderedDict((account, _Account(share * calls, at)) for account, share in left.accounts.items())

    def close(self) -> Left | None:
        """What is left now; None if it was not open."""
        others, self._others = self._others, None
        if others is None:
            return None
        now = self._clock()
        accounts = {account: self._left(each, now) / self._calls_per_hour for account, each in self._accounts.items()}
        return told(self._left(others, now) / self._calls_per_hour, accounts)

    def take(self, account: str, *, routine: bool) -> float:
        """0 when one call may be made now, which uses it up; else the seconds after which to ask again.

        `routine`: a look at a healthy number, which leaves a reserve to those that need it.
        """
        now = self._clock()
        entry = self._entry(account, now)
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

    def block(self, account: str, for_s: float) -> None:
        """Meta said that the limit is reached, whoever used it up: no call on this account so long, at most a day."""
        now = self._clock()
        if (entry := self._entry(account, now)) is not None:
            entry.calls = min(entry.calls, 0.0)
            entry.blocked_until = max(entry.blocked_until, now + min(for_s, LONGEST_BLOCK_S))

    def _entry(self, account: str, now: float) -> _Account | None:
        if self._others is None:
            return None
        entry = self._accounts.get(account)
        if entry is None:
            self._refill(self._others, now)
            entry = self._accounts[account] = _Account(self._others.calls, self._others.at)
            if len(self._accounts) > KEPT_ACCOUNTS:
                _, forgotten = self._accounts.popitem(last=False)
                self._others.calls = min(self._others.calls, self._left(forgotten, now))
        self._refill(entry, now)
        self._accounts.move_to_end(account)
        return entry

    def _refill(self, entry: _Account, now: float) -> None:
        entry.calls = min(self._burst, entry.calls + max(0.0, now - entry.at) * self._per_second)
        entry.at = max(entry.at, now)

    def _left(self, entry: _Account, now: float) -> float:
        """As if it were refilled from now on: what holds that back counts against it."""
        calls = min(self._burst, entry.calls + (now - entry.at) * self._per_second)
        return min(calls, (now - entry.blocked_until) * self._per_second) if entry.blocked_until > now else calls


def _floor(share: float) -> float:
    return math.floor(share * 1e6) / 1e6
