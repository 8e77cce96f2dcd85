"""The operator rarely calls `register`, whatever happens, because Meta locks a number after ten calls in 72 hours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi.graph.errors import GraphRefused
from waypost.operator.number import registration
from waypost.operator.number.registration import MOST_IN_WINDOW, WINDOW_S, Registration

NOW = 1_800_000_000.0


def test_the_first_call_is_made_at_once() -> None:
    """The first call is made at once, without waiting."""
    assert Registration().wait_s(NOW) == 0


def test_each_further_call_waits_longer() -> None:
    """Each further call waits longer than the one before, because a failure at Meta may take hours."""
    calls, waits = Registration(), []
    now = NOW
    for _ in range(MOST_IN_WINDOW):
        calls = calls.with_attempt(now)
        waits.append(calls.wait_s(now))
        now += waits[-1]
    assert waits[:4] == [300, 1800, 7200, 28_800]
    assert waits == sorted(waits)


@given(st.lists(st.floats(0, 40_000), min_size=1, max_size=200))
def test_no_72_hours_see_more_calls_than_allowed(waits: list[float]) -> None:
    """No period of 72 hours has more calls than allowed, whenever reconciles and restarts happen."""
    calls, now, made = Registration(), NOW, []
    for wait in waits:
        now += wait
        calls = registration.read({"registration": calls.as_status()})
        if calls.wait_s(now) == 0:
            calls = calls.with_attempt(now)
            made.append(now)
    worst = max(sum(1 for at in made if start <= at < start + WINDOW_S - 1) for start in made)
    assert worst <= MOST_IN_WINDOW


@pytest.mark.parametrize(
    ("code", "is_final"), [(133005, True), (131045, True), (133006, True), (133015, False), (2, False)]
)
def test_only_a_refusal_that_needs_a_person_is_recorded(code: int, is_final: bool) -> None:
    """A refusal is recorded only if a person must act.

    It is recorded with the Secret's version, because another version may hold another PIN.
    """
    calls = Registration().with_attempt(NOW).with_refusal(GraphRefused(code, 400), "7", NOW)
    assert calls.is_refused("7") == is_final
    assert not calls.is_refused("8")


def test_no_call_is_made_while_meta_locks_the_number() -> None:
    """After the code 133016, no call is made for the 72 hours in which Meta locks the number."""
    calls = Registration().with_attempt(NOW).with_refusal(GraphRefused(133016, 400), "7", NOW)
    assert calls.wait_s(NOW) == WINDOW_S


@pytest.mark.parametrize(
    "status", [{}, {"registration": None}, {"registration": {"attempts": ["x", 3], "blockedUntil": 1}}]
)
def test_a_status_that_cannot_be_read_holds_no_calls(status: dict[str, object]) -> None:
    """A status that cannot be read is treated as a status without calls.

    Other writers can put invalid values into the status.
    """
    assert registration.read(status) == Registration()


def test_calls_survive_being_written_and_read() -> None:
    """Calls that are written into the status and read again stay the same. Times are exact to the second."""
    calls = Registration((NOW - 5, NOW), NOW + 60, 133005, "7")
    assert registration.read({"registration": calls.as_status()}) == calls
