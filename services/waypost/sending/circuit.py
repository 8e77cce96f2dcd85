"""A circuit: after failures in a row it lets nothing through for a while, then one try, and closes on success."""

from collections.abc import Callable


class Circuit:
    """Opens after `threshold` failures in a row, for `first_s`, doubled with each failed try up to `cap_s`.

    The open time is drawn from its upper half, so that the tries of many pods spread out. Times are seconds of any one
    clock that never goes back; not thread-safe.
    """

    def __init__(self, *, threshold: int, first_s: float, cap_s: float, draw: Callable[[], float]) -> None:
        self._threshold = threshold
        self._first_s = first_s
        self._cap_s = cap_s
        self._draw = draw
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there were too many failures in a row, and no success since."""
        return self._failures >= self._threshold

    def room(self, now: float, in_flight: int) -> int | None:
        """How many more may go now: None for as many as there are, else 0 or 1 (a try, when none is under way)."""
        if not self.is_open:
            return None
        return 1 if now >= self._open_until and in_flight == 0 else 0

    def wait_s(self, now: float) -> float:
        """Seconds until the next try; 0 when the circuit is closed or the try may go."""
        return max(0.0, self._open_until - now) if self.is_open else 0.0

    def succeeded(self) -> None:
        """The other side answered."""
        self._failures = 0

    def failed(self, now: float) -> None:
        """The other side did not answer, or not usefully."""
        if self.is_open and now < self._open_until:
            return  # a call from before it opened; it says nothing new
        self._failures += 1
        if self.is_open:
            longest = min(self._cap_s, self._first_s * 2.0 ** min(self._failures - self._threshold, 30))
            self._open_until = now + longest * (0.5 + 0.5 * self._draw())
