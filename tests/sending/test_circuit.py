"""Tests of the circuit. It prevents that an outage leaves every message in the state `unknown`."""

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
