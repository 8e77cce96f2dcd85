"""One timer for the deadlines of all bodies: nearly every body is there at once, and a timer each would cost more."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


class Deadline:
    """Ends what takes longer than `seconds`, a quarter of that late at most. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[asyncio.Task[object], float] = {}
        self._over: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def hold(self, work: Awaitable[Result]) -> Result:
        """The result of `work`, which runs in the task that asks. Raises TimeoutError when it is not done in time."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self._running[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds / 4, self._look)
        try:
            return await work
        except asyncio.CancelledError:
            # As in asyncio.timeout: ours to end here only if nobody else cancelled the task as well.
            if task in self._over and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            del self._running[task]
            self._over.discard(task)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for task, until in self._running.items():
            if until <= now and task not in self._over:
                self._over.add(task)
                task.cancel()
        self._timer = loop.call_later(self._seconds / 4, self._look) if self._running else None
