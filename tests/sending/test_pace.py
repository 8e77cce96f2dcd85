"""Tests of the time that one process leaves between its calls."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.sending.pace import Pace


@pytest.mark.parametrize("per_second", [1, 20, 80, 1000])
@given(pauses=st.lists(st.floats(0, 0.5), min_size=1, max_size=50))
def test_no_second_holds_more_than_the_limit_however_late_calls_come(per_second: int, pauses: list[float]) -> None:
    """Calls start at the limit's pace, even if many are due at once after a process was suspended."""
    pace, now, made = Pace(), 1000.0, []
    for pause in pauses:
        now += pause
        for _ in range(30):
            now += pace.reserve(now, per_second)
            made.append(now)
    for first, beyond in zip(made, made[per_second:], strict=False):
        assert beyond - first >= 1 - 1e-6


def test_a_delay_is_made_up_for_slowly() -> None:
    """The pace is a little faster than the limits, so that a process makes up for a delay."""
    pace, now = Pace(), 0.0
    for _ in range(800):
        now += pace.reserve(now, 80)
    assert 800 / now > 80 * 0.985


@pytest.mark.anyio
async def test_a_call_that_would_start_too_late_delays_no_other(anyio_backend: str) -> None:
    """A call that cannot start in time reserves nothing, so the next call starts as if it had not asked."""
    pace, loop = Pace(), asyncio.get_running_loop()
    assert await pace.turn(0.01, loop.time() + 1000)
    for _ in range(5):
        assert not await pace.turn(0.01, loop.time() + 1)
    assert 100 < pace.reserve(loop.time(), 0.01) < 102
