"""The limits against a real Redis: shared, lost, hung, flushed, and back."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from waypost.sending.gcra import PAIR_BURST
from waypost.sending.limits import Grant, RateLimits, Wish

from .conftest import NUMBER, OTHER_NUMBER

NOW = 1_790_000_000.0


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Starts at `NOW`."""
    return Clock()


@pytest.fixture
def shared(redis_server: Any, clock: Clock) -> Iterator[Callable[..., RateLimits]]:
    """`shared()` gives one process's limits on a Redis of this test's own."""
    made: list[RateLimits] = []

    def make(owner: str = "a") -> RateLimits:
        made.append(RateLimits(redis_server.url, owner=owner, clock=clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wishes(count: int, *, per_second: float = 80, number_id: str = NUMBER, start: int = 1) -> list[Wish]:
    """Replies of different conversations."""
    return [Wish(number_id, per_second, start + index, bulk=False) for index in range(count)]


def goes(grants: list[Grant]) -> int:
    """How many may go."""
    return sum(grant.busy is None for grant in grants)


def test_two_processes_share_one_limit(shared: Callable[..., RateLimits], clock: Clock) -> None:
    """G6: what one takes the other does not get."""
    one, other = shared("a"), shared("b")
    granted = 0
    for step in range(100):
        granted += goes(one.take(wishes(5, start=1 + 10 * step))) + goes(other.take(wishes(5, start=6 + 10 * step)))
        clock.now += 0.01
    assert 60 <= granted <= 80 + 13  # the last 150 ms of starts lie ahead


def test_numbers_do_not_touch_each_other(shared: Callable[..., RateLimits]) -> None:
    """One question may name several numbers; each answer comes from its own limit."""
    one = shared()
    assert goes(one.take(wishes(100))) < 20
    mixed = one.take([*wishes(1, start=500), *wishes(1, number_id=OTHER_NUMBER, start=600)])
    assert mixed[0].busy == "number"
    assert mixed[1] == Grant(0.0)


def test_a_message_beyond_the_burst_to_one_contact_waits_for_the_pair(
    shared: Callable[..., RateLimits], clock: Clock
) -> None:
    """And only that pair: another contact of the same number is free."""
    one = shared()
    for _ in range(PAIR_BURST):
        assert one.take([Wish(NUMBER, 1000, 7, bulk=False)])[0].busy is None
        clock.now += 0.01
    answer = one.take([Wish(NUMBER, 1000, 7, bulk=False), Wish(NUMBER, 1000, 8, bulk=False)])
    assert answer[0].busy == "pair"
    assert 5 < answer[0].wait_s <= 6
    assert answer[1].busy is None


def test_without_redis_a_process_keeps_to_a_safe_share(clock: Clock) -> None:
    """Four such processes together are within the limit."""
    alone = RateLimits("", clock=clock)
    granted = 0
    for step in range(100):
        granted += goes(alone.take(wishes(5, start=1 + 10 * step)))
        clock.now += 0.01
    assert alone.away
    assert 10 <= granted <= 20 + 4


def test_a_killed_redis_is_noticed_at_once_and_found_again(
    shared: Callable[..., RateLimits], redis_server: Any, wait_for: Callable[..., object]
) -> None:
    """The message in hand gets its answer from the local share; a heartbeat brings the shared limit back."""
    one = shared()
    assert one.take(wishes(1))[0].busy is None
    redis_server.kill()
    assert one.take(wishes(1, start=2))[0].busy is None
    assert one.away
    redis_server.start()

    def back() -> bool:
        one.heartbeat()
        return not one.away

    wait_for(back)
    assert one.take(wishes(1, start=3))[0].busy is None
    assert not one.away


def test_a_redis_that_hangs_holds_up_one_question_and_no_other() -> None:
    """It accepts connections and never answers; after the first time-out nobody waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = RateLimits(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        one.take(wishes(1))
        assert one.away
        silent.setblocking(False)
        silent.accept()[0].close()
        assert goes(one.take(wishes(1, number_id=OTHER_NUMBER))) == 1
        with pytest.raises(BlockingIOError):  # nobody has called again
            silent.accept()
        one.close()


def test_a_flushed_redis_costs_nothing_but_memory(shared: Callable[..., RateLimits], redis_server: Any) -> None:
    """The script is loaded again on the way; the limit starts anew."""
    one = shared()
    one.take(wishes(1))
    one._client.flushall()  # type: ignore[union-attr]
    one._client.script_flush()  # type: ignore[union-attr]
    assert one.take(wishes(1, start=2))[0].busy is None
    assert not one.away


def test_a_number_that_meta_calls_too_fast_is_slowed_for_every_process(
    shared: Callable[..., RateLimits], clock: Clock
) -> None:
    """130429 seen by one pod halves the rate of all; other numbers keep theirs."""
    one, other = shared("a"), shared("b")
    one.slow_down(NUMBER, 80)

    def second_of(number_id: str) -> int:
        granted = 0
        for step in range(20):
            granted += goes(other.take(wishes(10, number_id=number_id, start=1 + 10 * step)))
            clock.now += 0.05
        return granted

    assert second_of(NUMBER) < 55
    clock.now = NOW
    assert second_of(OTHER_NUMBER) > 70


def test_incoming_messages_use_up_the_limit_of_every_process(shared: Callable[..., RateLimits]) -> None:
    """Throughput counts both directions."""
    one, other = shared("a"), shared("b")
    one.charge(NUMBER, 80, 40)
    assert other.take(wishes(1))[0].busy == "number"


def test_the_share_follows_the_number_of_senders_that_were_last_counted(
    shared: Callable[..., RateLimits], redis_server: Any, clock: Clock
) -> None:
    """One sender alone may use nearly everything while Redis is away."""
    one = shared("only")
    one.heartbeat()
    redis_server.kill()
    granted = 0
    for step in range(100):
        granted += goes(one.take(wishes(5, start=1 + 10 * step)))
        clock.now += 0.01
    assert 60 <= granted <= 80 + 13


def test_no_phone_number_gets_into_redis(shared: Callable[..., RateLimits]) -> None:
    """G8: keys are Meta's number ids and our own ids."""
    one = shared()
    one.take(wishes(2))
    one.heartbeat()
    keys = {key.decode() for key in one._client.scan_iter()}  # type: ignore[union-attr]
    number = f"waypost:rate:{{{NUMBER}}}"
    assert keys == {number, f"{number}:1", f"{number}:2", "waypost:senders"}
