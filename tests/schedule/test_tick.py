"""Which tick a Job is for."""

from datetime import UTC, datetime

import pytest

from waypost.schedule.tick import NoTick, of_job, of_moment


def test_the_minute_stands_at_the_end_of_the_jobs_name() -> None:
    """As the CronJob controller writes it: minutes since 1970."""
    assert of_job("team-a-weekly-news-1f2e3d4c-29730780") == datetime(2026, 7, 12, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize("name", ["", "29730780", "weekly-news", "weekly-news-2973126", "weekly-news-manual-1"])
def test_a_job_made_by_hand_tells_no_minute(name: str) -> None:
    """Guessing one could make two runs of one, or one of two."""
    with pytest.raises(NoTick, match="--at"):
        of_job(name)


@pytest.mark.parametrize("written", ["2026-11-24T09:00Z", "2026-11-24T10:00+01:00", "2026-11-24T09:00:59Z"])
def test_a_person_may_name_the_minute(written: str) -> None:
    """In any zone, seconds aside: the same minute is the same run."""
    assert of_moment(written) == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize("written", ["2026-11-24T09:00", "now", ""])
def test_a_minute_without_zone_is_refused(written: str) -> None:
    """The pod's zone is not the person's."""
    with pytest.raises(NoTick, match="zone"):
        of_moment(written)
