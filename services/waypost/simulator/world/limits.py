"""Imitates Meta's rate limits with virtual scheduling (GCRA).

For each key, GCRA stores a single point in time, even if there were many calls.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable


class RateLimit:
    """Limits the calls of each key to one per `interval_s` on average.

    After a pause, `burst` calls at once are allowed.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._due: OrderedDict[Hashable, float] = OrderedDict()
        self._capacity = capacity

    def take(self, key: Hashable, now: float, interval_s: float, burst: int) -> float:
        """Counts a call and returns 0 if the call is allowed.

        Otherwise returns the seconds until a call would be allowed.
        """
        due = max(self._due.get(key, now), now)
        wait = due - now - interval_s * (burst - 1)
        if wait > 1e-9:
            return wait
        self.count(key, now, interval_s)
        return 0.0

    def count(self, key: Hashable, now: float, interval_s: float) -> None:
        """Counts a call without limiting it."""
        self._due[key] = max(self._due.get(key, now), now) + interval_s
        self._due.move_to_end(key)
        if len(self._due) > self._capacity:
            self._due.popitem(last=False)

    def clear(self) -> None:
        """Forgets all calls."""
        self._due.clear()


class HourlyLimit:
    """Limits the calls per key within the last hour. The count is exact."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, deque[float]] = {}

    def take(self, key: Hashable, now: float, limit: int) -> float:
        """Counts a call and returns 0 if the call is allowed.

        Otherwise returns the seconds until the oldest counted call is an hour old.
        """
        calls = self._calls.setdefault(key, deque())
        while calls and calls[0] <= now - 3600:
            calls.popleft()
        if len(calls) >= limit:
            return calls[0] + 3600 - now
        calls.append(now)
        return 0.0

    def used(self, key: Hashable) -> int:
        """Returns how many calls of the last hour are counted for the key."""
        return len(self._calls.get(key, ()))

    def clear(self) -> None:
        """Forgets all calls."""
        self._calls.clear()
