"""An event loop whose clock only the test moves, for timers that must not depend on how busy the machine is."""

import asyncio


class ManualLoop(asyncio.SelectorEventLoop):
    """Runs I/O and callbacks as usual, and timers once `advance` has made them due."""

    _now_s = 0.0

    def time(self) -> float:
        """Return the time of this loop, in seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward; timers that are due run in the next iteration."""
        self._now_s += seconds
