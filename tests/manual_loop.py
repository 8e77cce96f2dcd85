"""An event loop with a clock that only the test moves, so that timers do not depend on how busy the machine is."""

import asyncio


class ManualLoop(asyncio.SelectorEventLoop):
    """A loop that runs I/O and callbacks as usual, but runs a timer only after `advance` has made it due."""

    _now_s = 0.0

    def time(self) -> float:
        """Returns the time of this loop, in seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Moves the clock forward. Timers that are then due run in the next iteration."""
        self._now_s += seconds
