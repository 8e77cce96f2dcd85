"""Tests that a statement reads only its own rows of a backlog, even if the backlog is newer than the statistics."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, text

from waypost.contracts.states import OutboxState
from waypost.store import claims, outbox
from waypost.store.outbox import RowUpdate

FINISHED = 20_000
WAITING = 3_000
AT_ONCE = 50
PER_ROW = 8
"""Rows that a statement may read for each of its own: the row, the others of its conversation, and a few more."""


@pytest.fixture
def backlog(database: Engine) -> Iterator[Connection]:
    """Yields a transaction on a table of finished rows to which a backlog was added later.

    The statistics include only the finished rows.
    """
    with database.begin() as connection:
        connection.execute(
            text("INSERT INTO contact (number_id, wa_id) SELECT '1', i::text FROM generate_series(1, :waiting) AS i"),
            {"waiting": WAITING},
        )
        connection.execute(
            text("INSERT INTO conversation (number_id, contact_id, lane) SELECT number_id, id, id % 64 FROM contact")
        )
        _add(connection, FINISHED, event="done", row="sent")
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE event, outbox, contact, conversation"))
    with database.begin() as connection:
        _add(connection, WAITING, event="waiting", row="queued")
    with database.connect() as connection, connection.begin():
        yield connection


def _add(connection: Connection, count: int, *, event: str, row: str) -> None:
    connection.execute(
        text("""
            INSERT INTO event (number_id, kind, event_key, lane, contact_key, occurred_at, state, payload)
            SELECT '1', 'message', :state || i, i % 64, i::text, now(), :state, '' FROM generate_series(1, :count) AS i
        """),
        {"state": event, "count": count},
    )
    connection.execute(
        text("""
            INSERT INTO outbox (number_id, conversation_id, body, state)
            SELECT '1', conversation.id, '{"type": "text"}', :state
            FROM generate_series(1, :count) AS i JOIN conversation ON conversation.contact_id = 1 + i % :waiting
        """),
        {"state": row, "count": count, "waiting": WAITING},
    )


def read(connection: Connection, table: str) -> int:
    """Returns how many rows of a table this transaction has read so far, by index or otherwise."""
    statement = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = :table"
    return int(connection.execute(text(statement), {"table": table}).scalar_one())


def queued(connection: Connection) -> list[int]:
    """Returns the ids of some queued rows."""
    rows = connection.execute(text("SELECT id FROM outbox WHERE state = 'queued' ORDER BY id LIMIT :n"), {"n": AT_ONCE})
    return [row.id for row in rows]


def test_marking_events_done_reads_those_events_only(backlog: Connection) -> None:
    """Marking events as done reads only those events, so a backlog does not slow down a drain after an outage."""
    events = claims.claim(backlog, {1: ""}, limit=AT_ONCE)
    before = read(backlog, "event")
    claims.mark_done(backlog, 1, [(event, None) for event in events])
    assert read(backlog, "event") - before <= len(events) * PER_ROW


def test_writing_answers_reads_those_rows_only(backlog: Connection) -> None:
    """Meta's answers are written without reading all other queued rows."""
    wanted = queued(backlog)
    outbox.mark_sending(backlog, "sender", 15, dict.fromkeys(wanted))
    before = read(backlog, "outbox")
    written = outbox.finish(
        backlog, "sender", [RowUpdate(outbox_id, OutboxState.SENT, wamid=str(outbox_id)) for outbox_id in wanted]
    )
    assert len(written) == AT_ONCE
    assert read(backlog, "outbox") - before <= AT_ONCE * PER_ROW


def test_looking_for_due_conversations_reads_as_many_rows_as_it_finds(backlog: Connection) -> None:
    """A sweep that looks for due conversations does not compare every row of a backlog with every other."""
    before = read(backlog, "outbox")
    assert len(outbox.due_conversations(backlog, AT_ONCE)) == AT_ONCE
    assert read(backlog, "outbox") - before <= AT_ONCE * PER_ROW


def test_the_sweeper_reads_one_event_of_each_lane(backlog: Connection) -> None:
    """The sweeper reads one due event of each lane, which is enough to show that the lane's wake-up was lost."""
    before = read(backlog, "event")
    assert len(claims.lanes_with_due_events(backlog, idle_s=0)) == 64
    assert read(backlog, "event") - before <= 64 * PER_ROW
