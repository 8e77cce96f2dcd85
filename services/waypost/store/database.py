"""One way to reach the database: an engine whose every wait is bounded."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url


def connect(url: str, *, application: str, pool_size: int = 4) -> Engine:
    """An engine for `postgresql://…`; opens no connection yet.

    Bounds: 5 s to connect, 5 s per statement, 5 s for a lock, 10 s for a pooled connection, 20 s idle in a transaction.
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
            "options": "-c statement_timeout=5000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=20000"
            " -c timezone=UTC",
            "prepare_threshold": 2,
        },
    )
