"""The engine: what bounds its waits, and what is said when the server cannot be used."""

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
from waypost.store.connection.database import VANISHED_S, connect, trouble, wait


class Captured(Exception):
    """Ends the attempt to connect."""


def test_a_server_whose_machine_vanished_is_given_up() -> None:
    """The server's own time limits do not count then: a worker would wait for an answer until the kernel gives up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = connect(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none", application="test")
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
            assert twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == VANISHED_S * 1000
            assert twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == VANISHED_S // 2
        attempt.finish()


def _said(url: str) -> str:
    engine = connect(url, application="test")
    with pytest.raises(SQLAlchemyError) as caught:
        engine.connect()
    engine.dispose()
    return trouble(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://canary:canary@127.0.0.1:1/canary", "nothing listens at its address"),
        ("postgresql://canary:canary@canary.invalid/canary", "its name cannot be resolved"),
        ("postgresql://canary@/canary?host=/canary", "OperationalError"),
    ],
)
def test_it_is_said_why_the_database_cannot_be_used(url: str, said: str) -> None:
    """Whoever set it up knows where to look; no address, name or password is told."""
    assert _said(url) == said


def test_a_database_that_is_not_there_is_told_from_a_server_that_is_not_there(database_url: str) -> None:
    """By a server that answers."""
    other = make_url(database_url).set(database="canary")

    assert _said(other.render_as_string(hide_password=False)) == "it has no such user or database"


def test_a_database_without_tables_is_told_from_a_server_without_the_database(empty_database_url: str) -> None:
    """Who reads it knows what to do."""
    engine = connect(empty_database_url, application="test")
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT canary FROM event"))
    engine.dispose()

    assert trouble(caught.value) == "it lacks a migration; run `waypost migrate`"


def test_a_server_that_is_not_there_yet_is_waited_for(own_postgres: EmbeddedPostgres) -> None:
    """What keeps it away is told once."""
    own_postgres.stop()
    told: list[str] = []

    def tell(reason: str) -> None:
        told.append(reason)
        own_postgres.start()

    engine = connect(own_postgres.url, application="test")
    wait(engine, at_most_s=120, tell=tell)
    engine.dispose()

    assert len(told) == 1


def test_waiting_ends_with_what_was_said_last() -> None:
    """When the time is up."""
    engine = connect("postgresql://canary:canary@127.0.0.1:1/canary", application="test")
    with pytest.raises(SQLAlchemyError) as caught:
        wait(engine, at_most_s=0, tell=pytest.fail)
    engine.dispose()

    assert trouble(caught.value) == "nothing listens at its address"
