"""Tests of the engine: how long it waits at most, and how it explains why the server cannot be used."""

import contextlib
import os
import socket
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from waypost.dev.embedded import EmbeddedPostgres
from waypost.store.connection.database import SILENT_SERVER_S, connect, explain, wait


class Captured(Exception):
    """An error that ends the attempt to connect."""


def test_a_connection_to_a_vanished_machine_is_closed() -> None:
    """A connection to a machine that has vanished is closed by the client.

    The server cannot enforce its time limits then, and a worker would wait until the kernel reports an error.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = connect(f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/none", application="test")
        given: dict[str, Any] = {}

        @event.listens_for(engine, "do_connect")
        def capture(_dialect: Any, _record: Any, _positional: Any, named: dict[str, Any]) -> None:
            given.update(named)
            raise Captured

        with contextlib.suppress(Captured):
            engine.connect()
        asked = {name: value for name, value in given.items() if name not in {"context", "prepare_threshold"}}
        attempt = psycopg.pq.PGconn.connect_start(psycopg.conninfo.make_conninfo(**asked, sslmode="disable").encode())
        attempt.connect_poll()
        with socket.socket(fileno=os.dup(attempt.socket)) as twin:
            assert twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == SILENT_SERVER_S * 1000
            assert twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == SILENT_SERVER_S // 2
        attempt.finish()


def _explanation(url: str) -> str:
    engine = connect(url, application="test")
    with pytest.raises(SQLAlchemyError) as caught:
        engine.connect()
    engine.dispose()
    return explain(caught.value)


@pytest.mark.parametrize(
    ("url", "explanation"),
    [
        ("postgresql://canary:canary@127.0.0.1:1/canary", "nothing listens at its address"),
        ("postgresql://canary:canary@canary.invalid/canary", "its name cannot be resolved"),
        ("postgresql://canary@/canary?host=/canary", "OperationalError"),
    ],
)
def test_an_explanation_names_the_cause_and_no_part_of_the_address(url: str, explanation: str) -> None:
    """An explanation names the cause, so that a person who set the database up knows where to look.

    It contains no address, name or password.
    """
    assert _explanation(url) == explanation


def test_a_missing_database_has_another_explanation_than_a_missing_server(database_url: str) -> None:
    """A missing database is explained differently from a missing server, because the server itself reports it."""
    other = make_url(database_url).set(database="canary")

    assert _explanation(other.render_as_string(hide_password=False)) == "it has no such user or database"


def test_a_database_without_tables_is_explained_by_the_missing_migration(empty_database_url: str) -> None:
    """If the database has no tables, the explanation names the command that creates them."""
    engine = connect(empty_database_url, application="test")
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT canary FROM event"))
    engine.dispose()

    assert explain(caught.value) == "it lacks a migration; run `waypost migrate`"


def test_wait_returns_once_a_missing_server_is_there(own_postgres: EmbeddedPostgres) -> None:
    """`wait` returns once a missing server is there. It reports the same reason only once."""
    own_postgres.stop()
    reported: list[str] = []

    def report(reason: str) -> None:
        reported.append(reason)
        own_postgres.start()

    engine = connect(own_postgres.url, application="test")
    wait(engine, at_most_s=120, report=report)
    engine.dispose()

    assert len(reported) == 1


def test_wait_raises_the_last_error_when_the_time_is_up() -> None:
    """When the time is up, `wait` raises the last error, so that a caller can explain why it gives up."""
    engine = connect("postgresql://canary:canary@127.0.0.1:1/canary", application="test")
    with pytest.raises(SQLAlchemyError) as caught:
        wait(engine, at_most_s=0, report=pytest.fail)
    engine.dispose()

    assert explain(caught.value) == "nothing listens at its address"
