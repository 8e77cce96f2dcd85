"""Tests that the backlog of one number delays no other number (G10).

Events are claimed in equal shares by number. The tests count batches instead of seconds, so they also pass on
a busy machine.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, Engine, text

from waypost.lanes.drain import Drain, Limits
from waypost.lanes.handler import NotServedHere
from waypost.store import claims
from waypost.store.claims import WaitingEvent

LOUD, QUIET = "100", "200"
Put = Callable[..., None]


@pytest.fixture
def put(database: Engine) -> Put:
    """Returns `put(number, count, lane=0, kind='message', ago_s=60)`, which stores waiting events of many contacts."""

    def put(number: str, count: int, *, lane: int = 0, kind: str = "message", ago_s: float = 60) -> None:
        with database.begin() as connection:
            connection.execute(
                text("""
                    INSERT INTO event (number_id, kind, event_key, lane, contact_key, occurred_at, payload)
                    SELECT :number, :kind, :lane || '-' || n, :lane, n, now() - make_interval(secs => :ago - n * 1e-4),
                        ''
                    FROM generate_series(1, :count) AS n
                """),
                {"number": number, "kind": kind, "lane": lane, "count": count, "ago": ago_s},
            )

    return put


@dataclass
class Batches:
    """A handler that records how many events of each number a batch has. It calls `on_event` for each event."""

    on_event: Callable[[WaitingEvent], str | None] = lambda _event: None
    of: list[Counter[str]] = field(default_factory=list)

    def begin(self, _connection: Connection, events: Sequence[WaitingEvent]) -> "Batches":
        self.of.append(Counter(event.number_id for event in events))
        return self

    def handle(self, event: WaitingEvent) -> str | None:
        return self.on_event(event)

    def give_up(self, event: WaitingEvent) -> None:
        """Records nothing."""

    def store(self, connection: Connection) -> None:
        """Stores nothing, because these tests look only at the events."""

    def committed(self) -> None:
        """Does nothing."""

    def first_with(self, number: str) -> int:
        """Returns the index of the first batch that has an event of the number. The index starts at 0."""
        return next(place for place, batch in enumerate(self.of) if batch[number])


def _waiting(database: Engine, number: str) -> int:
    with database.connect() as connection:
        statement = text("SELECT count(*) FROM event WHERE number_id = :number AND state = 'waiting'")
        return int(connection.execute(statement, {"number": number}).scalar_one())


def _claim(database: Engine, lanes: Collection[int], *, skipped: Collection[str] = ()) -> list[WaitingEvent]:
    with database.connect() as connection:
        return claims.claim(connection, dict.fromkeys(lanes, ""), limit=128, skipped=skipped)


def test_a_backlog_shares_its_lane_with_other_numbers(database: Engine, put: Put) -> None:
    """If one number has thousands of waiting events, a newer event of another number is still in the first batch."""
    put(LOUD, 3_000)
    put(QUIET, 1, ago_s=0)
    batches = Batches()
    Drain(database, batches, owner="a").run([0])
    assert batches.first_with(QUIET) == 0
    assert (_waiting(database, LOUD), _waiting(database, QUIET)) == (0, 0)


def test_an_event_that_arrives_later_is_in_the_next_batch(database: Engine, put: Put) -> None:
    """If other lanes are woken while a drain works on a backlog, the drain takes them before its next batch."""
    put(LOUD, 2_000)
    batches = Batches()

    def woken() -> list[int]:
        if len(batches.of) == 3:
            put(QUIET, 1, lane=7, ago_s=0)
            return [7]
        return []

    Drain(database, batches, owner="a").run([0], woken)
    assert batches.first_with(QUIET) == 3


def test_a_backlog_in_every_lane_shares_each_of_them(database: Engine, put: Put) -> None:
    """If one number has a backlog in all 64 lanes, an event of another number is still claimed soon in any lane."""
    for lane in range(64):
        put(LOUD, 40, lane=lane)
    put(QUIET, 1, lane=63, ago_s=0)
    batches = Batches()
    Drain(database, batches, owner="a").run(range(64))
    assert batches.first_with(QUIET) <= 64 * 2 // claims.NUMBERS_PER_CLAIM
    assert _waiting(database, LOUD) == 0


def test_every_one_of_many_numbers_has_its_turn(database: Engine, put: Put) -> None:
    """Each of many numbers has its turn.

    A claim takes events of a limited count of numbers. The next claim begins after these numbers.
    """
    numbers = [f"{300 + place}" for place in range(3 * claims.NUMBERS_PER_CLAIM)]
    for number in numbers:
        put(number, 20)
    batches = Batches()
    Drain(database, batches, owner="a").run([0])
    assert {number for batch in batches.of[:4] for number in batch} == set(numbers)
    assert sum(sum(batch.values()) for batch in batches.of) == 20 * len(numbers)


def test_messages_of_an_unknown_number_wait_untouched(database: Engine, put: Put) -> None:
    """If a worker does not know a number, the backlog of this number costs the worker only one batch.

    The events lose no attempt, and their rows are not written.
    """
    put(LOUD, 5_000)
    put(QUIET, 1, ago_s=0)

    def refuse(event: WaitingEvent) -> None:
        if event.number_id == LOUD:
            raise NotServedHere

    batches = Batches(refuse)
    result = Drain(database, batches, owner="a", limits=Limits(skip_s=3600)).run([0])
    assert (result, len(batches.of)) == ("emptied", 1)
    assert (_waiting(database, LOUD), _waiting(database, QUIET)) == (5_000, 0)
    with database.connect() as connection:
        touched = "SELECT count(*) FROM event WHERE number_id = :loud AND (attempts > 0 OR next_attempt_at > now())"
        assert connection.execute(text(touched), {"loud": LOUD}).scalar_one() == 0


def test_statuses_of_a_skipped_number_are_still_claimed(database: Engine, put: Put) -> None:
    """If a number is skipped, its statuses are still claimed, but its messages are not.

    Only messages need the number's bot. A status settles a send and needs no bot.
    """
    put(LOUD, 3)
    put(LOUD, 2, kind="status")
    assert Counter(event.kind for event in _claim(database, [0], skipped={LOUD})) == {"status": 2}


def test_failing_events_come_behind_fresh_ones_and_together(database: Engine, put: Put) -> None:
    """Events that never failed are claimed before events that have failed.

    Events that have failed are also claimed in batches, and not one by one.
    """
    put(LOUD, 500)
    with database.begin() as connection:
        connection.execute(text("UPDATE event SET attempts = 1, reason = 'ValueError'"))
    put(QUIET, 5, ago_s=0)
    claimed = _claim(database, [0])
    assert [event.number_id for event in claimed[:5]] == [QUIET] * 5
    batches = Batches()
    Drain(database, batches, owner="a").run([0])
    assert len(batches.of) <= 500 // 100 + 1
    assert _waiting(database, LOUD) == 0


def test_retries_of_many_failed_events_are_spread_out(database: Engine, put: Put) -> None:
    """If a thousand events fail at the same moment, their retries are spread over time."""
    put(LOUD, 128)

    def fail(_event: WaitingEvent) -> None:
        raise ValueError("not today")

    Drain(database, Batches(fail), owner="a", limits=Limits(retry_delays_s=(200,))).run([0])
    with database.connect() as connection:
        moments = connection.execute(text("SELECT count(DISTINCT next_attempt_at) FROM event")).scalar_one()
    assert moments >= 64
