"""Tests of how a sender waits for the starts of its calls, with real limits."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import Engine

from waypost.sending.gcra import MISSED, SECOND
from waypost.sending.limits import RateDecision, RateLimits, RateRequest
from waypost.sending.sender import Sender
from waypost.sending.starts import Starts
from waypost.store import outbox
from waypost.store.connection.database import connect
from waypost.store.connection.outage import DatabaseOutage
from waypost.store.outbox import OutboxRow

from .conftest import NUMBER, Tables

pytestmark = pytest.mark.anyio


class Clock:
    """A clock in seconds that only a test moves, so that a delay changes nothing."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Returns the clock of the limits."""
    return Clock()


@pytest.fixture
def limits(database_url: str, clock: Clock) -> Iterator[RateLimits]:
    """Yields the limits of one process."""
    engine = connect(database_url, application="waypost-limits", pool_size=1)
    yield RateLimits(engine, test_clock=clock)
    engine.dispose()


@pytest.fixture
async def starts(anyio_backend: str, limits: RateLimits) -> Starts:
    """Returns the starts of a sender whose numbers may send 20 messages a second."""
    return Starts(limits, lambda _number_id: 20.0, DatabaseOutage(__name__, began="away", ended="back"))


@pytest.fixture
def row(database: Engine, tables: Tables) -> OutboxRow:
    """Returns a row that is ready to be sent."""
    conversation = tables.conversation()
    tables.queue(conversation)
    with database.connect() as connection:
        return outbox.next_rows(connection, [conversation])[0]


async def test_a_call_is_made_at_its_start(starts: Starts, row: OutboxRow) -> None:
    """A call waits for its start, which was granted a moment ahead."""
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.1
    assert await starts.turn(row, start)
    assert loop.time() >= start


@pytest.mark.fault("P3")
async def test_a_call_that_has_missed_its_start_gets_another_one(
    starts: Starts, limits: RateLimits, row: OutboxRow, clock: Clock
) -> None:
    """A process that was suspended asks for new starts, because others have been granted the time since."""
    assert await starts.ask([row]) == [RateDecision(0.0)]
    clock.now += 2 * MISSED / SECOND
    assert await starts.turn(row, asyncio.get_running_loop().time() - 2 * MISSED / SECOND)
    later = limits.take([RateRequest(NUMBER, 20.0, 1_000_000, 1_000_000, bulk=False)])[0]
    assert later.wait_s > 0


@pytest.mark.fault("P3")
async def test_a_call_that_has_missed_its_start_is_not_made_while_its_number_is_busy(
    starts: Starts, limits: RateLimits, row: OutboxRow
) -> None:
    """If others have used up the limit since, a late call is not made."""
    limits.take([RateRequest(NUMBER, 20.0, 1_000_000 + n, 1_000_000 + n, bulk=False) for n in range(50)])
    assert not await starts.turn(row, asyncio.get_running_loop().time() - 2 * MISSED / SECOND)


async def test_incoming_messages_are_counted_soon_though_nothing_is_sent(
    tables: Tables, start: Callable[..., Sender], eventually: Callable[..., Awaitable[object]]
) -> None:
    """A sender that sends nothing counts the incoming messages within a moment, so that others see them."""
    sender = start()

    def counted() -> object:
        sender.charge({NUMBER: 1})  # before the sender runs, nothing is counted
        return tables.one("SELECT arrival FROM rate_limit WHERE number_id = :id", id=NUMBER)

    await eventually(counted)
