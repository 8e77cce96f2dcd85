"""Rate limits by virtual scheduling."""

from hypothesis import given
from hypothesis import strategies as st

from waypost.simulator.world.limits import HourlyBudget, Pace


@given(
    steps=st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=200),
    interval=st.floats(min_value=0.1, max_value=10),
    burst=st.integers(min_value=1, max_value=50),
)
def test_no_span_of_time_lets_more_through_than_the_burst_and_its_share(
    steps: list[float], interval: float, burst: int
) -> None:
    """Between any two allowed calls lie at most burst + elapsed / interval calls."""
    pace, now, allowed = Pace(), 0.0, []
    for step in steps:
        now += step
        if not pace.take("k", now, interval, burst):
            allowed.append(now)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= burst + (allowed[last] - allowed[first]) / interval + 1e-6


def test_after_the_wait_it_named_a_call_is_allowed() -> None:
    """The seconds returned are the seconds to wait."""
    pace = Pace()
    assert [pace.take("k", 0.0, 6.0, 2) for _ in range(2)] == [0.0, 0.0]
    wait = pace.take("k", 0.0, 6.0, 2)
    assert wait == 6.0
    assert pace.take("k", wait, 6.0, 2) == 0.0


def test_keys_do_not_share_their_pace() -> None:
    """One pair at its limit leaves the other alone."""
    pace = Pace()
    pace.take("a", 0.0, 6.0, 1)
    assert pace.take("b", 0.0, 6.0, 1) == 0.0


def test_an_hourly_budget_frees_a_call_one_hour_later() -> None:
    """The window slides; it does not start anew at the full hour."""
    budget = HourlyBudget()
    assert budget.take("k", 0.0, 2) == 0.0
    assert budget.take("k", 1800.0, 2) == 0.0
    assert budget.take("k", 1801.0, 2) == 1799.0
    assert budget.take("k", 3600.0, 2) == 0.0
