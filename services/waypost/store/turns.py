"""What a turn leaves behind: the message that came in, and the outbox rows that go out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Incoming:
    """One inbound message, as a person would read it."""

    number_id: str
    conversation_id: int
    direction: str
    wamid: str | None
    type: str
    body: str | None
    occurred_at: datetime
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One outbox row to be: `body` is the Graph payload, JSON text, without recipient and correlation."""

    number_id: str
    conversation_id: int
    body: str
    kind: str = "message"
    notice: bool = False
    event_id: int | None = None
    traceparent: str | None = None


_ADD_MESSAGES = text("""
    INSERT INTO message (number_id, conversation_id, direction, wamid, type, body, occurred_at, traceparent)
    SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:conversations AS bigint[]), CAST(:directions AS text[]),
        CAST(:wamids AS text[]), CAST(:types AS text[]), CAST(:bodies AS text[]), CAST(:times AS timestamptz[]),
        CAST(:traceparents AS text[]))
    ON CONFLICT (number_id, wamid) DO NOTHING
""")


def add_messages(connection: Connection, messages: Sequence[Incoming]) -> None:
    """Keep messages that came in; one that is already there stays as it is."""
    if not messages:
        return
    connection.execute(
        _ADD_MESSAGES,
        {
            "numbers": [message.number_id for message in messages],
            "conversations": [message.conversation_id for message in messages],
            "directions": [message.direction for message in messages],
            "wamids": [message.wamid for message in messages],
            "types": [message.type for message in messages],
            "bodies": [message.body for message in messages],
            "times": [message.occurred_at for message in messages],
            "traceparents": [message.traceparent for message in messages],
        },
    )


_ADD_OUTGOING = text("""
    INSERT INTO outbox (number_id, conversation_id, kind, body, consent_notice, event_id, traceparent)
    SELECT number_id, conversation_id, kind, CAST(body AS jsonb), notice, event_id, traceparent
    FROM unnest(CAST(:numbers AS text[]), CAST(:conversations AS bigint[]), CAST(:kinds AS text[]),
        CAST(:bodies AS text[]), CAST(:notices AS boolean[]), CAST(:events AS bigint[]), CAST(:traceparents AS text[]))
        WITH ORDINALITY
        AS added(number_id, conversation_id, kind, body, notice, event_id, traceparent, position)
    ORDER BY position
""")


def add_outgoing(connection: Connection, rows: Sequence[Outgoing]) -> None:
    """Queue what a turn wants said, in that order: outbox ids grow with it."""
    if not rows:
        return
    connection.execute(
        _ADD_OUTGOING,
        {
            "numbers": [row.number_id for row in rows],
            "conversations": [row.conversation_id for row in rows],
            "kinds": [row.kind for row in rows],
            "bodies": [row.body for row in rows],
            "notices": [row.notice for row in rows],
            "events": [row.event_id for row in rows],
            "traceparents": [row.traceparent for row in rows],
        },
    )


def withdraw_notices(connection: Connection, conversation_ids: Collection[int]) -> None:
    """Let the gate judge what is queued of these conversations as it judges anything else.

    A hand-off that was to be announced may wait for hours while its number is paused; it must not go out to somebody
    who has asked for silence meanwhile.
    """
    if conversation_ids:
        connection.execute(
            text("""
                UPDATE outbox SET consent_notice = false
                WHERE conversation_id = ANY(CAST(:ids AS bigint[])) AND state = 'queued' AND consent_notice
            """),
            {"ids": list(conversation_ids)},
        )
