"""Tests of quiet hours: no message is sent while it is quiet in any zone where the recipient may be."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.schedule.quiet_hours import LONGEST, QuietHours, send_at

NIGHT = QuietHours(time(21), time(8))
NOON = QuietHours(time(12), time(14))
ZONES = [
    "Europe/Rome",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Etc/UTC",
]


def utc(written: str) -> datetime:
    """Returns a moment in UTC."""
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "quiet", "zones", "expected"),
    [
        pytest.param("2026-11-23T09:00", NIGHT, ("Europe/Rome",), "2026-11-23T09:00", id="day: at once"),
        pytest.param("2026-11-23T20:00", NIGHT, ("Europe/Rome",), "2026-11-24T07:00", id="evening: next morning"),
        pytest.param("2026-11-23T05:00", NIGHT, ("Europe/Rome",), "2026-11-23T07:00", id="night: this morning"),
        pytest.param("2026-11-23T07:00", NIGHT, ("Europe/Rome",), "2026-11-23T07:00", id="the end is not quiet"),
        pytest.param("2026-11-23T19:59", NIGHT, ("Europe/Rome",), "2026-11-23T19:59", id="before the beginning"),
        pytest.param("2026-11-23T09:00", NIGHT, ("America/New_York",), "2026-11-23T13:00", id="the recipient's zone"),
        pytest.param("2026-11-23T11:30", NOON, ("Europe/Rome",), "2026-11-23T13:00", id="within one day"),
        pytest.param(
            "2026-11-23T09:00", NIGHT, ("America/New_York", "America/Los_Angeles"), "2026-11-23T16:00", id="both coasts"
        ),
        pytest.param("2026-11-23T20:30", NIGHT, (), "2026-11-24T07:00", id="unknown: the schedule's zone"),
        pytest.param("2026-11-23T20:30", NIGHT, ("Mars/Olympus",), "2026-11-24T07:00", id="an unknown zone"),
        pytest.param(
            "2026-11-23T20:30",
            NIGHT,
            ("Pacific/Honolulu", "Asia/Tokyo", "Europe/Rome"),
            "2026-11-24T07:00",
            id="zones without a common time",
        ),
        pytest.param("2026-03-29T00:30", NIGHT, ("Europe/Rome",), "2026-03-29T06:00", id="the night clocks go forward"),
        pytest.param("2026-10-25T00:30", NIGHT, ("Europe/Rome",), "2026-10-25T07:00", id="the night clocks go back"),
    ],
)
def test_a_message_waits_for_the_end_of_quiet(
    now: str, quiet: QuietHours, zones: tuple[str, ...], expected: str
) -> None:
    """A message waits until quiet hours end by the recipient's clock. The schedule's zone does not matter."""
    assert send_at(utc(now), quiet, zones, "Europe/Rome") == utc(expected)


moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - UTC is given
clocks = st.builds(time, st.integers(0, 23), st.integers(0, 59))
quiets = st.builds(QuietHours, clocks, clocks).filter(lambda quiet: quiet.begin != quiet.end)


@given(moments, quiets, st.lists(st.sampled_from(ZONES), min_size=1, max_size=3, unique=True).map(tuple))
def test_a_message_is_sent_when_it_is_quiet_in_no_zone(
    now: datetime, quiet: QuietHours, zones: tuple[str, ...]
) -> None:
    """A message is sent at a moment that is quiet in none of the recipient's possible zones.

    If there is no such moment, the schedule's own zone counts.
    """
    moment = send_at(now, quiet, zones, "Europe/Rome")
    assert moment >= now

    def is_allowed(zone: str) -> bool:
        return not quiet.cover(moment.astimezone(ZoneInfo(zone)).time())

    assert all(is_allowed(zone) for zone in zones) or is_allowed("Europe/Rome")


@given(moments, quiets, st.sampled_from(["Asia/Kolkata", "Asia/Tokyo", "Etc/UTC"]))
def test_no_message_waits_longer_than_it_must(now: datetime, quiet: QuietHours, zone: str) -> None:
    """A message is sent at once or right at the end of quiet hours."""
    moment = send_at(now, quiet, (zone,), "Europe/Rome")
    just_before = (moment - timedelta(minutes=1)).astimezone(ZoneInfo(zone)).time()
    assert moment == now or quiet.cover(just_before)
    assert moment - now < LONGEST / 2
