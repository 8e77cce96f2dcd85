"""Tests that reports show counts and reasons, in order, without the texts that people wrote."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, Engine, text

from waypost.store import reports

ONE, TWO = "106540352242922", "106540352242923"


def number(connection: Connection, number_id: str, name: str) -> int:
    """Inserts a registered number with one contact and conversation, and returns the conversation's id."""
    connection.execute(
        text("INSERT INTO number (number_id, namespace, name, waba_id) VALUES (:id, 'team-a', :name, 'waba')"),
        {"id": number_id, "name": name},
    )
    return int(
        connection.execute(
            text("""
                WITH person AS (
                    INSERT INTO contact (number_id, wa_id, profile_name) VALUES (:id, '15550001111', 'Ada') RETURNING id
                )
                INSERT INTO conversation (number_id, contact_id, lane) SELECT :id, id, 0 FROM person RETURNING id
            """),
            {"id": number_id},
        ).scalar_one()
    )


def message(
    connection: Connection, number_id: str, conversation: int, direction: str, at: datetime, **columns: str
) -> None:
    """Inserts one message."""
    connection.execute(
        text("""
            INSERT INTO message (number_id, conversation_id, direction, type, body, status, occurred_at)
            VALUES (:number, :conversation, :direction, 'text', :body, :status, :at)
        """),
        {"number": number_id, "conversation": conversation, "direction": direction, "at": at}
        | {"body": "hello", "status": None}
        | columns,
    )


def test_messages_are_counted_by_hour_direction_and_number(database: Engine) -> None:
    """Messages are counted by hour, direction and number.

    The report includes the 48th hour back, but neither the 49th nor times of tomorrow.
    """
    with database.begin() as connection:
        one, two = number(connection, ONE, "support"), number(connection, TWO, "orders")
        now = connection.execute(text("SELECT date_trunc('hour', now(), 'UTC')")).scalar_one()
        for back, direction in ((0, "in"), (0, "out"), (0, "out"), (47, "in"), (48, "in"), (-24, "in")):
            message(connection, ONE, one, direction, now - timedelta(hours=back))
        message(connection, TWO, two, "in", now)
        hour, rows = reports.by_hour(connection)
    assert hour == now
    assert {(row.number_id, row.hour, row.incoming, row.outgoing) for row in rows} == {
        (ONE, now, 1, 2),
        (ONE, now - timedelta(hours=47), 1, 0),
        (TWO, now, 1, 0),
    }


def test_a_number_is_paused_until_its_pause_runs_out(database: Engine) -> None:
    """A number is shown as paused until its pause ends by the database's clock, which the sender also uses."""
    with database.begin() as connection:
        number(connection, ONE, "support")
        number(connection, TWO, "orders")
        connection.execute(
            text("""
                UPDATE number SET pause_code = 190,
                    paused_until = now() + CASE name WHEN 'support' THEN interval '5 min' ELSE interval '-5 min' END
            """)
        )
        found = {each.name: each for each in reports.numbers(connection)}
    assert found["support"].paused
    assert not found["orders"].paused


def test_unexpected_conditions_do_not_break_the_report(database: Engine) -> None:
    """Unexpected conditions do not break the report.

    The page must load even if an operator of another version has written the conditions.
    """
    with database.begin() as connection:
        number(connection, ONE, "support")
        connection.execute(text("""UPDATE number SET conditions = '[{"type": "Ready"}, "odd", 3]'"""))
        (found,) = reports.numbers(connection)
        assert found.conditions == ({"type": "Ready"},)
        connection.execute(text("""UPDATE number SET conditions = '{"type": "Ready"}'"""))
        (found,) = reports.numbers(connection)
        assert found.conditions == ()


def test_the_newest_dead_events_of_a_number_come_first(database: Engine) -> None:
    """The newest dead events of a number come first, because a person looks for them first."""
    with database.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO event (number_id, kind, event_key, lane, contact_key, occurred_at, state, reason, payload)
                SELECT CASE WHEN n % 2 = 0 THEN '1' ELSE '2' END, 'message', n::text, 0, '', now(), 'dead', 'Odd', 'x'
                FROM generate_series(1, 8) AS n
            """)
        )
        found = reports.newest_dead(connection, limit=3, number_id="1")
        every = reports.newest_dead(connection, limit=100)
    assert [each.number_id for each in found] == ["1", "1", "1"]
    assert [each.id for each in found] == sorted((each.id for each in found), reverse=True)
    assert len(every) == 8


def test_days_have_no_gaps_and_add_up(database: Engine) -> None:
    """A report of three days has three rows, without gaps, and includes the last day."""
    start, end = date(2026, 3, 1), date(2026, 3, 3)
    with database.begin() as connection:
        one = number(connection, ONE, "support")
        two = number(connection, TWO, "orders")
        message(connection, ONE, one, "in", datetime(2026, 3, 1, 0, 0, tzinfo=UTC))
        message(connection, ONE, one, "out", datetime(2026, 3, 3, 23, 59, 59, tzinfo=UTC), status="read")
        message(connection, ONE, one, "out", datetime(2026, 3, 4, 0, 0, tzinfo=UTC))
        message(connection, TWO, two, "in", datetime(2026, 3, 2, 12, 0, tzinfo=UTC))
        connection.execute(
            text(
                "INSERT INTO daily_metric VALUES (:day, :number, 'received', 1, 5), (:day, :number, 'received', 2, 6)"
            ),
            {"day": start, "number": ONE},
        )
        rows = [dict(zip(reports.DAY_COLUMNS, row, strict=True)) for row in reports.days(connection, ONE, start, end)]
    assert [row["day"] for row in rows] == [start, date(2026, 3, 2), end]
    assert [row["received"] for row in rows] == [11, 0, 0]
    assert [row["messages_in"] for row in rows] == [1, 0, 0]
    assert [(row["messages_out"], row["delivered"], row["read"]) for row in rows] == [(0, 0, 0), (0, 0, 0), (1, 1, 1)]
