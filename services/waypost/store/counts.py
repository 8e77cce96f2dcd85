"""Counts of an installation: events of each number, outbox rows by state, and paused numbers.

The counts of events always add up (G9).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Counts of one number's events. `by_number` reads them in one snapshot, so `holds` is always true."""

    received: int = 0
    """All events that were stored or recognised as duplicates since the installation began."""
    duplicate: int = 0
    done: int = 0
    dead: int = 0
    waiting: int = 0
    oldest_waiting_s: float | None = None
    """Seconds since the oldest waiting event was stored, by the database's clock; None when none waits."""

    @property
    def holds(self) -> bool:
        """Returns whether received = duplicate + done + dead + waiting."""
        return self.received == self.duplicate + self.done + self.dead + self.waiting


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """Counts of one number's outbox rows that are not sent."""

    queued: int = 0
    sending: int = 0
    unknown: int = 0
    """Rows that may have reached Meta. A status webhook settles them; Waypost never sends them again."""
    unknown_old: int = 0
    """Rows that have been unknown for longer than `outbox_by_number` was given: a person should look."""
    failed: int = 0


# received, duplicate and done only grow, and are summed over days and writers. Dead and waiting events are few enough
# to count their rows, by partial indexes. One statement reads one snapshot, so the sum holds while others write.
_BY_NUMBER = text("""
    WITH tallied AS (
        SELECT number_id,
               coalesce(sum(value) FILTER (WHERE name = 'received'), 0) AS received,
               coalesce(sum(value) FILTER (WHERE name = 'duplicate'), 0) AS duplicate,
               coalesce(sum(value) FILTER (WHERE name = 'done'), 0) AS done
        FROM daily_metric WHERE name IN ('received', 'duplicate', 'done') GROUP BY number_id
    ), waiting AS (
        SELECT number_id, count(*) AS waiting,
               extract(epoch FROM clock_timestamp() - min(received_at)) AS oldest_waiting_s
        FROM event WHERE state = 'waiting' GROUP BY number_id
    ), dead AS (
        SELECT number_id, count(*) AS dead FROM event WHERE state = 'dead' GROUP BY number_id
    )
    SELECT number_id, coalesce(received, 0) AS received, coalesce(duplicate, 0) AS duplicate, coalesce(done, 0) AS done,
           coalesce(dead, 0) AS dead, coalesce(waiting, 0) AS waiting, oldest_waiting_s
    FROM (SELECT number_id FROM number UNION SELECT number_id FROM tallied UNION SELECT number_id FROM waiting
          UNION SELECT number_id FROM dead) AS numbers
    LEFT JOIN tallied USING (number_id) LEFT JOIN waiting USING (number_id) LEFT JOIN dead USING (number_id)
    ORDER BY number_id
""")


def by_number(connection: Connection) -> dict[str, EventCounts]:
    """Returns the counts of every number that is recorded or has events, in one snapshot."""
    return {
        row.number_id: EventCounts(
            received=int(row.received),
            duplicate=int(row.duplicate),
            done=int(row.done),
            dead=row.dead,
            waiting=row.waiting,
            oldest_waiting_s=None if row.oldest_waiting_s is None else max(0.0, float(row.oldest_waiting_s)),
        )
        for row in connection.execute(_BY_NUMBER)
    }


_OUTBOX = text("""
    SELECT number_id,
           count(*) FILTER (WHERE state = 'queued') AS queued,
           count(*) FILTER (WHERE state = 'sending') AS sending,
           count(*) FILTER (WHERE state = 'unknown') AS unknown,
           count(*) FILTER (WHERE state = 'unknown'
               AND coalesce(finished_at, created_at) < now() - make_interval(secs => :old)) AS unknown_old,
           count(*) FILTER (WHERE state = 'failed') AS failed
    FROM (
        SELECT number_id, state, finished_at, created_at FROM outbox WHERE state IN ('queued', 'sending')
        UNION ALL
        SELECT number_id, state, finished_at, created_at FROM outbox WHERE state IN ('unknown', 'failed')
    ) AS open GROUP BY number_id
""")


def outbox_by_number(connection: Connection, *, old_s: float = 3600.0) -> dict[str, OutboxCounts]:
    """Returns the counts of outbox rows that are not sent, for each number that has any.

    An unknown row counts as old after `old_s` seconds.
    """
    return {
        row.number_id: OutboxCounts(row.queued, row.sending, row.unknown, row.unknown_old, row.failed)
        for row in connection.execute(_OUTBOX, {"old": old_s})
    }


def paused(connection: Connection) -> int:
    """Returns how many numbers may not send now."""
    return int(connection.execute(text("SELECT count(*) FROM number WHERE paused_until > now()")).scalar_one())


_FOLD = text("""
    WITH old AS (
        DELETE FROM daily_metric WHERE writer >= 0 AND day < (now() AT TIME ZONE 'UTC')::date - 1
        RETURNING day, number_id, name, value
    )
    INSERT INTO daily_metric (day, number_id, name, writer, value)
    SELECT day, number_id, name, -1, sum(value) FROM old GROUP BY day, number_id, name
    ORDER BY day, number_id, name
    ON CONFLICT (day, number_id, name, writer) DO UPDATE SET value = daily_metric.value + excluded.value
""")


def fold(connection: Connection) -> None:
    """Adds up the rows that several writers counted for a past day.

    After that, one row remains for each count, number and day.
    """
    connection.execute(_FOLD)
