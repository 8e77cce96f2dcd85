"""The rows that a turn writes: the message that came in, and the outbox rows that go out.

Each row gets the number of its conversation, so that no row of one number is in a conversation of another.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, text

from waypost.contracts.states import Direction, OutboxKind


@dataclass(frozen=True, slots=True)
class Incoming:
    """One inbound message with the text that a person would read.

    `number_id` counts the message. Its row gets the number of the conversation.
    """

    number_id: str
    conversation_id: int
    direction: Direction
    wamid: str | None
    type: str
    body: str | None
    occurred_at: datetime
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A new outbox row. `body` is the Graph payload as JSON text, without recipient and correlation."""

    conversation_id: int
    body: str
    kind: OutboxKind = OutboxKind.MESSAGE
    notice: bool = False
    event_id: int | None = None
    traceparent: str | None = None


# Rows are sent as one JSON text: psycopg writes arrays value by value in Python, which took a sixth of a drain.

# A subquery, because a join could make the planner read all conversations.
_NUMBER = "(SELECT conversation.number_id FROM conversation WHERE conversation.id = added.conversation_id)"

_ADD_MESSAGES = text(f"""
    INSERT INTO message (number_id, conversation_id, direction, wamid, type, body, occurred_at, traceparent)
    SELECT {_NUMBER}, conversation_id, direction, wamid, type, body, occurred_at, traceparent
    FROM json_to_recordset(CAST(:rows AS json)) AS added(conversation_id bigint, direction text,
        wamid text, type text, body text, occurred_at timestamptz, traceparent text)
    ON CONFLICT (number_id, wamid) DO NOTHING
""")  # noqa: S608 - put together from the constant above


def add_messages(connection: Connection, messages: Sequence[Incoming]) -> None:
    """Stores inbound messages. A message that is stored already stays as it is."""
    if messages:
        connection.execute(_ADD_MESSAGES, {"rows": msgspec.json.encode(messages).decode()})


_ADD_OUTGOING = text(f"""
    INSERT INTO outbox (number_id, conversation_id, kind, body, consent_notice, event_id, traceparent)
    SELECT {_NUMBER}, conversation_id, kind, CAST(body AS jsonb), notice, event_id, traceparent
    FROM ROWS FROM (json_to_recordset(CAST(:rows AS json)) AS (conversation_id bigint, kind text,
        body text, notice boolean, event_id bigint, traceparent text)) WITH ORDINALITY
        AS added(conversation_id, kind, body, notice, event_id, traceparent, position)
    ORDER BY position
""")  # noqa: S608 - put together from the constant above


def add_outgoing(connection: Connection, rows: Sequence[Outgoing]) -> None:
    """Queues the messages of turns in the given order, which is also the order of their outbox ids."""
    if rows:
        connection.execute(_ADD_OUTGOING, {"rows": msgspec.json.encode(rows).decode()})


def withdraw_notices(connection: Connection, conversation_ids: Collection[int]) -> None:
    """Turns queued notices of these conversations into ordinary messages, which the gate may refuse.

    For example, a notice may say that a person takes over the conversation. Such a notice may wait for hours
    while its number is paused. It must not be sent if the contact has opted out in that time.
    """
    if conversation_ids:
        connection.execute(
            text("""
                UPDATE outbox SET consent_notice = false
                WHERE conversation_id = ANY(CAST(:ids AS bigint[])) AND state = 'queued' AND consent_notice
            """),
            {"ids": list(conversation_ids)},
        )
