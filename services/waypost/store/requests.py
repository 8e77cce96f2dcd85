"""Sends that somebody asked for by hand or by program: each under a key, so that asking twice is asking once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, text


class KeyInUse(Exception):
    """The key was used before for something else; take another key."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a requested send is."""

    outbox_id: int
    state: str
    reason: str | None
    error_code: int | None


def ask(
    connection: Connection,
    *,
    number_id: str,
    conversation_id: int,
    body: Mapping[str, Any],
    key: str,
    traceparent: str | None = None,
) -> tuple[int, bool]:
    """Queue one message; returns its outbox id, and whether it is new. Raises `KeyInUse`."""
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
    # Only whom it is for is compared: the gate may have turned the body into a template meanwhile.
    known = connection.execute(
        text("SELECT id, number_id, conversation_id FROM outbox WHERE request_key = :key"), {"key": key}
    ).one()
    if (known.number_id, known.conversation_id) != (number_id, conversation_id):
        raise KeyInUse("this key was used before, for another number or contact")
    return int(known.id), False


def progress(connection: Connection, outbox_id: int) -> Progress:
    """How far it is. The row must exist."""
    row = connection.execute(
        text("SELECT id, state, reason, error_code FROM outbox WHERE id = :id"), {"id": outbox_id}
    ).one()
    return Progress(*row)
