"""Quiet hours: when a recipient may be written to, by the clocks of everywhere that the recipient may be. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LONGEST = timedelta(hours=48)
"""If no moment within this time suits all zones, none ever does."""


@dataclass(frozen=True)
class QuietHours:
    """From `begin` until before `end` on the recipient's wall clock; `begin` after `end` means over midnight."""

    begin: time
    end: time

    def cover(self, wall_clock: time) -> bool:
        """Whether it is quiet then."""
        if self.begin <= self.end:
            return self.begin <= wall_clock < self.end
        return wall_clock >= self.begin or wall_clock < self.end


@lru_cache(maxsize=1024)
def send_at(now: datetime, quiet: QuietHours, zones: tuple[str, ...], fallback: str) -> datetime:
    """The first moment from `now` on that is not quiet in any of `zones`.

    Where they are unknown, or so far apart that there is no such moment, the zone `fallback` decides alone. In the hour
    that a clock skips in spring it may be up to an hour later than necessary, never earlier.
    """
    known = tuple(_known(zones))
    if known and (moment := _loud_everywhere(now, quiet, known)) is not None:
        return moment
    moment = _loud_everywhere(now, quiet, tuple(_known([fallback])))
    return moment or now


def _loud_everywhere(now: datetime, quiet: QuietHours, zones: tuple[ZoneInfo, ...]) -> datetime | None:
    moment = now
    while moment - now <= LONGEST:
        later = max((_end_of_quiet(moment, quiet, zone) for zone in zones), default=moment)
        if later == moment:
            return moment
        moment = later
    return None


def _end_of_quiet(moment: datetime, quiet: QuietHours, zone: ZoneInfo) -> datetime:
    """`moment` where it is not quiet then."""
    local = moment.astimezone(zone)
    if not quiet.cover(local.time()):
        return moment
    ends = (
        datetime.combine(local.date() + timedelta(days=day), quiet.end, zone).replace(fold=fold).astimezone(UTC)
        for day in (0, 1, 2)
        for fold in (0, 1)  # the end may come twice, when clocks are set back
    )
    return min(end for end in ends if end > moment and not quiet.cover(end.astimezone(zone).time()))


def _known(zones: Iterable[str]) -> Iterable[ZoneInfo]:
    for zone in zones:
        try:
            yield ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            continue  # a name of another release of the IANA database
