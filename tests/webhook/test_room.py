"""Tests how the room for requests is shared out, and that every byte is given back."""

from dataclasses import dataclass, field

import pytest

from waypost.webhook.room import CONNECTION_BYTES, GRACE_S, SMALL, Limits, Room, Share

LIMITS = Limits(total=1_000_000, large=600_000, client=500_000, client_large=300_000)
LARGE = 2 * SMALL


@dataclass
class Crowd:
    """Connections that share a room, with a clock that only the test moves."""

    now: float = 0.0
    closed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room = Room(LIMITS, clock=lambda: self.now)
        self.shares: dict[str, Share] = {}

    def open(self, name: str, client: str | None = "a") -> bool:
        """Opens a share. Returns whether there was room for it."""

        def close() -> None:
            self.closed.append(name)
            self.shares.pop(name).release()

        share = self.room.open(client, close)
        if share is not None:
            self.shares[name] = share
        return share is not None

    def add(self, name: str, size: int, client: str | None = "a") -> bool:
        """Opens a share with `size` bytes. Returns whether there was room for all of it."""
        return self.open(name, client) and self.shares[name].take(size - CONNECTION_BYTES)


@pytest.fixture
def crowd() -> Crowd:
    """Returns an empty room."""
    return Crowd()


def test_all_is_given_back(crowd: Crowd) -> None:
    """When all shares are released, nothing is counted and no client is known."""
    for number in range(200):
        crowd.add(f"{number}", 1_000 * number, client=f"{number % 7}" if number % 5 else None)
    for share in crowd.shares.values():
        share.settle()
        share.release()
    assert (crowd.room.used, crowd.room.clients) == (0, 0)


@pytest.mark.parametrize("sizes", [[SMALL] * 100, [LARGE] * 100, [SMALL, LARGE] * 50, [CONNECTION_BYTES] * 1_000])
def test_no_limit_is_exceeded(crowd: Crowd, sizes: list[int]) -> None:
    """Neither the process nor a client ever holds more than its limit."""
    for number, size in enumerate(sizes):
        client = f"{number % 3}"
        crowd.add(f"{number}", size, client)
        assert crowd.room.used <= LIMITS.total
        assert crowd.room.large.used <= LIMITS.large
        used, used_by_large = (pool.used for pool in crowd.room.pools_of(client))
        assert (used <= LIMITS.client, used_by_large <= LIMITS.client_large) == (True, True)


def test_the_oldest_small_request_makes_place(crowd: Crowd) -> None:
    """If the room of a client is full, its oldest incomplete request makes place, and no other client's."""
    crowd.add("other", SMALL, client="b")
    names = [f"{number}" for number in range(20)]
    assert all(crowd.add(name, SMALL) for name in names)
    assert crowd.closed == names[: len(crowd.closed)]
    assert crowd.closed
    assert "other" in crowd.shares


def test_a_complete_request_never_makes_place(crowd: Crowd) -> None:
    """A request that is complete waits for its answer, and never makes place for another one."""
    for number in range(7):
        assert crowd.add(f"{number}", SMALL)
        crowd.shares[f"{number}"].settle()
    assert not crowd.add("next", SMALL)
    assert not crowd.closed


def test_large_requests_never_keep_small_ones_out(crowd: Crowd) -> None:
    """Large requests of many clients leave room for small ones, which need not close any other."""
    admitted = [crowd.add(f"{number}", LARGE, client=f"{number}") for number in range(10)]
    assert admitted.count(True) == LIMITS.large // LARGE
    assert crowd.add("small", SMALL, client="a")
    assert not crowd.closed


def test_a_large_request_makes_place_only_after_a_while(crowd: Crowd) -> None:
    """A large request keeps its place for a while. After that it makes place for the next one."""
    assert crowd.add("first", LARGE)
    assert crowd.add("second", LARGE)
    assert not crowd.add("early", LARGE)
    crowd.now += GRACE_S
    assert crowd.add("late", LARGE)
    assert crowd.closed == ["first"]


def test_a_length_is_refused_before_the_body_has_arrived(crowd: Crowd) -> None:
    """A body whose length finds no room is refused before it arrives. A length alone takes no room."""
    assert crowd.open("one")
    assert crowd.shares["one"].expect(LIMITS.client_large - CONNECTION_BYTES)
    assert crowd.open("two")
    assert crowd.shares["two"].expect(LIMITS.client_large - 2 * CONNECTION_BYTES)
    assert not crowd.shares["two"].expect(LIMITS.client_large)
    assert crowd.room.used == 2 * CONNECTION_BYTES


def test_bytes_are_held_until_the_last_holder_releases_them(crowd: Crowd) -> None:
    """The bytes of a request count until connection and application have both released them."""
    crowd.add("one", LARGE)
    share = crowd.shares["one"]
    share.hold()
    share.release()
    assert crowd.room.used == LARGE
    share.release()
    assert crowd.room.used == 0


def test_bytes_that_arrive_before_the_client_is_known_count_for_it_later(crowd: Crowd) -> None:
    """Bytes of a trusted proxy count for nobody until the headers name the client."""
    crowd.add("one", 10_000, client=None)
    assert crowd.room.clients == 0
    crowd.shares["one"].attribute("b")
    assert [pool.used for pool in crowd.room.pools_of("b")] == [10_000, 0]
