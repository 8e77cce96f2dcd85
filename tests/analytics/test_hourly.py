"""The hourly series has no gaps and mixes no numbers."""

from datetime import UTC, datetime, timedelta

from waypost.analytics import hourly
from waypost.store.reports import HourOfNumber

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
ROWS = (
    HourOfNumber("1", NOW, 3, 2),
    HourOfNumber("2", NOW, 10, 20),
    HourOfNumber("1", NOW - timedelta(hours=2), 1, 0),
)


def test_hours_without_messages_are_zero() -> None:
    """A plot must not close gaps."""
    assert [hour.incoming for hour in hourly.series(NOW, ROWS, hours=4, number_id="1")] == [0, 1, 0, 3]


def test_the_last_hour_is_the_current_one() -> None:
    """The hours are in order, oldest first."""
    starts = [hour.start for hour in hourly.series(NOW, (), hours=48)]
    assert starts[-1] == NOW
    assert starts[0] == NOW - timedelta(hours=47)


def test_all_numbers_are_summed_when_none_is_named() -> None:
    """The overview's plot shows the sum of all numbers."""
    last = hourly.series(NOW, ROWS)[-1]
    assert (last.incoming, last.outgoing) == (13, 22)
