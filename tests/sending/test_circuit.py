"""Tests of the circuit. It prevents that an outage leaves every message in the state `unknown`."""

from collections.abc import Callable

import pytest

from waypost.sending.circuit import Circuit


def circuit(threshold: int = 3) -> Circuit:
    """Returns a circuit that opens for 1, 2, 4 … 8 s, without jitter."""
    return Circuit(threshold=threshold, first_s=1.0, cap_s=8.0, draw=lambda: 1.0)


def test_it_stays_closed_below_the_threshold_and_after_any_success() -> None:
    """The circuit stays closed while fewer calls fail in a row than the threshold.

    Single failures happen. Only several in a row mean that the other side is down.
    """
    tested = circuit()
    for _ in range(5):
        tested.failed(0.0)
        tested.failed(0.0)
        tested.succeeded()
    assert tested.room(0.0, in_flight=7) is None


def test_it_allows_nothing_while_open_and_then_one_try() -> None:
    """An open circuit allows no call. After the wait it allows one try, but only if no other call is in flight."""
    tested = circuit()
    for _ in range(3):
        tested.failed(10.0)
    assert tested.room(10.9, in_flight=0) == 0
    assert tested.room(11.0, in_flight=1) == 0
    assert tested.room(11.0, in_flight=0) == 1


def test_each_failed_try_doubles_the_wait_up_to_the_cap() -> None:
    """Each failed try doubles the wait before the next try, up to the cap."""
    tested, now, waits = circuit(threshold=1), 0.0, []
    for _ in range(6):
        tested.failed(now)
        waits.append(tested.wait_s(now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 8, 8]


def test_calls_from_before_it_opened_do_not_keep_it_open_longer() -> None:
    """Fifty calls in flight that fail together count as one outage, so they do not make the wait longer."""
    tested = circuit()
    for _ in range(50):
        tested.failed(0.0)
    assert tested.wait_s(0.0) == 1.0


def test_jitter_draws_from_the_upper_half() -> None:
    """Jitter shortens a wait by half at most.

    Thus pods that fail together do not try again at the same time, and none of them tries again at once.
    """
    low = Circuit(threshold=1, first_s=2.0, cap_s=8.0, draw=lambda: 0.0)
    low.failed(0.0)
    assert low.wait_s(0.0) == 1.0


@pytest.mark.fault("G1")
def test_an_outage_of_a_minute_gets_few_calls(figure: Callable[..., None]) -> None:
    """During an outage of 60 s, a number that sends 80 messages per second makes at most a tenth of its calls.

    The worst case: 50 calls are in flight when the outage begins, each fails at once, and the jitter is the shortest.
    """
    tested = Circuit(threshold=5, first_s=1.0, cap_s=30.0, draw=lambda: 0.0)
    calls, now = 50, 0.0
    for _ in range(calls):
        tested.failed(now)
    while (now := now + max(tested.wait_s(now), 0.001)) < 60.0:
        if tested.room(now, in_flight=0):
            calls += 1
            tested.failed(now)
    figure("calls in an outage of 60 s", calls / (80 * 60) * 100, "% of normal", aim="at most 10 %")
    assert calls <= 80 * 60 / 10
