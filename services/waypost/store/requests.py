"""Queues sends that a person or a program requests.

Each request has a key, so that a repeated request is sent only once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from waypost.store.conversations import check_number


class KeyInUse(Exception):
    """Raised when the request's key was already used for another number or contact. Use another key."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a requested send."""

    outbox_id: int
    state: str
    reason: str | None
    error_code: int | None


def submit(
    connection: Connection,
    *,
    number_id: str,
    conversation_id: int,
    body: Mapping[str, Any],
    key: str,
    traceparent: str | None = None,
) -> tuple[int, bool]:
    """Queues one message unless its key is known. Returns the outbox id and whether the message is new.

    Raises `KeyInUse`, and `ForeignConversation` if the conversation belongs to another number.
    """
    check_number(connection, number_id, [conversation_id])
    inserted = connection.execute(
        text("""
            INSERT INTO outbox (number_id, conversation_id, body, request_key, traceparent)
            VALUES (:number, :conversation, CAST(:body AS jsonb), :key, :traceparent)
            ON CONFLICT (request_key) DO NOTHING
            RETURNING id
        """),
        {
            "number": number_id,
            "conversation": conversation_id,
            "body": msgspec.json.encode(body).decode(),
            "key": key,
            "traceparent": traceparent,
        },
    ).scalar_one_or_none()
    if inserted is not None:
        return int(inserted), True
    # The body is not compared: the gate may have replaced it by a template.
    earlier = connection.execute(
        text("SELECT id, number_id, conversation_id FROM outbox WHERE request_key = :key"), {"key": key}
    ).one()
    if (earlier.number_id, earlier.conversation_id) != (number_id, conversation_id):
        raise KeyInUse("this key was used before, for another number or contact")
    return int(earlier.id), False


def progress(connection: Connection, outbox_id: int) -> Progress:
    """Returns the progress of a send. Its outbox row must exist."""
    row = connection.execute(
        text("SELECT id, state, reason, error_code FROM outbox WHERE id = :id"), {"id": outbox_id}
    ).one()
    return Progress(*row)
