"""Work continues after a time in which a hung server or too many probes held all connections."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, QueuePool, create_engine, text
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from waypost.lanes.drain import Drain
from waypost.lanes.renewer import LeaseRenewer
from waypost.lanes.sweeper import Sweeper
from waypost.store import leases
from waypost.store.claims import WaitingEvent

from .conftest import Recorder


class OneConnection(QueuePool):
    """A pool with one connection. It counts how often the connection was not free."""

    refused = 0

    def _do_get(self) -> Any:
        try:
            return super()._do_get()
        except NoConnectionFree:
            self.refused += 1
            raise


@pytest.fixture
def scarce(database: Engine) -> Iterator[Engine]:
    """Yields an engine on `database` with one connection. It waits only a short time for a free connection."""
    engine = create_engine(database.url, poolclass=OneConnection, pool_size=1, max_overflow=0, pool_timeout=0.01)
    yield engine
    engine.dispose()


def _refused(engine: Engine) -> int:
    assert isinstance(engine.pool, OneConnection)
    return engine.pool.refused


def test_the_sweeper_goes_on(scarce: Engine, put: Callable[..., int], wait_for: Callable[..., object]) -> None:
    """The sweeper continues after no connection was free for a while.

    The sweeper finds lost wake-ups. If it ended silently, a worker would look healthy and leave events waiting.
    """
    put("waiting", lane=5)
    woken: list[int] = []
    sweeper = Sweeper(scarce, woken.extend, interval_s=0.01, retention_days=9)
    with scarce.connect():
        sweeper.start()
        wait_for(lambda: _refused(scarce))
    wait_for(lambda: woken)
    sweeper.stop()
    assert set(woken) == {5}


def test_leases_are_renewed_again(database: Engine, scarce: Engine, wait_for: Callable[..., object]) -> None:
    """The renewer renews leases again after no connection was free for a while.

    If the renewer ended, every long turn of the process would lose its lane from then on.
    """
    with database.begin() as connection:
        held = leases.acquire(connection, [0], "a", ttl_s=3600).leases
    renewer = LeaseRenewer(scarce, lambda: held, ttl_s=0.1)
    with scarce.connect():
        renewer.start()
        wait_for(lambda: _refused(scarce))

    def renewed() -> bool:
        with database.connect() as connection:
            query = text("SELECT lease_expires_at < now() + interval '1 min' FROM lane WHERE lane = 0")
            return bool(connection.execute(query).scalar_one())

    wait_for(renewed)
    renewer.stop()


def test_a_batch_that_could_not_be_stored_is_no_attempt_of_its_events(
    scarce: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
) -> None:
    """When a batch cannot be stored because no connection is free, this does not count as an attempt.

    As after an outage of the database, the next drain releases the lane and handles the same events at once.
    """
    put("event")
    taken: list[Connection] = []

    def take_the_connection(_event: WaitingEvent) -> None:
        taken.append(scarce.connect())

    recorder.on_event = take_the_connection
    drain = Drain(scarce, recorder, owner="a")
    with pytest.raises(NoConnectionFree):
        drain.run([0])
    taken[0].close()
    recorder.on_event = lambda _event: None
    assert drain.run([0]) == "emptied"
    assert states()["event"] == ("done", 0, None)
