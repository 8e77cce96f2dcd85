"""Tests how failures are counted, and to which client they are attributed."""

import pytest

from waypost.clients import Throttle, client_address, is_trusted, networks


class Clock:
    """A clock that only the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_limit_is_per_key_and_window() -> None:
    """The limit is per key and window: with a limit of ten, the eleventh failure is above it.

    Other keys and a new window start from zero.
    """
    clock = Clock()
    throttle = Throttle(limit=10, window_s=60, clock=clock)
    assert [throttle.fail("a") for _ in range(12)] == [False] * 10 + [True] * 2
    assert not throttle.fail("b")
    clock.now += 60
    assert not throttle.fail("a")


def test_a_window_ends_for_a_client_that_never_stops_failing() -> None:
    """A window ends even for a client that never stops failing. It does not move with each failure."""
    clock = Clock()
    throttle = Throttle(limit=2, window_s=60, clock=clock)
    over = []
    for _ in range(120):
        over.append(throttle.fail("a"))
        clock.now += 1
    assert over.count(False) == 4


def test_a_key_is_exhausted_at_its_limit_and_free_again_in_the_next_window() -> None:
    """A key is exhausted at its limit and free again in the next window.

    A call of `is_exhausted` does not count as a failure itself.
    """
    clock = Clock()
    throttle = Throttle(limit=1, window_s=60, clock=clock)
    before = throttle.is_exhausted("a")
    throttle.fail("a")
    after = throttle.is_exhausted("a")
    clock.now += 60
    assert (before, after, throttle.is_exhausted("a")) == (False, True, False)


def test_memory_is_bounded() -> None:
    """Memory is bounded: in a flood of addresses the oldest are dropped."""
    throttle = Throttle(limit=1, capacity=100, clock=Clock())
    for number in range(10_000):
        throttle.fail(number)
    assert [number for number in range(10_000) if throttle.is_exhausted(number)] == list(range(9_900, 10_000))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "trusted", "client"),
    [
        ("192.0.2.1", "", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", "10.0.0.0/8", "192.0.2.1"),
        ("10.1.1.1", "198.51.100.9", "10.0.0.0/8", "198.51.100.9"),
        ("10.1.1.1", "203.0.113.5, 198.51.100.9", "10.0.0.0/8", "198.51.100.9"),
        ("10.1.1.1", "198.51.100.9, 10.2.2.2", "10.0.0.0/8", "198.51.100.9"),
        ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.0.0.0/8", "10.3.3.3"),
        ("10.1.1.1", "nonsense", "10.0.0.0/8", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.9, ", "10.0.0.0/8", "10.1.1.1"),
        ("2001:db8:1:2:3::4", "", "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", "", "192.0.2.1"),
        (None, "", "", ""),
        ("unix", "", "", "unix"),
    ],
)
def test_a_client_is_the_last_address_before_the_trusted_proxies(
    peer: str | None, forwarded_for: str, trusted: str, client: str
) -> None:
    """A client is the last address before the trusted proxies.

    Addresses that a client itself puts into X-Forwarded-For have no effect.
    """
    assert client_address(peer, forwarded_for, networks(trusted)) == client


@pytest.mark.parametrize(
    ("peer", "trusted", "expected"),
    [
        ("10.1.1.1", "10.0.0.0/8", True),
        ("::ffff:10.1.1.1", "10.0.0.0/8", True),
        ("11.1.1.1", "10.0.0.0/8", False),
        ("10.1.1.1", "", False),
        (None, "10.0.0.0/8", False),
        ("unix", "10.0.0.0/8", False),
    ],
)
def test_a_peer_is_trusted_if_its_address_is_listed(peer: str | None, trusted: str, expected: bool) -> None:
    """A peer is trusted if its address is in a listed network."""
    assert is_trusted(peer, networks(trusted)) is expected


def test_a_client_waits_until_its_window_ends() -> None:
    """A client waits until the window ends that began with its first failure. Without failures it need not wait."""
    clock = Clock()
    throttle = Throttle(limit=1, window_s=60, clock=clock)
    throttle.fail("a")
    clock.now += 20
    throttle.fail("a")
    assert (throttle.wait_s("a"), throttle.wait_s("b")) == (40, 0)


def test_a_wrong_network_is_named() -> None:
    """The error about a wrong network names the part of the setting that is wrong."""
    with pytest.raises(ValueError, match="ten"):
        networks("10.0.0.0/8, ten")
