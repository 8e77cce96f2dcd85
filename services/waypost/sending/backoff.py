"""Computes delays before a message is tried again."""

from collections.abc import Callable

MAX_ATTEMPTS = 15
"""Number of refusals after which a message fails: about half an hour on average, with the delays of this module."""

BASE_S = 1.0
CAP_S = 300.0

MOST_OUTAGE_ATTEMPTS = 5
"""Number of attempts that an outage can use up.

It never makes a message fail, and it leaves most of the attempts for refusals. The delay grows to 32 s, so that a
message is sent soon after the outage.
"""
OUTAGE_WAIT_CAP_S = 60.0
"""Most seconds to wait because an answer says so that is not the Graph API's."""

PAIR_FIRST_S = 6.0
"""First delay in seconds for one contact. Meta allows it one message per 6 s (About the platform, 2025-12-05)."""
PAIR_CAP_S = 3600.0


def delay_s(attempts: int, *, retry_after_s: float | None, draw: Callable[[], float]) -> float:
    """Returns the seconds until the next try after `attempts` refusals (1 for the first), with full jitter.

    `draw` returns a number in [0, 1). `retry_after_s` is the time that Meta asks for. The result is never
    shorter, because the jitter is added to this time. Pods that got the same answer therefore do not try again at
    the same time.
    """
    spread = draw() * min(CAP_S, BASE_S * 2.0 ** min(max(attempts - 1, 0), 30))
    return spread + max(retry_after_s or 0.0, 0.0)


def pair_delay_s(attempts: int) -> float:
    """Returns the seconds for which one contact gets no message after `attempts` refusals with error 131056.

    Meta suggests 4^attempts seconds. This function also applies a lower and an upper bound.
    """
    return float(min(PAIR_CAP_S, max(PAIR_FIRST_S, 4.0 ** min(max(attempts, 0), 10))))
