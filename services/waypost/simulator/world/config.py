"""How the simulated Meta behaves: limits, delays, retry schedule. `PUT /_sim/behaviour` changes it while it runs."""

from typing import Literal

import msgspec

DAY_S = 86_400.0


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults are Meta's published numbers, except delays, which are short so that a developer need not wait."""

    versions: tuple[str, ...] = ("v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
    """Graph versions that answer; the last is what an unversioned path means."""

    sent_after_s: float | None = 0.05
    delivered_after_s: float | None = 0.2
    read_after_s: float | None = 0.8
    """Seconds from acceptance to each status; None leaves that status out."""
    status_tick_s: float = 0.02
    """Statuses that fall due within one tick travel together."""
    reply_after_s: float = 0.0
    """Latency added to each accepted call of `/messages`; Meta answers in 0.1 to 0.3 s."""

    window_s: float = DAY_S
    """Customer service window, counted from the user's last message to that number."""
    window_refusal: Literal["reply", "status"] = "reply"
    """Meta refuses outside the window (131047) in its reply, or accepts and sends a `failed` status; both occur."""
    pair_interval_s: float = 6.0
    pair_burst: int = 45
    """One message per interval and (number, user), with a burst borrowed from the future; 0 switches it off."""
    management_calls_per_hour: int | None = None
    """Per app and account; over it is 80007. Meta: 200, or 5,000 for an active account."""
    template_review_s: float | None = 1.0
    """Time from a template's creation to its approval; None: it stays PENDING."""
    registrations_per_72_h: int = 10

    verification_timeout_s: float = 6.0
    require_https: bool = False
    """Meta takes https callbacks only; a laptop has none."""
    ca_file: str | None = None
    """Certificates that callbacks are checked against, instead of the public ones."""

    delivery_timeout_s: float = 10.0
    delivery_concurrency: int = 4
    """Deliveries in flight per callback; what arrives meanwhile is collected into the next one."""
    batch_max: int = 1000
    body_max_bytes: int = 3_000_000
    retry_delays_s: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
    """Waits before the 1st, 2nd, … retry; the last one repeats. Meta's own spacing is unpublished."""
    give_up_after_s: float = 7 * DAY_S
    retries_reach_all_apps: bool = True
    """Meta sends retries to every app that is subscribed to the account, also to those that had answered."""
    duplicates: int = 0
    """Every delivery is repeated so many times more."""
    shuffle: bool = False
    """Updates that wait for the same callback leave in random order."""

    kept_sends: int = 10_000
    kept_deliveries: int = 2_000
    kept_media_bytes: int = 200_000_000
