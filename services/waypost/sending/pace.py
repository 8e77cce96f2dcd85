"""Keeps calls of this process apart, however late they come.

A grant of the limits names a start, but a process that stood still for a moment would make up for it with a bunch of
calls, and Meta would see more in a second than anybody granted.
"""

import asyncio

UTILISATION = 0.99
BURST_SHARE = 0.01
"""A little above the long-run rate of the limits, so that a delay can be made up for; together still within them."""


class Pace:
    """The calls of one number from this process: one after the other, or a few at once where the limit is high."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._arrival = 0.0

    def reserve(self, now: float, per_second: float) -> float:
        """Use the next start up; returns in how many seconds it is."""
        interval = 1 / (per_second * UTILISATION)
        tolerance = interval * max(1.0, per_second * BURST_SHARE)
        start = max(now, self._arrival + interval - tolerance)
        self._arrival = max(self._arrival, start) + interval
        return start - now

    async def turn(self, per_second: float) -> None:
        """Wait until a call may start; who comes first goes first, and none starts before the one ahead has."""
        async with self._turn:
            await asyncio.sleep(self.reserve(asyncio.get_running_loop().time(), per_second))
