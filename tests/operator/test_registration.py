"""`register` is called rarely, whatever happens: Meta locks a number after ten calls in 72 hours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi.graph.errors import GraphRefused
from waypost.operator.number import registration
from waypost.operator.number.registration import MOST_IN_WINDOW, WINDOW_S, Registration

NOW = 1_800_000_000.0


def test_the_first_call_is_made_at_once() -> None:
    """There is nothing to wait for."""
    assert Registration().wait_s(NOW) == 0


def test_the_next_ones_come_later_and_later() -> None:
    """A passing trouble may take hours."""
    calls, waits = Registration(), []
    now = NOW
    for _ in range(MOST_IN_WINDOW):
        calls = calls.attempted(now)
        waits.append(calls.wait_s(now))
        now += waits[-1]
    assert waits[:4] == [300, 1800, 7200, 28_800]
    assert waits == sorted(waits)


@given(st.lists(st.floats(0, 40_000), min_size=1, max_size=200))
def test_no_72_hours_see_more_calls_than_allowed(waits: list[float]) -> None:
    """Whenever somebody reconciles, and however often the operator restarts in between."""
    calls, now, made = Registration(), NOW, []
    for wait in waits:
        now += wait
        calls = registration.read({"registration": calls.written()})
        if calls.wait_s(now) == 0:
            calls = calls.attempted(now)
            made.append(now)
    worst = max(sum(1 for at in made if start <= at < start + WINDOW_S - 1) for start in made)
    assert worst <= MOST_IN_WINDOW


@pytest.mark.parametrize(
    ("code", "is_final"), [(133005, True), (131045, True), (133006, True), (133015, False), (2, False)]
)
def test_a_refusal_that_only_a_person_removes_is_remembered(code: int, is_final: bool) -> None:
    """With the Secret's version, for another PIN is worth another try."""
    calls = Registration().attempted(NOW).refused(GraphRefused(code, 400), "7", NOW)
    assert calls.is_refused("7") == is_final
    assert not calls.is_refused("8")


def test_metas_lock_is_waited_out() -> None:
    """133016: 72 hours."""
    calls = Registration().attempted(NOW).refused(GraphRefused(133016, 400), "7", NOW)
    assert calls.wait_s(NOW) == WINDOW_S


@pytest.mark.parametrize(
    "status", [{}, {"registration": None}, {"registration": {"attempts": ["x", 3], "blockedUntil": 1}}]
)
def test_a_status_that_cannot_be_read_holds_nothing(status: dict[str, object]) -> None:
    """It is written by anybody who may write a status."""
    assert registration.read(status) == Registration()


def test_what_is_written_is_read() -> None:
    """Seconds are enough."""
    calls = Registration((NOW - 5, NOW), NOW + 60, 133005, "7")
    assert registration.read({"registration": calls.written()}) == calls
