"""Meta's rate limits, by virtual scheduling (GCRA): each key stores one point in time, however many calls it made."""

from collections import OrderedDict, deque
from collections.abc import Hashable


class RateLimit:
    """Limits calls per key to one per `interval_s` on average, and `burst` at once after a pause."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._due: OrderedDict[Hashable, float] = OrderedDict()
        self._capacity = capacity

    def take(self, key: Hashable, now: float, interval_s: float, burst: int) -> float:
        """Count a call and return 0 if it is allowed; else return the seconds until one would be."""
        due = max(self._due.get(key, now), now)
        wait = due - now - interval_s * (burst - 1)
        if wait > 1e-9:
            return wait
        self.count(key, now, interval_s)
        return 0.0

    def count(self, key: Hashable, now: float, interval_s: float) -> None:
        """Count a call that is not limited."""
        self._due[key] = max(self._due.get(key, now), now) + interval_s
        self._due.move_to_end(key)
        if len(self._due) > self._capacity:
            self._due.popitem(last=False)

    def clear(self) -> None:
        """Forget all calls."""
        self._due.clear()


class HourlyLimit:
    """Limits calls per key within the last hour, exactly."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, deque[float]] = {}

    def take(self, key: Hashable, now: float, limit: int) -> float:
        """Count a call and return 0 if it is allowed; else return the seconds until the oldest one is an hour old."""
        calls = self._calls.setdefault(key, deque())
        while calls and calls[0] <= now - 3600:
            calls.popleft()
        if len(calls) >= limit:
            return calls[0] + 3600 - now
        calls.append(now)
        return 0.0

    def used(self, key: Hashable) -> int:
        """Return how many calls of the last hour are counted."""
        return len(self._calls.get(key, ()))

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()
