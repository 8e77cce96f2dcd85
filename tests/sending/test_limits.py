"""Tests of the limits with a real PostgreSQL that is shared, killed or restarted, and whose clock jumps."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from waypost.dev.embedded import EmbeddedPostgres
from waypost.lanes.sweeper import Sweeper
from waypost.sending.gcra import MISSED, PAIR_BURST, PAIR_INTERVAL, SECOND, Terms
from waypost.sending.limits import RateDecision, RateLimits, RateRequest
from waypost.store import rates
from waypost.store.connection import schema
from waypost.store.connection.database import connect

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
def shared(database_url: str, clock: Clock) -> Iterator[Callable[..., RateLimits]]:
    """Yields a function that returns the limits of one process. They share this test's database."""
    engines: list[Engine] = []

    def make() -> RateLimits:
        engines.append(connect(database_url, application="waypost-limits", pool_size=1))
        return RateLimits(engines[-1], test_clock=clock)

    yield make
    for engine in engines:
        engine.dispose()


_rows = itertools.count(1)


def request(conversation: int, *, per_second: float = 80, number_id: str = NUMBER) -> RateRequest:
    """Returns a request for the next reply of a conversation."""
    return RateRequest(number_id, per_second, conversation, next(_rows), bulk=False)


def requests(count: int, *, per_second: float = 80, number_id: str = NUMBER, start: int = 1) -> list[RateRequest]:
    """Returns requests for replies of different conversations."""
    return [request(start + index, per_second=per_second, number_id=number_id) for index in range(count)]


def allowed(decisions: list[RateDecision]) -> int:
    """Returns how many rows may be sent."""
    return sum(grant.busy is None for grant in decisions)


def test_two_processes_share_one_limit(shared: Callable[..., RateLimits], clock: Clock) -> None:
    """G6: two processes share one limit. What one process takes, the other does not get."""
    one, other = shared(), shared()
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


def test_answers_are_in_the_order_of_the_questions(shared: Callable[..., RateLimits]) -> None:
    """Each decision is at the place of its request, though the numbers are asked for in another order."""
    one = shared()
    one.charge(OTHER_NUMBER, 80, 40)
    asked = [
        *requests(1, number_id=OTHER_NUMBER),
        *requests(1, start=2),
        *requests(1, number_id=OTHER_NUMBER, start=3),
        *requests(1, start=4),
    ]
    assert [decision.busy for decision in one.take(asked)] == ["number", None, "number", None]


def test_no_question_needs_no_answer(shared: Callable[..., RateLimits]) -> None:
    """Nothing is asked if there is no row."""
    assert shared().take([]) == []


def test_a_pair_gets_its_burst_and_then_waits_alone(shared: Callable[..., RateLimits], clock: Clock) -> None:
    """A pair whose burst is used up waits up to six seconds. Other pairs of the number go on."""
    one = shared()
    for _ in range(PAIR_BURST):
        assert one.take([request(7, per_second=1000)])[0].busy is None
        clock.now += 0.01
    answer = one.take([request(7, per_second=1000), request(8, per_second=1000)])
    assert answer[0].busy == "pair"
    assert 5 < answer[0].wait_s <= 6
    assert answer[1].busy is None


def test_a_row_for_which_two_processes_ask_uses_one_start(shared: Callable[..., RateLimits], clock: Clock) -> None:
    """A row that two sweeps have found is granted to one process. The other asks again when the start is missed."""
    one, other = shared(), shared()
    found = requests(5)
    assert allowed(one.take(found)) == 5
    decisions = other.take([*found, request(100)])
    assert [decision.busy for decision in decisions] == ["row"] * 5 + [None]
    assert decisions[0].wait_s == pytest.approx(MISSED / SECOND)
    assert decisions[5].wait_s == pytest.approx(5 * Terms.of(80).interval / SECOND)
    clock.now += 1
    assert allowed(other.take(found)) == 5


@pytest.mark.fault("P6")
def test_a_row_is_granted_again_after_the_clock_went_back(shared: Callable[..., RateLimits], clock: Clock) -> None:
    """A row that was granted a start ten minutes ahead of the clock waits for its pair's interval, not until then."""
    one = shared()
    clock.now = NOW + 600
    found = requests(1)
    one.take(found)
    clock.now = NOW
    one.take(found)
    clock.now += PAIR_INTERVAL / SECOND
    assert allowed(one.take(found)) == 1


@pytest.mark.fault("G2")
def test_a_number_that_meta_calls_too_fast_is_slowed_for_every_process(
    shared: Callable[..., RateLimits], clock: Clock
) -> None:
    """If one pod gets 130429 for a number, the number's rate is halved for all pods. Other numbers keep their rate."""
    one, other = shared(), shared()
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
    one, other = shared(), shared()
    one.charge(NUMBER, 80, 40)
    assert allowed(other.take(requests(1))) == 1
    one.flush()
    assert other.take(requests(1))[0].busy == "number"


def test_incoming_messages_are_counted_with_the_next_question(shared: Callable[..., RateLimits]) -> None:
    """A question counts the incoming messages of its process first, so that they cost no statement of their own."""
    one, other = shared(), shared()
    one.charge(NUMBER, 80, 40)
    assert one.take(requests(1))[0].busy == "number"
    assert other.take(requests(1))[0].busy == "number"


@pytest.mark.fault("P6")
def test_a_clock_that_went_back_silences_no_number(shared: Callable[..., RateLimits], clock: Clock) -> None:
    """A number and a pair whose state is ten minutes ahead of the clock send again within a moment."""
    one = shared()
    clock.now = NOW + 600
    for step in range(PAIR_BURST):
        one.take([request(7), *requests(20, start=100 + 20 * step)])
        clock.now += 0.02
    clock.now = NOW
    assert one.take(requests(1, start=5000))[0].busy == "number"
    clock.now += 1
    assert one.take(requests(1, start=5000))[0].busy is None
    assert one.take([request(7)])[0].wait_s <= PAIR_INTERVAL / SECOND


def test_no_second_holds_more_than_the_limit_though_ten_processes_ask_at_once(database_url: str) -> None:
    """G6: ten processes that ask all the time get no more starts in any second than the limit, by the real clock."""
    terms, ends_at, starts, lock = Terms.of(80), time.monotonic() + 2.5, list[int](), threading.Lock()

    def ask(process: int) -> None:
        engine = connect(database_url, application="waypost-limits", pool_size=1)
        conversation = process * 1_000_000
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while time.monotonic() < ends_at:
                rows = [(conversation := conversation + 1, False, conversation) for _ in range(5)]
                granted = rates.grant_starts(
                    connection,
                    [
                        rates.NumberRequest(number_id, terms.interval, terms.tolerance, 150_000, 75_000, rows=rows)
                        for number_id in (NUMBER, OTHER_NUMBER)
                    ],
                    pair_interval=terms.pair_interval,
                    pair_tolerance=terms.pair_tolerance,
                    repeat_after=MISSED,
                )
                with lock:
                    starts.extend(granted.clock + wait for result, wait in granted.answers[0] if not result)
        engine.dispose()

    with ThreadPoolExecutor(10) as processes:
        list(processes.map(ask, range(10)))
    starts.sort()
    assert len(starts) > 2 * 80 * 0.9
    for first, beyond in zip(starts, starts[80:], strict=False):
        assert beyond - first >= SECOND


def test_a_question_within_a_transaction_gets_the_same_answer(database: Engine) -> None:
    """After a failure SQLAlchemy executes the statement itself, with the same result."""
    number = rates.NumberRequest(NUMBER, 10, 10, 150_000, 75_000, rows=[(1, False, 1), (2, True, 2)])
    with database.begin() as connection:
        granted = rates.grant_starts(connection, [number], pair_interval=1, pair_tolerance=44, repeat_after=1)
        nothing = rates.grant_starts(connection, [], pair_interval=1, pair_tolerance=44, repeat_after=1)
    assert granted.answers == [[(0, 0), (0, 10)]]
    assert nothing.answers == []


def test_a_connection_that_broke_while_idle_is_replaced(database: Engine, shared: Callable[..., RateLimits]) -> None:
    """If PostgreSQL has closed the idle connection, the next question is asked on a new one."""
    one = shared()
    one.take(requests(1))
    with database.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waypost-limits'")
        )
    assert allowed(one.take(requests(1, start=2))) == 1


def test_starts_from_before_a_crash_of_the_database_are_not_granted_again(own_postgres: EmbeddedPostgres) -> None:
    """A crash of PostgreSQL empties the limits. The first start after it comes after all that were granted before."""
    engine = connect(own_postgres.url, application="waypost-limits", pool_size=1)
    try:
        schema.migrate(engine)
        one = RateLimits(engine)
        assert allowed(one.take(requests(100))) > 1
        own_postgres.kill()
        with pytest.raises(SQLAlchemyError):
            one.take(requests(1, start=200))
        own_postgres.start()
        decision = one.take(requests(1, start=201))[0]
        assert 0 < decision.wait_s <= 1
    finally:
        engine.dispose()


def test_pairs_that_may_send_a_full_burst_again_are_forgotten(
    database: Engine, shared: Callable[..., RateLimits], clock: Clock
) -> None:
    """The sweeper deletes the state of idle pairs, which would grow with every contact, and keeps the others."""
    clock.now = time.time() - 3600
    shared().take(requests(10))
    clock.now = time.time()
    shared().take(requests(1, start=99))
    Sweeper(database, lambda _lanes: None, interval_s=1, retention_days=9).tidy()
    with database.connect() as connection:
        assert connection.execute(text("SELECT conversation_id FROM pair_limit")).scalars().all() == [99]
