"""How PostgreSQL goes about queries that must not read the whole inbox, which holds millions of handled events."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from waypost.store import dead, lanes

HANDLED = 30_000
DEAD = 2_000


@pytest.fixture
def inbox(database: Engine) -> Engine:
    """Many handled events, and at the end, where they came last, the dead ones."""
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
    """The most rows that any step of the query's plan took in or threw away, in a transaction that is undone."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        asked.append((statement, parameters))

    with engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", note)
        query(connection)
        event.remove(engine, "before_cursor_execute", note)
        connection.rollback()
        statement, parameters = asked[0]
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        connection.rollback()
    return max(_rows(plan[0]["Plan"]))


def _rows(step: dict[str, Any]) -> list[int]:
    thrown = sum(int(step.get(f"Rows Removed by {how}", 0)) for how in ("Filter", "Index Recheck"))
    own = (int(step["Actual Rows"]) + thrown) * int(step["Actual Loops"])
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
    """At a few million events the statement's time limit would end `waypost dead`, when it is needed most."""
    assert _most_rows(inbox, query) <= DEAD


def test_looking_for_events_to_forget_costs_the_same_in_any_table(inbox: Engine) -> None:
    """A scan that outgrows its time limit would never forget again, and the table would grow without end."""
    assert _most_rows(inbox, lambda connection: lanes.forget_finished(connection, days=9, limit=10)) <= DEAD
