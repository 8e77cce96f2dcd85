"""Tests the plot. All bars are drawn within the frame, and the axes are readable."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.analytics.hourly import Hour
from waypost.console import plot

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def hours(counts: list[tuple[int, int]]) -> tuple[Hour, ...]:
    """Returns consecutive hours from noon."""
    return tuple(Hour(NOON + timedelta(hours=n), *pair) for n, pair in enumerate(counts))


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), max_size=60))
def test_every_bar_lies_within_the_frame(counts: list[tuple[int, int]]) -> None:
    """Every bar lies within the frame, whatever the counts are."""
    drawn = plot.draw(hours(counts), width=960, height=280)
    for bar in drawn.bars:
        assert drawn.left <= bar.x
        assert bar.x + bar.width <= drawn.right + 0.01
        assert drawn.top - 0.01 <= bar.y
        assert bar.y + bar.height <= drawn.bottom + 0.01
    assert len(drawn.bars) == sum(1 for pair in counts for count in pair if count)


def test_one_message_beside_thousands_is_visible() -> None:
    """One message beside thousands gives a visible bar. A bar of a hundredth of a pixel would look like no message."""
    drawn = plot.draw(hours([(1, 0), (9000, 0)]), width=960, height=280)
    assert min(bar.height for bar in drawn.bars) >= 1.5


def test_bars_are_in_proportion() -> None:
    """Bars are in proportion to their values. The scale starts at 0 and is linear."""
    one, three = plot.draw(hours([(100, 0), (300, 0)]), width=960, height=280).bars
    assert three.height == pytest.approx(3 * one.height, abs=0.1)


@given(st.integers(0, 10**9))
def test_the_axis_covers_the_highest_value_in_few_round_steps(highest: int) -> None:
    """The axis covers the highest value in few round steps.

    Labels are multiples of 1, 2 or 5 times a power of ten. There are few enough labels that they do not overlap.
    """
    steps = plot.steps(highest)
    assert steps[0] == 0
    assert steps[-1] >= highest
    assert 2 <= len(steps) <= 7
    assert str(steps[1])[0] in "125"
    assert set(str(steps[1])[1:]) <= {"0"}


@pytest.mark.parametrize(("value", "label"), [(0, "0"), (950, "950"), (1200, "1.2k"), (2000, "2k"), (3_000_000, "3M")])
def test_axis_labels_are_short(value: int, label: str) -> None:
    """Axis labels are short enough for their space of 38 units."""
    assert plot.short(value) == label


def test_the_label_at_midnight_is_the_date() -> None:
    """The label at midnight is the date. There is a label every six hours."""
    drawn = plot.draw(hours([(0, 0)] * 24), width=960, height=280)
    assert [tick.label for tick in drawn.x_ticks] == ["12:00", "18:00", "02 Mar", "06:00"]
    assert [tick.strong for tick in drawn.x_ticks] == [False, False, True, False]


def test_a_plot_without_messages_says_that_it_is_empty() -> None:
    """A plot without messages is marked as empty. The page then shows a text instead of bars."""
    assert plot.draw(hours([(0, 0)] * 24), width=960, height=280).is_empty
