"""Exports open safely in a spreadsheet, lose nothing, and need little memory."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from waypost.analytics import export

NUMBER = "106540352242922"
SPAN = export.Span(NUMBER, date(2026, 3, 1), date(2026, 3, 2))


@pytest.fixture
def messages(database: Engine) -> Engine:
    """Returns a database with messages of two numbers, `NUMBER` and 2.

    Each number has two messages in the span and one message after it.
    """
    with database.begin() as connection:
        connection.execute(
            text("""
                WITH person AS (
                    INSERT INTO contact (number_id, wa_id, profile_name)
                    VALUES (:number, '393331234567', '=HYPERLINK("http://x")'), ('2', '393331234567', 'other')
                    RETURNING id, number_id
                ), conversation AS (
                    INSERT INTO conversation (number_id, contact_id, lane) SELECT number_id, id, 0 FROM person
                    RETURNING id, number_id
                )
                INSERT INTO message (number_id, conversation_id, direction, type, body, occurred_at, wamid)
                SELECT number_id, id, 'in', 'text', body, at, number_id || at::text FROM conversation, (VALUES
                    ('=1+1', timestamptz '2026-03-01 10:00Z'), (E'two\nlines, "quoted"', '2026-03-02 23:59Z'),
                    ('late', '2026-03-03 00:00Z')) AS said (body, at)
            """),
            {"number": NUMBER},
        )
    return database


def test_csv_holds_the_messages_of_the_span_and_number_only(messages: Engine) -> None:
    """A CSV export has the messages of both days of the span.

    Messages of the next day and messages of the other number are left out.
    """
    file = io.StringIO(newline="")
    assert export.messages(messages, SPAN, file, as_csv=True) == 2
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [row["body"] for row in rows] == ["'=1+1", 'two\nlines, "quoted"']
    assert rows[0]["contact"] == "393331234567"
    assert rows[0]["occurred_at"] == "2026-03-01T10:00:00+00:00"


def test_no_cell_of_an_export_is_a_formula(messages: Engine) -> None:
    """No cell of a CSV export is a formula.

    Strangers write profile names and texts, and our staff opens the file in a spreadsheet.
    """
    file = io.StringIO(newline="")
    export.messages(messages, SPAN, file, as_csv=True)
    for row in csv.reader(io.StringIO(file.getvalue(), newline="")):
        assert not [value for value in row if value.startswith(("=", "+", "-", "@"))]


def test_json_lines_hold_what_was_written_unchanged(messages: Engine) -> None:
    """A JSON export has texts unchanged and without apostrophes, because programs read it."""
    file = io.StringIO()
    assert export.messages(messages, SPAN, file, as_csv=False) == 2
    first, second = (json.loads(line) for line in file.getvalue().splitlines())
    assert first["body"] == "=1+1"
    assert first["profile_name"] == '=HYPERLINK("http://x")'
    assert second["body"] == 'two\nlines, "quoted"'
    assert second["error_code"] is None


def test_days_come_as_csv_with_a_header(messages: Engine) -> None:
    """The export of days has one line per day, also for days without messages."""
    file = io.StringIO(newline="")
    assert export.days(messages, SPAN, file, as_csv=True) == 2
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [(row["day"], row["messages_in"]) for row in rows] == [("2026-03-01", "1"), ("2026-03-02", "1")]


def test_rows_are_written_as_they_are_read() -> None:
    """An export writes each row before it reads the next one, so it never collects the rows."""
    file = io.StringIO()

    def rows() -> Iterator[tuple[str]]:
        yield ("first",)
        assert "first" in file.getvalue()
        yield ("second",)

    assert export.write_json(("body",), rows(), file) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("hello", "hello"),
        ("=1+1", "'=1+1"),
        ("+39333", "'+39333"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("|cmd", "'|cmd"),
        ("", ""),
        (None, ""),
        (-5, -5),
        (date(2026, 3, 1), "2026-03-01"),
        (datetime(2026, 3, 1, 10, tzinfo=UTC), "2026-03-01T10:00:00+00:00"),
    ],
)
def test_a_cell_shows_text_as_text(value: object, shown: object) -> None:
    """A text that begins like a formula in OWASP's list gets an apostrophe. Our own numbers stay numbers."""
    assert export.cell(value) == shown


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4))
def test_csv_gives_back_what_went_in(values: list[str]) -> None:
    """Quotes, commas and line ends survive a CSV export. The export changes a text only by adding an apostrophe."""
    file = io.StringIO(newline="")
    export.write_csv([str(n) for n in range(len(values))], [values], file)
    rows = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert rows[1] == [export.cell(value) for value in values]
