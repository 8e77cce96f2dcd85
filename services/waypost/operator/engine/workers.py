"""Runs the reconciles that the agenda plans: a limited number at a time, and only one at a time per object."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from waypost.operator.engine.agenda import Agenda
from waypost.operator.engine.object_cache import Key
from waypost.telemetry import metrics

CONCURRENCY = 48
"""Most reconciles at a time. Most of the time they wait for Meta and the API server; each takes about 100 kB."""


class Workers:
    """Calls `reconcile` for each object that is due.

    `reconcile` returns in how many seconds the object is due again. None means that it is due only when something
    changes. `reconcile` must not raise, and it counts its own failures.
    """

    def __init__(
        self,
        reconcile: Callable[[Key], Awaitable[float | None]],
        *,
        concurrency: int = CONCURRENCY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agenda = Agenda()
        self._reconcile = reconcile
        self._concurrency = concurrency
        self._clock = clock
        self._changed = asyncio.Event()
        self._stopping = False
        metrics.reconcile_waiting.set_function(lambda: self._agenda.overdue(self._clock()))

    def wake(self, key: Key, *, after_s: float = 0.0, urgent: bool = True) -> None:
        """Plans a reconcile of this object, now or in `after_s` seconds."""
        self._agenda.add(key, self._clock() + after_s, urgent=urgent)
        self._changed.set()

    def forget(self, key: Key) -> None:
        """Drops an object that is gone."""
        self._agenda.forget(key)

    async def run(self) -> None:
        """Runs due reconciles until `stop` is called. Reconciles that are still running then are finished."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._concurrency):
                group.create_task(self._work(), name=f"reconcile {number}")

    def stop(self) -> None:
        """Makes `run` start no further reconcile."""
        self._stopping = True
        self._changed.set()

    async def _work(self) -> None:
        while not self._stopping:
            self._changed.clear()
            now = self._clock()
            due = self._agenda.take(now)
            if due is None:
                await self._wait(self._agenda.next_at(), now)
                continue
            metrics.resync_lag_seconds.observe(max(0.0, now - due.due_at))
            again_s = None
            try:
                with metrics.reconcile_running.track_inprogress():
                    again_s = await self._reconcile(due.key)
            finally:
                now = self._clock()
                self._agenda.done(due.key, now, again_at=None if again_s is None else now + again_s)

    async def _wait(self, until: float | None, now: float) -> None:
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - now)):
                await self._changed.wait()
        except TimeoutError:
            return
