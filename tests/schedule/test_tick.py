"""Tests of finding the tick for which a Job was created."""

from datetime import UTC, datetime

import pytest

from waypost.schedule.tick import NoTick, minute_of_job, parse_minute


def test_the_name_of_a_job_ends_in_its_minute() -> None:
    """The number at the end of a Job's name gives the minute of its tick.

    The CronJob controller writes the minutes since 1970 there.
    """
    assert minute_of_job("team-a-weekly-news-1f2e3d4c-29730780") == datetime(2026, 7, 12, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize("name", ["", "29730780", "weekly-news", "weekly-news-2973126", "weekly-news-manual-1"])
def test_the_name_of_a_job_created_by_hand_has_no_minute(name: str) -> None:
    """A Job that was created by hand has no minute in its name, so it is refused without `--at`.

    A guess could turn one run into two, or two into one.
    """
    with pytest.raises(NoTick, match="--at"):
        minute_of_job(name)


@pytest.mark.parametrize("written", ["2026-11-24T09:00Z", "2026-11-24T10:00+01:00", "2026-11-24T09:00:59Z"])
def test_a_person_may_name_the_minute(written: str) -> None:
    """A person may name the minute in any zone and with seconds. The same minute is always the same run."""
    assert parse_minute(written) == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize("written", ["2026-11-24T09:00", "now", ""])
def test_a_minute_without_zone_is_refused(written: str) -> None:
    """A minute without a zone is refused, because the pod's zone may differ from the user's."""
    with pytest.raises(NoTick, match="zone"):
        parse_minute(written)
