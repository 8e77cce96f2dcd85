"""A circuit breaker. After several failures in a row it blocks calls for a while, then allows one trial call."""

from collections.abc import Callable


class Circuit:
    """A circuit breaker that opens for `first_s` after `threshold` failures in a row.

    Each failed trial call doubles the time for which the circuit is open, up to `cap_s`. The actual time is drawn
    from the upper half of the resulting range, so that the trial calls of many pods spread out. Times are in
    seconds of one monotonic clock. The class is not thread-safe.
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
        """Whether there were at least `threshold` failures in a row and no success since then."""
        return self._failures >= self._threshold

    def room(self, now: float, in_flight: int) -> int | None:
        """Returns how many calls may start now. None means any number.

        If the circuit is open, the result is 1 or 0. It is 1 for a trial call, and only if no call is in flight.
        """
        if not self.is_open:
            return None
        return 1 if now >= self._open_until and in_flight == 0 else 0

    def wait_s(self, now: float) -> float:
        """Returns the seconds until the next trial call. 0 means that a call may start now."""
        return max(0.0, self._open_until - now) if self.is_open else 0.0

    def succeeded(self) -> None:
        """Records that a call succeeded, which closes the circuit."""
        self._failures = 0

    def failed(self, now: float) -> None:
        """Records that a call got no answer or no useful answer."""
        if self.is_open and now < self._open_until:
            return  # the call began before the circuit opened, so its failure is no news
        self._failures += 1
        if self.is_open:
            longest = min(self._cap_s, self._first_s * 2.0 ** min(self._failures - self._threshold, 30))
            self._open_until = now + longest * (0.5 + 0.5 * self._draw())
