"""What a turn leaves behind: the message that came in, and the outbox rows that go out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
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


# Rows travel as one JSON text: psycopg writes arrays value by value in Python, which took a sixth of a drain.

_ADD_MESSAGES = text("""
    INSERT INTO message (number_id, conversation_id, direction, wamid, type, body, occurred_at, traceparent)
    SELECT number_id, conversation_id, direction, wamid, type, body, occurred_at, traceparent
    FROM json_to_recordset(CAST(:rows AS json)) AS added(number_id text, conversation_id bigint, direction text,
        wamid text, type text, body text, occurred_at timestamptz, traceparent text)
    ON CONFLICT (number_id, wamid) DO NOTHING
""")


def add_messages(connection: Connection, messages: Sequence[Incoming]) -> None:
    """Keep messages that came in; one that is already there stays as it is."""
    if messages:
        connection.execute(_ADD_MESSAGES, {"rows": msgspec.json.encode(messages).decode()})


_ADD_OUTGOING = text("""
    INSERT INTO outbox (number_id, conversation_id, kind, body, consent_notice, event_id, traceparent)
    SELECT number_id, conversation_id, kind, CAST(body AS jsonb), notice, event_id, traceparent
    FROM ROWS FROM (json_to_recordset(CAST(:rows AS json)) AS (number_id text, conversation_id bigint, kind text,
        body text, notice boolean, event_id bigint, traceparent text)) WITH ORDINALITY
        AS added(number_id, conversation_id, kind, body, notice, event_id, traceparent, position)
    ORDER BY position
""")


def add_outgoing(connection: Connection, rows: Sequence[Outgoing]) -> None:
    """Queue what a turn wants said, in that order: outbox ids grow with it."""
    if rows:
        connection.execute(_ADD_OUTGOING, {"rows": msgspec.json.encode(rows).decode()})


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
