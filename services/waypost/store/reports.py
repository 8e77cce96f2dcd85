"""Queries for people: numbers with conditions, messages by hour and day, dead and unknown items, and exports."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

from waypost.store.dead import DeadEvent, OpenSend


@dataclass(frozen=True, slots=True)
class NumberReport:
    """One number with what the operator and the sender recorded about it."""

    number_id: str
    namespace: str
    name: str
    waba_id: str
    conditions: tuple[dict[str, Any], ...]
    """Conditions with `type`, `status`, `reason` and `message`, as in the custom resource."""
    paused: bool
    paused_until: datetime | None
    pause_code: int | None
    pause_reason: str | None
    updated_at: datetime


def numbers(connection: Connection) -> list[NumberReport]:
    """Returns every number, by namespace and name."""
    rows = connection.execute(
        text("""
            SELECT number_id, namespace, name, waba_id, conditions, coalesce(paused_until > now(), false) AS paused,
                   paused_until, pause_code, pause_reason, updated_at
            FROM number ORDER BY namespace, name
        """)
    )
    return [
        NumberReport(
            number_id=row.number_id,
            namespace=row.namespace,
            name=row.name,
            waba_id=row.waba_id,
            conditions=tuple(c for c in row.conditions if isinstance(c, dict))
            if isinstance(row.conditions, list)
            else (),
            paused=row.paused,
            paused_until=row.paused_until,
            pause_code=row.pause_code,
            pause_reason=row.pause_reason,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class HourOfNumber:
    """The counts of one number's messages in one hour. There is no such object for an hour without messages."""

    number_id: str
    hour: datetime
    incoming: int
    outgoing: int


_BY_HOUR = text("""
    SELECT number.number_id, counted.hour, counted.incoming, counted.outgoing
    FROM number CROSS JOIN LATERAL (
        SELECT date_trunc('hour', occurred_at, 'UTC') AS hour,
               count(*) FILTER (WHERE direction = 'in') AS incoming,
               count(*) FILTER (WHERE direction = 'out') AS outgoing
        FROM message
        WHERE message.number_id = number.number_id
          AND occurred_at >= date_trunc('hour', now(), 'UTC') - make_interval(hours => :hours - 1)
          AND occurred_at < date_trunc('hour', now(), 'UTC') + interval '1 hour'
        GROUP BY 1
    ) AS counted
    ORDER BY counted.hour
""")


def by_hour(connection: Connection, *, hours: int = 48) -> tuple[datetime, list[HourOfNumber]]:
    """Returns the current hour (UTC, by the database's clock) and the counts of the last `hours` hours.

    The current hour is the last of these hours.
    """
    now = connection.execute(text("SELECT date_trunc('hour', now(), 'UTC')")).scalar_one()
    rows = connection.execute(_BY_HOUR, {"hours": hours})
    return now, [HourOfNumber(row.number_id, row.hour, row.incoming, row.outgoing) for row in rows]


def newest_dead(connection: Connection, *, limit: int, number_id: str | None = None) -> list[DeadEvent]:
    """Returns the latest dead events, the newest first. If `number_id` is given, returns only that number's events."""
    rows = connection.execute(
        text("""
            SELECT id, number_id, kind, reason, attempts, lane, octet_length(payload), occurred_at, received_at,
                   finished_at, traceparent, detail
            FROM event
            WHERE state = 'dead' AND (CAST(:number AS text) IS NULL OR number_id = :number)
            ORDER BY id DESC LIMIT :limit
        """),
        {"limit": limit, "number": number_id},
    )
    return [DeadEvent(*row) for row in rows]


def newest_open_sends(connection: Connection, *, limit: int, number_id: str | None = None) -> list[OpenSend]:
    """Returns unknown sends, then failed sends. In both groups the newest comes first.

    If `number_id` is given, returns only that number's sends.
    """
    rows = connection.execute(
        text("""
            SELECT id, number_id, kind, state, error_code, reason, attempts, created_at, finished_at, traceparent
            FROM outbox
            WHERE state IN ('unknown', 'failed') AND (CAST(:number AS text) IS NULL OR number_id = :number)
            ORDER BY state DESC, id DESC LIMIT :limit
        """),
        {"limit": limit, "number": number_id},
    )
    return [OpenSend(*row) for row in rows]


MESSAGE_COLUMNS = (
    "occurred_at",
    "direction",
    "contact",
    "user_id",
    "profile_name",
    "type",
    "body",
    "status",
    "error_code",
    "wamid",
    "trace_id",
)
DAY_COLUMNS = (
    "day",
    "received",
    "duplicate",
    "done",
    "messages_in",
    "messages_out",
    "delivered",
    "read",
    "failed",
    "contacts",
)


def messages(connection: Connection, number_id: str, start: date, end: date) -> Iterator[tuple[Any, ...]]:
    """Yields the messages of a number from day `start` to day `end`, both included (UTC), as `MESSAGE_COLUMNS`.

    The oldest message comes first. A server-side cursor streams the messages, so that memory does not grow with
    the result. The transaction must stay open until the end.
    """
    # The reader may be slow (a pager, a network); the session's bound is meant for services.
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10min'"))
    rows = connection.execute(
        text("""
            SELECT message.occurred_at, message.direction, contact.wa_id, contact.user_id, contact.profile_name,
                   message.type, message.body, message.status, message.error_code, message.wamid,
                   nullif(split_part(message.traceparent, '-', 2), '')
            FROM message
            JOIN conversation ON conversation.id = message.conversation_id
            JOIN contact ON contact.id = conversation.contact_id
            WHERE message.number_id = :number
              AND message.occurred_at >= CAST(:start AS date) AND message.occurred_at < CAST(:end AS date) + 1
            ORDER BY message.occurred_at, message.id
        """),
        {"number": number_id, "start": start, "end": end},
        execution_options={"yield_per": 500},
    )
    for row in rows:
        yield tuple(row)


def days(connection: Connection, number_id: str, start: date, end: date) -> Iterator[tuple[Any, ...]]:
    """Yields counts of a number for every day from `start` to `end`, both included (UTC), as `DAY_COLUMNS`."""
    rows = connection.execute(
        text("""
            WITH day AS (
                SELECT CAST(day AS date) AS day
                FROM generate_series(CAST(:start AS date), CAST(:end AS date), interval '1 day') AS day
            ), tallied AS (
                SELECT day, sum(value) FILTER (WHERE name = 'received') AS received,
                       sum(value) FILTER (WHERE name = 'duplicate') AS duplicate,
                       sum(value) FILTER (WHERE name = 'done') AS done
                FROM daily_metric WHERE number_id = :number AND day BETWEEN :start AND :end GROUP BY day
            ), said AS (
                SELECT CAST(occurred_at AT TIME ZONE 'UTC' AS date) AS day,
                       count(*) FILTER (WHERE direction = 'in') AS messages_in,
                       count(*) FILTER (WHERE direction = 'out') AS messages_out,
                       count(*) FILTER (WHERE direction = 'out'
                           AND status IN ('delivered', 'read', 'played')) AS delivered,
                       count(*) FILTER (WHERE direction = 'out' AND status IN ('read', 'played')) AS read,
                       count(*) FILTER (WHERE direction = 'out' AND status = 'failed') AS failed,
                       count(DISTINCT conversation_id) AS contacts
                FROM message
                WHERE number_id = :number AND occurred_at >= CAST(:start AS date)
                  AND occurred_at < CAST(:end AS date) + 1
                GROUP BY 1
            )
            SELECT day.day, coalesce(received, 0)::bigint, coalesce(duplicate, 0)::bigint, coalesce(done, 0)::bigint,
                   coalesce(messages_in, 0), coalesce(messages_out, 0), coalesce(delivered, 0), coalesce(read, 0),
                   coalesce(failed, 0), coalesce(contacts, 0)
            FROM day LEFT JOIN tallied USING (day) LEFT JOIN said USING (day) ORDER BY day.day
        """),
        {"number": number_id, "start": start, "end": end},
    )
    for row in rows:
        yield tuple(row)
