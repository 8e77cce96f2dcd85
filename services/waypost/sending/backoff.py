"""Delays before a message is tried again."""

from collections.abc import Callable

MAX_ATTEMPTS = 15
"""Refusals after which a message fails: with the delays below, after about half an hour on average."""

BASE_S = 1.0
CAP_S = 300.0

PAIR_FIRST_S = 6.0
"""One message to one contact per 6 s is what Meta allows in the long run (About the platform, 2025-12-05)."""
PAIR_CAP_S = 3600.0


def delay_s(attempts: int, *, retry_after_s: float | None, draw: Callable[[], float]) -> float:
    """Returns the seconds until the next try after `attempts` refusals (1 for the first), with full jitter.

    `draw` returns a number in [0, 1). `retry_after_s`, which Meta asks for, is a floor. The jitter is added to it, so
    that pods that got the same answer do not try again together.
    """
    spread = draw() * min(CAP_S, BASE_S * 2.0 ** min(max(attempts - 1, 0), 30))
    return spread + max(retry_after_s or 0.0, 0.0)


def pair_delay_s(attempts: int) -> float:
    """Returns the seconds that one contact gets no message after `attempts` refusals with 131056.

    Meta suggests 4^attempts; both ends are bounded.
    """
    return float(min(PAIR_CAP_S, max(PAIR_FIRST_S, 4.0 ** min(max(attempts, 0), 10))))
