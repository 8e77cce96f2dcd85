"""Tests of the simulator's rate limits."""

from hypothesis import given
from hypothesis import strategies as st

from waypost.simulator.world.limits import HourlyLimit, RateLimit


@given(
    steps=st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=200),
    interval=st.floats(min_value=0.1, max_value=10),
    burst=st.integers(min_value=1, max_value=50),
)
def test_no_period_allows_more_calls_than_the_burst_and_the_rate(
    steps: list[float], interval: float, burst: int
) -> None:
    """In any period at most burst + elapsed / interval calls are allowed."""
    limit, now, allowed = RateLimit(), 0.0, []
    for step in steps:
        now += step
        if not limit.take("k", now, interval, burst):
            allowed.append(now)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= burst + (allowed[last] - allowed[first]) / interval + 1e-6


def test_after_the_returned_wait_a_call_is_allowed() -> None:
    """A refused call returns the seconds to wait. After that time a call is allowed."""
    limit = RateLimit()
    assert [limit.take("k", 0.0, 6.0, 2) for _ in range(2)] == [0.0, 0.0]
    wait = limit.take("k", 0.0, 6.0, 2)
    assert wait == 6.0
    assert limit.take("k", wait, 6.0, 2) == 0.0


def test_each_key_has_its_own_limit() -> None:
    """Each pair has its own limit, so a pair at its limit does not affect another pair."""
    limit = RateLimit()
    limit.take("a", 0.0, 6.0, 1)
    assert limit.take("b", 0.0, 6.0, 1) == 0.0


def test_an_hourly_limit_allows_a_call_again_one_hour_later() -> None:
    """An hourly limit allows a call again one hour after an earlier call, not at the next full hour."""
    limit = HourlyLimit()
    assert limit.take("k", 0.0, 2) == 0.0
    assert limit.take("k", 1800.0, 2) == 0.0
    assert limit.take("k", 1801.0, 2) == 1799.0
    assert limit.take("k", 3600.0, 2) == 0.0
