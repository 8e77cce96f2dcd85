"""A circuit breaker: blocks calls for a while after failures in a row, then allows one try, and closes on success."""

from collections.abc import Callable


class Circuit:
    """Opens after `threshold` failures in a row, for `first_s`, doubled with each failed try up to `cap_s`.

    The time that it stays open is drawn from the upper half of that bound, so that the tries of many pods spread out.
    Times are seconds of one monotonic clock. Not thread-safe.
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
        """True after too many failures in a row, until a success."""
        return self._failures >= self._threshold

    def room(self, now: float, in_flight: int) -> int | None:
        """Returns how many calls may start now: None for any number, else 0, or 1 for a try while none is in flight."""
        if not self.is_open:
            return None
        return 1 if now >= self._open_until and in_flight == 0 else 0

    def wait_s(self, now: float) -> float:
        """Returns the seconds until the next try; 0 when the circuit is closed or the try may start."""
        return max(0.0, self._open_until - now) if self.is_open else 0.0

    def succeeded(self) -> None:
        """Notes that the other side answered."""
        self._failures = 0

    def failed(self, now: float) -> None:
        """Notes that the other side did not answer, or not usefully."""
        if self.is_open and now < self._open_until:
            return  # the call began before the circuit opened, so its failure is no news
        self._failures += 1
        if self.is_open:
            longest = min(self._cap_s, self._first_s * 2.0 ** min(self._failures - self._threshold, 30))
            self._open_until = now + longest * (0.5 + 0.5 * self._draw())
