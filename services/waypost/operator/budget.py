"""How many management calls an account still has, so that many numbers together never run into Meta's limit (80007).

Meta counts calls on the account's node and its edges per app, account and hour. The calls themselves are not kept over
a restart, for that would be a write per call. What is kept is how often the operator began in the hour (`starts.py`):
each start begins with half of what the one before it began with, so that however often it is killed, what all of them
begin with, what they save up and what comes in while they run is together no more than the hour's calls.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from waypost.cloudapi.errors import GraphError

HOUR_S = 3600.0
STARTS_SHARE = 0.3
"""Of the hour's calls, what all starts within an hour together may begin with."""
FIRST_SHARE = STARTS_SHARE / 2
"""What an account has when an operator meets it that did not begin before in this hour: enough for new numbers."""
BURST_SHARE = 0.2
"""What can be saved up. With a refill of the rest, no hour sees more than the limit."""
REFILL_SHARE = 1 - STARTS_SHARE - BURST_SHARE
ROUTINE_RESERVE = 0.5
"""Of what can be saved up, the part that is kept for numbers that are new or broken."""
KEPT_ACCOUNTS = 10_000


class BudgetSpent(GraphError):
    """Not asked: the account's calls are used up for now. `wait_s`: when to try again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"management calls of the WhatsApp account are used up for {wait_s:.0f} s")
        self.wait_s = wait_s


@dataclass
class _Account:
    calls: float
    at: float
    blocked_until: float = 0.0


class Budget:
    """A bucket of calls per account, refilled steadily."""

    def __init__(self, calls_per_hour: int, clock: Callable[[], float]) -> None:
        self._burst = calls_per_hour * BURST_SHARE
        self._first = calls_per_hour * FIRST_SHARE
        self._per_hour = calls_per_hour
        self._per_second = calls_per_hour * REFILL_SHARE / HOUR_S
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def begin_with(self, share: float) -> None:
        """What an account has when it is met from now on, as a share of the hour's calls."""
        self._first = self._per_hour * share

    def take(self, account: str, *, routine: bool) -> float:
        """0 when one call may be made now, which uses it up; else the seconds after which to ask again.

        `routine`: a look at a healthy number, which leaves a reserve to those that need it.
        """
        now = self._clock()
        entry = self._entry(account, now)
        if entry.blocked_until > now:
            return entry.blocked_until - now
        floor = self._burst * ROUTINE_RESERVE if routine else 0.0
        missing = floor + 1 - entry.calls
        if missing > 1e-9:
            return missing / self._per_second
        entry.calls -= 1
        return 0.0

    def block(self, account: str, for_s: float) -> None:
        """Meta said that the limit is reached, whoever used it up: no call on this account for that long."""
        now = self._clock()
        entry = self._entry(account, now)
        entry.calls = 0.0
        entry.blocked_until = max(entry.blocked_until, now + for_s)

    def _entry(self, account: str, now: float) -> _Account:
        entry = self._accounts.get(account)
        if entry is None:
            entry = self._accounts[account] = _Account(self._first, now)
            if len(self._accounts) > KEPT_ACCOUNTS:
                self._accounts.popitem(last=False)
        entry.calls = min(self._burst, entry.calls + max(0.0, now - entry.at) * self._per_second)
        entry.at = now
        self._accounts.move_to_end(account)
        return entry
