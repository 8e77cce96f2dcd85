"""Tests of PostgreSQL's plans for queries that must not read the whole inbox.

The inbox may contain millions of handled events.
"""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from waypost.store import claims, dead

HANDLED = 30_000
DEAD = 2_000


@pytest.fixture
def inbox(database: Engine) -> Engine:
    """Returns a database with many handled events and, after them, the dead events."""
    with database.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO event
                    (number_id, kind, event_key, lane, contact_key, occurred_at, payload, state, finished_at)
                SELECT '10' || (n % 3), 'message', 'k' || n, n % 64, '', now(), '\\x00',
                    CASE WHEN n > :handled THEN 'dead' ELSE 'done' END, now()
                FROM generate_series(1, :handled + :dead) AS n
            """),
            {"handled": HANDLED, "dead": DEAD},
        )
        connection.execute(text("ANALYZE event"))
    return database


def _most_rows(engine: Engine, query: Callable[[Connection], object]) -> int:
    """Returns the number of rows that the most expensive step of the query's plan read or removed.

    The query runs in a transaction that is rolled back.
    """
    executed: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        executed.append((statement, parameters))

    with engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", record)
        query(connection)
        event.remove(engine, "before_cursor_execute", record)
        connection.rollback()
        statement, parameters = executed[0]
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        connection.rollback()
    return max(_rows(plan[0]["Plan"]))


def _rows(step: dict[str, Any]) -> list[int]:
    removed = sum(int(step.get(f"Rows Removed by {how}", 0)) for how in ("Filter", "Index Recheck"))
    own = (int(step["Actual Rows"]) + removed) * int(step["Actual Loops"])
    return [own, *(rows for below in step.get("Plans", ()) for rows in _rows(below))]


@pytest.mark.parametrize(
    "query",
    [
        lambda connection: dead.events(connection, dead.Selection(), limit=20),
        lambda connection: dead.replay(connection, dead.Selection(reason="Unreadable"), limit=20),
        lambda connection: dead.drop(connection, dead.Selection(number_id="100"), limit=20),
    ],
    ids=["list", "replay", "drop"],
)
def test_dead_events_are_found_without_reading_the_handled_ones(
    inbox: Engine, query: Callable[[Connection], object]
) -> None:
    """Dead events are found without reading the handled ones.

    With a few million events the statement timeout would otherwise end `waypost dead` when it is needed most.
    """
    assert _most_rows(inbox, query) <= DEAD


def test_looking_for_events_to_delete_costs_the_same_in_any_table(inbox: Engine) -> None:
    """Looking for events to delete costs the same in a table of any size.

    If it took longer than the statement timeout, nothing would be deleted, and the table would only grow.
    """
    assert _most_rows(inbox, lambda connection: claims.delete_finished(connection, days=9, limit=10)) <= DEAD
