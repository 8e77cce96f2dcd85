"""Tests of the limits with a real Redis, which is shared, killed, hung, flushed or started again."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from waypost.dev.embedded import EmbeddedRedis
from waypost.sending.gcra import PAIR_BURST
from waypost.sending.limits import RateDecision, RateLimits, RateRequest

from .conftest import NUMBER, OTHER_NUMBER

NOW = 1_790_000_000.0


class Clock:
    """A clock in seconds that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Returns a clock that starts at `NOW`."""
    return Clock()


@pytest.fixture
def shared(redis_server: EmbeddedRedis, clock: Clock) -> Iterator[Callable[..., RateLimits]]:
    """Yields a function that returns the limits of one process. Their Redis belongs to this test alone."""
    made: list[RateLimits] = []

    def make(owner: str = "a") -> RateLimits:
        made.append(RateLimits(redis_server.url, owner=owner, clock=clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


def requests(count: int, *, per_second: float = 80, number_id: str = NUMBER, start: int = 1) -> list[RateRequest]:
    """Returns requests for replies of different conversations."""
    return [RateRequest(number_id, per_second, start + index, bulk=False) for index in range(count)]


def allowed(decisions: list[RateDecision]) -> int:
    """Returns how many rows may be sent."""
    return sum(grant.busy is None for grant in decisions)


def test_two_processes_share_one_limit(shared: Callable[..., RateLimits], clock: Clock) -> None:
    """G6: two processes share one limit. What one process takes, the other does not get."""
    one, other = shared("a"), shared("b")
    granted = 0
    for step in range(100):
        granted += allowed(one.take(requests(5, start=1 + 10 * step))) + allowed(
            other.take(requests(5, start=6 + 10 * step))
        )
        clock.now += 0.01
    assert 60 <= granted <= 80 + 13  # the last 150 ms of starts lie ahead


def test_numbers_do_not_touch_each_other(shared: Callable[..., RateLimits]) -> None:
    """One call may ask for several numbers. Each number's answer depends on its own limit only."""
    one = shared()
    assert allowed(one.take(requests(100))) < 20
    mixed = one.take([*requests(1, start=500), *requests(1, number_id=OTHER_NUMBER, start=600)])
    assert mixed[0].busy == "number"
    assert mixed[1] == RateDecision(0.0)


def test_a_message_beyond_the_burst_to_one_contact_waits_for_the_pair(
    shared: Callable[..., RateLimits], clock: Clock
) -> None:
    """If a contact has got its burst of messages, the next message to this contact waits.

    Messages of the same number to other contacts do not wait.
    """
    one = shared()
    for _ in range(PAIR_BURST):
        assert one.take([RateRequest(NUMBER, 1000, 7, bulk=False)])[0].busy is None
        clock.now += 0.01
    answer = one.take([RateRequest(NUMBER, 1000, 7, bulk=False), RateRequest(NUMBER, 1000, 8, bulk=False)])
    assert answer[0].busy == "pair"
    assert 5 < answer[0].wait_s <= 6
    assert answer[1].busy is None


def test_without_redis_a_process_keeps_to_a_safe_share(clock: Clock) -> None:
    """Without Redis a process keeps to a share that is safe: four such processes together stay within the limit."""
    alone = RateLimits("", clock=clock)
    granted = 0
    for step in range(100):
        granted += allowed(alone.take(requests(5, start=1 + 10 * step)))
        clock.now += 0.01
    assert alone.away
    assert 10 <= granted <= 20 + 4


def test_a_killed_redis_is_noticed_at_once_and_found_again(
    shared: Callable[..., RateLimits], redis_server: EmbeddedRedis, wait_for: Callable[..., object]
) -> None:
    """If Redis is killed, the next message at once gets its answer from the local share.

    A heartbeat brings the shared limit back when Redis runs again.
    """
    one = shared()
    assert one.take(requests(1))[0].busy is None
    redis_server.kill()
    assert one.take(requests(1, start=2))[0].busy is None
    assert one.away
    redis_server.start()

    def back() -> bool:
        one.heartbeat()
        return not one.away

    wait_for(back)
    assert one.take(requests(1, start=3))[0].busy is None
    assert not one.away


def test_a_redis_that_hangs_holds_up_one_question_and_no_other() -> None:
    """A Redis that accepts connections but never answers holds up only one question.

    After the first time-out no message waits for Redis.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = RateLimits(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        one.take(requests(1))
        assert one.away
        silent.setblocking(False)
        silent.accept()[0].close()
        assert allowed(one.take(requests(1, number_id=OTHER_NUMBER))) == 1
        with pytest.raises(BlockingIOError):  # there was no second connection
            silent.accept()
        one.close()


def test_a_flushed_redis_costs_nothing_but_memory(
    shared: Callable[..., RateLimits], redis_server: EmbeddedRedis
) -> None:
    """After Redis was flushed, the script is loaded again on demand and the limit starts from zero."""
    one = shared()
    one.take(requests(1))
    with closing(redis_server.client()) as client:
        client.flushall()
        client.script_flush()
    assert one.take(requests(1, start=2))[0].busy is None
    assert not one.away


def test_a_number_that_meta_calls_too_fast_is_slowed_for_every_process(
    shared: Callable[..., RateLimits], clock: Clock
) -> None:
    """If one pod gets 130429 for a number, the number's rate is halved for all pods. Other numbers keep their rate."""
    one, other = shared("a"), shared("b")
    one.slow_down(NUMBER, 80)

    def second_of(number_id: str) -> int:
        granted = 0
        for step in range(20):
            granted += allowed(other.take(requests(10, number_id=number_id, start=1 + 10 * step)))
            clock.now += 0.05
        return granted

    assert second_of(NUMBER) < 55
    clock.now = NOW
    assert second_of(OTHER_NUMBER) > 70


def test_incoming_messages_use_up_the_limit_of_every_process(shared: Callable[..., RateLimits]) -> None:
    """Incoming messages use up the limit in every process, because Throughput counts both directions."""
    one, other = shared("a"), shared("b")
    one.charge(NUMBER, 80, 40)
    assert other.take(requests(1))[0].busy == "number"


def test_the_share_follows_the_number_of_senders_that_were_last_counted(
    shared: Callable[..., RateLimits], redis_server: EmbeddedRedis, clock: Clock
) -> None:
    """While Redis is away, the share of a process depends on the last count of senders.

    A sender that was alone may use nearly the whole limit.
    """
    one = shared("only")
    one.heartbeat()
    redis_server.kill()
    granted = 0
    for step in range(100):
        granted += allowed(one.take(requests(5, start=1 + 10 * step)))
        clock.now += 0.01
    assert 60 <= granted <= 80 + 13


def test_no_phone_number_gets_into_redis(shared: Callable[..., RateLimits], redis_server: EmbeddedRedis) -> None:
    """G8: Redis contains no phone number. Its keys consist of Meta's number ids and our own ids."""
    one = shared()
    one.take(requests(2))
    one.heartbeat()
    with closing(redis_server.client()) as client:
        keys = {key.decode() for key in client.scan_iter()}
    number = f"waypost:rate:{{{NUMBER}}}"
    assert keys == {number, f"{number}:1", f"{number}:2", "waypost:senders"}
