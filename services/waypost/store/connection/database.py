"""One way to reach the database: an engine whose every wait is bounded; and whom its errors are about."""

import re
import time
from collections.abc import Callable

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

VANISHED_S = 12
"""Seconds without a word from a server's machine. Linux would wait two hours, or a quarter of one for what it sent."""

WAIT_RETRY_S = 1.0


def connect(url: str, *, application: str, pool_size: int = 4) -> Engine:
    """An engine for `postgresql://…`; opens no connection yet.

    Bounds: 5 s to connect, 5 s per statement, 5 s for a lock, 10 s for a pooled connection, 20 s idle in a transaction.
    The server keeps to them; a server whose machine vanished does not, and is given up after `VANISHED_S`.
    """
    target = make_url(url).set(drivername="postgresql+psycopg")
    return create_engine(
        target,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_recycle=600,
        hide_parameters=True,  # an error's text must not carry what people wrote
        connect_args={
            "connect_timeout": 5,
            "application_name": application,
            "keepalives_idle": VANISHED_S // 2,
            "keepalives_interval": VANISHED_S // 4,
            "keepalives_count": 2,
            "tcp_user_timeout": VANISHED_S * 1000,
            "options": "-c statement_timeout=5000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=20000"
            " -c timezone=UTC",
            "prepare_threshold": 2,
        },
    )


def wait(engine: Engine, *, at_most_s: float, tell: Callable[[str], None]) -> None:
    """Return as soon as a connection can be made. `tell` hears why it cannot, whenever that changes, see `trouble`.

    A refused password or a missing database is waited out too: who makes them may come after us. Raises what was said
    last, after `at_most_s` seconds.
    """
    deadline = time.monotonic() + at_most_s
    told = None
    while True:
        try:
            with engine.connect():
                return
        except DBAPIError as error:
            if time.monotonic() > deadline:
                raise
            reason = trouble(error)
        if reason != told:
            tell(reason)
            told = reason
        time.sleep(WAIT_RETRY_S)


_TROUBLE = (
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
"""What libpq and the server say, and what it means. Their own text has addresses and names in it."""

_STOPPING = frozenset({"57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that ends, crashed, or is starting; those of a connection that broke begin with 08."""


def trouble(error: SQLAlchemyError) -> str:
    """Why the database cannot be used, in words that hold nothing of the address; else the error's class."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return next((said for words, said in _TROUBLE if re.search(words, str(cause))), type(cause).__name__)


def refusal(error: Exception) -> str | None:
    """The driver's class of what the database, which is there, did not do; None while it cannot be reached.

    A lock that is held too long, a statement that takes too long and a missing table are refusals: another connection
    may find all well. A pool without a free connection is not: its connections wait for a server that is silent.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, PoolTimeout):
        return None
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        state = cause.sqlstate
        if state is None or state[:2] == "08" or state in _STOPPING:
            return None
    return type(cause).__name__


def is_about_content(error: SQLAlchemyError) -> bool:
    """Whether the database refused what it was given: the same rows would be refused again, and others would not.

    True for data exceptions, constraints and program limits (SQLSTATE 22, 23 and 54) and for values that psycopg
    cannot send, which have no SQLSTATE. Everything else is about the server: away, too slow, locked, or without the
    table, column or right that the statement needs.
    """
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return isinstance(error.orig, psycopg.DataError | psycopg.ProgrammingError)
    return str(state)[:2] in {"22", "23", "54"}
