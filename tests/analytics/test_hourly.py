"""The hourly series has no gaps and does not mix the counts of different numbers."""

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
    """An hour without messages is in the series with the count 0, because a plot must show the gap."""
    assert [hour.incoming for hour in hourly.series(NOW, ROWS, hours=4, number_id="1")] == [0, 1, 0, 3]


def test_the_last_hour_is_the_current_one() -> None:
    """The hours are in order, and the current hour is the last."""
    starts = [hour.start for hour in hourly.series(NOW, (), hours=48)]
    assert starts[-1] == NOW
    assert starts[0] == NOW - timedelta(hours=47)


def test_all_numbers_are_summed_when_none_is_named() -> None:
    """Without a number id, the series is the sum of all numbers, as in the plot of the overview."""
    last = hourly.series(NOW, ROWS)[-1]
    assert (last.incoming, last.outgoing) == (13, 22)
