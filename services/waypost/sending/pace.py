"""Keeps the calls of this process apart, however late they are.

The limits name a start for each call. But a process that was suspended for a moment would make all overdue calls at
once, and Meta would see more in a second than the limits allowed.
"""

import asyncio

UTILISATION = 0.99
BURST_SHARE = 0.01
"""Rate and burst: a little above the long-run rate of the limits, to make up for a delay; their sum is at most 1."""


class Pace:
    """The pace of one number's calls in this process: one after the other, or a few at once if the limit is high."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._arrival = 0.0

    def reserve(self, now: float, per_second: float) -> float:
        """Takes the next start; returns the seconds until it."""
        interval = 1 / (per_second * UTILISATION)
        tolerance = interval * max(1.0, per_second * BURST_SHARE)
        start = max(now, self._arrival + interval - tolerance)
        self._arrival = max(self._arrival, start) + interval
        return start - now

    async def turn(self, per_second: float) -> None:
        """Waits until a call may start. Calls start in the order in which they asked."""
        async with self._turn:
            await asyncio.sleep(self.reserve(asyncio.get_running_loop().time(), per_second))
