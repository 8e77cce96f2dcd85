"""Group commit: together where possible, each alone where one is bad, and never longer than the bound."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Engine, text

from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.store import inbox
from waypost.webhook.intake import Intake, IntakeUnavailable

from . import posts

pytestmark = pytest.mark.anyio


def event(key: str, *, payload: bytes = b"{}", number: str = posts.NUMBER) -> Event:
    """One message from somebody."""
    return Event(number, EventKind.MESSAGE, key, "15550001", 1_749_416_383.0, payload)


@asynccontextmanager
async def started(engine: Engine, **limits: float) -> AsyncIterator[Intake]:
    """An intake that wakes nobody."""
    intake = Intake(engine, on_committed=lambda _lanes: None, **limits)  # type: ignore[arg-type]
    intake.start()
    yield intake
    await intake.stop()


def transactions(database: Engine) -> int:
    """How many transactions stored the events."""
    with database.connect() as connection:
        return int(connection.execute(text("SELECT count(DISTINCT xmin::text) FROM event")).scalar_one())


async def test_what_arrives_together_is_committed_together(database: Engine) -> None:
    """Hundreds of deliveries need a few commits, or the disk would set the pace."""
    async with started(database) as intake:
        await asyncio.gather(*(intake.store([event(f"k{n}")], None) for n in range(300)))
    assert len(posts.stored(database)) == 300
    assert transactions(database) < 30


async def test_a_delivery_is_whole_or_refused_however_many_events_it_has(database: Engine) -> None:
    """More than one transaction may be needed; the answer comes after the last."""
    async with started(database) as intake:
        await intake.store([event(f"k{n}") for n in range(4_500)], None)
        assert len(posts.stored(database)) == 4_500


async def test_events_of_one_delivery_keep_their_order(database: Engine) -> None:
    """Meta's times are whole seconds; within one, the id decides who is handled first."""
    keys = ["c", "a", "b", "z", "y"]
    async with started(database) as intake:
        await intake.store([event(key) for key in keys], None)
    with database.connect() as connection:
        assert list(connection.execute(text("SELECT event_key FROM event ORDER BY id")).scalars()) == keys


async def test_a_row_that_the_database_refuses_costs_its_neighbours_nothing(database: Engine) -> None:
    """They are stored as ever; the row itself is kept dead, with its bytes."""
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


async def test_nobody_waits_longer_than_the_bound(database: Engine) -> None:
    """A database that does not answer makes a refusal, not a queue."""
    async with started(database, wait_s=0.3) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("late")], None)


async def test_after_a_hang_the_intake_works_again(
    database: Engine, eventually: Callable[..., Awaitable[object]]
) -> None:
    """The connection that hung is broken off and replaced, without anybody's help."""
    async with started(database, wait_s=0.3) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("late")], None)
            await eventually(lambda: not intake.oldest_wait_s)
        await intake.store([event("next")], None)
    assert posts.stored(database)["next"] == "waiting"


async def test_beyond_the_bounded_queue_deliveries_are_refused_at_once(database: Engine) -> None:
    """Memory is bounded while the database is slow."""
    async with started(database, queue_rows=10) as intake:
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
            waiting = [asyncio.ensure_future(intake.store([event(f"k{n}")], None)) for n in range(10)]
            await asyncio.sleep(0)
            with pytest.raises(IntakeUnavailable):
                await intake.store([event("one too many")], None)
        await asyncio.gather(*waiting)
    assert len(posts.stored(database)) == 10


async def test_a_connection_that_broke_while_idle_refuses_nobody(database: Engine) -> None:
    """The server may have restarted in between; that is found out, not passed on."""
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
    """A drain loses nothing that was accepted."""
    async with started(database) as intake:
        waiting = [asyncio.ensure_future(intake.store([event(f"k{n}")], None)) for n in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert len(posts.stored(database)) == 50


async def test_a_caller_that_gives_up_harms_nobody(database: Engine) -> None:
    """Its events are stored or not; its neighbours' are."""
    async with started(database) as intake:
        gone = asyncio.ensure_future(intake.store([event("gone")], None))
        stays = asyncio.ensure_future(intake.store([event("stays")], None))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
    assert posts.stored(database)["stays"] == "waiting"


async def test_a_read_only_database_refuses_and_says_so(database: Engine) -> None:
    """After a failover the old server may still answer."""
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    database.dispose()
    async with started(database) as intake:
        with pytest.raises(IntakeUnavailable):
            await intake.store([event("k")], None)
    with database.connect() as connection:
        assert not inbox.is_writable(connection)
