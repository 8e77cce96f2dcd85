"""Configures the simulated Meta: limits, delays, retries. `PUT /_sim/behaviour` changes them while it runs."""

from typing import Literal

import msgspec

DAY_S = 86_400.0


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults are the numbers that Meta publishes, except that delays are short, so that developers do not wait."""

    versions: tuple[str, ...] = ("v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
    """Graph versions that are answered; a path without a version means the last one."""

    sent_after_s: float | None = 0.05
    delivered_after_s: float | None = 0.2
    read_after_s: float | None = 0.8
    """Seconds from acceptance to each status; None omits that status."""
    status_tick_s: float = 0.02
    """Statuses that fall due within this time are delivered together."""
    reply_after_s: float = 0.0
    """Latency added to each accepted call of `/messages`; Meta answers in 0.1 to 0.3 s."""

    window_s: float = DAY_S
    """Customer service window, counted from the user's last message to that number."""
    window_refusal: Literal["reply", "status"] = "reply"
    """Whether a message outside the window is refused (131047) in the reply or by a `failed` status; Meta does both."""
    pair_interval_s: float = 6.0
    pair_burst: int = 45
    """One message per interval to each user of a number, and a burst of so many at once; a burst of 0 disables it."""
    management_calls_per_hour: int | None = None
    """Limit per app and account, above which calls get 80007. Meta has 200, or 5,000 for an active account."""
    template_review_s: float | None = 1.0
    """Seconds from a template's creation to its approval; None leaves it PENDING."""
    registrations_per_72_h: int = 10

    verification_timeout_s: float = 6.0
    require_https: bool = False
    """Whether callbacks must be https, as at Meta; a laptop has no certificate."""
    ca_file: str | None = None
    """File of certificates that callbacks are checked against, instead of the public ones."""

    delivery_timeout_s: float = 10.0
    delivery_concurrency: int = 4
    """Deliveries in flight per callback; updates that arrive in the meantime are collected into the next one."""
    batch_max: int = 1000
    body_max_bytes: int = 3_000_000
    retry_delays_s: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
    """Seconds before the 1st, 2nd, … retry; the last value repeats. Meta does not publish its own."""
    give_up_after_s: float = 7 * DAY_S
    retries_reach_all_apps: bool = True
    """Whether a retry goes to every app that is subscribed to the account, also to those that answered, as at Meta."""
    duplicates: int = 0
    """Additional copies of every delivery."""
    shuffle: bool = False
    """Whether updates that wait for the same callback are sent in random order."""

    kept_sends: int = 10_000
    kept_deliveries: int = 2_000
    kept_media_bytes: int = 200_000_000
