"""Computes when a recipient may get a message outside of quiet hours. The code has no side effects.

All time zones in which the recipient may be are considered.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LONGEST = timedelta(hours=48)
"""Span of time that is searched. If any moment suits all time zones, there is one within this span."""


@dataclass(frozen=True)
class QuietHours:
    """The time from `begin` until just before `end` on the recipient's clock.

    If `begin` is later than `end`, the quiet hours span midnight.
    """

    begin: time
    end: time

    def cover(self, wall_clock: time) -> bool:
        """Returns whether the time of day `wall_clock` is in the quiet hours."""
        if self.begin <= self.end:
            return self.begin <= wall_clock < self.end
        return wall_clock >= self.begin or wall_clock < self.end


@lru_cache(maxsize=1024)
def send_at(now: datetime, quiet: QuietHours, zones: tuple[str, ...], fallback: str) -> datetime:
    """Returns the first moment from `now` on that is outside of the quiet hours in all of `zones`.

    If no zones are known, only the zone `fallback` counts. The same is true if the zones are so far apart that
    there is no such moment. When clocks skip an hour in spring, the result may be up to an hour later than
    necessary, but never too early.
    """
    existing = tuple(_existing(zones))
    if existing and (moment := _first_allowed(now, quiet, existing)) is not None:
        return moment
    moment = _first_allowed(now, quiet, tuple(_existing([fallback])))
    return moment or now


def _first_allowed(now: datetime, quiet: QuietHours, zones: tuple[ZoneInfo, ...]) -> datetime | None:
    moment = now
    while moment - now <= LONGEST:
        later = max((_end_of_quiet(moment, quiet, zone) for zone in zones), default=moment)
        if later == moment:
            return moment
        moment = later
    return None


def _end_of_quiet(moment: datetime, quiet: QuietHours, zone: ZoneInfo) -> datetime:
    """Returns the end of the quiet hours that contain `moment`. Outside of quiet hours, returns `moment` itself."""
    local = moment.astimezone(zone)
    if not quiet.cover(local.time()):
        return moment
    ends = (
        datetime.combine(local.date() + timedelta(days=day), quiet.end, zone).replace(fold=fold).astimezone(UTC)
        for day in (0, 1, 2)
        for fold in (0, 1)  # the end occurs twice if clocks are set back over it
    )
    return min(end for end in ends if end > moment and not quiet.cover(end.astimezone(zone).time()))


def _existing(zones: Iterable[str]) -> Iterable[ZoneInfo]:
    for zone in zones:
        try:
            yield ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            continue  # not in this release of the IANA database
