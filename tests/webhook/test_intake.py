"""Tests group commits: events are stored together, but a bad event is stored alone.

No delivery waits longer than the bound.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.event import listens_for

from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.store import inbox
from waypost.webhook.intake import QUEUE_ROWS, Intake, IntakeUnavailable

from . import posts
from .service import NEVER_S

pytestmark = pytest.mark.anyio


def event(key: str, *, payload: bytes = b"{}", number: str = posts.NUMBER) -> Event:
    """Returns one message."""
    return Event(number, EventKind.MESSAGE, key, "15550001", 1_749_416_383.0, payload)


@pytest.fixture
def database(database: Engine) -> Engine:
    """Removes the server's time limits, because a busy machine could reach them while a test holds a lock."""

    @listens_for(database, "connect")
    def lift(connection: psycopg.Connection, _record: object) -> None:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {name} = 0".encode())
        connection.commit()

    return database


@asynccontextmanager
async def started(engine: Engine, *, wait_s: float = NEVER_S, queue_rows: int = QUEUE_ROWS) -> AsyncIterator[Intake]:
    """Runs an intake that wakes no lanes."""
    intake = Intake(engine, on_committed=lambda _lanes: None, wait_s=wait_s, queue_rows=queue_rows)
    intake.start()
    yield intake
    await intake.stop()


async def store_like_meta(intake: Intake, delivered: Event) -> None:
    """Delivers an event again and again until it is stored, as Meta does.

    On a busy machine, one attempt may take longer than the short bound.
    """
    while True:
        with contextlib.suppress(IntakeUnavailable):
            await intake.store([delivered], None)
            return


def transactions(database: Engine) -> int:
    """Returns how many transactions stored the events."""
    with database.connect() as connection:
        return int(connection.execute(text("SELECT count(DISTINCT xmin::text) FROM event")).scalar_one())


async def test_what_arrives_together_is_committed_together(database: Engine) -> None:
    """Deliveries that arrive together are committed together, so hundreds of deliveries need only a few commits.

    With one commit for each delivery, the disk would limit the pace.
    """
    async with started(database) as intake:
        await asyncio.gather(*(intake.store([event(f"k{n}")], None) for n in range(300)))
    assert len(posts.stored(database)) == 300
    assert transactions(database) < 30


async def test_a_delivery_of_any_size_is_stored_as_a_whole(database: Engine) -> None:
    """A delivery of any size is stored as a whole.

    It may need several transactions, and the answer comes after the last one.
    """
    async with started(database) as intake:
        await intake.store([event(f"k{n}") for n in range(4_500)], None)
        assert len(posts.stored(database)) == 4_500


async def test_events_of_one_delivery_keep_their_order(database: Engine) -> None:
    """The events of one delivery keep their order.

    Meta's times are whole seconds. Within one second, the row's id decides which event is handled first.
    """
    keys = ["c", "a", "b", "z", "y"]
    async with started(database) as intake:
        await intake.store([event(key) for key in keys], None)
    with database.connect() as connection:
        assert list(connection.execute(text("SELECT event_key FROM event ORDER BY id")).scalars()) == keys


async def test_a_row_that_the_database_refuses_is_stored_dead_and_the_others_as_usual(database: Engine) -> None:
    """A row that the database refuses is stored as dead, and the others are stored as usual.

    The dead event keeps the bytes of the delivery, and all counts add up.
    """
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE event ADD CHECK (event_key <> 'poison')"))
    async with started(database) as intake:
        batch = [event(f"k{n}") for n in range(9)]
        batch.insert(4, event("poison", payload=b"the bytes"))
        await asyncio.gather(*(intake.store([one], None) for one in batch))
    states = posts.stored(database)
    assert sorted(states.values()) == ["dead"] + ["waiting"] * 9
    with database.connect() as connection:
        row = connection.execute(text("SELECT payload, reason FROM event WHERE state = 'dead'")).one()
    assert (bytes(row.payload), row.reason) == (b"the bytes", "Unstorable")
    counts = posts.counted(database)
    assert counts["received"] == counts["waiting"] + counts["dead"] + counts.get("duplicate", 0)


async def test_no_delivery_waits_longer_than_the_bound(database: Engine) -> None:
    """If the database does not answer, a delivery is refused after the bound, so that deliveries do not pile up."""
    async with started(database, wait_s=0.3) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("late")], None)


async def test_after_a_hang_the_intake_works_again(
    database: Engine, eventually: Callable[..., Awaitable[object]]
) -> None:
    """After a hang the intake works again without a restart. The connection that hung is aborted and replaced."""
    async with started(database, wait_s=0.3) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("late")], None)
            await eventually(lambda: not intake.oldest_wait_s)
        await store_like_meta(intake, event("next"))
    assert posts.stored(database)["next"] == "waiting"


async def test_beyond_the_bounded_queue_deliveries_are_refused_at_once(database: Engine) -> None:
    """If the queue is full, deliveries are refused at once. Thus memory stays bounded while the database is slow."""
    async with started(database, queue_rows=10) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            waiting = [asyncio.ensure_future(intake.store([event(f"k{n}")], None)) for n in range(10)]
            await asyncio.sleep(0)
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("one too many")], None)
        await asyncio.gather(*waiting)
    assert len(posts.stored(database)) == 10


async def test_a_connection_that_broke_while_idle_refuses_no_delivery(database: Engine) -> None:
    """If a connection broke while it was idle, the intake connects again and stores the delivery.

    The server may have restarted since the last delivery.
    """
    async with started(database) as intake:
        await intake.store([event("before")], None)
        with database.begin() as connection:
            connection.execute(
                text("""
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                """)
            )
        await intake.store([event("after")], None)
    assert set(posts.stored(database)) == {"before", "after"}


async def test_what_waits_is_committed_before_the_intake_stops(database: Engine) -> None:
    """Waiting events are committed before the intake stops, so that a drain loses no accepted delivery."""
    async with started(database) as intake:
        waiting = [asyncio.ensure_future(intake.store([event(f"k{n}")], None)) for n in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert len(posts.stored(database)) == 50


async def test_a_caller_that_is_cancelled_does_not_affect_others(database: Engine) -> None:
    """If a caller is cancelled, the events of other callers are stored. Its own events may be stored or not."""
    async with started(database) as intake:
        gone = asyncio.ensure_future(intake.store([event("gone")], None))
        stays = asyncio.ensure_future(intake.store([event("stays")], None))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
    assert posts.stored(database)["stays"] == "waiting"


@pytest.mark.fault("S6")
async def test_a_read_only_database_refuses_deliveries(database: Engine) -> None:
    """If the database is read-only, deliveries are refused.

    After a failover the old server may still answer although it stores nothing.
    """
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    database.dispose()
    async with started(database) as intake:
        with pytest.raises(IntakeUnavailable):
            await intake.store([event("k")], None)
    with database.connect() as connection:
        assert not inbox.is_writable(connection)
