"""Keeps the calls of this process apart in time, even if they are overdue.

The limits give each call a start time. But a process that was suspended for a moment would make all overdue
calls at once. Meta would then see more calls in a second than the limits allowed.
"""

import asyncio

UTILISATION = 0.99
"""Rate as a share of the limit: a little above the limits' own long-run rate, to make up for a delay."""

BURST_SHARE = 0.01
"""Size of a burst as a share of the limit per second. The sum with UTILISATION is at most 1."""


class Pace:
    """Paces the calls of one number in this process.

    The calls start one by one. If the limit is high, a few calls may start at once.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._arrival = 0.0

    def reserve(self, now: float, per_second: float) -> float:
        """Reserves the next start of a call. Returns the seconds until that start."""
        interval = 1 / (per_second * UTILISATION)
        tolerance = interval * max(1.0, per_second * BURST_SHARE)
        start = max(now, self._arrival + interval - tolerance)
        self._arrival = max(self._arrival, start) + interval
        return start - now

    async def turn(self, per_second: float, latest: float) -> bool:
        """Waits until a call may start. Calls start in the order in which they began to wait.

        If the call could only start after `latest`, by the clock of the event loop, returns False at once and reserves
        nothing, so that the calls behind this one are not late because of it.
        """
        async with self._turn:
            now = asyncio.get_running_loop().time()
            before = self._arrival
            wait_s = self.reserve(now, per_second)
            if now + wait_s > latest:
                self._arrival = before
                return False
            await asyncio.sleep(wait_s)
        return asyncio.get_running_loop().time() <= latest
