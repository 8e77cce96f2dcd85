"""Configures the simulated Meta: limits, delays, retries.

`PUT /_sim/behaviour` changes these settings while the simulator runs.
"""

from typing import Literal

import msgspec

DAY_S = 86_400.0


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the simulator.

    The defaults are the numbers that Meta publishes. Only the delays are shorter, so that developers do not wait.
    """

    versions: tuple[str, ...] = ("v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
    """Graph versions that the simulator answers. A path without a version means the last of them."""

    sent_after_s: float | None = 0.05
    delivered_after_s: float | None = 0.2
    read_after_s: float | None = 0.8
    """Seconds from a message's acceptance to each of its statuses. None omits that status."""
    status_tick_s: float = 0.02
    """Length of a batch of statuses in seconds: statuses that fall due within this time are delivered together."""
    reply_after_s: float = 0.0
    """Seconds that each accepted call of `/messages` takes in addition. Meta answers in 0.1 to 0.3 s."""

    window_s: float = DAY_S
    """Seconds that the customer service window stays open after the user's last message to that number."""
    window_refusal: Literal["reply", "status"] = "reply"
    """Whether a message outside the window is refused (131047) in the reply or by a `failed` status; Meta does both."""
    pair_interval_s: float = 6.0
    pair_burst: int = 45
    """To each user, a number may send one message per interval, or this many in a burst.

    A burst of 0 removes the limit.
    """
    management_calls_per_hour: int | None = None
    """The most calls per app and account in an hour; further calls get error 80007.

    Meta allows 200, or 5,000 for an active account.
    """
    template_review_s: float | None = 1.0
    """Seconds from a template's creation to its approval. None leaves the template PENDING."""
    registrations_per_72_h: int = 10

    verification_timeout_s: float = 6.0
    require_https: bool = False
    """Whether callbacks must be https, as Meta requires. The default is False, because a laptop has no certificate."""
    ca_file: str | None = None
    """The file of certificates that callbacks are checked against, instead of the public certificates."""

    delivery_timeout_s: float = 10.0
    delivery_concurrency: int = 4
    """The number of deliveries in flight per callback.

    Updates that arrive while all are in use are collected into the next delivery.
    """
    batch_max: int = 1000
    body_max_bytes: int = 3_000_000
    retry_delays_s: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
    """Seconds before the 1st, 2nd, … retry of a delivery; the last value repeats. Meta does not publish its own delays.
    """
    give_up_after_s: float = 7 * DAY_S
    retries_reach_all_apps: bool = True
    """Whether a retry goes to every app that is subscribed to the account, even to apps that have answered 200.

    Meta does this.
    """
    duplicates: int = 0
    """The number of additional copies of every delivery."""
    shuffle: bool = False
    """Whether updates that wait for the same callback are sent in random order."""

    kept_sends: int = 10_000
    kept_deliveries: int = 2_000
    kept_media_bytes: int = 200_000_000
