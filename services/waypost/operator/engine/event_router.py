"""Turns watch events into wake-ups of the objects that they concern."""

import random
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine import gauges, wakes
from waypost.operator.engine.object_cache import Key, ObjectCache, key_of
from waypost.operator.engine.wakes import CLAIM, Dependents


class Change(StrEnum):
    """Types of watch events, as the API server names them.

    kopf gives None instead of a type for an object that already existed when the watch began, or when the watch
    began again after a gap.
    """

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Wakeable(Protocol):
    """Something that can be asked to reconcile an object."""

    def wake(self, key: Key, *, after_s: float = 0.0, urgent: bool = True) -> None:
        """Plans a reconcile of this object in `after_s` seconds."""

    def forget(self, key: Key) -> None:
        """Drops an object that is gone."""


class EventRouter:
    """Receives every watch event and wakes the objects that the event concerns. Events of one object come in order.

    An event that arrives twice or late does not wake an object again.
    """

    def __init__(
        self,
        cache: ObjectCache,
        workers: Wakeable,
        *,
        resync_s: float,
        namespaces: frozenset[str] | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._cache = cache
        self._workers = workers
        self._resync_s = resync_s
        self._namespaces = namespaces
        self._clock = clock
        self._draw = draw
        self._dependents = Dependents()
        self._seen: dict[tuple[str, str, str], object] = {}

    def on_own(self, change: Change | None, manifest: Manifest) -> None:
        """Handles an event of a number or a schedule."""
        key = key_of(manifest)
        # The release namespace is always watched, for Secrets and CronJobs; its numbers are ours only if it is listed.
        if self._namespaces is not None and key[1] not in self._namespaces:
            return
        before = self._cache.get(key)
        if change == Change.DELETED:
            self._gone(key, manifest)
            return
        self._cache.put(manifest)
        self._dependents.put(key, wakes.references(manifest))
        gauges.update(key, before, manifest, now=self._clock())
        if before is None:
            after_s = 0.0
            if change is None:
                after_s = wakes.first_delay_s(manifest, now=self._clock(), resync_s=self._resync_s, draw=self._draw)
            self._workers.wake(key, after_s=after_s, urgent=after_s == 0.0)
            if change is not None:
                self._wake_dependents(key)
            return
        if wakes.user_request(before) != wakes.user_request(manifest):
            self._workers.wake(key)
        if wakes.availability(before) != wakes.availability(manifest):
            self._wake_dependents(key)
        if wakes.claim_state(before) != wakes.claim_state(manifest):
            self._wake_claimants(key, manifest)

    def on_referenced(self, change: Change | None, manifest: Manifest) -> None:
        """Handles an event of a Secret or ConfigMap that numbers or schedules may refer to."""
        key = key_of(manifest)
        version = None if change == Change.DELETED else manifest["metadata"].get("resourceVersion")
        if self._is_news(key, version, is_expected=change is None):
            self._wake_dependents(key)

    def on_cron_job(self, change: Change | None, manifest: Manifest) -> None:
        """Handles an event of a schedule's CronJob."""
        schedule = wakes.schedule_of(manifest)
        if schedule is None:
            return
        state = None if change == Change.DELETED else wakes.run_state(manifest)
        # A CronJob that was added was made by the schedule's own reconcile.
        if self._is_news(key_of(manifest), state, is_expected=change in {None, Change.ADDED}) and (
            self._cache.get(schedule) is not None
        ):
            self._workers.wake(schedule)

    def _gone(self, key: Key, manifest: Manifest) -> None:
        self._workers.forget(key)
        gauges.update(key, self._cache.get(key), None, now=self._clock())
        self._cache.drop(key)
        self._dependents.put(key, ())
        self._wake_dependents(key)
        self._wake_claimants(key, manifest)

    def _wake_claimants(self, key: Key, manifest: Manifest) -> None:
        """Wakes the other objects that claim the same phone number."""
        for reference in wakes.references(manifest):
            if reference[0] == CLAIM:
                for claimant in self._dependents.of(reference) - {key}:
                    self._workers.wake(claimant)

    def _wake_dependents(self, key: Key) -> None:
        for dependent in self._dependents.of(key):
            self._workers.wake(dependent)

    def _is_news(self, key: tuple[str, str, str], state: object, *, is_expected: bool) -> bool:
        """Returns whether `state` differs from the last state of this key. None means that the object is gone.

        If `is_expected` is set, the first state of a key is no news.
        """
        unseen = object()
        before = self._seen.get(key, unseen)
        if state is None:
            self._seen.pop(key, None)
            return True
        self._seen[key] = state
        return not is_expected if before is unseen else before != state


def manifest_of(event: Any, kind: str, api_version: str) -> Manifest:
    """Returns the object of an event with its `kind` and `apiVersion`. Objects in a list lack these two fields."""
    return {"apiVersion": api_version, "kind": kind, **event["object"]}
