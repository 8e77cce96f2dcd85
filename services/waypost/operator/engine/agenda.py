"""When which object is reconciled next: one reconcile per object at a time, and none is forgotten. No I/O, no clock."""

import heapq
import itertools
from dataclasses import dataclass

from waypost.operator.engine.object_cache import Key

SPACING_S = 0.5
"""Between the end of a reconcile and the next of the same object, however often it is asked for."""


@dataclass(frozen=True)
class Taken:
    """An object whose turn it is."""

    key: Key
    due_at: float


@dataclass(frozen=True)
class _Plan:
    at: float
    urgent: bool

    def joined(self, other: "_Plan | None") -> "_Plan":
        """The earlier of both, urgent if one is."""
        return self if other is None else _Plan(min(self.at, other.at), self.urgent or other.urgent)


@dataclass
class _Run:
    asked: _Plan | None = None
    """What was asked for since it began."""
    gone: bool = False


class Agenda:
    """Times are seconds of any one clock.

    What is urgent (something changed) goes before what is merely due again, or a change would wait behind a resync of
    everything.
    """

    def __init__(self) -> None:
        self._planned: dict[Key, _Plan] = {}
        self._heaps: dict[bool, list[tuple[float, int, Key]]] = {True: [], False: []}
        self._order = itertools.count()
        self._running: dict[Key, _Run] = {}
        self._ended: dict[Key, float] = {}

    def add(self, key: Key, at: float, *, urgent: bool) -> None:
        """Reconcile at that time, or earlier if that was planned; while one runs, once more after it."""
        plan = _Plan(at, urgent)
        if (run := self._running.get(key)) is not None:
            run.asked = plan.joined(run.asked)
            return
        self._plan(key, plan.joined(self._planned.get(key)))

    def take(self, now: float) -> Taken | None:
        """The next object whose turn it is; it counts as running until `done`."""
        for heap in (self._heaps[True], self._heaps[False]):
            self._drop_stale(heap)
            if heap and heap[0][0] <= now:
                at, _, key = heapq.heappop(heap)
                del self._planned[key]
                self._running[key] = _Run()
                return Taken(key, at)
        return None

    def done(self, key: Key, now: float, *, again_at: float | None) -> None:
        """Its reconcile has ended. `again_at` None: nothing more is planned for it."""
        run = self._running.pop(key)
        plan = run.asked
        if again_at is not None and not run.gone:
            plan = _Plan(again_at, urgent=False).joined(plan)
        if plan is None:
            self._ended.pop(key, None)
            return
        self._ended[key] = now
        self._plan(key, plan)

    def forget(self, key: Key) -> None:
        """The object is gone. One that runs ends without another, unless `add` asks for it."""
        self._planned.pop(key, None)
        self._ended.pop(key, None)
        if (run := self._running.get(key)) is not None:
            run.gone, run.asked = True, None

    def next_at(self) -> float | None:
        """The earliest time at which `take` gives something; None when nothing is planned."""
        for heap in self._heaps.values():
            self._drop_stale(heap)
        return min((heap[0][0] for heap in self._heaps.values() if heap), default=None)

    def overdue(self, now: float) -> int:
        """Objects whose turn it is and that do not run. May be asked from another thread."""
        return sum(1 for plan in list(self._planned.values()) if plan.at <= now)

    def _plan(self, key: Key, plan: _Plan) -> None:
        plan = _Plan(max(plan.at, self._ended.get(key, float("-inf")) + SPACING_S), plan.urgent)
        if self._planned.get(key) != plan:
            self._planned[key] = plan
            heapq.heappush(self._heaps[plan.urgent], (plan.at, next(self._order), key))

    def _drop_stale(self, heap: list[tuple[float, int, Key]]) -> None:
        """Remove from the top what has been planned otherwise since."""
        urgent = heap is self._heaps[True]
        while heap and self._planned.get(heap[0][2]) != _Plan(heap[0][0], urgent):
            heapq.heappop(heap)
