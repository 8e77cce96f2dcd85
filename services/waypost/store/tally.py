"""Daily counts in the database.

The transaction that stores a row also adds it to the counts, so that all sums are correct (G9).
"""

from collections.abc import Mapping

from sqlalchemy import Connection, text

from waypost.contracts.states import DailyCount

_ADD = text("""
    INSERT INTO daily_metric (day, number_id, name, writer, value)
    SELECT (now() AT TIME ZONE 'UTC')::date, added.number_id, added.name, :writer, added.value
    FROM unnest(CAST(:numbers AS text[]), CAST(:names AS text[]), CAST(:values AS bigint[]))
        AS added(number_id, name, value)
    ORDER BY added.number_id, added.name
    ON CONFLICT (day, number_id, name, writer) DO UPDATE SET value = daily_metric.value + excluded.value
""")


def add(connection: Connection, writer: int, counts: Mapping[tuple[str, DailyCount], int]) -> None:
    """Adds `{(number_id, name): n}` to today's counts (UTC).

    Each `writer` has rows of its own, so that two processes do not wait for each other's commit.
    """
    if not counts:
        return
    connection.execute(
        _ADD,
        {
            "writer": writer,
            "numbers": [number_id for number_id, _ in counts],
            "names": [name for _, name in counts],
            "values": list(counts.values()),
        },
    )
