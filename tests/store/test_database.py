"""The engine: what bounds its waits."""

import contextlib
import os
import socket
from typing import Any

import psycopg
from sqlalchemy import event

from waypost.store.database import VANISHED_S, connect


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
