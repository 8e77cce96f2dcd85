"""Tests of G9: for each number, received = duplicate + done + dead + waiting at every moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, text

from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.store import claims, counts, dead, inbox
from waypost.store.counts import EventCounts

NUMBER = "106540352242922"


def event(key: str, *, number: str = NUMBER, problem: str | None = None) -> Event:
    """Returns one message event of a number."""
    return Event(number, EventKind.MESSAGE, key, key[:3], 1_700_000_000.0, b"{}", problem)


def store(connection: Connection, *events: Event, writer: int = 100) -> None:
    """Puts events into the inbox."""
    inbox.insert(connection, [(each, None) for each in events], writer)


def finish_some(connection: Connection, lane: int) -> int:
    """Marks due events of a lane as done, but every third one as dead. Returns how many events it marked."""
    due = claims.claim(connection, {lane: ""}, limit=20)
    claims.mark_done(connection, lane, [(each, None) for each in due if each.id % 3])
    claims.mark_dead(connection, [(each, "TurnFailed") for each in due if not each.id % 3])
    return len(due)


def test_an_empty_installation_has_no_counts(database: Engine) -> None:
    """Without numbers and events there is nothing to count."""
    with database.connect() as connection:
        assert counts.by_number(connection) == {}


def test_a_number_without_events_counts_zero(database: Engine) -> None:
    """A new number without events has counts of zero. It is not left out."""
    with database.begin() as connection:
        connection.execute(text("INSERT INTO number (number_id, namespace, name, waba_id) VALUES ('1', 'a', 'b', 'c')"))
        assert counts.by_number(connection) == {"1": EventCounts()}


def test_each_event_is_counted_by_its_state(database: Engine) -> None:
    """Each event is counted by its state: one is a duplicate, one dead on arrival, one done, and one waiting."""
    with database.begin() as connection:
        store(connection, event("a1"), event("b1"), event("c1", problem="InvalidItem"))
        store(connection, event("a1"))
        (first,) = claims.claim(connection, {inbox.lane_of(NUMBER, event("a1").contact_key): ""}, limit=1)
        claims.mark_done(connection, first.lane, [(first, None)])
    with database.connect() as connection:
        of_number = counts.by_number(connection)[NUMBER]
    assert (of_number.received, of_number.duplicate, of_number.done) == (4, 1, 1)
    assert (of_number.dead, of_number.waiting) == (1, 1)
    assert of_number.holds


def test_numbers_are_counted_apart(database: Engine) -> None:
    """Events of one team are never in another team's counts."""
    with database.begin() as connection:
        store(connection, event("a1"), event("a1", number="2"), event("b1", number="2"))
        found = counts.by_number(connection)
    assert found[NUMBER].received == 1
    assert found["2"].received == 2


def test_the_age_of_the_oldest_waiting_event_is_the_databases(database: Engine) -> None:
    """The database's clock gives the age of the oldest waiting event.

    Workers are autoscaled by this age, so no pod's clock may influence it.
    """
    with database.begin() as connection:
        store(connection, event("a1"), event("b1"))
        connection.execute(text("UPDATE event SET received_at = now() - interval '90 s' WHERE event_key = 'a1'"))
        of_number = counts.by_number(connection)[NUMBER]
        assert of_number.oldest_waiting_s is not None
        assert 90 <= of_number.oldest_waiting_s < 1000


@pytest.mark.parametrize("resolve", [dead.replay, dead.drop])
def test_replaying_or_dropping_a_dead_event_keeps_the_sum(database: Engine, resolve: Callable[..., object]) -> None:
    """If a person replays or drops a dead event, it moves from one count to another and the sum stays."""
    with database.begin() as connection:
        store(connection, event("a1", problem="InvalidItem"), event("b1"))
        resolve(connection, dead.Selection(), limit=10)
        of_number = counts.by_number(connection)[NUMBER]
    assert of_number.dead == 0
    assert of_number.holds


def test_the_sum_holds_at_every_moment_while_many_write(database: Engine) -> None:
    """While writers store batches with duplicates and drains finish events, the counts add up in every reading."""
    writing = threading.Event()
    writing.set()

    def write(writer: int) -> None:
        for batch in range(25):
            events = [event(f"{n:03d}-{batch}", number=str(n % 3)) for n in range(12)]
            with database.begin() as connection:
                store(connection, *events, writer=writer)  # both writers store the same: one of them sees duplicates

    def drain(half: int) -> None:
        idle = 0
        while writing.is_set() or idle < 2:
            finished = 0
            for lane in range(half, 64, 2):
                with database.begin() as connection:
                    finished += finish_some(connection, lane)
            idle = 0 if finished else idle + 1

    def watch() -> int:
        readings = 0
        while writing.is_set() or readings < 3:
            with database.connect() as connection:
                for of_number in counts.by_number(connection).values():
                    assert of_number.holds, of_number
            readings += 1
        return readings

    with ThreadPoolExecutor(5) as threads:
        drains = [threads.submit(drain, half) for half in (0, 1)]
        watcher = threads.submit(watch)
        writers = [threads.submit(write, writer) for writer in (101, 102)]
        try:
            for each in writers:
                each.result(100)
        finally:
            writing.clear()
        for drained in drains:
            drained.result(100)
        watcher.result(100)
    with database.connect() as connection:
        found = counts.by_number(connection).values()
    assert sum(each.received for each in found) == 2 * 25 * 12
    assert sum(each.duplicate for each in found) == 25 * 12
    assert sum(each.waiting for each in found) == 0
    assert sum(each.dead for each in found) > 0


def test_folding_old_days_changes_rows_but_no_sum(database: Engine) -> None:
    """Folding makes one row per day and name from the rows of many writers. The sums stay the same.

    The rows of today and yesterday are not folded, because they are still being written.
    """
    with database.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO daily_metric (day, number_id, name, writer, value)
                SELECT (now() AT TIME ZONE 'UTC')::date - back, '1', name, writer, 10
                FROM generate_series(0, 4) AS back, generate_series(0, 7) AS writer,
                     unnest(ARRAY['received', 'done']) AS name
            """)
        )
        before = counts.by_number(connection)
    for _ in range(2):
        with database.begin() as connection:
            counts.fold(connection)
            assert counts.by_number(connection) == before
            rows = connection.execute(text("SELECT count(*) FROM daily_metric")).scalar_one()
            assert rows == 2 * (2 * 8 + 3)


def test_unsent_messages_are_counted_by_state_and_age(database: Engine) -> None:
    """Unsent messages are counted by state.

    Unknown sends are also counted apart if no status settled them within the given time.
    """
    with database.begin() as connection:
        connection.execute(text("INSERT INTO contact (number_id, wa_id) VALUES ('1', '15550001111')"))
        connection.execute(
            text("INSERT INTO conversation (number_id, contact_id, lane) SELECT '1', id, 0 FROM contact")
        )
        connection.execute(
            text("""
                INSERT INTO outbox (number_id, conversation_id, body, state, created_at)
                SELECT '1', conversation.id, '{}', row.state, now() - make_interval(mins => minutes)
                FROM conversation, (VALUES ('queued', 0), ('queued', 9), ('sending', 0), ('sent', 0), ('failed', 0),
                    ('unknown', 5), ('unknown', 65)) AS row (state, minutes)
            """)
        )
        found = counts.outbox_by_number(connection, old_s=3600)
    assert found == {"1": counts.OutboxCounts(queued=2, sending=1, unknown=2, unknown_old=1, failed=1)}
