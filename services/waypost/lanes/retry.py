"""The rule by which failed events are tried again. Drains and hosts share it."""

from collections.abc import Sequence
from typing import Final

from waypost.store.claims import WaitingEvent

ATTEMPTS: Final = 3
"""Attempts after which an event is given up."""

DELAYS_S: Final = (1.0, 5.0)
"""Seconds from the first failed attempt to the second one, and from the second to the third."""


def delay_s(event: WaitingEvent, failures: int, delays_s: Sequence[float] = DELAYS_S) -> float:
    """Returns the seconds until the next attempt of an event that has failed `failures` times.

    Events that failed together get different delays.
    """
    return delays_s[min(failures, len(delays_s)) - 1] * (1 + event.id % 64 / 128)
