"""Tests group commits: events are stored together, a bad one alone, and no delivery waits longer than the bound."""

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
    """Return one message."""
    return Event(number, EventKind.MESSAGE, key, "15550001", 1_749_416_383.0, payload)


@pytest.fixture
def database(database: Engine) -> Engine:
    """Lift the server's time limits: a busy machine could reach them while a test holds a lock."""

    @listens_for(database, "connect")
    def lift(connection: psycopg.Connection, _record: object) -> None:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {name} = 0".encode())
        connection.commit()

    return database


@asynccontextmanager
async def started(engine: Engine, *, wait_s: float = NEVER_S, queue_rows: int = QUEUE_ROWS) -> AsyncIterator[Intake]:
    """Run an intake that wakes no lanes."""
    intake = Intake(engine, on_committed=lambda _lanes: None, wait_s=wait_s, queue_rows=queue_rows)
    intake.start()
    yield intake
    await intake.stop()


async def store_like_meta(intake: Intake, delivered: Event) -> None:
    """Deliver an event until it is stored: a busy machine may need more than one short bound."""
    while True:
        with contextlib.suppress(IntakeUnavailable):
            await intake.store([delivered], None)
            return


def transactions(database: Engine) -> int:
    """Return how many transactions stored the events."""
    with database.connect() as connection:
        return int(connection.execute(text("SELECT count(DISTINCT xmin::text) FROM event")).scalar_one())


async def test_what_arrives_together_is_committed_together(database: Engine) -> None:
    """Hundreds of deliveries need a few commits; with one each, the disk would set the pace."""
    async with started(database) as intake:
        await asyncio.gather(*(intake.store([event(f"k{n}")], None) for n in range(300)))
    assert len(posts.stored(database)) == 300
    assert transactions(database) < 30


async def test_a_delivery_of_any_size_is_stored_as_a_whole(database: Engine) -> None:
    """It may need several transactions; the answer comes after the last one."""
    async with started(database) as intake:
        await intake.store([event(f"k{n}") for n in range(4_500)], None)
        assert len(posts.stored(database)) == 4_500


async def test_events_of_one_delivery_keep_their_order(database: Engine) -> None:
    """Meta's times are whole seconds; within one second, the id decides which event is handled first."""
    keys = ["c", "a", "b", "z", "y"]
    async with started(database) as intake:
        await intake.store([event(key) for key in keys], None)
    with database.connect() as connection:
        assert list(connection.execute(text("SELECT event_key FROM event ORDER BY id")).scalars()) == keys


async def test_a_row_that_the_database_refuses_is_stored_dead_and_the_others_as_usual(database: Engine) -> None:
    """The dead event keeps the bytes of the delivery, and all counts add up."""
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
    """When the database does not answer, deliveries are refused instead of piling up."""
    async with started(database, wait_s=0.3) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("late")], None)


async def test_after_a_hang_the_intake_works_again(
    database: Engine, eventually: Callable[..., Awaitable[object]]
) -> None:
    """The connection that hung is aborted and replaced, without a restart."""
    async with started(database, wait_s=0.3) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("late")], None)
            await eventually(lambda: not intake.oldest_wait_s)
        await store_like_meta(intake, event("next"))
    assert posts.stored(database)["next"] == "waiting"


async def test_beyond_the_bounded_queue_deliveries_are_refused_at_once(database: Engine) -> None:
    """Memory stays bounded while the database is slow."""
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
    """The server may have restarted since the last delivery; the intake connects again and stores."""
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
    """A drain loses no delivery that was accepted."""
    async with started(database) as intake:
        waiting = [asyncio.ensure_future(intake.store([event(f"k{n}")], None)) for n in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert len(posts.stored(database)) == 50


async def test_a_caller_that_is_cancelled_does_not_affect_others(database: Engine) -> None:
    """Its own events may be stored or not; those of the others are stored."""
    async with started(database) as intake:
        gone = asyncio.ensure_future(intake.store([event("gone")], None))
        stays = asyncio.ensure_future(intake.store([event("stays")], None))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
    assert posts.stored(database)["stays"] == "waiting"


async def test_a_read_only_database_refuses_deliveries(database: Engine) -> None:
    """After a failover the old server may still answer, and stores nothing."""
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    database.dispose()
    async with started(database) as intake:
        with pytest.raises(IntakeUnavailable):
            await intake.store([event("k")], None)
    with database.connect() as connection:
        assert not inbox.is_writable(connection)
