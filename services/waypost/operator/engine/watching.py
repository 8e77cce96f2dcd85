"""Turns what the watch streams tell into wake-ups of the objects concerned."""

import random
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine import gauges, wakes
from waypost.operator.engine.object_cache import Key, Known, key_of
from waypost.operator.engine.wakes import CLAIM, Dependents

Change = Literal["ADDED", "MODIFIED", "DELETED"] | None
"""What happened; None: it was there when the watch began, or began again after a gap."""


class Wakeable(Protocol):
    """Where wake-ups go."""

    def wake(self, key: Key, *, after_s: float = 0.0, urgent: bool = True) -> None:
        """Reconcile this object."""

    def forget(self, key: Key) -> None:
        """It is gone."""


class Watching:
    """Fed with every event, in order per object; an event that is told twice, or late, wakes nobody a second time."""

    def __init__(
        self,
        known: Known,
        workers: Wakeable,
        *,
        resync_s: float,
        namespaces: frozenset[str] | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._known = known
        self._workers = workers
        self._resync_s = resync_s
        self._namespaces = namespaces
        self._clock = clock
        self._draw = draw
        self._dependents = Dependents()
        self._seen: dict[tuple[str, str, str], object] = {}

    def ours(self, change: Change, manifest: Manifest) -> None:
        """An event of a number or a schedule."""
        key = key_of(manifest)
        if self._namespaces is not None and key[1] not in self._namespaces:
            return
        before = self._known.get(key)
        if change == "DELETED":
            self._gone(key, manifest)
            return
        self._known.put(manifest)
        self._dependents.put(key, wakes.references(manifest))
        gauges.moved(key, before, manifest, now=self._clock())
        if before is None:
            after_s = 0.0
            if change is None:
                after_s = wakes.first_delay_s(manifest, now=self._clock(), resync_s=self._resync_s, draw=self._draw)
            self._workers.wake(key, after_s=after_s, urgent=after_s == 0.0)
            if change is not None:
                self._wake_dependents(key)
            return
        if wakes.wish(before) != wakes.wish(manifest):
            self._workers.wake(key)
        if wakes.offer(before) != wakes.offer(manifest):
            self._wake_dependents(key)

    def referenced(self, change: Change, manifest: Manifest) -> None:
        """An event of a Secret or ConfigMap that numbers or schedules may refer to."""
        key = key_of(manifest)
        version = None if change == "DELETED" else manifest["metadata"].get("resourceVersion")
        if self._is_news(key, version, known_from_list=change is None):
            self._wake_dependents(key)

    def child(self, change: Change, manifest: Manifest) -> None:
        """An event of a CronJob."""
        schedule = wakes.owner(manifest)
        if schedule is None:
            return
        state = None if change == "DELETED" else wakes.run_state(manifest)
        # One that is new was made by the schedule's own reconcile.
        if self._is_news(key_of(manifest), state, known_from_list=change in {None, "ADDED"}) and (
            self._known.get(schedule) is not None
        ):
            self._workers.wake(schedule)

    def _gone(self, key: Key, manifest: Manifest) -> None:
        self._workers.forget(key)
        gauges.moved(key, self._known.get(key), None, now=self._clock())
        self._known.drop(key)
        self._dependents.put(key, ())
        self._wake_dependents(key)
        for kind, _, name in wakes.references(manifest):
            if kind == CLAIM:
                for heir in self._dependents.of((CLAIM, "", name)):
                    self._workers.wake(heir)

    def _wake_dependents(self, key: Key) -> None:
        for dependent in self._dependents.of(key):
            self._workers.wake(dependent)

    def _is_news(self, key: tuple[str, str, str], state: object, *, known_from_list: bool) -> bool:
        unseen = object()
        before = self._seen.get(key, unseen)
        if state is None:
            self._seen.pop(key, None)
            return True
        self._seen[key] = state
        return not known_from_list if before is unseen else before != state


def manifest_of(event: Any, kind: str, api_version: str) -> Manifest:
    """An event's object, with the kind that lists leave out."""
    return {"apiVersion": api_version, "kind": kind, **event["object"]}
