"""Works the agenda off: a bounded number of reconciles at a time, each object's one after the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from waypost.operator.engine.agenda import Agenda
from waypost.operator.engine.object_cache import Key
from waypost.telemetry import metrics

CONCURRENCY = 48
"""Reconciles at a time. They wait for Meta and the API server most of the time; each holds some 100 kB meanwhile."""


class Workers:
    """`reconcile` does one and says in how many seconds to come again, None: not before something changes.

    It must not raise; what goes wrong in it is its own to count.
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
        """Reconcile this object soon, or in `after_s` seconds."""
        self._agenda.add(key, self._clock() + after_s, urgent=urgent)
        self._changed.set()

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._agenda.forget(key)

    async def run(self) -> None:
        """Work until `stop`; reconciles under way then are finished."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._concurrency):
                group.create_task(self._work(), name=f"reconcile {number}")

    def stop(self) -> None:
        """Begin no more."""
        self._stopping = True
        self._changed.set()

    async def _work(self) -> None:
        while not self._stopping:
            self._changed.clear()
            now = self._clock()
            taken = self._agenda.take(now)
            if taken is None:
                await self._wait(self._agenda.next_at(), now)
                continue
            metrics.resync_lag_seconds.observe(max(0.0, now - taken.due_at))
            again_s = None
            try:
                with metrics.reconcile_running.track_inprogress():
                    again_s = await self._reconcile(taken.key)
            finally:
                now = self._clock()
                self._agenda.done(taken.key, now, again_at=None if again_s is None else now + again_s)

    async def _wait(self, until: float | None, now: float) -> None:
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - now)):
                await self._changed.wait()
        except TimeoutError:
            return
