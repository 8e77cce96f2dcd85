"""Tests that each event is stored once and counted in the same transaction, whatever it contains."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.store import inbox
from waypost.store.tables import LANES

from . import posts


def event(key: str, *, problem: str | None = None, contact: str = "15550001", at: float = 1_749_416_383.0) -> Event:
    """Returns one message."""
    return Event(posts.NUMBER, EventKind.MESSAGE, key, contact, at, b"{}", problem)


@pytest.mark.parametrize(("number_id", "contact", "lane"), [("100", "15550001", 38), ("100", "", 59), ("", "é", 19)])
def test_a_conversations_lane_never_changes(number_id: str, contact: str, lane: int) -> None:
    """The lane of a conversation never changes. It is stored in rows, so every version must compute the same lane."""
    assert inbox.lane_of(number_id, contact) == lane


def test_conversations_spread_over_all_lanes() -> None:
    """Conversations are spread over all lanes, and no lane gets more than twice its share."""
    lanes = [inbox.lane_of("106540352242922", f"1555{n:07d}") for n in range(6400)]
    assert set(lanes) == set(range(LANES))
    assert max(map(lanes.count, set(lanes))) < 200


def test_the_outcome_has_what_was_received_duplicate_and_dead_and_the_lanes(database: Engine) -> None:
    """`insert` returns the counts of received, duplicate and dead events, and the lanes of new events.

    Thus metrics and wake-ups need no second query.
    """
    with database.begin() as connection:
        inbox.insert(connection, [(event("known"), None)], 1)
        inserted = inbox.insert(
            connection,
            [(event("known"), None), (event("new", contact="a"), None), (event("bad", problem="InvalidItem"), None)],
            1,
        )
    assert inserted.received == {(posts.NUMBER, "message"): 3}
    assert inserted.duplicates == {(posts.NUMBER, "message"): 1}
    assert inserted.dead == {(posts.NUMBER, "InvalidItem"): 1}
    assert inserted.lanes == {inbox.lane_of(posts.NUMBER, "a")}


def test_the_first_of_two_events_with_one_key_stays(database: Engine) -> None:
    """If two events have the same key, the first one stays. A redelivery does not even change a dead event's reason."""
    with database.begin() as connection:
        inbox.insert(connection, [(event("k", problem="InvalidItem"), None), (event("k"), None)], 1)
    assert posts.stored(database) == {"k": "dead"}


def test_an_event_without_a_time_gets_the_time_of_its_arrival(database: Engine) -> None:
    """An event without a time gets the time of its arrival. Otherwise hourly reports would show it in 1970."""
    with database.begin() as connection:
        inbox.insert(connection, [(event("k", at=0.0), None)], 1)
        age = connection.execute(text("SELECT extract(epoch FROM now() - occurred_at) FROM event")).scalar_one()
    assert age == 0


def test_the_counts_are_undone_with_the_rows(database: Engine) -> None:
    """If the rows are rolled back, the counts are too, because both are in one transaction.

    Thus the counts add up in every snapshot (guarantee G9).
    """
    with database.connect() as connection:
        inbox.insert(connection, [(event("k"), None)], 1)
        connection.rollback()
    assert posts.counted(database) == {}


@pytest.mark.fault("D1")
def test_concurrent_writers_of_the_same_events_lose_none_and_do_not_deadlock(database: Engine) -> None:
    """If Meta redelivers to several pods at once, each event is stored once and every arrival is counted.

    The concurrent writers do not deadlock.
    """
    keys = [f"k{n}" for n in range(200)]

    def write(writer: int) -> None:
        shuffled = keys[writer * 37 % 200 :] + keys[: writer * 37 % 200]
        for start in range(0, 200, 50):
            with database.begin() as connection:
                inbox.insert(connection, [(event(key), None) for key in shuffled[start : start + 50]], writer)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert posts.counted(database) == {"received": 1200, "duplicate": 1000, "waiting": 200}


awkward = st.text(st.characters(codec=None, categories=None, exclude_categories=[]), max_size=700)


@given(
    events=st.lists(
        st.builds(
            Event,
            number_id=awkward,
            kind=st.sampled_from(EventKind),
            key=awkward,
            contact_key=awkward,
            occurred_at=st.floats(),
            payload=st.binary(max_size=50),
            problem=st.sampled_from([None, "InvalidItem"]),
        ),
        min_size=1,
        max_size=8,
    )
)
@example(events=[event("k" * 4000)])
@example(events=[event("\0"), event("\ud800")])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_event_is_unstorable(database: Engine, events: list[Event]) -> None:
    """The database can store every event with its bytes unchanged, whatever texts and time the event has."""
    with database.connect() as connection:
        inbox.insert(connection, [(one, None) for one in events], 1)
        payloads = set(connection.execute(text("SELECT payload FROM event")).scalars())
        connection.rollback()
    assert payloads <= {one.payload for one in events}
    assert payloads


@given(text=awkward)
def test_a_text_that_cannot_be_stored_is_replaced_by_its_digest(text: str) -> None:
    """A text that cannot be stored is replaced by its digest, so two such texts never get the same key."""
    stored = inbox.storable(text, 300)
    assert stored == text or (stored.startswith("sha256:") and stored != inbox.storable(text + "\0", 300))
    assert len(stored.encode()) <= 300
