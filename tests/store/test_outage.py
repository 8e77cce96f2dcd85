"""Tests that a database that cannot be reached is logged differently from one that refuses a statement."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from waypost.store.connection.database import connect
from waypost.store.connection.outage import DatabaseOutage

LogLines = list[Any]


@pytest.fixture
def lines() -> Iterator[LogLines]:
    """Yields the log lines of the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def _error(engine: Engine, *statements: str) -> SQLAlchemyError:
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    except SQLAlchemyError as error:
        return error
    raise AssertionError("nothing was refused")


def _outage() -> DatabaseOutage:
    return DatabaseOutage("here", began="it is away", ended="it is back")


@pytest.mark.parametrize(
    ("statements", "refusal"),
    [
        (("SET statement_timeout = 10", "SELECT pg_sleep(60)"), "QueryCanceled"),
        (("SELECT * FROM canary",), "UndefinedTable"),
        (("SELECT 1 / 0",), "DivisionByZero"),
    ],
)
def test_a_refusal_of_a_database_that_is_there_is_a_warning(
    database: Engine, lines: LogLines, statements: tuple[str, ...], refusal: str
) -> None:
    """If a database that is there refuses a statement, a warning names the lane.

    Readiness stays green, so nothing else warns.
    """
    _outage().failed(_error(database, *statements), lane=7)

    (line,) = lines
    assert (line["log_level"], line["error"], line["lane"]) == ("warning", refusal, 7)
    assert "canary" not in str(line)


def test_a_lock_that_is_held_too_long_is_a_refusal(database: Engine, lines: LogLines) -> None:
    """A lock that is held too long is logged as a refusal, not as an outage.

    PostgreSQL uses the same error class for its shutdown.
    """
    with database.begin() as holder:
        holder.execute(text("LOCK TABLE event"))
        _outage().failed(_error(database, "SET lock_timeout = 10", "LOCK TABLE event"), lane=7)

    assert [(line["log_level"], line["error"]) for line in lines] == [("warning", "LockNotAvailable")]


def test_a_refusal_is_logged_once_for_each_lane_until_it_is_over(database: Engine, lines: LogLines) -> None:
    """A refusal is logged once for each lane until it is over, although a lane is tried many times."""
    outage, error = _outage(), _error(database, "SELECT * FROM canary")
    for lane in (1, 2, 1):
        outage.failed(error, lane=lane)
    outage.answered()
    outage.failed(error, lane=1)

    assert [line["lane"] for line in lines] == [1, 2, 1]


def test_a_database_that_shuts_down_is_away(database: Engine, lines: LogLines) -> None:
    """A database that shuts down counts as away. Readiness warns of that, so the log has no second warning."""
    _outage().failed(_error(database, "SELECT pg_terminate_backend(pg_backend_pid())"))

    assert [(line["log_level"], line["event"]) for line in lines] == [("info", "it is away")]


def test_a_database_that_cannot_be_reached_is_away(lines: LogLines) -> None:
    """A database counts as away if nothing listens at its address."""
    _outage().failed(_error(connect("postgresql://user@127.0.0.1:1/none", application="test")))

    assert [(line["log_level"], line["event"]) for line in lines] == [("info", "it is away")]


def test_a_database_whose_connections_all_wait_is_away(database: Engine, lines: LogLines) -> None:
    """A database counts as away if all connections of the pool are in use, because a silent server holds them."""
    engine = create_engine(database.url, pool_size=1, max_overflow=0, pool_timeout=0)
    with engine.connect():
        _outage().failed(_error(engine))
    engine.dispose()

    assert [(line["log_level"], line["event"]) for line in lines] == [("info", "it is away")]
