"""Creates the database engine and explains the database's errors. Every wait of the engine is bounded."""

import re
import time
from collections.abc import Callable

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

SILENT_SERVER_S = 12
"""Seconds without a packet from the server's machine after which a connection is closed.

By default Linux waits two hours, or a quarter of an hour if it has sent data that is not acknowledged.
"""

CONNECT_RETRY_S = 1.0
"""Delay between attempts to connect in `wait`."""


def connect(url: str, *, application: str, pool_size: int = 4) -> Engine:
    """Returns an engine for `postgresql://…`. The engine opens no connection yet.

    The bounds are 5 s to connect, 5 s per statement, 5 s for a lock, 10 s for a pooled connection, and 20 s for a
    transaction that is idle.

    The server enforces most of these bounds. A server whose machine has vanished cannot enforce them. A
    connection to such a server is therefore closed after `SILENT_SERVER_S`.
    """
    target = make_url(url).set(drivername="postgresql+psycopg")
    return create_engine(
        target,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_recycle=600,
        hide_parameters=True,  # an error's text must not contain what people wrote
        connect_args={
            "connect_timeout": 5,
            "application_name": application,
            "keepalives_idle": SILENT_SERVER_S // 2,
            "keepalives_interval": SILENT_SERVER_S // 4,
            "keepalives_count": 2,
            "tcp_user_timeout": SILENT_SERVER_S * 1000,
            "options": "-c statement_timeout=5000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=20000"
            " -c timezone=UTC",
            "prepare_threshold": 2,
        },
    )


def wait(engine: Engine, *, at_most_s: float, report: Callable[[str], None]) -> None:
    """Returns as soon as a connection can be made.

    Calls `report` with the reason for the wait (see `explain`), and again whenever the reason changes. The
    function also waits when the password is refused or the database is missing, because both may be created
    later. After `at_most_s` seconds it raises the last error.
    """
    deadline = time.monotonic() + at_most_s
    reported = None
    while True:
        try:
            with engine.connect():
                return
        except DBAPIError as error:
            if time.monotonic() > deadline:
                raise
            reason = explain(error)
        if reason != reported:
            report(reason)
            reported = reason
        time.sleep(CONNECT_RETRY_S)


_EXPLANATIONS = (
    ("password authentication failed", "it refuses the password"),
    ("no password supplied", "it asks for a password"),
    ('(role|database) ".*" does not exist', "it has no such user or database"),
    (r"(relation|column) \S+ does not exist", "it lacks a migration; run `waypost migrate`"),
    ("Connection refused", "nothing listens at its address"),
    ("resolve host", "its name cannot be resolved"),
    ("certificate", "its certificate is not trusted"),
    ("too many clients", "it takes no more connections"),
    ("connection slots", "it takes no more connections"),
    ("starting up", "it is starting"),
    ("shutting down", "it is shutting down"),
    ("timeout", "it does not answer in time"),
)
"""Parts of messages of libpq and the server, each with our explanation. The messages contain addresses and names."""

_UNAVAILABLE = frozenset({"57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that ends, has crashed or is starting. SQLSTATEs of broken connections begin with 08."""


def explain(error: SQLAlchemyError) -> str:
    """Returns the reason why the database cannot be used. The reason contains no part of the database's address.

    For an unknown error, returns the name of its class.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return next((meaning for words, meaning in _EXPLANATIONS if re.search(words, str(cause))), type(cause).__name__)


def refusal(error: Exception) -> str | None:
    """Returns the class of the driver's error if the database refused the work.

    Returns None if the database was not reached. A lock that is held too long, a statement that takes too long
    and a missing table are refusals, because another connection may work. If the pool has no free connection,
    this is not a refusal, because all connections of the pool wait for a silent server.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, PoolTimeout):
        return None
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        state = cause.sqlstate
        if state is None or state[:2] == "08" or state in _UNAVAILABLE:
            return None
    return type(cause).__name__


def is_about_content(error: SQLAlchemyError) -> bool:
    """Returns whether the database refused the given values. It would refuse them again, but accept other values.

    This is true for data exceptions, constraints and program limits (SQLSTATE 22, 23 and 54). It is also true for
    values that psycopg cannot send, which have no SQLSTATE. All other errors are about the server: it is away,
    too slow or locked, or it lacks the table, column or right that the statement needs.
    """
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return isinstance(error.orig, psycopg.DataError | psycopg.ProgrammingError)
    return str(state)[:2] in {"22", "23", "54"}
