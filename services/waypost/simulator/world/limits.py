"""Meta's rate limits as virtual scheduling (GCRA): each key keeps one moment, no matter how many calls were made."""

from collections import OrderedDict, deque
from collections.abc import Hashable


class Pace:
    """At most one call per `interval_s` over time, and up to `burst` at once after a rest."""

    def __init__(self, kept: int = 100_000) -> None:
        self._due: OrderedDict[Hashable, float] = OrderedDict()
        self._kept = kept

    def take(self, key: Hashable, now: float, interval_s: float, burst: int) -> float:
        """0 when the call is allowed, which uses it up; else the seconds until one would be."""
        due = max(self._due.get(key, now), now)
        wait = due - now - interval_s * (burst - 1)
        if wait > 1e-9:
            return wait
        self.spend(key, now, interval_s)
        return 0.0

    def spend(self, key: Hashable, now: float, interval_s: float) -> None:
        """Count a call that happens in any case."""
        self._due[key] = max(self._due.get(key, now), now) + interval_s
        self._due.move_to_end(key)
        if len(self._due) > self._kept:
            self._due.popitem(last=False)

    def clear(self) -> None:
        self._due.clear()


class HourlyBudget:
    """Calls per key within the last hour, exact."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, deque[float]] = {}

    def take(self, key: Hashable, now: float, budget: int) -> float:
        """0 when the call is within the budget; else the seconds until the oldest one is an hour old."""
        calls = self._calls.setdefault(key, deque())
        while calls and calls[0] <= now - 3600:
            calls.popleft()
        if len(calls) >= budget:
            return calls[0] + 3600 - now
        calls.append(now)
        return 0.0

    def used(self, key: Hashable) -> int:
        return len(self._calls.get(key, ()))

    def clear(self) -> None:
        self._calls.clear()
