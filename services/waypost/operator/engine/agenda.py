"""Decides which object is reconciled next, and when. An object has at most one reconcile at a time.

The code does no I/O and has no clock.
"""

import heapq
import itertools
from dataclasses import dataclass

from waypost.operator.engine.object_cache import Key

SPACING_S = 0.5
"""Seconds between the end of a reconcile and the next reconcile of the same object, however often it is asked for."""


@dataclass(frozen=True)
class DueObject:
    """An object that is due to be reconciled now."""

    key: Key
    due_at: float


@dataclass(frozen=True)
class _Entry:
    """A planned reconcile."""

    at: float
    is_urgent: bool

    def merged(self, other: "_Entry | None") -> "_Entry":
        """Returns an entry with the earlier time of both entries. It is urgent if either entry is urgent."""
        return self if other is None else _Entry(min(self.at, other.at), self.is_urgent or other.is_urgent)


@dataclass
class _Running:
    """A reconcile that has begun and not ended yet."""

    next: _Entry | None = None
    """The next reconcile, if one was asked for since the running one began."""
    is_gone: bool = False


class Agenda:
    """Plans reconciles. All times are in seconds of one clock, which may be any clock.

    Urgent entries are planned because something changed. They go before entries that are due only because time
    has passed. A change therefore does not wait while all objects are resynced.
    """

    def __init__(self) -> None:
        self._planned: dict[Key, _Entry] = {}
        # An entry stays in its heap when its object is planned again; `_drop_stale` removes it at the top.
        self._heaps: dict[bool, list[tuple[float, int, Key]]] = {True: [], False: []}
        self._order = itertools.count()
        self._running: dict[Key, _Running] = {}
        self._ended: dict[Key, float] = {}

    def add(self, key: Key, at: float, *, urgent: bool) -> None:
        """Plans a reconcile of an object. If one is already planned, the earlier time counts.

        If the object is being reconciled now, the new reconcile follows the running one.
        """
        entry = _Entry(at, urgent)
        if (running := self._running.get(key)) is not None:
            running.next = entry.merged(running.next)
            return
        self._plan(key, entry.merged(self._planned.get(key)))

    def take(self, now: float) -> DueObject | None:
        """Returns the next object that is due, or None. The object counts as running until `done` is called."""
        for heap in (self._heaps[True], self._heaps[False]):
            self._drop_stale(heap)
            if heap and heap[0][0] <= now:
                at, _, key = heapq.heappop(heap)
                del self._planned[key]
                self._running[key] = _Running()
                return DueObject(key, at)
        return None

    def done(self, key: Key, now: float, *, again_at: float | None) -> None:
        """Records the end of a reconcile and plans the next one at `again_at`.

        If `again_at` is None, no further reconcile is planned. A reconcile that was added while this one ran is
        planned in both cases.
        """
        running = self._running.pop(key)
        entry = running.next
        if again_at is not None and not running.is_gone:
            entry = _Entry(again_at, is_urgent=False).merged(entry)
        if entry is None:
            self._ended.pop(key, None)
            return
        self._ended[key] = now
        self._plan(key, entry)

    def forget(self, key: Key) -> None:
        """Drops an object that is gone.

        If the object is being reconciled now, no further reconcile follows unless `add` asks for one.
        """
        self._planned.pop(key, None)
        self._ended.pop(key, None)
        if (running := self._running.get(key)) is not None:
            running.is_gone, running.next = True, None

    def next_at(self) -> float | None:
        """Returns the earliest time at which `take` returns an object, or None if nothing is planned."""
        for heap in self._heaps.values():
            self._drop_stale(heap)
        return min((heap[0][0] for heap in self._heaps.values() if heap), default=None)

    def overdue(self, now: float) -> int:
        """Returns how many objects are due but not being reconciled. It may be called from another thread."""
        return sum(1 for entry in list(self._planned.values()) if entry.at <= now)

    def _plan(self, key: Key, entry: _Entry) -> None:
        entry = _Entry(max(entry.at, self._ended.get(key, float("-inf")) + SPACING_S), entry.is_urgent)
        if self._planned.get(key) != entry:
            self._planned[key] = entry
            heapq.heappush(self._heaps[entry.is_urgent], (entry.at, next(self._order), key))

    def _drop_stale(self, heap: list[tuple[float, int, Key]]) -> None:
        """Removes outdated entries from the top of `heap`. An entry is outdated if another one has replaced it."""
        is_urgent = heap is self._heaps[True]
        while heap and self._planned.get(heap[0][2]) != _Entry(heap[0][0], is_urgent):
            heapq.heappop(heap)
