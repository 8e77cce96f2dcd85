"""The starts of one sender's calls: it asks the limits for them, and waits for them.

A call that has missed its start is not made late, because others may have been granted the later time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import SQLAlchemyError

from waypost.contracts.states import Priority
from waypost.sending.gcra import MISSED, SECOND
from waypost.sending.limits import RateDecision, RateLimits, RateRequest
from waypost.sending.pace import Pace
from waypost.store.connection.outage import DatabaseOutage
from waypost.store.outbox import OutboxRow
from waypost.telemetry import metrics

FLUSH_S = 0.1
"""Most seconds before incoming messages are counted. A sender that asks for starts earlier counts them, too."""


class Starts:
    """Asks the limits in a thread of its own, so that neither the event loop nor a claim waits for a grant.

    Use it in one event loop. Only `charge` may be called from other threads.
    """

    def __init__(self, limits: RateLimits, per_second: Callable[[str], float], outage: DatabaseOutage) -> None:
        self._limits = limits
        self._per_second = per_second
        self._outage = outage
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._charged = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "sender-limits")

    async def ask(self, rows: Sequence[OutboxRow]) -> list[RateDecision]:
        """Returns the limits' decision about each row. Raises `SQLAlchemyError` while the database is away."""
        requests = [
            RateRequest(
                row.number_id,
                self._per_second(row.number_id),
                row.conversation_id,
                row.outbox_id,
                row.priority >= Priority.BULK,
            )
            for row in rows
        ]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._limits.take, requests)

    async def turn(self, row: OutboxRow, start: float) -> bool:
        """Waits until the call of a row may be made. `start` is the granted time by the clock of the event loop.

        If the start is missed, because the process was suspended or the machine stalled, asks for another one. Returns
        False if there is none now; the call must not be made then. Raises `SQLAlchemyError`, as `ask`.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, start - loop.time()))
            per_second = self._per_second(row.number_id)
            if await self._paces[row.number_id].turn(per_second, start + max(MISSED / SECOND, 1 / per_second)):
                return True
            metrics.starts_missed_total.inc()
            decision = (await self.ask([row]))[0]
            if decision.busy is not None:
                return False
            start = loop.time() + decision.wait_s

    def charge(self, incoming: Mapping[str, int], loop: asyncio.AbstractEventLoop) -> None:
        """Notes incoming messages of these numbers, because they use the same limits. Never blocks."""
        for number_id, count in incoming.items():
            self._limits.charge(number_id, self._per_second(number_id), count)
        if not self._charged.is_set():
            loop.call_soon_threadsafe(self._charged.set)

    async def count_incoming(self) -> None:
        """Counts incoming messages that no question has counted, until the task is cancelled."""
        while True:
            await self._charged.wait()
            await asyncio.sleep(FLUSH_S)
            self._charged.clear()
            await self._run(self._limits.flush)

    async def slow_down(self, number_ids: Iterable[str]) -> None:
        """Halves the rates of numbers for which Meta said "too fast"."""
        for number_id in number_ids:
            await self._run(self._limits.slow_down, number_id, self._per_second(number_id))

    def close(self) -> None:
        """Ends the thread after its running question."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except SQLAlchemyError as error:
            # What is lost slows the number down for a moment only, and nothing is sent while the database is away.
            self._outage.failed(error)
